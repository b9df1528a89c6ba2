"""The detectors by name."""

from typing import Any

from sio_data.choices import make_choice
from sio_data.detection.detectors.adascale import AdaScaleA, AdaScaleL
from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.cfood import CFOOD
from sio_data.detection.detectors.dice import DICE
from sio_data.detection.detectors.fdbd import FDBD
from sio_data.detection.detectors.gradnorm import GradNorm
from sio_data.detection.detectors.gram import Gram
from sio_data.detection.detectors.heads import MCD, RotPred, T2FNorm
from sio_data.detection.detectors.klm import KLM
from sio_data.detection.detectors.knn import KNN
from sio_data.detection.detectors.logits import EBO, GEN, MLS, MSP
from sio_data.detection.detectors.mahalanobis import MDS, RMDS
from sio_data.detection.detectors.mds_ensemble import MDSEnsemble
from sio_data.detection.detectors.nci import NCI
from sio_data.detection.detectors.nnguide import NNGuide
from sio_data.detection.detectors.odin import GODIN, IODIN, ODIN
from sio_data.detection.detectors.openmax import OpenMax
from sio_data.detection.detectors.rankfeat import RankFeat
from sio_data.detection.detectors.rectification import VRA, ReAct
from sio_data.detection.detectors.relation import Relation
from sio_data.detection.detectors.shaping import ASHB, ASHP, ASHS, SCALE
from sio_data.detection.detectors.she import SHE
from sio_data.detection.detectors.temperature import TemperatureScaling
from sio_data.detection.detectors.vim import Residual, ViM

_PAPER = (OpenMax, MSP, TemperatureScaling, ODIN, EBO, ReAct, MLS, KLM, ViM, KNN, DICE)
_FIELD = (
    *(MDS, MDSEnsemble, RMDS, GradNorm, SHE, ASHB, ASHP, ASHS, GEN, SCALE, FDBD, NNGuide, Residual, Relation, VRA, NCI),
    *(RankFeat, Gram, IODIN, AdaScaleA, AdaScaleL, CFOOD),
)
_METHODS = (GODIN, RotPred, MCD, T2FNorm)

PAPER: tuple[str, ...] = tuple(one.name for one in _PAPER)
"""The eleven of SIO's table, in its order."""

DETECTORS: dict[str, type[Detector]] = {one.name: one for one in (*_PAPER, *_FIELD, *_METHODS)}


def create(name: str, **parameters: Any) -> Detector:
    """Make a detector.

    Args:
        name: One of `DETECTORS`.
        **parameters: Its parameters; see its class.

    Raises:
        UnknownNameError: There is no such detector, or it has no such parameter.
        InputError: A value is of the wrong type or out of range.
    """
    return make_choice("detector", DETECTORS, name, parameters)
