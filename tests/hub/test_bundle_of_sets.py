"""A bundle on the Hub, read by a clean process: its configurations and splits, plain and streaming."""

import json
import os
import subprocess
import sys
from pathlib import Path

from sio_data import bundle, load_source, open_set, publish
from tests.hub_server import Hub

READ = """
import json, sys
import sio_data
from datasets import load_dataset

found = []
for streaming in (False, True):
    for config, split in (("animals", "train"), ("digits", "train"), ("digits", "validation")):
        theirs = load_dataset("me/sets", config, split=split, revision="v1", streaming=streaming)
        ours = sio_data.load(f"hub:me/sets/{config}@main", split, streaming=streaming)
        assert [row["__key__"] for row in theirs] == [row["key"] for row in ours]
        assert theirs.features["cls"] == ours.features["label"]
        found.append([ours.features["label"].names, [[row["label"], row["json"]] for row in ours]])
theirs = load_dataset("me/set", split="train", streaming=True)
ours = sio_data.load("hub:me/set@main", streaming=True)
assert [[row["__key__"], row["json"]] for row in theirs] == [[row["key"], row["json"]] for row in ours]
assert [row["png"] for row in theirs] == [row["image"] for row in ours]
default = sio_data.load("hub:me/sets").features["label"].names
images = sio_data.load_source("hub:me/sets/digits#validation", "test").digest
json.dump([found, default, images], sys.stdout)
"""


def test_each_part_of_a_bundle_is_read_by_its_name(hub: Hub, sets: Path, tmp_path: Path) -> None:
    bundle(sets, default="digits")
    publish(sets, "me/sets", tag="v1")
    publish(sets / "animals", "me/set")
    done = subprocess.run(
        [sys.executable, "-c", READ], env=os.environ | hub.env(tmp_path / "home"), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, default, digest = json.loads(done.stdout)
    parts = [open_set(sets / path) for path in ("animals", "digits/train", "digits/validation")]
    for part, (names, rows) in zip(parts * 2, found, strict=True):
        assert names == list(part.manifest.recipe.class_names)
        assert rows == [[sample.label, dict(sample.metadata)] for sample in part.samples()]
    assert default == ["zero", "one", "two", "three", "four", "five"]
    assert digest == load_source(str(sets / "digits/validation")).digest
