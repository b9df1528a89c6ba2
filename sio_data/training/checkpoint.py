"""The classifier, and the folder that it is saved in: config.json, model.safetensors, README.md."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from sio_data.errors import InputError, SioDataError
from sio_data.files import clear_if_full, read_json, sha256_bytes, write_bytes, write_json
from sio_data.recipe import MAX_IMAGE_SIZE
from sio_data.runs import CONFIG, DETECTOR, WEIGHTS
from sio_data.training.heads import build_head
from sio_data.training.networks import build_network, own_normalisation

if TYPE_CHECKING:
    from sio_data.detection.calibration import Calibration
    from sio_data.detection.scoring import Scored
    from sio_data.image_set import ImageSet

_MOST_OUTPUTS = 100_000

# What a config.json or weights of others can set off.
_UNSOUND = (AttributeError, LookupError, ArithmeticError, TypeError, ValueError, RuntimeError, OSError, SafetensorError)


class Classifier(nn.Module):
    """An image classifier that normalises its input itself.

    Args:
        network: Name of a network; see `sio_data.training.networks`.
        class_names: The class map.
        image_size: Height and width of its images in pixels.
        mean: Per channel, of images in [0, 1]; None means what a pretrained network expects, otherwise 0.5.
        std: Likewise.
        head: Name of the head; see `sio_data.training.heads`.
        side_heads: Further linear heads by name, with how many outputs each has.
        load_size: Pixels that pictures are resized to before their middle is cut out, if that is more than
            `image_size`, as in the test of ImageNet's recipe; None means `image_size`.
        network_config: Rebuilds a pretrained network with fresh weights, without looking for it; a checkpoint's
            `config.json` holds it.

    Attributes:
        network: From normalised images to features.
        mean: float [1, 3, 1, 1].
        std: Likewise.
        load_size: Pixels that pictures are resized to; of larger images than `image_size`, the `centre` counts.
        head: The last layer, from features to logits.
        side_heads: The further heads by name.
        weights_digest: SHA-256 of the file that the weights were read from; empty if they were not.

    Raises:
        InputError: A value is out of range.
    """

    mean: torch.Tensor
    std: torch.Tensor
    weights_digest: str = ""
    _versions: Sequence[int] = ()
    _folder: Path | None = None
    _repository: str | None = None
    _calibration: "Calibration | None" = None

    def __init__(
        self,
        network: str,
        class_names: Sequence[str],
        image_size: int,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        head: str = "linear",
        side_heads: Mapping[str, int] | None = None,
        load_size: int | None = None,
        network_config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.class_names = tuple(class_names)
        if not all(isinstance(name, str) for name in self.class_names):
            raise InputError(f"class names must be texts, not {self.class_names}.")
        if len(self.class_names) < 2 or len(set(self.class_names)) != len(self.class_names):
            raise InputError(f"a classifier needs two or more classes with different names, not {self.class_names}.")
        if mean is None and std is None:
            mean, std = own_normalisation(network) or ([0.5] * 3, [0.5] * 3)
        mean, std = check_normalisation(mean, std)
        self.network = build_network(network, image_size, network_config)
        self.config: dict[str, Any] = {
            "network": network,
            "class_names": list(self.class_names),
            "image_size": image_size,
            "mean": mean,
            "std": std,
            **self.network.config_entries,
        }
        if head != "linear":
            self.config["head"] = head
        if side_heads:
            self.config["side_heads"] = dict(side_heads)
        if load_size not in (None, image_size):
            self.config["load_size"] = load_size
        self.image_size = image_size
        self.load_size = _check_load_size(load_size, image_size)
        self.head = build_head(head, self.network.feature_dim, len(self.class_names))
        self.side_heads = nn.ModuleDict(_build_side_heads(side_heads or {}, self.network.feature_dim))
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Give the features, float [N, D]: what the head takes.

        Args:
            images: uint8 [N, 3, H, W], or float in [0, 1]; RGB.
        """
        features: torch.Tensor = self.network(self.normalise(images))
        return features

    def feature_maps(self, images: torch.Tensor) -> torch.Tensor:
        """Give the last feature maps, float [N, D, h, w]; for the images see `features`."""
        return self.network.maps(self.normalise(images))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give the logits, float [N, C]; for the images see `features`."""
        logits: torch.Tensor = self.head(self.features(images))
        return logits

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Give what the network takes, float [N, 3, H, W]; for the images see `features`."""
        scaled = images.float() / 255 if images.dtype == torch.uint8 else images
        return (scaled - self.mean) / self.std

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.mean.device

    def score(self, images: "torch.Tensor | ImageSet") -> "Scored":
        """Score images by the checkpoint's own detector, which `sio_data.calibrate` puts beside its weights.

        Args:
            images: uint8 [N, 3, H, H], RGB, of the classifier's `load_size`.

        Returns:
            Scores (higher means more in-distribution), whether they reach the threshold, and the classes.

        Raises:
            InputError: It has no detector or its weights were changed, or the images are of another kind or size.
        """
        from sio_data.detection.scoring import score_images

        return score_images(self, images)

    @property
    def calibration(self) -> "Calibration":
        """The checkpoint's own detector, read when it is first asked for.

        Raises:
            InputError: It has none, or an unsound one, or the weights were changed in place since they were loaded.
        """
        if self._folder is None:
            raise InputError("this classifier was not loaded from a checkpoint, and has no detector.")
        if any(now > then for now, then in zip(self._count_changes(), self._versions, strict=False)):
            raise InputError("the weights were changed since they were loaded: save them, then run sio-data calibrate.")
        if self._calibration is None:
            from sio_data.detection.calibration import Calibration

            if self._repository:
                _fetch_detector(self._repository, self._folder)
            self._calibration = Calibration.read(self._folder, self)
        return self._calibration

    def _count_changes(self) -> list[int]:
        """Count how often each weight was changed in place; a copy starts anew."""
        return [0 if value.is_inference() else value._version for value in self.state_dict().values()]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors` into a folder, which is made if it is missing.

        The checkpoint's own detector goes along, if it is sound and the weights are still those that it was fitted for.
        """
        folder = Path(folder)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        content = save(weights, {"format": "pt"})  # save_file makes it unreadable for others
        calibration = None
        if sha256_bytes(content) == self.weights_digest:
            with suppress(SioDataError):
                calibration = self.calibration
        folder.mkdir(parents=True, exist_ok=True)
        with clear_if_full(folder, "Free some, and save again."):
            write_bytes(folder / WEIGHTS, content)
        write_json(folder / CONFIG, self.config)
        if calibration is not None:
            calibration.save(folder)

    @classmethod
    def from_pretrained(cls, name: str | Path, revision: str | None = None) -> "Classifier":
        """Load a checkpoint, in evaluation mode. Only JSON and safetensors are read, and every weight must fit.

        Args:
            name: A local folder; on the Hub `owner/name` or `hub:owner/name@revision`.
            revision: Branch, tag or commit on the Hub.

        Raises:
            InputError: It is no sound checkpoint, or there is none of that name.
            SioDataError: The Hub cannot be reached.
        """
        repository, folder = (None, Path(name)) if Path(name).is_dir() else _download(str(name), revision)
        if not (folder / CONFIG).is_file():
            raise InputError(f"{name} is no checkpoint: it holds no {CONFIG}.{runs_hint(folder)}")
        config = read_json(folder / CONFIG)
        try:
            classifier = cls(**config)
            content = (folder / WEIGHTS).read_bytes()  # once: what is hashed is what is loaded
            classifier.load_state_dict(load(content), strict=True)
        except _UNSOUND as error:
            raise InputError(f"{name} is no sound checkpoint: {error}") from error
        classifier.weights_digest, classifier._versions = sha256_bytes(content), classifier._count_changes()
        classifier._folder, classifier._repository = folder, repository
        return classifier.eval()


def check_normalisation(mean: Sequence[float] | None, std: Sequence[float] | None) -> tuple[list[float], list[float]]:
    """Give mean and standard deviation of the three channels as lists.

    Raises:
        InputError: They are no three numbers each, or out of range.
    """
    if not all(_is_three_numbers(value) for value in (mean, std)) or mean is None or std is None:
        raise InputError(f"mean and std must be three numbers each, not {mean} and {std}.")
    if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
        raise InputError(f"mean and std must be finite, and std above 0, not {mean} and {std}.")
    return list(mean), list(std)


def _is_three_numbers(value: object) -> bool:
    return isinstance(value, Sequence) and len(value) == 3 and all(isinstance(number, int | float) for number in value)


def _check_load_size(load_size: int | None, image_size: int) -> int:
    if load_size is None:
        return image_size
    if type(load_size) is not int or not image_size <= load_size <= MAX_IMAGE_SIZE:
        raise InputError(f"load_size must be from {image_size} to {MAX_IMAGE_SIZE}, not {load_size!r}.")
    return load_size


def _build_side_heads(side_heads: Mapping[str, int], features: int) -> dict[str, nn.Module]:
    """Build the further heads that a `config.json` asks for.

    Raises:
        InputError: A name or a number of outputs is out of range.
    """
    for name, outputs in side_heads.items():
        if not name.isidentifier() or type(outputs) is not int or not 1 <= outputs <= _MOST_OUTPUTS:
            raise InputError(
                f"a side head has a name and from 1 to {_MOST_OUTPUTS} outputs, not {name!r}: {outputs!r}."
            )
    return {name: nn.Linear(features, outputs) for name, outputs in side_heads.items()}


def is_config(value: Mapping[str, object]) -> bool:
    """Tell whether a JSON object is meant as the `config.json` of a checkpoint of ours, sound or not."""
    return {"network", "class_names", "image_size"} <= {*value}


def runs_hint(folder: Path) -> str:
    """Say which runs a folder holds, to somebody who named it for one of them; nothing if it holds none."""
    runs = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
    return f" It holds the runs {', '.join(runs)}; name one of them." if runs else ""


def _download(name: str, revision: str | None) -> tuple[str, Path]:
    """Give the repository, and the folder of the cache with the files of one commit, by which it is named."""
    from sio_data.hub.caching import cached_files
    from sio_data.hub.names import HubName

    if not name.startswith("hub:") and (name.count("/") != 1 or name.startswith((".", "/"))):
        raise InputError(f"checkpoint {name!r}: no such folder.")
    found = HubName.parse(name)
    if revision and found.revision:
        raise InputError(f"checkpoint {name!r} names a revision already, and revision={revision!r} another one.")
    try:
        folder = cached_files(HubName(found.repository, revision or found.revision), (CONFIG, WEIGHTS))
    except SioDataError as error:
        kind = InputError if isinstance(error, InputError) else SioDataError
        raise kind(f"checkpoint {name!r} is no folder here and cannot be had from the Hub: {error}") from None
    return found.repository, folder


def _fetch_detector(repository: str, folder: Path) -> None:
    """Fetch the detector of a checkpoint, if it has one, beside its weights in the cache."""
    from sio_data.hub.caching import cached_files
    from sio_data.hub.names import HubName

    with suppress(InputError):
        cached_files(HubName(repository, folder.name), (DETECTOR,))
