"""`measure`: how good a synthetic set is, beside the real images that it stands for."""

import os
from importlib.metadata import version
from pathlib import Path

from sio_data.completion import write_card
from sio_data.device import pick_device
from sio_data.errors import InputError
from sio_data.files import as_folder, is_url
from sio_data.quality.accuracy_score import score_accuracy
from sio_data.quality.batches import image_batches, set_batches
from sio_data.quality.comparison import Networks, RealSplits
from sio_data.quality.distances import DistanceMeter
from sio_data.quality.duplicates import find_duplicates
from sio_data.quality.extractors import Extractor
from sio_data.quality.findings import Network
from sio_data.quality.measures import MEASURES, Measures, holds_measures
from sio_data.quality.near_copies import FeatureSearch, HashSearch, choose_ratio
from sio_data.quality.pairs import draw_pairs
from sio_data.quality.scan import Instruments, digest_all, extract, hash_all
from sio_data.sets import open_set

_PICTURE = "near-copies.png"
_PACKAGES = ("sio-data", "torch", "torchmetrics", "numpy", "scipy", "pillow")


def measure(
    folder: str | Path,
    *,
    real: str,
    features: str | Extractor | None = None,
    classifier: str | Path | None = None,
    image_size: int | None = None,
    ratio: float | None = None,
    bits: int = 4,
    accuracy_score: bool = False,
    epochs: int = 60,
    seed: int = 0,
    device: str | None = None,
    out: str | Path | None = None,
) -> Measures:
    """Measure a synthetic set: distances to real images, near-copies, duplicates, labels, and what one learns from it.

    The set is read once, batch by batch; the real images are held in memory. `near-copies.png`, beside the result,
    shows real images; beside `a.json` it is `a.near-copies.png`. The same input gives the same figures; their last
    digits may differ between kinds of device, thread counts and versions.

    Args:
        folder: The set's folder or URL.
        real: The real images it stands for; see `sio_data.sources`. Distances and near-copies are measured from their
            whole training split; the test split says what to expect of images that copy nothing. Without a test split
            a tenth of the training split takes its place.
        features: Whose features distances and near-copies are measured in: a checkpoint, `transformers:NAME` (see
            `sio_data.quality.extractors`), or an extractor; None means the classifier's.
        classifier: A checkpoint that judges the labels; None leaves that out.
        image_size: Pixels that all images are brought to; None means their size, which must then be the same.
        ratio: A near-copy by features is at most this far from its nearest real image, over the mean distance to the
            50 nearest; None means 0.5, or less where more than 1 % of the held-out real images are as close.
        bits: A near-copy by perceptual hash differs from a real image in so many of 64 bits at most.
        accuracy_score: Whether to train a classifier on the set alone and judge it on the real test split.
        epochs: Of that training.
        seed: Of all random choices.
        device: Where to compute; None means the best device at hand.
        out: JSON file of the result; None means `measures.json` in the set's folder, and its card shows it. A
            file that is there is replaced if it holds measures.

    Raises:
        InputError: A value is out of range, sizes differ, there are too few images, a network is unsound, or `out`
            is there and holds no measures, or cannot be written.
        ClassMapError: The classes of set, classifier and real images do not fit together.
        UnknownNameError: No such source or split.
        CorruptSetError: A shard is not what it was.
        IncompleteError: The set is not finished.
    """
    _check_numbers(ratio, bits, epochs, seed)
    target = pick_device(device)
    synthetic = open_set(folder)
    path = synthetic.folder / MEASURES if out is None else as_folder(out)
    _check_output(path, replaces=out is None)
    networks = Networks.open(features, classifier, target)
    size = image_size or synthetic.manifest.recipe.image_size
    images = RealSplits.load(real, image_size, needs_test=accuracy_score)
    networks.check(synthetic, images.train.image_size, size)
    recipe = synthetic.manifest.recipe
    test = images.held_out.require_labels().with_class_names(recipe.class_names) if accuracy_score else None
    held_out = networks.match_classes(images.held_out)

    features_of_real = extract("looking at the real images", networks.extractor, images.train)
    meter = DistanceMeter(features_of_real, recipe.samples, seed, target)
    look = Instruments(networks, FeatureSearch(features_of_real, target), HashSearch(hash_all(images.train)))
    expected = look.scan(
        "looking at held-out real images", image_batches(held_out), len(held_out), len(held_out.class_names)
    )
    found = look.scan(
        f"measuring {folder}", set_batches(synthetic, size), recipe.samples, len(recipe.class_names), meter
    )
    far = expected.by_features.distances
    bound = choose_ratio(far) if ratio is None else ratio
    measures = Measures(
        set_digest=synthetic.manifest.digest,
        images=recipe.samples,
        image_size=size,
        real=images.describe(real),
        features=Network(networks.extractor.name, networks.extractor.revision),
        distances=meter.measure(),
        duplicates=find_duplicates(found.digests, digest_all(images.train)),
        near_copies=found.by_features.count(bound, far, look.feature_search.neighbours),
        hash_copies=found.by_hash.count(bits, expected.by_hash.distances, 0),
        agreement=networks.agreement(found.confusion, expected.confusion, recipe.class_names),
        accuracy_score=score_accuracy(synthetic, test, size, epochs, seed, target) if test else None,
        seed=seed,
        versions={name: version(name) for name in _PACKAGES},
    )
    measures.write(path)
    draw_pairs(_picture_beside(path), found.by_features.nearest, found.by_hash.nearest, images.train)
    if out is None:
        write_card(synthetic.folder, synthetic.manifest)
    return measures


def _check_numbers(ratio: float | None, bits: int, epochs: int, seed: int) -> None:
    if not 0 <= (ratio or 0) <= 1 or not 0 <= bits <= 64:
        raise InputError(f"ratio must be in [0, 1] and bits from 0 to 64, not {ratio} and {bits}.")
    if epochs < 1 or not 0 <= seed < 2**31:
        raise InputError(f"epochs must be at least 1 and seed from 0 to 2**31 - 1, not {epochs} and {seed}.")


def _picture_beside(path: Path) -> Path:
    return path.with_name(_PICTURE if path.name == MEASURES else f"{path.stem}.{_PICTURE}")


def _check_output(path: Path, replaces: bool) -> None:
    """Refuse, before minutes of work, files that cannot be written, or that nobody allowed to be replaced.

    Args:
        path: Where the measures go.
        replaces: Whether they are the set's own files, which may be replaced even if they are damaged.
    """
    if not is_url(path) and (path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK)):
        raise InputError(f"{path} cannot be written. Name a file in another folder with --out.")
    for file in () if replaces or holds_measures(path) else (path, _picture_beside(path)):
        if file.exists():
            raise InputError(f"{file} is there and is not of earlier measures. Name another file with --out.")
