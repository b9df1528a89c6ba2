"""Which images of a set are kept, and why the others are not."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from sio_data.errors import InputError, UnknownNameError
from sio_data.filtering.judging import Evidence
from sio_data.recipe import Option

DROPPABLE = ("disagreeing", "near-copies", "repeats")
KEPT = "kept"
UNSURE = "unsure"


@dataclass(frozen=True)
class Rules:
    """What a filter keeps.

    Attributes:
        drop: What is left out: `disagreeing` (the classifier names another class than the label), `near-copies` (of a
            real training image) and `repeats` (the pixels of an earlier image of the set).
        keep: Share of what the other rules leave of each class, in (0, 1]: those whose label the classifier is surest
            of. None keeps all.
        ratio: A near-copy by features is at most this far from its nearest real image, over the mean distance to the
            50 nearest. None lets the real images decide; see `sio_data.quality.near_copies`.
        bits: A near-copy by perceptual hash differs from a real image in so many of 64 bits at most.

    Raises:
        InputError: There is no rule, or a number is out of its range.
        UnknownNameError: Nothing of that name can be dropped.
    """

    drop: tuple[str, ...]
    keep: float | None
    ratio: float | None
    bits: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "drop", tuple(dict.fromkeys(self.drop)))
        for name in self.drop:
            if name not in DROPPABLE:
                raise UnknownNameError("thing to drop", name, DROPPABLE)
        if not self.drop and self.keep is None:
            raise InputError(f"nothing to filter by: give --keep SHARE, or --drop with {', '.join(DROPPABLE)}.")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise InputError(f"keep must be a share of each class, above 0 and at most 1, not {self.keep}.")
        if not 0 <= (self.ratio or 0) <= 1 or not 0 <= self.bits <= 64:
            raise InputError(f"ratio must be from 0 to 1 and bits from 0 to 64, not {self.ratio} and {self.bits}.")

    @property
    def needs_classifier(self) -> bool:
        """Whether a classifier has to look at the labels."""
        return self.keep is not None or "disagreeing" in self.drop

    @property
    def needs_real(self) -> bool:
        """Whether the images must be compared to real ones."""
        return "near-copies" in self.drop

    @property
    def about(self) -> dict[str, Option]:
        """What the new set records of the rules."""
        bounds = {"ratio": self.ratio or 0, "bits": self.bits} if self.needs_real else {}
        share = {} if self.keep is None else {"keep": self.keep}
        return {"drop": ", ".join(self.drop), **share, **bounds}

    def sort(self, evidence: Evidence, names: Sequence[str], known: Sequence[str]) -> npt.NDArray[np.str_]:
        """Say of each image whether it is kept, or why not; the first rule that speaks against it counts.

        Args:
            evidence: What was found.
            names: The set's classes.
            known: The classifier's classes.

        Returns:
            [N], `kept`, one of `DROPPABLE`, or `unsure`.
        """
        verdicts = np.full(len(evidence.labels), KEPT, "<U12")
        for name in DROPPABLE:
            if name in self.drop:
                verdicts[(verdicts == KEPT) & self._speaks_against(name, evidence, names, known)] = name
        if self.keep is not None:
            for label in range(len(names)):
                candidates = np.flatnonzero((verdicts == KEPT) & (evidence.labels == label))
                surest_first = candidates[np.argsort(-evidence.odds[candidates], kind="stable")]
                kept = math.ceil(Fraction(str(self.keep)) * len(candidates))  # 0.07 of 100 is 7, not 8
                verdicts[surest_first[kept:]] = UNSURE
        return verdicts

    def _speaks_against(
        self, name: str, evidence: Evidence, names: Sequence[str], known: Sequence[str]
    ) -> npt.NDArray[np.bool_]:
        if name == "disagreeing":
            places = np.array([known.index(own) for own in names])
            against: npt.NDArray[np.bool_] = evidence.named != places[evidence.labels]
        elif name == "near-copies":
            against = (evidence.ratio <= (self.ratio or 0)) | (evidence.bits <= self.bits)
        else:
            against = evidence.first != np.arange(len(evidence.first))
        return against
