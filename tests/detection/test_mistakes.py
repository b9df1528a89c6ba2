import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sio_data.detection.evaluation import Evaluation, EvaluationImages
from sio_data.detection.mistakes import find_mistakes
from sio_data.image_set import ImageSet
from tests.small_results import small_results


def grey(levels: list[int], labels: list[int], names: tuple[str, ...], side: int = 4) -> ImageSet:
    images = torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, side, side).contiguous()
    return ImageSet(images, torch.tensor(labels), names)


@pytest.fixture
def evaluation() -> Evaluation:
    """Three known images of the classes one, one and two (three has none), and two and one unknown ones."""
    names = ("one", "two", "three")
    test = grey([10, 20, 30], [0, 0, 1], names)
    unknown = {"u": grey([40, 50], [-1, -1], ()), "w": grey([60], [-1], (), side=200)}
    results = small_results({"a": {"msp": [{"u": 0.5, "w": 0.5}]}}, {"a": [2 / 3]})
    return Evaluation(
        results,
        EvaluationImages(test, test, test, unknown, None, {}, (), "", (), {}),
        scores={("a", "seed-0", "msp"): {"": np.array([4.0, 1, 3]), "u": np.array([2.0, 3]), "w": np.array([0.0])}},
        predictions={("a", "seed-0"): {"": np.array([0, 1, 1]), "u": np.array([2, 2]), "w": np.array([0])}},
        report=Path(),
    )


def test_figures_of_each_class_by_hand(evaluation: Evaluation) -> None:
    mistakes = find_mistakes(evaluation, "a")
    assert mistakes is not None
    one, two, three = mistakes.classes
    assert (one.name, one.images, one.accuracy, one.taken) == ("one", 2, 0.5, 1 / 3)
    assert one.aurocs == (0.5, 1.0)  # 4 beats 2 and 3, 1 beats neither; both beat 0
    assert (two.images, two.accuracy, two.taken, two.aurocs) == (1, 1.0, 0.0, (0.75, 1.0))  # 3 beats 2, ties with 3
    assert (three.images, three.accuracy, three.taken, three.aurocs) == (0, None, 2 / 3, (None, None))


def level(png: str) -> tuple[int, int]:
    image = Image.open(io.BytesIO(base64.b64decode(png)))
    return image.width, image.getpixel((0, 0))[0]


def test_the_worst_images_come_first(evaluation: Evaluation) -> None:
    mistakes = find_mistakes(evaluation, "a")
    assert mistakes is not None
    shown = [(one.truth, one.taken_for, *level(one.png)) for one in mistakes.unnoticed]
    assert shown == [("u", "three", 4, 50), ("u", "three", 4, 40), ("w", "one", 96, 60)]
    assert [one.beyond for one in mistakes.unnoticed] == pytest.approx([1.5 / 3, 1 / 3, 0])
    shown = [(one.truth, one.taken_for, *level(one.png)) for one in mistakes.rejected]
    assert shown == [("one", "two", 4, 20), ("two", "two", 4, 30), ("one", "one", 4, 10)]
    assert [one.beyond for one in mistakes.rejected] == pytest.approx([2 / 3, 0.5 / 3, 0])


def test_a_checkpoint_that_no_detector_suits_has_none(evaluation: Evaluation) -> None:
    evaluation.results.rows.clear()
    assert find_mistakes(evaluation, "a") is None


def test_the_run_is_the_first_that_the_detector_was_measured_on(evaluation: Evaluation) -> None:
    detectors = {"msp": [{"u": 0.4, "w": 0.4}, {"u": 0.4, "w": 0.4}], "godin": [{"u": 0.9, "w": 0.9}]}
    results = small_results({"a": detectors}, {"a": [0.5, 2 / 3]})
    rows = [replace(row, run="seed-1") if row.detector == "godin" else row for row in results.rows]
    of_all = {"": np.array([4.0, 1, 3]), "u": np.array([2.0, 3]), "w": np.array([0.0])}
    evaluation.scores = {
        ("a", "seed-0", "msp"): of_all,
        ("a", "seed-1", "msp"): of_all,
        ("a", "seed-1", "godin"): of_all,
    }
    evaluation.predictions["a", "seed-1"] = evaluation.predictions["a", "seed-0"]
    evaluation.results = replace(results, rows=rows)
    mistakes = find_mistakes(evaluation, "a")
    assert mistakes is not None
    assert (mistakes.detector, mistakes.run) == ("godin", "seed-1")
