"""Small archives in every format that can be imported: 60 images of three classes, sorted by class."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COUNTS = (36, 18, 6)
IMAGES = np.random.RandomState(0).randint(0, 256, (60, 4, 4, 3), dtype=np.uint8)
LABELS = np.repeat(np.arange(3), COUNTS)
NAMES = ("cat", "dog", "owl")

Files = Sequence[tuple[str, bytes]]


def png(image: Any, image_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, image_format)
    return buffer.getvalue()


def write_tar(path: Path, files: Files, **options: Any) -> Path:
    with tarfile.open(path, "w", **options) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def sample(key: str, label: object, about: Mapping[str, object] | None = None, image: Any = IMAGES[0]) -> Files:
    metadata = [] if about is None else [(f"{key}.json", json.dumps(about).encode())]
    return [(f"{key}.cls", str(label).encode()), *metadata, (f"{key}.png", png(image))]


def write_tree(folder: Path, names: Sequence[str] = NAMES) -> Path:
    for place, (image, label) in enumerate(zip(IMAGES, LABELS.tolist(), strict=True)):
        (folder / names[label]).mkdir(parents=True, exist_ok=True)
        (folder / names[label] / f"{place:02d}.png").write_bytes(png(image))
    return folder


def _npz(folder: Path) -> list[Path]:
    np.savez(folder / "x.npz", image=IMAGES, label=LABELS)
    return [folder / "x.npz"]


def _compressed(folder: Path) -> list[Path]:
    np.savez_compressed(folder / "x.npz", images=IMAGES, labels=LABELS.astype(np.uint8)[:, None])
    return [folder / "x.npz"]


def _adm(folder: Path) -> list[Path]:
    np.savez(folder / "x.npz", IMAGES, LABELS.astype(">i4"))
    return [folder / "x.npz"]


def _parts(folder: Path) -> list[Path]:
    np.savez(folder / "b.npz", image=IMAGES[:25], label=LABELS[:25])
    np.savez_compressed(folder / "a.npz", image=IMAGES[25:], label=LABELS[25:])
    return [folder / "b.npz", folder / "a.npz"]


def _npy_folder(folder: Path) -> list[Path]:
    np.save(folder / "images.npy", IMAGES)
    np.save(folder / "labels.npy", LABELS)
    return [folder]


def _npy_pair(folder: Path) -> list[Path]:
    np.save(folder / "y.npy", LABELS)
    np.save(folder / "x.npy", IMAGES)
    return [folder / "y.npy", folder / "x.npy"]


def _tree(folder: Path) -> list[Path]:
    return [write_tree(folder / "pictures")]


def _tars(folder: Path) -> list[Path]:
    for number, places in enumerate((range(40), range(40, 60))):
        files = [file for place in places for file in sample(f"{place:02d}", LABELS[place], {}, IMAGES[place])]
        write_tar(folder / f"{number}.tar", files)
    return [folder]


FORMATS: dict[str, Callable[[Path], list[Path]]] = {
    "npz": _npz,
    "compressed": _compressed,
    "adm": _adm,
    "parts": _parts,
    "npy folder": _npy_folder,
    "npy pair": _npy_pair,
    "tree": _tree,
    "tars": _tars,
}
