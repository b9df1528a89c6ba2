"""The card of a checkpoint: what it was trained on, and how."""

import html
from pathlib import Path

import pytest

from sio_data import train
from sio_data.files import read_json
from sio_data.training.card import render_checkpoint_card
from sio_data.training.record import check_record

CONFIG = {"network": "convnet", "class_names": ["a", "b"], "image_size": 8}


def rows(card: str) -> dict[str, str]:
    lines = [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| ")]
    return {line[0]: line[1] for line in lines if len(line) == 2 and line[0] != "---"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"method": "oe:weight=0.25", "outliers": "textures#val", "outlier_batch_size": 20, "ema": 0.5}
    return train("digits", tmp_path_factory.mktemp("card"), epochs=1, batch_size=250, seeds=[0], **options)[0].folder


def test_it_tells_the_method_its_outliers_and_every_setting_that_has_a_value(run: Path) -> None:
    card = html.unescape((run / "README.md").read_text())
    told = " ".join(card.split())
    assert "trained by sio-data with the method oe:weight=0.25 on the training split of digits" in told
    assert "with images of no class above from textures#val (outliers)" in told
    settings = read_json(run / "training.json")["settings"]
    expected = {name: str(value) for name, value in settings.items() if value is not None and "_data" not in name}
    assert rows(card) == expected
    assert {"method", "ema", "epochs", "precision", "keep"} <= expected.keys()
    assert not {"clip_norm", "real_share", "crop_size", "mean"} & expected.keys()


def test_paths_are_shortened(run: Path) -> None:
    record = read_json(run / "training.json") | {"outliers": "/home/me/outliers", "real": "/home/me/photos"}
    record["settings"] |= {"method": "pixmix:pictures=/home/me/fractals"}
    card = render_checkpoint_card(CONFIG, record)
    assert "/home" not in card
    for shown in ("…/photos", "…/outliers", "pixmix:pictures=…/fractals"):
        assert shown in card


def test_cross_entropy_on_real_images_goes_without_saying(run: Path) -> None:
    record = read_json(run / "training.json") | {"outliers": None}
    for method in ({"method": "ce"}, {}):
        record["settings"] = {"epochs": 1, "alpha": 1.0} | method
        card = render_checkpoint_card(CONFIG, record)
        assert "with the method" not in card
        assert "outliers" not in card
        assert "SIO" not in card
    assert "# Classifier\n" in render_checkpoint_card(CONFIG, {})


def test_the_record_is_one_that_is_accepted(run: Path) -> None:
    record = check_record(run)
    assert (record["outliers"], record["val"], record["synthetic"]) == ("textures#val", None, None)
