"""`filter`: the better part of a set, as a new set that says what was left out and why."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sio_data.commands import changed, command_line, shown_place
from sio_data.compilation import DROPPED
from sio_data.engines.job import ShardJob
from sio_data.errors import InputError
from sio_data.files import as_folder, is_url, write_text
from sio_data.filtering.networks import Networks
from sio_data.filtering.rules import Rules
from sio_data.filtering.selection import Selection
from sio_data.layout import Layout
from sio_data.making import begin, finish
from sio_data.manifest import Manifest
from sio_data.sets import open_set


@dataclass(frozen=True)
class Filtered:
    """What a filter left.

    Attributes:
        folder: The new set.
        kept: How many images it holds.
        dropped: How many were left out, by reason.
    """

    folder: Path
    kept: int
    dropped: dict[str, int]


def filter_set(
    folder: str | Path,
    out: str | Path,
    *,
    classifier: str | None = None,
    keep: float | None = None,
    drop: Sequence[str] = (),
    real: str | None = None,
    features: str | None = None,
    ratio: float | None = None,
    bits: int = 4,
    device: str | None = None,
) -> Filtered:
    """Write a new set of the better images of a set; `dropped.csv` in it says why each of the others was left out.

    The set is read twice, batch by batch. A call that was killed, and is made again, goes on. The samples keep their
    seeds, so that `regenerate` makes them again.

    Args:
        folder: The set's folder or URL.
        out: The new set's folder or URL: new, empty, or begun with the same arguments.
        classifier: A checkpoint that judges the labels.
        keep: Share of each class, in (0, 1], whose labels the classifier is surest of; see `Rules`.
        drop: Any of `disagreeing`, `near-copies`, `repeats`; see `Rules`.
        real: The real training images that `near-copies` are copies of; see `sio_data.sources`.
        features: The network in whose features they are looked for; None means the classifier's. See
            `sio_data.quality.extractors`.
        ratio: See `Rules`.
        bits: See `Rules`.
        device: Where to compute; None means the best device at hand.

    Raises:
        InputError: A value is out of range, something that a rule needs is missing, or nothing would be left.
        ClassMapError: The classifier does not know a class of the set.
        CorruptSetError: A shard is not what it was.
        FolderInUseError: `out` holds something else.
        SettingsMismatchError: `out` was begun with other arguments.
    """
    rules = Rules(tuple(drop), keep, ratio, bits)
    synthetic, target = open_set(folder), as_folder(out)
    if (
        not is_url(target)
        and not is_url(synthetic.folder)
        and target.resolve().is_relative_to(synthetic.folder.resolve())
    ):
        raise InputError(f"{out} lies in the set itself; name a folder outside of it.")
    networks = Networks.open(rules, synthetic, classifier, features, real, device)
    rules, evidence = networks.rules, networks.judge.look(synthetic, networks.image_size)
    verdicts = rules.sort(evidence, synthetic.manifest.recipe.class_names, networks.known)
    selection = Selection(synthetic, evidence, verdicts)
    if not len(selection.kept):
        raise InputError(f"no image of {folder} would be left.")
    places = {"classifier": classifier, "real": real, "features": features}
    command = command_line(
        "filter",
        [shown_place(str(folder))],
        keep=keep,
        drop=rules.drop,
        **{name: place and shown_place(place) for name, place in places.items()},
        **changed(filter_set, ratio=ratio, bits=bits),
    )
    origin = replace(synthetic.manifest.origin, command=command)
    compilation = selection.compile({**networks.about, **rules.about})
    manifest = begin(target, Manifest(compilation, origin))
    write_text(target / DROPPED, selection.listing)
    job = ShardJob(target, Layout(compilation), selection.draw)
    finish(target, manifest, job.make, "copying what is kept")
    return Filtered(target, len(selection.kept), selection.dropped)
