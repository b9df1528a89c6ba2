"""The card of a set: what its owner wrote in it is never lost without a word."""

from pathlib import Path

import pytest
from datasets import load_dataset

from sio_data import bundle, measure, repair, verify
from sio_data.quality.extractors import Extractor
from sio_data.set_card import NOTES_MARK, read_notes
from tests.damage import CARD, replace_text

PIXELS = Extractor("pixels", "1", lambda images: images.flatten(1).float() / 255)


def add_notes(card: Path) -> None:
    with card.open("ab") as file:
        file.write("Größe: ".encode() + "Café\n".encode("latin-1"))


def test_notes_with_a_byte_that_is_no_utf8_stay_and_the_card_can_be_read_again(damaged: Path) -> None:
    add_notes(damaged / CARD)
    assert [fault.path for fault in verify(damaged).faults] == [CARD]
    repair(damaged)
    assert (damaged / CARD).read_text().endswith(f"{NOTES_MARK}\nGröße: Café\n")
    assert not verify(damaged).faults
    assert load_dataset(str(damaged), split="train").num_rows == 30


def test_such_notes_of_a_bundle_stay_too(damaged: Path) -> None:
    bundle(damaged.parent)
    add_notes(damaged.parent / CARD)
    bundle(damaged.parent)
    assert (damaged.parent / CARD).read_text().endswith("Größe: Café\n")


def test_notes_that_cannot_be_read_are_not_taken_for_none(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(PermissionError):
        read_notes(damaged)


def test_measuring_leaves_the_rest_of_an_edited_card_alone(damaged: Path) -> None:
    replace_text(damaged / CARD, "## Limits", "Drawn on a rainy day.\n\n## Limits")
    edited = (damaged / CARD).read_text()
    for seed in (0, 1):
        found = measure(damaged, real="digits", features=PIXELS, seed=seed)
        shown = (damaged / CARD).read_text()
        assert f"| {found.rows()[0][0]} |" in shown
        assert shown.count("## Measures") == 1
        before, _, after = shown.partition("<!-- measures -->\n")
        assert before + "<!-- measures -->\n" + after[after.index("<!-- end of") :] == edited
