"""Which device to compute on."""

import torch

from sio_data.errors import InputError, first_line


def pick_device(name: str | None) -> torch.device:
    """Give the device of that name, or the best one at hand.

    Args:
        name: `cpu`, `cuda`, `cuda:1`, ...; None takes a CUDA device where there is one.

    Raises:
        InputError: There is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here: {first_line(error)}") from error
    return device
