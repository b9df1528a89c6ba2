"""The parts of what `measure` found, one for each kind of measure."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class RealImages:
    """The real images that the set was compared to.

    Attributes:
        name: Their source; of an absolute path only the last part, after `…/`.
        digest: SHA-256 of the training images; see `ImageSet.digest`.
        images: How many training images there are.
        held_out: The split whose rates are given beside the set's: `test` or `val`.
        held_out_images: How many images it has.
    """

    name: str
    digest: str
    images: int
    held_out: str
    held_out_images: int


@dataclass(frozen=True)
class Network:
    """A network that looked at the images.

    Attributes:
        name: How it was named; of an absolute path only the last part, after `…/`.
        revision: SHA-256 of its weights or of its files, or the commit on the Hub.
    """

    name: str
    revision: str


@dataclass(frozen=True)
class Distances:
    """How far the set lies from the real training images, in the features of a network.

    Attributes:
        dimensions: Length of a feature vector.
        fid: Fréchet distance of all images (Heusel et al. 2017), at least 0.
        kid: Squared maximum mean discrepancy with the cubic kernel (Bińkowski et al. 2018): mean over random subsets.
            Unbiased, so that it can be below 0.
        kid_std: Standard deviation over the subsets.
        kid_subsets: How many subsets there were.
        kid_subset_size: How many real and as many synthetic images a subset has.
        precision: Share of synthetic images within the real ones' k-nearest-neighbour balls, in [0, 1]
            (Kynkäänniemi et al. 2019).
        recall: Share of real images within the synthetic ones' balls, in [0, 1].
        density: How many real balls hold a synthetic image, over k (Naeem et al. 2020); can be above 1.
        coverage: Share of real balls that hold a synthetic image, in [0, 1].
        neighbours: k.
        images: How many real and as many synthetic images, drawn at random, the last four are from.
    """

    dimensions: int
    fid: float
    kid: float
    kid_std: float
    kid_subsets: int
    kid_subset_size: int
    precision: float
    recall: float
    density: float
    coverage: float
    neighbours: int
    images: int


@dataclass(frozen=True)
class Repeat:
    """An image whose pixels are those of another.

    Attributes:
        key: Its key in the set.
        of: Key of the first image of the set with these pixels.
    """

    key: str
    of: str


@dataclass(frozen=True)
class Duplicates:
    """Images with exactly the same pixels.

    Attributes:
        inside: How many images repeat an earlier one of the set.
        of_real: How many have the pixels of a real training image.
        repeats: The first of those inside the set, 1,000 at most.
    """

    inside: int
    of_real: int
    repeats: tuple[Repeat, ...]


@dataclass(frozen=True)
class NearCopy:
    """A synthetic image and the real one that it is close to.

    Attributes:
        key: Its key in the set.
        real: Index of the real image in `load_source(real, "train", hold_out=False)`; where `held_out` is `val`, with
            `hold_out=True`.
        distance: By features, between the two, over the mean distance to the real images nearest to it, in [0, 1]. By
            hash, how many of 64 bits differ.
    """

    key: str
    real: int
    distance: float


@dataclass(frozen=True)
class NearCopies:
    """Synthetic images that are close to a real training image.

    Attributes:
        count: How many there are.
        held_out: How many images of the real held-out split would count as such: they are no copies, so that their
            share is what to expect of a set that copies nothing.
        bound: The largest distance that counts.
        neighbours: Of how many nearest real images, without repeats of the nearest, the mean distance was taken; 0 for
            hashes.
        listed: The nearest, 1,000 at most, the nearest first.
    """

    count: int
    held_out: int
    bound: float
    neighbours: int
    listed: tuple[NearCopy, ...]


@dataclass(frozen=True)
class Agreement:
    """How often a classifier names the class that the label says.

    Attributes:
        classifier: The classifier.
        accuracy: Share of the images, in [0, 1].
        per_class: The same of each class of the set; None for one without an image.
        held_out: The same share of the real held-out split.
        classes: The classifier's classes.
        confusion: For each class of the set, how many of its images the classifier puts in each of `classes`.
        suspected: Classes that the classifier takes for others, by name, where this is a change of places: the class
            order of the generator or of the set is wrong. Empty if nothing points to that.
    """

    classifier: Network
    accuracy: float
    per_class: Mapping[str, float | None]
    held_out: float
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    suspected: Mapping[str, str]


@dataclass(frozen=True)
class AccuracyScore:
    """Classification accuracy score (Ravuri & Vinyals 2019): trained on the set alone, judged on real test images.

    Attributes:
        accuracy: Share of the real test images that are right, in [0, 1].
        trained_on: How many synthetic images it was trained on.
        tested_on: How many real ones it was judged on.
        network: See `sio_data.training.networks`.
        epochs: Passes over the synthetic images.
        seed: Of the training.
    """

    accuracy: float
    trained_on: int
    tested_on: int
    network: str
    epochs: int
    seed: int
