"""The training methods by name, one file each."""

from sio_data.choices import make_choice, parse_choice
from sio_data.training.methods.base import Method
from sio_data.training.methods.cross_entropy import CrossEntropy
from sio_data.training.methods.cutmix import CutMix
from sio_data.training.methods.godin import GODIN
from sio_data.training.methods.logitnorm import LogitNorm
from sio_data.training.methods.mcd import MCD
from sio_data.training.methods.mixoe import MixOE
from sio_data.training.methods.mixup import Mixup
from sio_data.training.methods.oe import OE
from sio_data.training.methods.pixmix import PixMix
from sio_data.training.methods.regmixup import RegMixup
from sio_data.training.methods.rotpred import RotPred
from sio_data.training.methods.t2fnorm import T2FNorm
from sio_data.training.methods.vos import VOS

METHODS: dict[str, type[Method]] = {
    "ce": CrossEntropy,
    "cutmix": CutMix,
    "godin": GODIN,
    "logitnorm": LogitNorm,
    "mcd": MCD,
    "mixoe": MixOE,
    "mixup": Mixup,
    "oe": OE,
    "pixmix": PixMix,
    "regmixup": RegMixup,
    "rotpred": RotPred,
    "t2fnorm": T2FNorm,
    "vos": VOS,
}


def make_method(text: str) -> Method:
    """Make a training method.

    Args:
        text: Its name, or `name:parameter=value,parameter=value`.

    Raises:
        UnknownNameError: There is no such method, or it has no such parameter.
        InputError: A value is of the wrong type or out of range.
    """
    return make_choice("method", METHODS, *parse_choice(text))
