"""What a filter kept of a set: the new set's recipe, its samples, and the list of what was dropped."""

import csv
import io
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import groupby, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from sio_data.compilation import DROPPED, Compilation, SourceFile
from sio_data.files import sha256_bytes, sha256_json
from sio_data.filtering.judging import Evidence
from sio_data.filtering.rules import KEPT, UNSURE
from sio_data.recipe import Option
from sio_data.sets import SyntheticSet
from sio_data.shards import Batch, Sample, read_shard, sample_key

_BATCH = 100
_LOSSLESS = ("png", "webp")


class Selection:
    """The images of a set that are kept.

    Args:
        synthetic: The set.
        evidence: What was found of each of its images.
        verdicts: [N], `kept` or why not.
    """

    def __init__(self, synthetic: SyntheticSet, evidence: Evidence, verdicts: npt.NDArray[np.str_]) -> None:
        self._synthetic, self._evidence, self._verdicts = synthetic, evidence, verdicts
        self.kept = np.flatnonzero(verdicts == KEPT)
        self._name = synthetic.folder.resolve().name

    @property
    def dropped(self) -> dict[str, int]:
        """How many images were dropped, by reason."""
        reasons, counts = np.unique(self._verdicts[self._verdicts != KEPT], return_counts=True)
        return dict(zip(reasons.tolist(), counts.tolist(), strict=True))

    @cached_property
    def listing(self) -> str:
        """What was dropped, as CSV: key, label, reason, and what was found."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("key", "label", "reason", "found"))
        for place in np.flatnonzero(self._verdicts != KEPT).tolist():
            reason = str(self._verdicts[place])
            writer.writerow((sample_key(place), self._evidence.labels[place], reason, self._found(place, reason)))
        return text.getvalue()

    def _found(self, place: int, reason: str) -> str:
        evidence = self._evidence
        if reason == UNSURE:
            return f"confidence {evidence.confidence[place]:g}"
        if reason == "disagreeing":
            return f"classifier's class {evidence.named[place]}, confidence {evidence.confidence[place]:g}"
        if reason == "near-copies":
            return f"ratio {evidence.ratio[place]:g}, bits {evidence.bits[place]:g}"
        return f"the pixels of {sample_key(int(evidence.first[place]))}"

    def compile(self, rule: Mapping[str, Option]) -> Compilation:
        """Give what the new set holds.

        Args:
            rule: How it was chosen.
        """
        manifest = self._synthetic.manifest
        recipe = manifest.recipe
        counts = np.bincount(self._evidence.labels[self.kept], minlength=len(recipe.class_names))
        dropped = {f"dropped {reason}": count for reason, count in self.dropped.items()}
        return Compilation(
            kind="filter",
            sources=(SourceFile(self._name, manifest.digest),),
            rule={**rule, **dropped, DROPPED: sha256_bytes(self.listing.encode())},
            order=sha256_json(self.kept.tolist()),
            class_names=recipe.class_names,
            counts=tuple(counts.tolist()),
            image_size=recipe.image_size,
            image_format=recipe.image_format if recipe.image_format in _LOSSLESS else "png",
            shard_size=recipe.shard_size,
            parent=recipe,
        )

    def draw(self, index: int) -> Iterator[Batch]:
        """Read the samples of a shard of the new set, in order."""
        size = self._synthetic.manifest.recipe.shard_size
        samples = self._samples(self.kept[index * size : (index + 1) * size].tolist())
        while batch := list(islice(samples, _BATCH)):
            images = np.stack([sample.image for sample in batch])
            labels = np.array([sample.label for sample in batch])
            yield Batch(images, labels, [{"source": self._source(sample)} for sample in batch], len(batch))

    def _samples(self, places: list[int]) -> Iterator[Sample]:
        manifest = self._synthetic.manifest
        for shard, chosen in groupby(places, lambda place: place // manifest.recipe.shard_size):
            wanted = {*chosen}
            for sample in read_shard(self._synthetic.folder, manifest.shards[shard], manifest.recipe):
                if sample.index in wanted:
                    yield sample

    def _source(self, sample: Sample) -> dict[str, Any]:
        origin = {name: sample.metadata[name] for name in ("recipe", "seed", "source") if name in sample.metadata}
        confidence = self._evidence.confidence
        sure = {"confidence": float(confidence[sample.index])} if len(confidence) else {}
        return {"key": sample.key, **origin, **sure}
