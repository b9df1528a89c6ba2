"""WebDataset shards: tars in which a sample is some adjacent files of one name, `<key>.png`, `<key>.cls`, `<key>.json`.

The label is what `<key>.cls` says, or else `<key>.txt`, or a member of `<key>.json` that the user names. Nothing but
these is read, and what webdataset itself would unpickle is refused.
"""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from sio_data.compilation import SourceFile
from sio_data.errors import InputError
from sio_data.images import Pixels
from sio_data.importing.archive import Places, hash_files, pickled, refuse_doubled_names
from sio_data.importing.npy import StoredImages
from sio_data.importing.pictures import EXTENSIONS, MAX_BYTES, Pictures
from sio_data.importing.sample_table import Sample, SampleTable, read_json_object, read_text
from sio_data.importing.scratch import open_scratch
from sio_data.importing.tar_index import list_members
from sio_data.progress import progress

_PICKLES = ("pkl", "pickle", "pyd", "pth", "pt")
_READ = (*EXTENSIONS, "cls", "txt", "json")
_MAX_LABEL_BYTES, _MAX_JSON_BYTES, _MAX_KEPT_BYTES = 1 << 10, 1 << 20, 1 << 14


class WebDataset:
    """WebDataset shards; see `sio_data.importing.archive.Archive`.

    Args:
        paths: The tars, in order.
        image_size: Resize to this many pixels; None takes the size of the first picture, which all must have.
        label_key: Member of each sample's JSON that holds its label; None takes the `.cls` or `.txt` file.
        held: Closes a scratch file in the end.

    Raises:
        InputError: They are no tars of labelled pictures, or hold what is not safe to read.
    """

    def __init__(self, paths: Sequence[Path], image_size: int | None, label_key: str | None, held: ExitStack) -> None:
        refuse_doubled_names(paths)
        self._paths, self._label_key, self._held = paths, label_key, held
        self._samples = SampleTable()
        with progress("listing tars", len(paths)) as advance:
            for number, path in enumerate(paths):
                self._add_tar(number, path)
                advance(1, "")
        if not len(self._samples):
            raise InputError(f"{', '.join(map(str, paths[:3]))}: no picture ({', '.join(EXTENSIONS)}) in there.")
        self.labels, self.class_names = self._samples.index_labels()
        self._pictures = Pictures(len(self._samples), self._load, self._name, image_size)
        self.image_size = self._pictures.image_size
        self.rule = {"format": "webdataset", **({"label_key": label_key} if label_key else {})}

    def _add_tar(self, number: int, path: Path) -> None:
        with path.open("rb") as file:
            for sample in _list_samples(path, file):
                image = _find_image(path, sample)
                if image:
                    self._samples.add(number, sample, image, self._read_label(path, file, sample))

    def _read_label(self, path: Path, file: IO[bytes], sample: Sample) -> str:
        if self._label_key is not None:
            value = (read_json_object(file, sample.members.get("json"), _MAX_JSON_BYTES) or {}).get(self._label_key)
            if not isinstance(value, str | int) or isinstance(value, bool) or len(str(value)) > _MAX_LABEL_BYTES:
                raise InputError(
                    f"{path}: {sample.key} has no JSON with a whole number or a name as {self._label_key!r}."
                )
            return str(value)
        extension = next((extension for extension in ("cls", "txt") if extension in sample.members), None)
        if extension is None:
            raise InputError(
                f"{path}: {sample.key} has a picture and no label: no .cls or .txt right beside it. If it stands in "
                "the .json, name its member with --label-key."
            )
        text = read_text(file, sample.members[extension], _MAX_LABEL_BYTES)
        if not text or (extension == "txt" and not text.isdecimal()):
            raise InputError(f"{path}: {sample.members[extension].name} is no label, a whole number from 0 on.")
        return text

    def _load(self, place: int) -> bytes:
        start, size = self._samples.image(place)
        with self._path(place).open("rb", buffering=0) as file:
            return os.pread(file.fileno(), min(size, MAX_BYTES + 1), start)

    def _name(self, place: int) -> str:
        return f"{self._path(place)}: the picture of {self._samples.key(place)}"

    def _path(self, place: int) -> Path:
        return self._paths[self._samples.tar(place)]

    def hash(self) -> tuple[SourceFile, ...]:
        """See `Archive`."""
        return hash_files(self._paths)

    def settle(self, scratch: Path | None) -> tuple[SourceFile, ...]:
        """See `Archive`."""
        sources = self.hash()
        pixels = self._held.enter_context(open_scratch(scratch, math.prod(self._pictures.shape)))
        for _ in self._pictures.unpack(pixels, len):
            pass
        self._images = StoredImages(pixels, 0, self._pictures.shape, "the pictures")
        return sources

    def read(self, places: Places) -> Pixels:
        """See `Archive`."""
        return self._images.read(places)

    def describe(self, place: int) -> dict[str, Any]:
        """See `Archive`. A sample's own JSON is kept, if it is an object of at most 16 KiB."""
        about: dict[str, Any] = {"file": self._path(place).name, "key": self._samples.key(place)}
        with self._path(place).open("rb", buffering=0) as file:
            value = read_json_object(file, self._samples.json(place), _MAX_KEPT_BYTES)
        return about if value is None else {**about, "json": value}


def _list_samples(path: Path, file: IO[bytes]) -> Iterator[Sample]:
    """Group the files of a tar in samples; hidden ones, and those of other extensions, are left out."""
    sample: Sample | None = None
    for member in list_members(path, file):
        folder, slash, name = member.name.rpartition("/")
        stem, _, extension = name.partition(".")
        extension = extension.lower()
        if not stem:
            continue
        if extension.rpartition(".")[2] in _PICKLES:
            raise pickled(f"{path}: {member.name}")
        if sample is None or sample.key != f"{folder}{slash}{stem}":
            if sample:
                yield sample
            sample = Sample(f"{folder}{slash}{stem}", {})
        if extension in sample.members:
            raise InputError(f"{path} holds {member.name} twice.")
        if extension in _READ:
            sample.members[extension] = member
    if sample:
        yield sample


def _find_image(path: Path, sample: Sample) -> str | None:
    """Give the extension of a sample's picture; None if the files are no sample at all."""
    found = [extension for extension in EXTENSIONS if extension in sample.members]
    if len(found) > 1:
        raise InputError(f"{path}: {sample.key} has several pictures, .{found[0]} and .{found[1]}.")
    if not found and "cls" in sample.members:
        raise InputError(f"{path}: {sample.key} has a label and no picture ({', '.join(EXTENSIONS)}) right beside it.")
    return found[0] if found else None
