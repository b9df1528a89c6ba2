"""One pass over images: what the networks, the hashes and the real images say of each."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from sio_data.image_set import ImageSet
from sio_data.progress import progress
from sio_data.quality.agreement import Counts, count_confusion, predict
from sio_data.quality.batches import BATCH, LabelledBatch
from sio_data.quality.comparison import Networks
from sio_data.quality.distances import DistanceMeter
from sio_data.quality.duplicates import Digests, empty_digests, pixel_digests
from sio_data.quality.extractors import Extractor
from sio_data.quality.near_copies import FeatureSearch, HashSearch, NearCopyList
from sio_data.quality.perceptual_hash import Hashes, perceptual_hashes


@dataclass(frozen=True, eq=False)
class Instruments:
    """What looks at the images.

    Attributes:
        networks: They give features and classes.
        feature_search: Finds the nearest real training image by features.
        hash_search: The same by perceptual hash.
    """

    networks: Networks
    feature_search: FeatureSearch
    hash_search: HashSearch

    def scan(
        self, title: str, batches: Iterable[LabelledBatch], count: int, classes: int, meter: DistanceMeter | None = None
    ) -> "Scan":
        """Look at images once.

        Args:
            title: What the progress bar says.
            batches: The images.
            count: How many there are.
            classes: How many classes their labels are of.
            meter: Takes their features, if it is given.
        """
        extractor, judge = self.networks.extractor, self.networks.judge
        by_features, by_hash = NearCopyList(count), NearCopyList(count)
        confusion = np.zeros((classes, len(judge.class_names) if judge else 0), np.int64)
        digests = empty_digests(count)
        with progress(title, count) as advance:
            for batch in batches:
                features = extractor(batch.images)
                if meter:
                    meter.add(features)
                if judge:
                    own_features = features if self.networks.shared else None
                    predicted = predict(judge, batch.images, own_features).argmax(1)
                    confusion += count_confusion(batch.labels.numpy(), predicted.numpy(), confusion.shape)
                by_features.add(batch.start, batch.images, self.feature_search(features))
                by_hash.add(batch.start, batch.images, self.hash_search(perceptual_hashes(batch.images)))
                digests[batch.start : batch.start + len(batch)] = pixel_digests(batch.images)
                advance(len(batch), "")
        return Scan(digests, by_features, by_hash, confusion)


@dataclass(frozen=True, eq=False)
class Scan:
    """What a pass found.

    Attributes:
        digests: Of their pixels [N].
        by_features: Near-copies of real training images, by features.
        by_hash: The same by perceptual hash.
        confusion: int64 [C, K], images by label and by the class that the classifier names; K is 0 without one.
    """

    digests: Digests
    by_features: NearCopyList
    by_hash: NearCopyList
    confusion: Counts


def extract(title: str, extractor: Extractor, images: ImageSet) -> torch.Tensor:
    """Give the features of images in memory, float32 [N, D]."""
    with progress(title, len(images)) as advance:
        parts = []
        for part in images.images.split(BATCH):
            parts.append(extractor(part))
            advance(len(part), "")
    return torch.cat(parts)


def hash_all(images: ImageSet) -> Hashes:
    """Give the perceptual hashes of images in memory, uint64 [N]."""
    return np.concatenate([perceptual_hashes(part) for part in images.images.split(BATCH)])


def digest_all(images: ImageSet) -> Digests:
    """Give the digests of images in memory [N]."""
    return np.concatenate([pixel_digests(part) for part in images.images.split(BATCH)])
