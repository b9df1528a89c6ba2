"""Checks of the parameters of the methods."""

import math

from sio_data.errors import InputError


def check_positive(method: str, parameter: str, value: float) -> None:
    """Refuse a number that is not above 0 and finite.

    Raises:
        InputError: It is not.
    """
    if not 0 < value < math.inf:
        raise InputError(f"{method}: {parameter} must be above 0 and finite, not {value}.")


def check_not_negative(method: str, parameter: str, value: float) -> None:
    """Refuse a number that is negative or not finite.

    Raises:
        InputError: It is.
    """
    if not 0 <= value < math.inf:
        raise InputError(f"{method}: {parameter} must be at least 0 and finite, not {value}.")


def check_share(method: str, parameter: str, value: float) -> None:
    """Refuse a number that is no share.

    Raises:
        InputError: It is not in [0, 1].
    """
    if not 0 <= value <= 1:
        raise InputError(f"{method}: {parameter} must be from 0 to 1, not {value}.")


def check_count(method: str, parameter: str, value: int, most: int) -> None:
    """Refuse a number of things that is out of range.

    Raises:
        InputError: It is not from 1 to `most`.
    """
    if not 1 <= value <= most:
        raise InputError(f"{method}: {parameter} must be from 1 to {most}, not {value}.")
