"""Readers of WebDataset shards: webdataset itself, and timm's, which finds shards and their lengths in `_info.json`."""

import dataclasses
import io
import json
import pickle
import random
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image
from torch.utils.data import DataLoader
from webdataset.filters import getfirst

from sio_data import load, open_set
from sio_data.compilation import Compilation
from sio_data.errors import CorruptSetError
from sio_data.images import IMAGE_FORMATS
from tests.test_compilation import IMAGES, LABELS, compile_set

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # webdataset leaves its files open
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def is_known(name: str) -> bool:
    return name.endswith((".png", ".cls"))


def open_shards(folder: Path, epoch: int | None = None) -> Any:
    """A pipeline that runs no pickle and no command; with an epoch, shuffled by it."""
    train = json.loads((folder / "_info.json").read_text())["splits"]["train"]
    shards = [str(folder / name) for name in train["filenames"]]
    if epoch is not None:
        random.Random(epoch).shuffle(shards)
    rows = webdataset.WebDataset(shards, shardshuffle=False, select_files=is_known, empty_check=False)
    if epoch is not None:
        rows = rows.shuffle(1000, rng=random.Random(epoch))
    return rows.decode("pil", only=["png", "cls"]).to_tuple("__key__", "png", "cls")


def test_webdataset_reads_the_shards(tiny_set: Path) -> None:
    rows = list(open_shards(tiny_set))
    ours = open_set(tiny_set).read()
    assert [label for _, _, label in rows] == ours.labels.tolist()
    assert np.array_equal([np.asarray(image) for _, image, _ in rows], ours.images.permute(0, 2, 3, 1).numpy())


def test_two_workers_read_each_sample_once_and_each_epoch_in_another_order(tiny_set: Path) -> None:
    def keys(epoch: int) -> list[str]:
        return [key for key, _, _ in DataLoader(open_shards(tiny_set, epoch), batch_size=None, num_workers=2)]

    first, second = keys(0), keys(1)
    assert first == keys(0)
    assert first != second
    assert sorted(first) == sorted(second) == [f"{index:09d}" for index in range(30)]


def test_a_pickle_that_was_slipped_into_a_shard_is_not_run(damaged: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "run",)

    data = pickle.dumps(Payload())
    shard = damaged / "data/train-000000.tar"
    with tarfile.open(shard, "a") as tar:
        for extension in ("pkl", "pyd", "pickle"):
            member = tarfile.TarInfo(f"000000007.{extension}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    assert len(list(open_shards(damaged))) == 30
    assert len(list(load(str(damaged), streaming=True))) == 30  # it lies in the padding: the size is the same
    with pytest.raises(CorruptSetError, match="other bytes than recorded"):
        load(str(damaged))
    assert not (tmp_path / "run").exists()


def test_more_workers_than_shards_are_no_error(compilation: Compilation, tmp_path: Path) -> None:
    compile_set(tmp_path / "set", dataclasses.replace(compilation, shard_size=7))
    assert len(list(DataLoader(open_shards(tmp_path / "set"), batch_size=None, num_workers=2))) == 7


def read_like_timm(root: Path, split: str, input_key: str = "jpg;png;webp") -> tuple[int, list[tuple[Any, int]]]:
    """What timm's `ReaderWds` takes from a folder: names and lengths of a split's shards, images, and `.cls`."""
    info = json.loads((root / "_info.json").read_text())["splits"][split]
    assert {type(info[name]) for name in ("num_samples", "filenames", "shard_lengths", "name")} == {int, list, str}
    assert len(info["filenames"]) == len(info["shard_lengths"])

    def decode(sample: dict[str, bytes]) -> tuple[Any, int]:
        return np.asarray(Image.open(io.BytesIO(getfirst(sample, input_key))).convert("RGB")), int(sample["cls"])

    lengths = []
    samples = []
    for name in info["filenames"]:
        pipeline = (webdataset.SimpleShardList([str(root / name)]), webdataset.tarfile_to_samples())
        rows = list(webdataset.DataPipeline(*pipeline, webdataset.map(decode)))
        lengths.append(len(rows))
        samples += rows
    assert lengths == info["shard_lengths"]
    return info["num_samples"], samples


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
def test_timm_finds_shards_counts_images_and_labels(
    compilation: Compilation,
    tmp_path: Path,
    image_format: str,
) -> None:
    compile_set(tmp_path, dataclasses.replace(compilation, image_format=image_format))
    count, samples = read_like_timm(tmp_path, "train")
    assert count == len(samples) == 7
    assert [label for _, label in samples] == LABELS.tolist()
    if image_format != "jpg":
        assert np.array_equal([image for image, _ in samples], IMAGES)


def test_the_python_code_of_the_page_on_loading_runs(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parent.parent / "docs/loading.md").read_text()
    blocks = [part.partition("```")[0] for part in page.split("```python\n")[1:]]
    assert len(blocks) == 3
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/synthetic").symlink_to(tiny_set)
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(compile(block, "loading.md", "exec"), {"__name__": "page"})
