"""How many images a classifier gets right."""

import torch

from sio_data.image_set import ImageSet
from sio_data.training.augmentation import centre
from sio_data.training.checkpoint import Classifier
from sio_data.training.ranks import Ranks

_BATCH = 500
_ALONE = Ranks()


@torch.inference_mode()
def measure_accuracy(model: Classifier, images: ImageSet, device: torch.device, ranks: Ranks = _ALONE) -> float:
    """Give the share of images whose class is right, in [0, 1].

    Args:
        model: On `device`; it is in evaluation mode afterwards.
        images: With labels; of larger ones than the classifier takes, the middle counts.
        device: Where to run.
        ranks: The processes that share the work.
    """
    model.eval()
    right = torch.zeros((), dtype=torch.float64, device=device)
    for chosen in torch.arange(len(images))[ranks.rank :: ranks.world].split(_BATCH):
        chosen = chosen.to(images.images.device)
        pixels = centre(images.images[chosen].to(device), model.image_size)
        right += (model(pixels).argmax(1) == images.labels[chosen].to(device)).sum()
    return float(ranks.add_up(right).item()) / len(images)
