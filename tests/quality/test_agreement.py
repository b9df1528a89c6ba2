import numpy as np
import pytest
import torch

from sio_data.errors import InputError
from sio_data.quality.agreement import count_confusion, predict, summarise_agreement, suspect_order
from sio_data.quality.findings import Network
from sio_data.training.checkpoint import Classifier

NAMES = ("cat", "dog", "owl")
CLASSES = ("dog", "owl", "cat", "bee")


def confusion(rows: dict[str, dict[str, int]]) -> np.ndarray:
    return np.array([[rows.get(name, {}).get(other, 0) for other in CLASSES] for name in NAMES])


def test_predictions_are_counted_by_label_and_class() -> None:
    counts = count_confusion(np.array([0, 0, 2, 2]), np.array([2, 2, 3, 1]), (3, 4))
    assert counts.tolist() == [[0, 0, 2, 0], [0, 0, 0, 0], [0, 1, 0, 1]]


def test_agreement_matches_classes_by_name_and_passes_over_an_empty_one() -> None:
    found = summarise_agreement(
        Network("judge", "1"),
        confusion({"cat": {"cat": 3, "dog": 1}, "dog": {"dog": 4}}),
        np.diag([3, 3, 3, 3]) + np.eye(4, k=1, dtype=int),
        NAMES,
        CLASSES,
    )
    assert found.accuracy == 7 / 8
    assert found.per_class == {"cat": 0.75, "dog": 1.0, "owl": None}
    assert found.held_out == 12 / 15
    assert found.suspected == {}


@pytest.mark.parametrize(
    ("rows", "moved"),
    [
        ({"cat": {"dog": 9}, "dog": {"cat": 9}, "owl": {"owl": 9}}, {"cat": "dog", "dog": "cat"}),
        (
            {"cat": {"dog": 10, "bee": 8}, "dog": {"owl": 18}, "owl": {"cat": 12, "owl": 6}},
            {"cat": "dog", "dog": "owl", "owl": "cat"},
        ),
        ({"cat": {"bee": 9}, "dog": {"dog": 9}, "owl": {"owl": 9}}, {"cat": "bee"}),
        # a classifier that takes everything for a dog
        ({"cat": {"dog": 9}, "dog": {"dog": 9}, "owl": {"dog": 9}}, {}),
        # cats that look like dogs, of which the others are dogs
        ({"cat": {"dog": 6, "cat": 3}, "dog": {"dog": 5, "cat": 4}, "owl": {"owl": 9}}, {}),
        # a generator that draws poorly, but in order
        ({"cat": {"cat": 4, "dog": 5}, "dog": {"dog": 4, "cat": 5}, "owl": {"owl": 9}}, {}),
        # a set with an empty class
        ({"cat": {"dog": 9}, "dog": {}, "owl": {"owl": 9}}, {}),
    ],
)  # fmt: skip
def test_a_wrong_class_order_is_found_and_poor_pictures_are_not_taken_for_one(
    rows: dict[str, dict[str, int]], moved: dict[str, str]
) -> None:
    assert suspect_order(confusion(rows), NAMES, CLASSES) == moved


@pytest.mark.parametrize("classes", [6, 10, 100])
def test_a_wrong_class_order_is_no_matter_of_chance(classes: int) -> None:
    names = [f"class {number}" for number in range(classes)]
    generator = np.random.default_rng(0)
    for images in (5, 10, 20):
        for _ in range(200):
            guessed = generator.multinomial(images, np.full(classes, 1 / classes), classes)
            assert suspect_order(guessed, names, names) == {}
    rates = np.full((classes, classes), 0.3 / (classes - 1)) + (0.7 - 0.3 / (classes - 1)) * np.eye(classes)
    rates[[0, 1]] = rates[[1, 0]]
    for _ in range(20):
        confusion = np.array([generator.multinomial(20, row) for row in rates])
        assert suspect_order(confusion, names, names) == {names[0]: names[1], names[1]: names[0]}


def test_a_classifier_that_gives_nan_is_refused() -> None:
    classifier = Classifier("convnet", CLASSES, 8, [0.5] * 3, [0.2] * 3).eval()
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    assert predict(classifier, images).shape == (2, 4)
    with torch.no_grad():
        classifier.head.bias[0] = torch.nan
    with pytest.raises(InputError, match="probabilities that are NaN"):
        predict(classifier, images)
