"""What the forms of `export` are made of: names of folders, and parquet files."""

from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest

from sio_data.class_lists import imagenet_names
from sio_data.export_formats import folder_names
from sio_data.parquet_tables import ParquetTable

HOSTILE = ["../up", "a/b", "a:b", ".hidden", "Cat", "cat", "x" * 300, "", " ", "train", "README.md", "é" * 100]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat", "dog"], ["cat", "dog"]),
        (["dog", "cat"], ["0_dog", "1_cat"]),
        (["Cat", "cat"], ["0_Cat", "1_cat"]),
        (["a/b", "c"], ["0_a_b", "1_c"]),
        ([".a", "b"], ["0_.a", "1_b"]),
        (["..", "b"], ["0_", "1_b"]),
        (["README.md", "b"], ["0_README.md", "1_b"]),
        (["a ", "b"], ["0_a", "1_b"]),
    ],
)
def test_folders_are_called_like_classes_where_that_is_safe_and_sorts_alike(
    names: list[str], expected: list[str]
) -> None:
    assert folder_names(names) == expected


@pytest.mark.parametrize("names", [HOSTILE, list(imagenet_names()), [str(label) for label in range(1200)]])
def test_folders_are_safe_differ_and_sort_like_the_labels(names: list[str]) -> None:
    folders = folder_names(names)
    assert sorted(folders) == folders
    assert len({name.casefold() for name in folders}) == len(names)
    for name in folders:
        assert Path(name).name == name
        assert not name.startswith(".")
        assert not {*'/\\:*?"<>|\0\n'} & {*name}
        assert len(name.encode()) <= 110


def test_large_rows_make_smaller_row_groups(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image()})
    with ParquetTable(tmp_path / "a.parquet", features) as table:
        for _ in range(10):
            table.add({"image": {"bytes": b"x", "path": "a.png"}}, size=6_000_000)
    groups = pq.ParquetFile(tmp_path / "a.parquet").metadata
    assert [groups.row_group(index).num_rows for index in range(groups.num_row_groups)] == [3, 3, 3, 1]
