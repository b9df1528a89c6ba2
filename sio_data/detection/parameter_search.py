"""The search for a detector's parameters on validation images, known and unknown, as OpenOOD v1.5 does it.

Every setting of the detector's grid is fitted, and scores the ID validation images and the OOD validation images. The
one with the largest AUROC wins, the first of equals. Test images play no part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from sio_data.detection.detectors import DETECTORS, create
from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.network import WatchingDetector
from sio_data.detection.metrics import ood_metrics
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier


@dataclass(frozen=True)
class Tried:
    """One setting that was tried.

    Attributes:
        parameters: All parameters of the detector.
        auroc: ID against OOD validation images, in [0, 1]; None if the detector could not be fitted with it.
        reason: Why it could not be fitted; empty if it could.
    """

    parameters: Mapping[str, Any]
    auroc: float | None
    reason: str = ""


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        detector: The best one, fitted.
        tried: All settings, in order.
    """

    detector: Detector
    tried: Sequence[Tried]

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters of the best one."""
        return asdict(self.detector)  # type: ignore[call-overload, no-any-return]


def candidates(name: str, **parameters: Any) -> list[Detector]:
    """Make the detectors that a search tries: one for each setting of the detector's grid.

    Args:
        name: Of the detector.
        **parameters: Those that are given, and not to be searched for.

    Returns:
        One at least; exactly one where there is nothing to search.

    Raises:
        UnknownNameError: There is no such detector or parameter.
        InputError: A value is of the wrong type or out of range.
    """
    if name not in DETECTORS:
        raise UnknownNameError("detector", name, DETECTORS)
    made: list[Detector] = []
    for setting in DETECTORS[name].grid or ({},):
        one = create(name, **{**setting, **parameters})
        if one not in made:
            made.append(one)
    return made


def search(
    detectors: Sequence[Detector],
    *,
    val: Outputs,
    ood_val: Outputs,
    train: Outputs | None = None,
    head: nn.Linear | None = None,
    network: "Classifier | None" = None,
) -> Search:
    """Choose the detector with the largest AUROC of ID validation images against OOD validation images.

    Args:
        detectors: Those to try, such as `candidates` gives. They are fitted here, even if they were before; only a
            `WatchingDetector` that is fitted, from a pass over the training images, is taken as it is.
        val: Outputs of the ID validation images.
        ood_val: Outputs of the OOD validation images.
        train: Outputs of the ID training images.
        head: The network's last layer.
        network: The network, for detectors that look at more than its outputs.

    Raises:
        InputError: None of them can be fitted.
    """
    best: tuple[float, Detector] | None = None
    tried: list[Tried] = []
    for one in detectors:
        parameters = asdict(one)  # type: ignore[call-overload]
        try:
            if not (one.is_fitted and isinstance(one, WatchingDetector)):
                one.fit(train=train, val=val, head=head, network=network)
        except InputError as error:
            tried.append(Tried(parameters, None, str(error)))
            continue
        auroc = ood_metrics(one.score(val), one.score(ood_val)).auroc
        tried.append(Tried(parameters, auroc))
        if best is None or auroc > best[0]:
            best = (auroc, one)
    if best is None:
        raise InputError(tried[0].reason if tried else "a search needs a detector at least.")
    return Search(best[1], tried)
