"""Sets of noise, written in no time, for tests that need class names, sizes and counts of their own."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sio_data.compilation import Compilation, SourceFile
from sio_data.completion import write_complete
from sio_data.layout import Layout
from sio_data.manifest import Manifest, Origin
from sio_data.plan import Plan
from sio_data.recipe import Recipe
from sio_data.shards import Batch, write_shard

ORIGIN = Origin("…/generator", "cc-by-4.0", "Ho et al. 2020", "sio-data generate --weights …/generator")


def noise(count: int, size: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (count, size, size, 3), dtype=np.uint8)


def write_set(
    folder: Path, class_names: tuple[str, ...], per_class: int, image_size: int = 4, origin: Origin = ORIGIN
) -> Path:
    """Write a complete set, as `generate` would, of four images a shard."""
    plan = Plan(Recipe("diffusers", "abc", class_names, per_class, image_size, shard_size=4))
    images = noise(plan.recipe.samples, image_size)

    def batches(index: int) -> Iterator[Batch]:
        shard = plan[index]
        cut = images[shard.start : shard.start + len(shard)]
        yield Batch(cut, shard.labels, [{"seed": seed} for seed in shard.seeds.tolist()], len(shard))

    (folder / "data").mkdir(parents=True)
    records = [write_shard(folder, plan, index, batches(index)) for index in range(len(plan))]
    write_complete(folder, Manifest(plan.recipe, origin), records)
    return folder


def write_imported_set(folder: Path) -> Path:
    """Write a complete set, as `import` would: cats, no dog, owls, each with a source and none with a seed."""
    sources = (SourceFile("old.npz", "0" * 64),)
    layout = Layout(Compilation("import", sources, {"seed": 1}, "1" * 64, ("cat", "dog", "owl"), (5, 0, 2), 4))
    labels = np.array([0, 2, 0, 0, 2, 0, 0])
    details = [{"source": {"file": "old.npz", "row": row}} for row in range(7)]
    (folder / "data").mkdir(parents=True)
    record = write_shard(folder, layout, 0, [Batch(noise(7, 4), labels, details, 7)])
    write_complete(folder, Manifest(layout.recipe, Origin("old.npz", "mit", "", "sio-data import old.npz")), [record])
    return folder
