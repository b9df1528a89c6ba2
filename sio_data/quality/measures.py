"""What `measure` found: measures.json, and the lines of it that the card and the terminal show.

A set's measures.json counts only for the data that it was measured on: the set's digest stands in it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sio_data.errors import InputError
from sio_data.files import read_json, write_json
from sio_data.manifest import Manifest
from sio_data.quality.findings import (
    AccuracyScore,
    Agreement,
    Distances,
    Duplicates,
    NearCopies,
    Network,
    RealImages,
)
from sio_data.quality.typed_json import read_typed

MEASURES = "measures.json"
_FORMAT = "sio-data/measures/1"
_SHOWN_CLASSES = 3


@dataclass(frozen=True)
class Measures:
    """What was measured of a synthetic set.

    Attributes:
        set_digest: The data measured; see `Manifest.digest`.
        images: How many images the set has.
        image_size: Pixels that real and synthetic images had while they were compared.
        real: What they were compared to.
        features: The network whose features distances and near-copies are from.
        distances: Distances between the two, as distributions.
        duplicates: Images with the same pixels.
        near_copies: By the features.
        hash_copies: By a perceptual hash of 64 bits.
        agreement: With a classifier; None if none was given.
        accuracy_score: None if it was not asked for.
        seed: What the random subsets come from.
        versions: The packages that measured, by name.
    """

    set_digest: str
    images: int
    image_size: int
    real: RealImages
    features: Network
    distances: Distances
    duplicates: Duplicates
    near_copies: NearCopies
    hash_copies: NearCopies
    agreement: Agreement | None
    accuracy_score: AccuracyScore | None
    seed: int
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        if min(self.images, self.image_size, self.real.images, self.real.held_out_images) < 1:
            raise ValueError("there are no images")
        counts = [self.duplicates.inside, self.duplicates.of_real, self.near_copies.count, self.hash_copies.count]
        if self.accuracy_score:
            counts.append(self.accuracy_score.trained_on)
        copies = self.near_copies.held_out, self.hash_copies.held_out
        if max(counts) > self.images or max(copies) > self.real.held_out_images:
            raise ValueError("more images are counted than there are")
        if not all(0 <= share <= 1 for share in self._shares()):
            raise ValueError("a share is not in [0, 1]")
        if min(self.distances.fid, self.distances.kid_std, self.distances.density) < 0:
            raise ValueError("a distance is below 0")

    def _shares(self) -> Iterator[float]:
        yield from (self.distances.precision, self.distances.recall, self.distances.coverage)
        yield from (self.near_copies.bound, self.hash_copies.bound / 64)
        if self.agreement:
            yield from (self.agreement.accuracy, self.agreement.held_out)
            yield from (share for share in self.agreement.per_class.values() if share is not None)
        if self.accuracy_score:
            yield self.accuracy_score.accuracy

    def write(self, path: Path) -> None:
        """Write the measures as JSON, whole or not at all."""
        write_json(path, {"format": _FORMAT, **asdict(self)})

    @classmethod
    def read(cls, path: Path) -> "Measures":
        """Read measures from a JSON file, trusting nothing.

        Raises:
            InputError: It holds no sound measures.
        """
        value = read_json(path)
        if value.pop("format", None) != _FORMAT:
            raise InputError(f"{path}: not of the format {_FORMAT!r}.")
        try:
            return read_typed(cls, value)
        except ValueError as error:
            raise InputError(f"{path}: not sound measures: {error}.") from error

    def rows(self) -> list[tuple[str, str]]:
        """Give each measure's name with its source, and its value with the number of images, for people to read."""
        found, copies, duplicates = self.distances, self.near_copies, self.duplicates
        numbers = f"{self.images:,} synthetic, {self.real.images:,} real images"
        subsets = f"{found.kid_subsets} subsets of " if found.kid_subsets > 1 else ""
        spread = f" ± {found.kid_std:.2g}" if found.kid_subsets > 1 else ""
        alike = f"{found.images:,} of each, {found.neighbours} nearest neighbours"
        rows = [
            ("compared to", f"{self.real.name}, at {self.image_size}x{self.image_size} pixels"),
            ("in the features of", f"{self.features.name} ({self.features.revision[:12]}), {found.dimensions} numbers"),
            ("FID (Heusel et al. 2017)", f"{found.fid:.4g} ({numbers})"),
            ("KID (Bińkowski et al. 2018)", f"{found.kid:.3g}{spread} ({subsets}{found.kid_subset_size:,} of each)"),
            ("precision, recall (Kynkäänniemi et al. 2019)", f"{found.precision:.3f}, {found.recall:.3f} ({alike})"),
            ("density, coverage (Naeem et al. 2020)", f"{found.density:.3f}, {found.coverage:.3f} ({alike})"),
            (f"near-copies: ratio up to {copies.bound:.3g} (Carlini et al. 2023)", self._copies(copies)),
            (f"near-copies: up to {self.hash_copies.bound:g} of 64 hash bits differ", self._copies(self.hash_copies)),
            ("exact copies of real images", _share(duplicates.of_real, self.images)),
            ("exact duplicates inside the set", _share(duplicates.inside, self.images)),
        ]
        if self.agreement:
            rows += _agreement_rows(self.agreement, self.images, self.real)
        if self.accuracy_score:
            rows.append(_score_row(self.accuracy_score, self.images))
        return rows

    def _copies(self, copies: NearCopies) -> str:
        real = f"{self.real.held_out_images:,} real {self.real.held_out} images"
        expected = copies.held_out / self.real.held_out_images
        return f"{_share(copies.count, self.images)}; of {real} {_percent(expected)}"


def holds_measures(path: Path) -> bool:
    """Tell whether a file says that it holds measures, sound or not."""
    try:
        return read_json(path).get("format") == _FORMAT
    except InputError:
        return False


def read_measures(folder: Path) -> Measures | None:
    """Read the measures of a set.

    Args:
        folder: The set's folder.

    Returns:
        None if there are none, they are damaged, or they are of other data than the set's.
    """
    try:
        return find_measures(folder, Manifest.read(folder).digest)
    except InputError:
        return None


def find_measures(folder: Path, digest: str) -> Measures | None:
    """Read the measures in a folder if they are of the data with this digest; see `read_measures`."""
    try:
        measures = Measures.read(folder / MEASURES)
    except InputError:
        return None
    return measures if measures.set_digest == digest else None


def _agreement_rows(agreement: Agreement, images: int, real: RealImages) -> list[tuple[str, str]]:
    lowest = sorted((share, name) for name, share in agreement.per_class.items() if share is not None)[:_SHOWN_CLASSES]
    rows = [
        (
            "labels that the classifier agrees with",
            f"{_percent(agreement.accuracy)} of {images:,}; of {real.held_out_images:,} real {real.held_out} images "
            f"{_percent(agreement.held_out)} ({agreement.classifier.name})",
        ),
        ("classes it agrees with least", ", ".join(f"{name} {_percent(share)}" for share, name in lowest)),
    ]
    if agreement.suspected:
        taken = ", ".join(f"what is labelled {name} looks like {other}" for name, other in agreement.suspected.items())
        rows.append(("WRONG CLASS ORDER", taken))
    return rows


def _score_row(score: AccuracyScore, images: int) -> tuple[str, str]:
    return (
        "classification accuracy score (Ravuri & Vinyals 2019)",
        f"{_percent(score.accuracy)} of {score.tested_on:,} real test images, after {score.epochs} epochs on "
        f"{score.trained_on:,} of {images:,} synthetic ones alone",
    )


def _share(count: int, total: int) -> str:
    return f"{count:,} of {total:,} ({_percent(count / total)})"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
