import bz2
import gzip
import io
import lzma
import os
import random
import shutil
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy

from sio_data.errors import InputError
from sio_data.importing import importation
from sio_data.importing.formats import open_archive
from tests.importing.archives import FORMATS, IMAGES, LABELS, png, sample, write_tar, write_tree

Write = Callable[[Path], object]
FLOATS = (IMAGES / 255).astype(np.float32)
MANY = {"image": np.tile(IMAGES, (10, 1, 1, 1)), "label": np.tile(LABELS, 10)}
OBJECTS = np.array([{"run": "me"}] * 60, dtype=object)


def npz(*, compress: bool = False, name: str = "x.npz", **arrays: Any) -> Write:
    save = np.savez_compressed if compress else np.savez
    return lambda folder: save(folder / name, **arrays)


def pair(images: Any, labels: Any) -> Write:
    def write(folder: Path) -> None:
        np.save(folder / "images.npy", images)
        np.save(folder / "labels.npy", labels)

    return write


def images_with_header(header: dict[str, object] | bytes) -> Write:
    """The pair, with another header above the pixels."""

    def write(folder: Path) -> None:
        pair(IMAGES, LABELS)(folder)
        buffer = io.BytesIO()
        if isinstance(header, bytes):
            buffer.write(npy.magic(1, 0) + struct.pack("<H", len(header)) + header)
        else:
            npy.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, **header})
        (folder / "images.npy").write_bytes(buffer.getvalue() + IMAGES.tobytes())

    return write


def edited(write: Write, name: str, edit: Callable[[bytes], bytes]) -> Write:
    def write_edited(folder: Path) -> None:
        write(folder)
        (folder / name).write_bytes(edit((folder / name).read_bytes()))

    return write_edited


def flip_pixel(data: bytes) -> bytes:
    place = data.index(IMAGES.tobytes()) + 25_000  # behind what is read to see the header
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> Write:
    def write(folder: Path) -> None:
        with warnings.catch_warnings(), zipfile.ZipFile(folder / "x.npz", "w", method) as archive:
            warnings.simplefilter("ignore", UserWarning)  # of a name that comes twice
            for name, data in members:
                archive.writestr(name, data)

    return write


