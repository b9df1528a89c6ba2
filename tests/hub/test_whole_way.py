"""A set to the Hub, from there into a clean process and a training; its checkpoint to the Hub and back."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
import yaml

from sio_data import Classifier, evaluate, load_source, open_set, publish
from sio_data.cli import main
from tests.hub_server import TOKEN, Hub

READ = """
import hashlib, json, sys
from datasets import load_dataset

def rows(samples):
    names = samples.features["cls"].names
    return [
        [hashlib.sha256(row["png"].tobytes()).hexdigest(), names[row["cls"]], json.dumps(row["json"], sort_keys=True)]
        for row in samples
    ]

plain = rows(load_dataset("me/set", split="train"))
streamed = rows(load_dataset("me/set", revision="v1", split="train", streaming=True))
json.dump([plain, streamed], sys.stdout)
"""


def test_rows_of_a_clean_process_are_those_of_the_folder(hub: Hub, tiny_set: Path, tmp_path: Path) -> None:
    publish(tiny_set, "me/set", tag="v1", private=True)
    done = subprocess.run(
        [sys.executable, "-c", READ], env=os.environ | hub.env(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    images = open_set(tiny_set).read()
    pixels = [hashlib.sha256(image.permute(1, 2, 0).numpy().tobytes()).hexdigest() for image in images.images]
    names = [images.class_names[label] for label in images.labels]
    for rows in json.loads(done.stdout):
        assert [row[:2] for row in rows] == [[pixel, name] for pixel, name in zip(pixels, names, strict=True)]
        assert all(f'"index": {index}' in row[2].replace('\\"', '"') for index, row in enumerate(rows))
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 5
    assert not any(TOKEN.encode() in data for data in written)


def test_a_training_on_it_goes_out_with_its_licence_its_results_and_the_same_logits(
    hub: Hub, tiny_set: Path, tmp_path: Path
) -> None:
    publish(tiny_set, "me/set", tag="v1", link=["me/model"])
    assert "[me/model](https://huggingface.co/me/model)" in hub.files("me/set", "dataset")["README.md"].decode()
    words = ["train", "--real", "digits", "--synthetic", "hub:me/set@v1", "--epochs", "1", "--seeds", "0"]
    assert main([*words, "--out", str(tmp_path / "runs")]) == 0
    run = tmp_path / "runs/seed-0"
    record = json.loads((run / "training.json").read_text())
    assert record["synthetic"] == "hub:me/set@v1"
    assert record["synthetic_set"] == open_set(tiny_set).manifest.digest
    assert record["synthetic_licence"] == "cc-by-4.0"
    assert record["settings"]["synthetic_data"] == load_source(str(tiny_set)).digest

    ood = ["near:strange=digits-unknown"]
    results = evaluate([tmp_path / "runs"], tmp_path / "report", id="digits", ood=ood, detectors=["msp", "knn"]).results
    words = ["publish", str(run), "me/model", "--tag", "v1", "--results", str(tmp_path / "report")]
    assert main(words) == 0
    card = hub.files("me/model", "model", "v1")["README.md"].decode()
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["datasets"] == ["me/set"]
    assert metadata["pipeline_tag"] == "image-classification"
    (model,) = metadata["model-index"]
    accuracy, near = model["results"]
    assert model["name"] == "model"
    assert accuracy["metrics"][0]["value"] == round(100 * results.runs[0].accuracy, 2)
    assert near["dataset"] == {"name": "strange (near-OOD)", "type": "digits-unknown"}
    expected = {(row.detector, kind): round(100 * getattr(row, kind), 2) for row in results.rows for kind in KINDS}
    found = {(metric["name"].split()[-1], metric["type"]): metric["value"] for metric in near["metrics"]}
    assert found == expected
    assert f"| strange | near | knn | {100 * results.rows[1].auroc:.2f} |" in card
    assert 'from_pretrained("hub:me/model@v1")' in card

    images = load_source("digits", "test").images
    local = Classifier.from_pretrained(run)(images)
    for again in (Classifier.from_pretrained("me/model", revision="v1"), Classifier.from_pretrained("hub:me/model@v1")):
        assert torch.equal(again(images), local)


KINDS = ("auroc", "fpr95")
