"""What speaks for and against each image of a set, found in one pass over it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from sio_data.errors import InputError
from sio_data.progress import progress
from sio_data.quality.batches import BATCH, LabelledBatch, set_batches
from sio_data.quality.comparison import RealSplits
from sio_data.quality.duplicates import pixel_digests
from sio_data.quality.extractors import Extractor
from sio_data.quality.near_copies import FeatureSearch, HashSearch, choose_ratio
from sio_data.quality.perceptual_hash import perceptual_hashes
from sio_data.quality.scan import extract, hash_all
from sio_data.sets import SyntheticSet
from sio_data.training.checkpoint import Classifier

_DIGITS = 6


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was found of each image of a set, in its order.

    Attributes:
        labels: int64 [N].
        odds: float64 [N], logarithm of the odds that the classifier gives the label: it tells images apart whose
            probabilities all round to 1. Empty without a classifier.
        confidence: float64 [N], the classifier's probability of the label, rounded; empty without one.
        named: int64 [N], the classifier's class, as an index into its class names; empty without one.
        ratio: float64 [N], distance to the nearest real image over the mean distance to the 50 nearest; empty if
            nobody looked for near-copies.
        bits: float64 [N], how many of 64 bits of the perceptual hash differ from the nearest real image's; likewise.
        first: int64 [N], place of the first image of the set with the same pixels.
    """

    labels: npt.NDArray[np.int64]
    odds: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]
    named: npt.NDArray[np.int64]
    ratio: npt.NDArray[np.float64]
    bits: npt.NDArray[np.float64]
    first: npt.NDArray[np.int64]


class Judge:
    """Looks at the images of a set.

    Args:
        classifier: Says how sure it is of each label; None if nobody asks.
        extractor: Gives the features in which near-copies are looked for; None if nobody asks.
        real: The training images that an image may be a copy of, and others; goes with `extractor`.
        device: Where to search.
    """

    def __init__(
        self, classifier: Classifier | None, extractor: Extractor | None, real: RealSplits | None, device: torch.device
    ) -> None:
        self._classifier, self._extractor = classifier, extractor
        if extractor is not None and real is not None:
            self._by_features = FeatureSearch(extract("looking at the real images", extractor, real.train), device)
            self._by_hash = HashSearch(hash_all(real.train))
            self._held_out = real.held_out

    def choose_ratio(self) -> float:
        """Give the bound on relative distances that `measure` takes where none is given."""
        if self._extractor is None:
            return 0.0
        features = extract("looking at held-out real images", self._extractor, self._held_out)
        found = np.concatenate([self._by_features(part).distance for part in features.split(BATCH)])
        return round(choose_ratio(found), _DIGITS)

    def look(self, synthetic: SyntheticSet, image_size: int) -> Evidence:
        """Look at each image of a set once; only one batch is in memory.

        Args:
            synthetic: The set.
            image_size: Pixels that its images are brought to.

        Raises:
            CorruptSetError: A shard is not what it was.
        """
        names = synthetic.manifest.recipe.class_names
        known = self._classifier.class_names if self._classifier else names
        places = torch.tensor([known.index(name) for name in names])
        labels, digests, opinions, copies = [], [], [], []
        with progress(f"looking at {synthetic.folder}", synthetic.manifest.recipe.samples) as advance:
            for batch in set_batches(synthetic, image_size):
                labels.append(batch.labels.numpy())
                digests.append(pixel_digests(batch.images))
                if self._classifier:
                    opinions.append(_ask(self._classifier, batch, places))
                if self._extractor:
                    copies.append(self._search(self._extractor, batch))
                advance(len(batch), "")
        odds, confidence, named = _join(opinions, 3)
        ratio, bits = _join(copies, 2)
        _, first, inverse = np.unique(np.concatenate(digests), return_index=True, return_inverse=True)
        labelled, named = np.concatenate(labels), named.astype(np.int64)
        return Evidence(labelled, odds, confidence.round(_DIGITS), named, ratio, bits, first[inverse])

    def _search(self, extractor: Extractor, batch: LabelledBatch) -> npt.NDArray[np.float64]:
        ratio = self._by_features(extractor(batch.images)).distance.round(_DIGITS)
        return np.stack((ratio, self._by_hash(perceptual_hashes(batch.images)).distance))


@torch.inference_mode()
def _ask(classifier: Classifier, batch: LabelledBatch, places: torch.Tensor) -> npt.NDArray[np.float64]:
    """Give the log-odds and the probability of each label, and the class that the classifier names."""
    device = next(classifier.parameters()).device
    logits = classifier(batch.images.to(device)).double().cpu()
    if not torch.isfinite(logits).all():
        raise InputError("the classifier gives logits that are NaN or infinite: nothing can be judged by it.")
    own = places[batch.labels][:, None]
    odds = logits.gather(1, own) - logits.scatter(1, own, -torch.inf).logsumexp(1, keepdim=True)
    found = torch.cat((odds, odds.sigmoid(), logits.argmax(1, keepdim=True).double()), 1)
    return found.numpy().T


def _join(parts: list[npt.NDArray[np.float64]], rows: int) -> npt.NDArray[np.float64]:
    return np.concatenate(parts, 1) if parts else np.empty((rows, 0))