def array_file(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


ARRAYS = (("image.npy", array_file(IMAGES)), ("label.npy", array_file(LABELS)))


def encrypted(data: bytes) -> bytes:
    """Set the flag of encryption in each member's entry of the zip's directory."""
    parts = data.split(b"PK\1\2")
    return b"PK\1\2".join([parts[0], *(part[:4] + b"\1" + part[5:] for part in parts[1:])])


def tree(*files: tuple[str, bytes], without: str | None = None) -> Write:
    def write(folder: Path) -> None:
        write_tree(folder)
        for name, data in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        if without:
            shutil.rmtree(folder / without)

    return write


def linked(name: str, target: str) -> Write:
    def write(folder: Path) -> None:
        write_tree(folder / "tree")
        (folder / "secret").mkdir()
        (folder / "secret/secret.png").write_bytes(png(IMAGES[0]))
        (folder / "tree" / name).symlink_to(folder / target)

    return write


def fifo(name: str, write: Write) -> Write:
    def write_with_pipe(folder: Path) -> None:
        write(folder)
        os.mkfifo(folder / name)

    return write_with_pipe


def tar(*files: tuple[str, bytes], edit: Callable[[bytes], bytes] = bytes) -> Write:
    return edited(lambda folder: write_tar(folder / "x.tar", files), "x.tar", edit)


SAMPLE = sample("a", 0)


def odd_tar(**fields: Any) -> Write:
    """A sample, and then a member that is no plain file."""

    def write(folder: Path) -> None:
        with tarfile.open(write_tar(folder / "x.tar", SAMPLE), "a") as archive:
            member = tarfile.TarInfo("b.png")
            for name, value in fields.items():
                setattr(member, name, value)
            archive.addfile(member)

    return write


def tar_of_size(kind: bytes, size: int) -> Write:
    """A sample, and then a header that declares a size, with a sound checksum."""

    def edit(data: bytes) -> bytes:
        member = tarfile.TarInfo("b.png")
        member.type = kind
        header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
        header[124:136] = (b"\xff" if size < 0 else b"\x80") + (size % 2**88).to_bytes(11, "big")
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        return data[: 4 * tarfile.BLOCKSIZE] + bytes(header) + bytes(tarfile.RECORDSIZE)

    return tar(*SAMPLE, edit=edit)


def bomb_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def both(*writes: Write) -> Write:
    def write(folder: Path) -> None:
        for one in writes:
            one(folder)

    return write


def large_picture() -> bytes:
    return png(np.zeros((8, 8, 3), np.uint8))


ARRAY_FAULTS: list[tuple[Write, list[str], str]] = [
    (pair(OBJECTS, LABELS), ["."], "images.npy holds pickled objects, and reading these can run any code"),
    (pair(IMAGES, OBJECTS), ["."], "labels.npy holds pickled objects"),
    (npz(image=OBJECTS, label=LABELS), ["x.npz"], "image holds pickled objects"),
    (npz(image=IMAGES, label=OBJECTS), ["x.npz"], "label holds pickled objects"),
    (lambda folder: (folder / "x.npz").write_bytes(OBJECTS.dumps()), ["x.npz"], "x.npz holds pickled objects"),
    (lambda folder: (folder / "data_batch_1").write_bytes(OBJECTS.dumps()), ["data_batch_1"], "holds pickled objects"),
    (lambda folder: (folder / "x.pkl").write_bytes(b"cos\nsystem"), ["x.pkl"], "x.pkl holds pickled objects"),
    (pair(FLOATS, LABELS), ["."], "must hold uint8 from 0 to 255, not float32. Numbers from 0 to 1 become that by"),
    (pair(FLOATS * np.nan, LABELS), ["."], "must hold uint8 from 0 to 255, not float32"),
    (pair(IMAGES.astype(np.int64), LABELS), ["."], "not int64"),
    (pair(IMAGES.transpose(0, 3, 1, 2).copy(), LABELS), ["."], "is [60, 3, 4, 4], channels first"),
    (pair(IMAGES[..., 0], LABELS), ["."], "is grey, [60, 4, 4]"),
    (pair(np.zeros((60, 4, 4, 4), np.uint8), LABELS), ["."], "must hold images as [N, H, W, 3], not [60, 4, 4, 4]"),
    (pair(IMAGES.reshape(60, -1), LABELS), ["."], "must hold images as [N, H, W, 3], not [60, 48]"),
    (pair(IMAGES[:, :, :2], LABELS), ["."], "holds images of 2x4 pixels. Give --image-size"),
    (pair(np.zeros((0, 4, 4, 3), np.uint8), LABELS[:0]), ["."], "holds no image"),
    (pair(np.zeros((60, 0, 0, 3), np.uint8), LABELS), ["."], "from 1 to 4096 are allowed"),
    (pair(np.asfortranarray(IMAGES), LABELS), ["."], "is stored column by column"),
    (pair(IMAGES, LABELS[:-1]), ["."], "one label for each of 60 images, not [59]"),
    (pair(IMAGES, np.eye(3)[LABELS]), ["."], "one label for each of 60 images, not [60, 3]"),
    (pair(IMAGES, np.where(LABELS == 0, np.nan, LABELS)), ["."], "labels.npy holds NaN or infinity"),
    (pair(IMAGES, LABELS.astype(float)), ["."], "labels.npy holds float64; labels must be whole numbers"),
    (pair(IMAGES, LABELS - 1), ["."], "holds the label -1; labels must be from 0 on"),
    (pair(IMAGES, LABELS + 2**40), ["."], "holds the label 1099511627776"),
    (pair(IMAGES, LABELS + 10**6), ["."], "too many classes to call them by their numbers. Give --class"),
    (pair(IMAGES, LABELS.astype(str)), ["."], "must hold whole numbers from 0 on, not <U21"),
    (
        edited(pair(IMAGES, LABELS), "images.npy", lambda data: data[:-100]),
        ["."],
        "holds 2,780: it was cut off or edited",
    ),
    (edited(pair(IMAGES, LABELS), "images.npy", lambda data: data + b"x"), ["."], "it was cut off or edited"),
    (edited(pair(IMAGES, LABELS), "images.npy", lambda data: b""), ["."], "is no sound .npy array"),
    (edited(pair(IMAGES, LABELS), "labels.npy", lambda data: b"0,1,2"), ["."], "labels.npy is no sound .npy array"),
    (images_with_header({"shape": (10**30, 4, 4, 3)}), ["."], "declares an impossible shape"),
    (images_with_header({"shape": (-60, 4, 4, 3)}), ["."], "declares an impossible shape"),
    (images_with_header({"shape": (10**8, 4, 4, 3)}), ["."], "declares [100000000, 4, 4, 3] values of type uint8"),
    (images_with_header({"shape": (60, 4, 4, 3), "more": 1}), ["."], "is no sound .npy array"),
    (images_with_header(b"[" * 9000), ["."], "is no sound .npy array"),
    (images_with_header(b"__import__('os').system('true')"), ["."], "is no sound .npy array"),
    (images_with_header(b" " * 65000), ["."], "is no sound .npy array"),
    (lambda folder: np.save(folder / "images.npy", IMAGES), ["."], "labels.npy: no such file"),
    (lambda folder: np.save(folder / "images.npy", IMAGES), ["images.npy"], "cannot be imported. Give a folder with"),
    (
        npz(images=IMAGES),
        ["x.npz"],
        "holds no labels: none of label, labels, arr_1. It holds images",
    ),
    (npz(label=LABELS, data=IMAGES), ["x.npz"], "holds no images: none of image, images, arr_0. It holds label, data"),
    (zipped(), ["x.npz"], "holds no images: none of image, images, arr_0. It holds nothing"),
    (lambda folder: (folder / "x.npz").write_bytes(b""), ["x.npz"], "x.npz is no sound .npz archive"),
    (edited(npz(image=IMAGES, label=LABELS), "x.npz", lambda data: data[:-100]), ["x.npz"], "is no sound .npz archive"),
    (edited(npz(**MANY), "x.npz", flip_pixel), ["x.npz"], "Bad CRC-32"),
    (edited(npz(image=IMAGES, label=LABELS), "x.npz", encrypted), ["x.npz"], "x.npz is encrypted"),
    (zipped(*ARRAYS, method=zipfile.ZIP_BZIP2), ["x.npz"], "compressed in a way that NumPy does not write"),
    (zipped(*ARRAYS, ARRAYS[0]), ["x.npz"], "holds image.npy twice"),
    (zipped(*ARRAYS, ("../../label.npy", b"")), ["x.npz"], "holds '../../label.npy', a path that leads out of it"),
    (zipped(*ARRAYS, ("/etc/label.npy", b"")), ["x.npz"], "a path that leads out of it"),
    (zipped(("\x1b[2J.npy", b"")), ["x.npz"], "holds a file of the name '\\x1b[2J.npy', which is too long or no plain"),
    (
        npz(compress=True, image=np.zeros((23000, 32, 32, 3), np.uint8), label=np.zeros(23000, int)),
        ["x.npz"],
        "unpacks to more than 200 times its size, 70,656,128 bytes",
    ),
    (
        both(npz(name="a.npz", image=IMAGES, label=LABELS), npz(name="b.npz", image=IMAGES[:, :2, :2], label=LABELS)),
        ["a.npz", "b.npz"],
        "hold images of 4x4 and 2x2 pixels: parts must be alike",
    ),
    (npz(image=IMAGES, label=LABELS), ["x.npz", "x.npz"], "two sources are called x.npz"),
    (both(npz(image=IMAGES, label=LABELS), pair(IMAGES, LABELS)), ["x.npz", "images.npy"], "cannot be imported"),
    (npz(image=IMAGES, label=LABELS), ["x.npz", "--label-key", "a"], "--label-key goes with WebDataset"),
    (
        npz(image=IMAGES, label=LABELS),
        ["x.npz", "--class", "cat"],
        "the source has the label 2, and 1 classes are given",
    ),
    (npz(image=IMAGES, label=LABELS), ["x.npz", *["--class", "a"] * 3], "class names must be there and differ"),
    (npz(image=IMAGES, label=LABELS), ["x.npz", "--seed", "-1"], "seed must be from 0 to 2**63 - 1"),
    (npz(image=IMAGES, label=LABELS), ["x.npz", "--image-size", "0"], "image_size must be from 1 to 4096"),
    (npz(image=IMAGES, label=LABELS), ["x.npz", "--image-format", "gif"], "image format 'gif' is none of png"),
    (npz(image=IMAGES, label=LABELS), ["x.npz", "--shard-size", "0"], "shard_size 0 is below 1"),
    (npz(image=IMAGES, label=LABELS), ["x.npz", "--licence", "CC BY 4.0"], "licence 'CC BY 4.0' is no name like"),
    (npz(image=IMAGES, label=LABELS), ["nothing.npz"], "nothing.npz: no such file or folder"),
    (npz(image=IMAGES, label=LABELS), ["s3://bucket/x.npz"], "is not on this machine"),
    (lambda folder: (folder / "notes.txt").write_text("x"), ["notes.txt"], "cannot be imported. Give a folder with"),
    (fifo("x.npz", lambda folder: None), ["x.npz"], "x.npz is no file. Only plain files can be imported"),
    (fifo("x", lambda folder: None), ["x"], "x is no file"),
    (fifo("y.npz", npz(image=IMAGES, label=LABELS)), ["."], "y.npz is no file"),
    (fifo("images.npy", lambda folder: None), ["."], "images.npy: no such file"),
    (pair(IMAGES, LABELS), [""], "name the files or the folder to import; . is the current folder"),
]

PICTURE_FAULTS: list[tuple[Write, list[str], str]] = [
    (lambda folder: None, ["."], "holds nothing to import"),
    (tree(("stray.png", png(IMAGES[0]))), ["."], "stray.png lies in no class folder"),
    (tree(("cat/deep/1.png", png(IMAGES[0]))), ["."], "cat/deep is a folder in a class folder"),
    (tree(("cat/notes.txt", b"x")), ["."], "cat/notes.txt is no picture"),
    (tree(("cow/.hidden", b"")), ["."], "cow holds no picture"),
    (tree(("dog/99.png", png(IMAGES[0])[:60])), ["."], "dog/99.png is damaged"),
    (tree(("dog/99.png", b"not a picture")), ["."], "dog/99.png is no PNG, JPEG, WebP or BMP picture"),
    (tree(("dog/99.png", png(IMAGES[0], "GIF"))), ["."], "dog/99.png is no PNG, JPEG, WebP or BMP picture"),
    (tree(("dog/99.png", large_picture())), ["."], "dog/99.png has 8x8 pixels,"),
    (tree(("cat/.x", b""), ("cat/0.png", png(IMAGES[0][:2]))), ["."], "cat/0.png has 4x2 pixels, not square"),
    (tree(("dog/99.png", bomb_png(60000, 60000))), [".", "--image-size", "4"], "dog/99.png declares too many pixels"),
    (tree(("dog/99.png", bomb_png(10000, 10000))), [".", "--image-size", "4"], "dog/99.png declares too many pixels"),
    (tree(("dog/99.png", bomb_png(9000, 9000))), [".", "--image-size", "4"], "has 9000x9000 pixels, too many"),
    (tree(("cat/0.png", bomb_png(5000, 5000))), ["."], "has 5000x5000 pixels. Give --image-size, up to 4096"),
    (tree(), [".", "--class", "cat", "--class", "owl"], "unknown class 'dog'"),
    (linked("cat/link.png", "secret/secret.png"), ["tree"], "link.png is a link that leads out of"),
    (linked("cow", "secret"), ["tree"], "cow is a link that leads out of"),
    (linked("cat/link.png", "tree/cat/link.png"), ["tree"], "cat/link.png is a link that leads nowhere. Remove it"),
    (linked("cow", "tree/cow"), ["tree"], "tree/cow is a link that leads nowhere"),
    (linked("cow", "tree/nothing"), ["tree"], "tree/cow is a link that leads nowhere"),
    (fifo("cat/pipe.png", tree()), ["."], "cat/pipe.png is no picture"),
    (fifo("cat/x.npz", tree()), ["."], "cat/x.npz is no picture"),
    (fifo("x.tar", lambda folder: None), ["x.tar"], "x.tar is no file"),
    (fifo("y.tar", tar(*SAMPLE)), ["."], "y.tar is no file"),
    (tar(), ["x.tar"], "no picture (png, jpg"),
    (lambda folder: (folder / "x.tar").write_bytes(b""), ["x.tar"], "x.tar is no sound tar"),
    (lambda folder: (folder / "x.tar").write_bytes(zlib.compress(b"x")), ["x.tar"], "x.tar is no sound tar"),
    (tar(*SAMPLE, edit=gzip.compress), ["x.tar"], "x.tar is compressed by gzip. Unpack it first"),
    (tar(*SAMPLE, edit=bz2.compress), ["x.tar"], "x.tar is compressed by bzip2"),
    (tar(*SAMPLE, edit=lzma.compress), ["x.tar"], "x.tar is compressed by xz"),
    (tar(*SAMPLE, edit=lambda data: b"\x28\xb5\x2f\xfd" + data), ["x.tar"], "x.tar is compressed by zstd"),
    (tar(*SAMPLE, edit=lambda data: data[:600]), ["x.tar"], "x.tar is no sound tar"),
    (tar(*SAMPLE, edit=lambda data: data[:1024]), ["x.tar"], "was cut off"),
    (tar(*SAMPLE, edit=lambda data: data[:1600]), ["x.tar"], "was cut off"),
    (tar(*SAMPLE, edit=lambda data: data + data), ["x.tar"], "its end is not where its members end"),
    (tar(*SAMPLE, edit=lambda data: data.replace(b"a.png", b"b.png")), ["x.tar"], "was cut off or is damaged"),
    (odd_tar(type=tarfile.SYMTYPE, linkname="/etc/passwd"), ["x.tar"], "holds 'b.png', which is a link"),
    (odd_tar(type=tarfile.LNKTYPE, linkname="a.png"), ["x.tar"], "holds 'b.png', which is a link"),
    (odd_tar(type=tarfile.FIFOTYPE), ["x.tar"], "which is a link, a device or a sparse file"),
    (odd_tar(type=tarfile.CHRTYPE), ["x.tar"], "which is a link, a device or a sparse file"),
    (odd_tar(pax_headers={"GNU.sparse.size": "9" * 15, "GNU.sparse.map": "0,0"}), ["x.tar"], "or a sparse file"),
    (tar(*SAMPLE, ("../../b.png", b"")), ["x.tar"], "holds '../../b.png', a path that leads out of it"),
    (tar(*SAMPLE, ("/etc/b.png", b"")), ["x.tar"], "holds '/etc/b.png', a path that leads out of it"),
    (tar(("x" * 5000 + ".png", b"")), ["x.tar"], "which is too long or no plain UTF-8 text"),
    (tar(("\udcff.png", b"")), ["x.tar"], "x.tar is no sound tar"),
    (tar_of_size(tarfile.REGTYPE, 10**13), ["x.tar"], "x.tar was cut off: b.png should have 10,000,000,000,000 bytes"),
    (tar_of_size(tarfile.REGTYPE, -1024), ["x.tar"], "no sound tar"),
    (tar_of_size(tarfile.REGTYPE, -512), ["x.tar"], "no sound tar"),
    (tar_of_size(tarfile.GNUTYPE_LONGNAME, 10**13), ["x.tar"], "holds a header of 10,000,000,000,000 bytes"),
    (tar_of_size(tarfile.XHDTYPE, 10**13), ["x.tar"], "holds a header of 10,000,000,000,000 bytes"),
    (tar(*SAMPLE, ("a.pkl", b"cos\nsystem")), ["x.tar"], "a.pkl holds pickled objects"),
    (tar(*SAMPLE, ("a.features.pth", b"")), ["x.tar"], "a.features.pth holds pickled objects"),
    (tar(*SAMPLE, ("a.jpg", png(IMAGES[0], "JPEG"))), ["x.tar"], "a has several pictures, .png and .jpg"),
    (tar(*SAMPLE, SAMPLE[1]), ["x.tar"], "holds a.png twice"),
    (tar(*SAMPLE, ("b.png", png(IMAGES[0]))), ["x.tar"], "b has a picture and no label"),
    (tar(*SAMPLE, ("b.cls", b"0")), ["x.tar"], "b has a label and no picture"),
    (tar(*SAMPLE[:1], *sample("b", 0), *SAMPLE[1:]), ["x.tar"], "a has a label and no picture"),
    (tar(*SAMPLE, *sample("b", "cat")), ["x.tar"], "must all be whole numbers from 0 on, or all names, not like '0'"),
    (tar(*sample("b", -1)), ["x.tar"], "not like '-1'"),
    (tar(*sample("b", 1.0)), ["x.tar"], "not like '1.0'"),
    (tar(*sample("b", "nan")), ["x.tar"], "not like 'nan'"),
    (tar(*sample("b", "9" * 2000)), ["x.tar"], "b.cls is no label"),
    (tar(*sample("b", "")), ["x.tar"], "b.cls is no label"),
    (tar(("b.txt", b"a cat"), ("b.png", png(IMAGES[0]))), ["x.tar"], "b.txt is no label"),
    (tar(*sample("b", 0, {"label": 1})), ["x.tar", "--label-key", "lable"], "b has no JSON with a whole number or a"),
    (tar(*sample("b", 0, {"label": "x" * 5000})), ["x.tar", "--label-key", "label"], "b has no JSON with a whole"),
    (tar(*sample("b", 0, {"label": [1]})), ["x.tar", "--label-key", "label"], "b has no JSON with a whole number or a"),
    (tar(*SAMPLE, ("b.png", b"x"), ("b.cls", b"0")), ["x.tar"], "the picture of b is no PNG"),
    (tar(*SAMPLE, ("b.png", large_picture()), ("b.cls", b"0")), ["x.tar"], "the picture of b has 8x8 pixels"),
    (both(tar(*SAMPLE), npz(image=IMAGES, label=LABELS)), ["x.tar", "x.npz"], "cannot be imported"),
]  # fmt: skip


@pytest.mark.parametrize(("write", "words", "message"), [*ARRAY_FAULTS, *PICTURE_FAULTS])
def test_malformed_sources_are_refused_and_nothing_is_written(
    write: Write,
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refuse: Callable[..., str],
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write(source)
    monkeypatch.chdir(source)
    assert message in refuse("import", *words, "--out", tmp_path / "out", unchanged=tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", FORMATS)
def test_whatever_was_damaged_it_is_read_or_refused(form: str, tmp_path: Path) -> None:
    (tmp_path / "sound").mkdir()
    sources = FORMATS[form](tmp_path / "sound")
    chance = random.Random(0)
    for turn in range(20):
        copy = Path(shutil.copytree(tmp_path / "sound", tmp_path / str(turn)))
        victim = chance.choice(sorted(path for path in copy.rglob("*") if path.is_file()))
        data = bytearray(victim.read_bytes())
        start = chance.randrange(min(600, len(data)) if turn % 2 else len(data))
        edits = (data[:start], data[:start] + chance.randbytes(9) + data[start + 9 :], data[:start] + data[start + 1 :])
        victim.write_bytes(edits[turn % 3])
        with ExitStack() as held, suppress(InputError):
            paths = [copy / path.relative_to(tmp_path / "sound") for path in sources]
            archive = open_archive(paths, None, None, held)
            archive.settle(tmp_path)
            archive.read(np.arange(len(archive.labels), dtype=np.int32))


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("thesis", "holds something else (thesis.tex)"),
        ("thesis/thesis.tex", "is a file"),
        ("loop", "loop is a link that leads nowhere; name a new or empty folder"),
        ("dangling/set", "dangling is a link that leads nowhere"),
        ("tree/set", "lies in"),
        ("tree", "holds something else"),
    ],
)
def test_a_folder_that_is_in_use_is_refused(out: str, message: str, tmp_path: Path, refuse: Callable[..., str]) -> None:
    write_tree(tmp_path / "tree")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/thesis.tex").write_text("years of work")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    assert message in refuse("import", tmp_path / "tree", "--out", tmp_path / out, unchanged=tmp_path)


def test_too_many_named_classes_are_refused(
    tmp_path: Path, refuse: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tmp_path / "tree")
    monkeypatch.setattr(importation, "_MAX_CLASSES", 2)
    message = refuse("import", tmp_path / "tree", "--out", tmp_path / "out", unchanged=tmp_path)
    assert "there are 3 classes in the source; at most 2 are allowed" in message


def test_a_set_of_ours_is_refused(tiny_set: Path, tmp_path: Path, refuse: Callable[..., str]) -> None:
    assert "is a set of sio-data already" in refuse("import", tiny_set, "--out", tmp_path / "x", unchanged=tmp_path)


def test_a_file_that_may_not_be_read_is_refused(
    tmp_path: Path, refuse: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    npz(image=IMAGES, label=LABELS)(tmp_path)

    def deny(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied", "x.npz")

    monkeypatch.setattr("sio_data.importing.formats.open_npz", deny)  # root may read whatever the bits say
    message = refuse("import", tmp_path / "x.npz", "--out", tmp_path / "x", unchanged=tmp_path)
    assert "x.npz cannot be read (Permission denied)" in message
