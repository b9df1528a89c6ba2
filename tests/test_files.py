from pathlib import Path

import pytest

from sio_data.errors import FolderInUseError, SettingsMismatchError
from sio_data.files import (
    atomic_path,
    canonical_json,
    check_output_folder,
    check_same_settings,
    is_leftover,
    write_text,
)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_temporary_file_is_known_as_leftover(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("x")
        assert is_leftover(temporary)
        assert temporary.parent == tmp_path
        inode = temporary.stat().st_ino
        check_output_folder(tmp_path, is_ours=lambda entry: False)
    assert (tmp_path / "file").stat().st_ino == inode  # renamed, not copied: it is never half there


def test_a_strange_file_in_the_output_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FolderInUseError, match=r"thesis\.tex"):
        check_output_folder(tmp_path, is_ours=lambda entry: False)
    check_output_folder(tmp_path, is_ours=lambda entry: entry.name == "thesis.tex")


def test_differing_settings_are_named_with_both_values(tmp_path: Path) -> None:
    with pytest.raises(SettingsMismatchError, match=r"b: 2 there, 3 asked; c: null there, 1 asked"):
        check_same_settings(tmp_path, {"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 1})


def test_canonical_json_is_one_form() -> None:
    assert canonical_json({"b": [1.5, "ä"], "a": None}) == '{"a":null,"b":[1.5,"\\u00e4"]}'
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json(float("nan"))
