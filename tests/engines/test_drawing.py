from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sio_data.engines.drawing import Drawer
from sio_data.errors import SioDataError
from sio_data.plan import Plan
from sio_data.recipe import Recipe
from sio_data.shards import Batch, read_shard, write_shard


def seeds_of(batch: Batch) -> list[int]:
    return [details["seed"] for details in batch.details]


class Painter:
    """Paints an image in one colour that tells its own label and its seed."""

    def __init__(self, class_names: Sequence[str] = ("cat", "dog", "owl")) -> None:
        self.class_names = tuple(class_names)
        self.drawn: list[tuple[int, int]] = []

    def sample(self, labels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        self.drawn += zip(labels.tolist(), seeds, strict=True)
        images = torch.zeros(len(labels), 3, 4, 4, dtype=torch.uint8)
        images[:, 0] = labels[:, None, None].to(torch.uint8)
        images[:, 1] = (torch.tensor(seeds) % 251)[:, None, None].to(torch.uint8)
        return images


class Refusing(Painter):
    """Refuses what has certain seeds."""

    conditional = True
    patience = 5

    def __init__(self, refused: set[int], class_names: Sequence[str] = ("cat", "dog", "owl")) -> None:
        super().__init__(class_names)
        self.refused = refused

    def judge(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        recent = self.drawn[-len(labels) :]
        return torch.tensor([-1 if seed in self.refused else label for label, seed in recent])

    def explain(self) -> str:
        return "Ask for something else."


class Unlabelled(Painter):
    """Draws what it likes: the class is seen afterwards."""

    conditional = False
    patience = 200

    def judge(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return images[:, 1, 0, 0].long() % 5 - 1  # -1: not sure; 3: a class that is not asked for

    def explain(self) -> str:
        return "Lower the confidence."


@pytest.fixture
def plan(recipe: Recipe) -> Plan:
    """Fifteen samples of three classes in shards of six, drawn in batches of four."""
    return Plan(replace(recipe, shard_size=6, batch_size=4))


def test_each_sample_is_drawn_from_its_label_and_seed(plan: Plan) -> None:
    painter = Painter(["owl", "cat", "dog"])
    batches = list(Drawer(plan, painter).draw(plan[1]))
    assert [len(batch.images) for batch in batches] == [4, 2]
    assert [batch.draws for batch in batches] == [4, 2]
    own = [{0: 1, 1: 2, 2: 0}[label] for label in plan[1].labels.tolist()]
    assert painter.drawn == list(zip(own, plan[1].seeds.tolist(), strict=True))
    assert np.concatenate([batch.images for batch in batches])[:, 0, 0, 0].tolist() == own
    assert [seed for batch in batches for seed in seeds_of(batch)] == plan[1].seeds.tolist()


def test_places_of_one_name_take_turns_by_index(plan: Plan) -> None:
    drawer = Drawer(plan, Painter(["cat", "cat", "dog", "owl", "owl", "owl"]))
    samples = np.arange(15)
    assert drawer.own_labels(samples).tolist() == [0, 2, 3, 1, 2, 4, 0, 2, 5, 1, 2, 3, 0, 2, 4]


def test_a_refused_sample_is_drawn_again_with_its_next_seed(plan: Plan) -> None:
    seeds = plan[0].seeds.tolist()
    next_seed = int(plan.seeds(1, 1))
    generator = Refusing({seeds[1], next_seed})
    first, second = Drawer(plan, generator).draw(plan[0])
    third_seed = int(plan.seeds(1, 2))
    assert seeds_of(first) == [seeds[0], third_seed, seeds[2], seeds[3]]
    assert first.draws == 6
    assert second.draws == 2
    assert first.images[1, 0, 0].tolist() == [1, third_seed % 251, 0]
    assert generator.drawn[4:6] == [(1, next_seed), (1, third_seed)]


def test_seeds_of_further_draws_belong_to_their_sample_and_to_no_other(plan: Plan) -> None:
    seen = {int(plan.seeds(sample, attempt)) for sample in range(15) for attempt in range(100)}
    assert len(seen) == 1500
    for sample in range(15):
        assert plan.sample_of(int(plan.seeds(sample, 99))) == sample
    beyond = (plan._offset + plan.attempts * 15 * plan._stride) % 2**32
    assert plan.sample_of(beyond) is None


def test_images_without_a_label_go_to_open_samples_of_their_class(plan: Plan) -> None:
    generator = Unlabelled()
    (batch,) = Drawer(plan, generator).draw(plan[0])
    assert (batch.images[:, 0, 0, 1].astype(int) % 5 - 1).tolist() == plan[0].labels.tolist()
    assert batch.images[:, 0, 0, 1].tolist() == [seed % 251 for seed in seeds_of(batch)]
    assert len({*seeds_of(batch)}) == 6
    assert all(plan.sample_of(seed) in range(6) for seed in seeds_of(batch))
    assert batch.draws == len(generator.drawn) > 6
    assert batch.draws % 4 == 0
    (again,) = Drawer(plan, Unlabelled()).draw(plan[0])
    assert seeds_of(again) == seeds_of(batch)
    assert np.array_equal(again.images, batch.images)


@pytest.mark.parametrize(("shard_size", "batch_size"), [(2, 2), (4, 4), (10, 2)])
def test_whatever_seeds_were_taken_the_shard_can_be_read(
    tmp_path: Path, recipe: Recipe, shard_size: int, batch_size: int
) -> None:
    """Samples may have each other's seeds even where no draw was refused."""
    (tmp_path / "data").mkdir()
    for seed in range(20):
        cut = replace(recipe, class_names=("cat", "dog"), shard_size=shard_size, batch_size=batch_size, seed=seed)
        plan = Plan(cut)
        record = write_shard(tmp_path, plan, 0, Drawer(plan, Unlabelled(["cat", "dog"])).draw(plan[0]))
        assert len(list(read_shard(tmp_path, record, cut))) == len(plan[0])


def test_each_shard_is_drawn_from_itself_alone(plan: Plan) -> None:
    drawer = Drawer(plan, Unlabelled())
    alone = list(Drawer(plan, Unlabelled()).draw(plan[2]))
    after_others = [list(drawer.draw(plan[index])) for index in range(3)][2]
    assert seeds_of(after_others[0]) == seeds_of(alone[0])


def test_when_nothing_is_accepted_any_more_it_says_for_which_class_and_what_to_do(plan: Plan) -> None:
    generator = Refusing({int(plan.seeds(1, attempt)) for attempt in range(100)})
    with pytest.raises(SioDataError, match=r"6 draws in a row gave nothing usable for dog\. Ask for something else"):
        list(Drawer(plan, generator).draw(plan[0]))


def test_when_the_seeds_are_used_up_it_says_so(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plan, "attempts", 3)
    generator = Refusing({int(plan.seeds(1, attempt)) for attempt in range(3)})
    with pytest.raises(SioDataError, match="no seeds are left for further draws for dog"):
        list(Drawer(plan, generator).draw(plan[0]))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_out_of_memory_names_the_batch_to_try(plan: Plan, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(self: Painter, labels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        raise error

    monkeypatch.setattr(Painter, "sample", fail)
    with pytest.raises(SioDataError, match=r"a batch of 4 does not fit in memory\. Try --batch-size 2"):
        list(Drawer(plan, Painter()).draw(plan[0]))


def test_other_errors_of_a_generator_are_not_taken_for_it(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Painter, labels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Painter, "sample", fail)
    with pytest.raises(RuntimeError, match="mat1"):
        list(Drawer(plan, Painter()).draw(plan[0]))


@pytest.mark.parametrize("wrong", [torch.zeros(4, 3, 4, 4), torch.zeros(4, 3, 5, 5, dtype=torch.uint8)])
def test_what_are_no_images_is_refused(plan: Plan, monkeypatch: pytest.MonkeyPatch, wrong: torch.Tensor) -> None:
    monkeypatch.setattr(Painter, "sample", lambda *_: wrong)
    with pytest.raises(SioDataError, match=r"where uint8 \(4, 3, 4, 4\) was due"):
        list(Drawer(plan, Painter()).draw(plan[0]))
