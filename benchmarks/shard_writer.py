"""Our shard writer against webdataset's, in one thread each, fed with the same real pixels; encoding included.

Run by `make bench`. Goal: at least twice as fast. The pixels are 32x32 patches of scikit-learn's two photographs.
webdataset gets PNG bytes that Pillow encodes with its defaults, a label and the same metadata; by its own defaults, and
with a fixed time for all members, which spares it a header of 1 KiB for each. Ours also hashes the shard and flushes it
to disk. Both ratios must reach the goal.
"""

import io
import json
import os
import statistics
import tarfile
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.datasets import load_sample_images
from webdataset import ShardWriter

from sio_data.plan import Plan
from sio_data.recipe import Recipe
from sio_data.shards import Batch, write_shard

ROUNDS = 7
SIZE, STRIDE = 32, 12
NAMES = tuple(f"class {label}" for label in range(10))
PER_CLASS = 300

Pixels = npt.NDArray[np.uint8]


def load_patches(count: int) -> Pixels:
    patches = []
    for image in load_sample_images().images:
        windows = np.lib.stride_tricks.sliding_window_view(image, (SIZE, SIZE), (0, 1))[::STRIDE, ::STRIDE]
        patches.append(windows.transpose(0, 1, 3, 4, 2).reshape(-1, SIZE, SIZE, 3))
    order = np.random.default_rng(0).permutation(sum(map(len, patches)))[:count]
    return np.ascontiguousarray(np.concatenate(patches)[order])


def write_ours(folder: Path, plan: Plan, pixels: Pixels) -> None:
    for shard in plan:
        images = pixels[shard.start : shard.start + len(shard)]
        seeds = [{"seed": seed} for seed in shard.seeds.tolist()]
        cuts = shard.batches(plan.recipe.batch_size)
        batches = (Batch(images[cut], shard.labels[cut], seeds[cut], 0) for cut in cuts)
        write_shard(folder, plan, shard.index, batches)


def write_theirs(folder: Path, plan: Plan, pixels: Pixels, **options: int) -> None:
    recipe = plan.recipe
    with ShardWriter(f"{folder}/data/train-%06d.tar", maxcount=recipe.shard_size, verbose=0, **options) as writer:
        for shard in plan:
            for index, label, seed in zip(range(shard.start, recipe.samples), shard.labels, shard.seeds, strict=False):
                buffer = io.BytesIO()
                Image.fromarray(pixels[index]).save(buffer, "PNG")
                about = {"index": index, "label": int(label), "class": recipe.class_names[label], "seed": int(seed)}
                about["recipe"] = recipe.hash
                writer.write({"__key__": f"{index:09d}", "png": buffer.getvalue(), "cls": int(label), "json": about})


def read(folder: Path) -> dict[str, object]:
    """Give the pixels, labels and metadata that a set of shards holds."""
    members: dict[str, object] = {}
    for path in sorted((folder / "data").iterdir()):
        with tarfile.open(path) as tar:
            for member in tar:
                data = tar.extractfile(member).read()
                picture = member.name.endswith(".png")
                members[member.name] = (
                    np.asarray(Image.open(io.BytesIO(data))).tobytes() if picture else eval_json(data)
                )
    return members


def eval_json(data: bytes) -> object:
    return json.loads(data)


def main() -> None:
    recipe = Recipe("diffusers", "0" * 64, NAMES, per_class=PER_CLASS, image_size=SIZE)
    plan, pixels = Plan(recipe), load_patches(recipe.samples)
    variants = {
        "sio-data": write_ours,
        "webdataset": write_theirs,
        "webdataset, mtime=0": partial(write_theirs, mtime=0),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    size, held = {}, {}
    with tempfile.TemporaryDirectory() as work:
        for turn in range(ROUNDS + 1):  # the first round warms up
            for name, write in variants.items():
                folder = Path(work, f"{name}-{turn}")
                (folder / "data").mkdir(parents=True)
                os.sync()  # nobody pays for what the other left to be written
                started = time.perf_counter()
                write(folder, plan, pixels)
                times[name].append(time.perf_counter() - started)
                if turn == 0:
                    held[name] = read(folder)
                    size[name] = sum(path.stat().st_size for path in folder.rglob("*.tar")) / recipe.samples
    assert all(held[name] == held["sio-data"] for name in variants), "they hold other samples"
    assert all(held["sio-data"][f"{index:09d}.png"] == image.tobytes() for index, image in enumerate(pixels))
    result = {}
    for name, values in times.items():
        ratio = statistics.median(theirs / ours for ours, theirs in zip(times["sio-data"][1:], values[1:], strict=True))
        speed = recipe.samples / statistics.median(values[1:])
        result[name] = {"images_per_s": speed, "bytes_per_image": size[name], "ours_is_faster_by": ratio}
    print(f"{'':20}{'images/s':>10}{'bytes/image':>13}{'ours : it':>11}")
    for name, values in result.items():
        print(f"{name:20}{values['images_per_s']:>10.0f}{size[name]:>13.0f}{values['ours_is_faster_by']:>11.2f}")
    print(f"all {recipe.samples} samples of each decode to the same pixels, labels and metadata")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
