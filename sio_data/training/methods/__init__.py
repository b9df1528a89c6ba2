"""The training methods by name, one file each."""

from sio_data.choices import make_choice, parse_choice
from sio_data.training.methods.base import Method
from sio_data.training.methods.cross_entropy import CrossEntropy

METHODS: dict[str, type[Method]] = {
    "ce": CrossEntropy,
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
