"""Feature extractors: the networks whose features distances and near-copies are measured in.

    FOLDER or checkpoint:FOLDER    a checkpoint of ours, also OWNER/NAME on the Hub: its pooled features
    transformers:FOLDER            any image model of transformers, also OWNER/NAME@REVISION: its pooled output

Python callers can give an `Extractor` of their own.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save

from sio_data.backend import find_folder
from sio_data.commands import shown_place
from sio_data.errors import InputError
from sio_data.image_models import MODEL_FILES
from sio_data.quality.trunks import load_trunk
from sio_data.training.checkpoint import Classifier

_KINDS = ("checkpoint", "transformers")


@dataclass(frozen=True, eq=False)
class Extractor:
    """Turns images into feature vectors.

    Attributes:
        name: What it is called in every result.
        revision: What its weights are: a hash, or a commit.
        compute: From uint8 [B, 3, H, H], RGB, on the CPU, to float [B, D]. It resizes and normalises as it needs.
        image_size: The only size of images that it takes; None if it takes any.
    """

    name: str
    revision: str
    compute: Callable[[torch.Tensor], torch.Tensor]
    image_size: int | None = None

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Give the features, float32 [B, D] on the CPU.

        Raises:
            InputError: A feature is NaN or infinite.
        """
        features = self.compute(images).float().cpu()
        if features.ndim != 2 or len(features) != len(images):
            raise InputError(f"{self.name} gives features of shape {list(features.shape)}, not [{len(images)}, D].")
        if not torch.isfinite(features).all():
            raise InputError(f"{self.name} gives features that are NaN or infinite; nothing can be measured by them.")
        return features


def open_extractor(text: str, device: torch.device) -> Extractor:
    """Open an extractor by name; see the module's docstring.

    Raises:
        InputError: There is no such network, or its files are unsound.
    """
    kind, separator, name = text.partition(":")
    if separator and kind == "transformers":
        folder, revision = find_folder(name, MODEL_FILES)
        return Extractor(f"transformers:{shown_place(name)}", revision, load_trunk(folder, device))
    if separator and kind == "checkpoint":
        text = name
    elif separator and not Path(text).is_dir():
        raise InputError(f"features {text!r} are none of {', '.join(f'{kind}:…' for kind in _KINDS)} or a checkpoint.")
    return checkpoint_extractor(Classifier.from_pretrained(text).to(device), text)


def checkpoint_extractor(classifier: Classifier, name: str) -> Extractor:
    """Take the features of a classifier, which is on its device and in evaluation mode.

    Args:
        classifier: The classifier.
        name: Where it is from.
    """
    device = next(classifier.parameters()).device

    def compute(images: torch.Tensor) -> torch.Tensor:
        return classifier.features(images.to(device))

    return Extractor(shown_place(name), weights_revision(classifier), compute, classifier.image_size)


def weights_revision(classifier: Classifier) -> str:
    """Give the SHA-256 of a classifier's weights, which is that of the `model.safetensors` that it saves."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in classifier.state_dict().items()}
    return hashlib.sha256(save(weights, metadata={"format": "pt"})).hexdigest()
