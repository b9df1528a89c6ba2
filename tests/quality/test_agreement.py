import numpy as np
import pytest

from sio_data.quality.agreement import count_confusion, summarise_agreement, suspect_order
from sio_data.quality.findings import Network

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
            {"cat": {"dog": 5, "bee": 4}, "dog": {"owl": 9}, "owl": {"cat": 6, "owl": 3}},
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
