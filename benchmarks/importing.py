"""Speed of `sio-data import` for 50,000 images of 32x32, and its memory for ten times as many.

Run by `make bench`. Goal: the memory of 500,000 images at most 1.05 times that of 50,000. The pixels are patches of
scikit-learn's two photographs; the larger archives hold them ten times. Each import is a process of its own, whose peak
the kernel tells, and its time is that of the whole command: start-up, hashing, checks, encoding, writing, preview.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROUNDS = 3
IMAGES, SIZE, STRIDE, CLASSES = 50_000, 32, 3, 10
COPIES = 10
FORMS = ("stored .npz", "compressed .npz", "class folders")


def write_source(form: str, path: Path, copies: int) -> None:
    """Write the images, sorted by class, in a process of its own: NumPy and the pixels would count in its children."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    patches = []
    for image in load_sample_images().images:
        windows = np.lib.stride_tricks.sliding_window_view(image, (SIZE, SIZE), (0, 1))[::STRIDE, ::STRIDE]
        patches.append(windows.transpose(0, 1, 3, 4, 2).reshape(-1, SIZE, SIZE, 3))
    pixels = np.concatenate(patches)[:IMAGES]
    assert len(pixels) == IMAGES
    labels = np.arange(IMAGES * copies) * CLASSES // (IMAGES * copies)
    if form == "class folders":
        for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            folder = path / f"class {label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number:05d}.png")
        return
    method = zipfile.ZIP_STORED if form == "stored .npz" else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
        with archive.open("image.npy", "w", force_zip64=True) as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (IMAGES * copies, *pixels.shape[1:])}
            np.lib.format.write_array_header_1_0(file, header)
            for _ in range(copies):
                file.write(pixels.tobytes())
        with archive.open("label.npy", "w") as file:
            np.lib.format.write_array(file, labels)


def run(*words: object) -> tuple[float, float]:
    """Run Python; give its seconds and its peak resident memory in MiB."""
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(map(str, words))} ended with {child.returncode}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def measure(form: str, copies: int, rounds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as work:
        source = Path(work, "source" if form == "class folders" else "source.npz")
        run(__file__, form, source, copies)
        imports = []
        for turn in range(rounds):
            imports.append(run("-m", "sio_data", "import", source, "--out", Path(work, f"set-{turn}")))
    seconds, peaks = (statistics.median(values) for values in zip(*imports, strict=True))
    return {"images": IMAGES * copies, "seconds": seconds, "images_per_s": IMAGES * copies / seconds, "peak_mib": peaks}


def main() -> None:
    found = {(form, 1): measure(form, 1, ROUNDS) for form in FORMS}
    found |= {(form, COPIES): measure(form, COPIES, 1) for form in FORMS[:2]}
    print(f"{'':18}{'images':>9}{'seconds':>9}{'images/s':>10}{'peak MiB':>10}{'ratio':>8}")
    for (form, _), row in found.items():
        ratio = row["peak_mib"] / found[form, 1]["peak_mib"]
        print(
            f"{form:18}{row['images']:>9}{row['seconds']:>9.1f}{row['images_per_s']:>10.0f}"
            f"{row['peak_mib']:>10.1f}{ratio:>8.3f}"
        )
    ratios = {form: found[form, COPIES]["peak_mib"] / found[form, 1]["peak_mib"] for form in FORMS[:2]}
    print(json.dumps({"imports": [{"form": form, **row} for (form, _), row in found.items()], "ratios": ratios}))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write_source(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
