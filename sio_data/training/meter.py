"""What stands beside the progress bar of a training."""

import time

import torch

_SECONDS_BETWEEN_NOTES = 0.5


class Meter:
    """Counts the images of an epoch and the time they take.

    Reading a loss waits for the device, so it is read now and then only.
    """

    def __init__(self) -> None:
        self._began, self._noted = time.monotonic(), 0.0
        self._images, self._note = 0, ""

    @property
    def images_per_second(self) -> float:
        """The rate since the epoch began, or went on."""
        return self._images / max(time.monotonic() - self._began, 1e-9)

    def note(self, images: int, epoch: int, loss: torch.Tensor) -> str:
        """Count a batch.

        Args:
            images: How many it has, over all ranks.
            epoch: From 0.
            loss: Its loss, a scalar on any device.

        Returns:
            What to show, made anew every half second.
        """
        self._images += images
        now = time.monotonic()
        if now - self._noted >= _SECONDS_BETWEEN_NOTES:
            self._noted = now
            rate = f"{self.images_per_second:,.0f} images/s"
            self._note = f"epoch {epoch + 1}, loss {loss.item():.3f}, {rate}"
        return self._note
