"""What detectors cost beside the forward pass of the network: ten that share one, and ODIN, which takes a way back.

Run by `make bench`. ResNet-18 at 32x32 with random weights; 2,000 training, 800 validation, 2,000 test and 2,000 OOD
images of noise. Goals: passes, fits and scores of ten detectors together take at most 1.15 plain passes over the 6,800
images, and ODIN as the eleventh at most 2.2 plain passes over the 4,000 images that it scores.

A plain pass is the network in inference mode, in batches of the same size, and nothing else. It and the passes of the
detectors take turns every 250 images, each one being first in its turn; the ratios are medians over the turns, so that
a busy machine slows all of them. The figures of OpenOOD v1.5, in plain passes over the 4,000 images on the same
machine, are quoted: it runs the network anew for every detector.
"""

import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar, cast

import torch

from sio_data import Classifier, ImageSet
from sio_data.detection import DETECTORS, Detector, Outputs, compute_outputs, create

TEN = ("openmax", "msp", "temp_scaling", "ebo", "react", "mls", "klm", "vim", "knn", "dice")
COUNTS = {"train": 2000, "val": 800, "test": 2000, "ood": 2000}
SCORED = ("test", "ood")
TURN = 250
BATCH = 32
GOAL_TEN, GOAL_ODIN = 1.15, 2.2  # plain passes: over all images, over those that are scored
OPENOOD = {"ten": 20.8, "eleven": 25.7}  # plain passes over the images that are scored
GOAL_FACTORS = {"ten": 10, "eleven": 6}
CLASSES = tuple("abcdefghij")

Value = TypeVar("Value")


class Turn(NamedTuple):
    """Seconds an image of each kind of pass over the same images, one right after the other."""

    plain: float
    shared: float
    with_odin: float = math.nan


def make_images(count: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.arange(count) % len(CLASSES), CLASSES)


def timed(work: Callable[[], Value]) -> tuple[float, Value]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


@torch.inference_mode()
def run_plainly(classifier: Classifier, images: ImageSet) -> list[torch.Tensor]:
    return [classifier(batch) for batch in images.images.split(BATCH)]


def joined(parts: Sequence[Outputs], images: ImageSet) -> Outputs:
    observed = {name: torch.cat([part.observed[name] for part in parts]) for name in parts[0].observed}
    logits, features, labels = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("logits", "features", "labels")
    )
    return Outputs(logits, features, labels, images=images, observed=observed)


def pass_over(classifier: Classifier, images: ImageSet, odin: Detector | None, turns: list[Turn]) -> Outputs:
    """Let the passes take turns over a set, each first in its turn; give the outputs of the last kind."""
    parts = []
    for places in torch.arange(len(images)).split(TURN):
        part = images.select(places)
        works: dict[str, Callable[[], object]] = {
            "plain": partial(run_plainly, classifier, part),
            "shared": partial(compute_outputs, classifier, part),
        }
        if odin:
            works["with_odin"] = partial(compute_outputs, classifier, part, observers=[odin])
        first = len(turns) % len(works)
        done = {name: timed(works[name]) for name in [*works][first:] + [*works][:first]}
        turns.append(Turn(**{name: seconds / len(part) for name, (seconds, _) in done.items()}))
        parts.append(cast(Outputs, done[[*works][-1]][1]))
    return joined(parts, images)


def fit_and_score(detectors: Sequence[Detector], outputs: dict[str, Outputs], classifier: Classifier) -> None:
    for detector in detectors:
        detector.fit(train=outputs["train"], val=outputs["val"], network=classifier)
        for part in SCORED:
            detector.score(outputs[part])


def main() -> None:
    torch.manual_seed(0)
    classifier = Classifier("resnet18-32", CLASSES, 32).eval()
    present = [name for name in TEN if name in DETECTORS]
    odin, turns = create("odin"), list[Turn]()
    sets = {part: make_images(count, seed) for seed, (part, count) in enumerate(COUNTS.items())}
    run_plainly(classifier, sets["val"])
    outputs = {
        part: pass_over(classifier, images, odin if part in SCORED else None, turns) for part, images in sets.items()
    }
    fits, _ = timed(lambda: fit_and_score([create(name) for name in present], outputs, classifier))
    odin_fit, _ = timed(lambda: fit_and_score([odin], outputs, classifier))
    whole, scored = sum(COUNTS.values()), sum(COUNTS[part] for part in SCORED)
    plain = statistics.median(turn.plain for turn in turns)
    shared = statistics.median(turn.shared / turn.plain for turn in turns)
    more = [(turn.with_odin - turn.shared) / turn.plain for turn in turns if not math.isnan(turn.with_odin)]
    ten_ratio = shared + fits / (whole * plain)
    odin_ratio = statistics.median(more) + odin_fit / (scored * plain)
    passes = {"ten": ten_ratio * whole / scored, "eleven": ten_ratio * whole / scored + odin_ratio}
    factors = {which: OPENOOD[which] / passes[which] for which in passes}
    print(f"ResNet-18, {whole:,} images of 32x32, {scored:,} of them scored; {torch.get_num_threads()} threads")
    print(
        f"detectors: {', '.join(present)}"
        + (f"; missing: {', '.join({*TEN} - {*present})}" if len(present) < len(TEN) else "")
    )
    print(f"{'':44}{'measured':>10}{'goal':>10}")
    print(f"{'plain pass, ms/image':44}{1000 * plain:>10.2f}")
    print(f"{'fits and scores of the ten, s':44}{fits:>10.2f}")
    print(f"{'ten detectors, plain passes over all':44}{ten_ratio:>10.3f}{f'<= {GOAL_TEN}':>10}")
    print(f"{'ODIN besides, plain passes over the scored':44}{odin_ratio:>10.3f}{f'<= {GOAL_ODIN}':>10}")
    for which, factor in factors.items():
        print(f"{f'{which} detectors, times cheaper than OpenOOD':44}{factor:>10.1f}{f'>= {GOAL_FACTORS[which]}':>10}")
    print(
        json.dumps({"ten": ten_ratio, "odin": odin_ratio, "fits_s": fits, "plain_passes": passes, "cheaper": factors})
    )


if __name__ == "__main__":
    main()
