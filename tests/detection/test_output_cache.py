from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sio_data import Classifier, load_source
from sio_data.detection import compute_outputs, create
from sio_data.detection.output_cache import OutputCache
from sio_data.detection.passes import batch_size
from sio_data.errors import SioDataError
from sio_data.image_set import ImageSet

CPU = torch.device("cpu")


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier("convnet", ("zero", "one", "two", "three", "four", "five"), 8).eval()


@pytest.fixture
def train() -> ImageSet:
    return load_source("digits", "train").select(range(150))


@pytest.fixture
def test_images() -> ImageSet:
    return load_source("digits", "test").select(range(200))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many images went through the network in each batch."""
    counts: list[int] = []
    forward = Classifier.normalise
    monkeypatch.setattr(
        Classifier, "normalise", lambda self, images: (counts.append(len(images)), forward(self, images))[1]
    )
    return counts


def test_outputs_are_what_a_pass_gives_and_the_network_runs_once(
    classifier: Classifier, train: ImageSet, test_images: ImageSet, seen: list[int]
) -> None:
    expected = compute_outputs(classifier, test_images)
    seen.clear()
    for _ in range(2):
        outputs = OutputCache(classifier, "weights", train, CPU).outputs(test_images)
        assert torch.equal(outputs.logits, expected.logits)
        assert torch.equal(outputs.features, expected.features)
        assert torch.equal(outputs.labels, test_images.labels)
    assert sum(seen) == len(test_images)


def test_other_weights_or_other_images_are_other_outputs(
    classifier: Classifier, train: ImageSet, test_images: ImageSet, seen: list[int]
) -> None:
    OutputCache(classifier, "weights", train, CPU).outputs(test_images)
    OutputCache(classifier, "others", train, CPU).outputs(test_images)
    assert sum(seen) == 2 * len(test_images)
    changed = test_images.images.clone()
    changed[-1, 0, 0, 0] ^= 1
    others = ImageSet(changed, test_images.labels, test_images.class_names)
    OutputCache(classifier, "weights", train, CPU).outputs(others)
    assert sum(seen) == 3 * len(test_images)


def test_an_interrupted_pass_goes_on_to_the_same_bytes(
    classifier: Classifier, train: ImageSet, test_images: ImageSet, monkeypatch: pytest.MonkeyPatch, seen: list[int]
) -> None:
    odin = create("odin")
    whole = OutputCache(classifier, "whole", train, CPU).outputs(test_images, [odin])
    observe = type(odin).observe
    calls = []

    def fail_at_the_third(self: object, look: object) -> torch.Tensor:
        calls.append(look)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return observe(self, look)

    with monkeypatch.context() as patched:
        patched.setattr(type(odin), "observe", fail_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            OutputCache(classifier, "weights", train, CPU).outputs(test_images, [odin])
    entry = OutputCache(classifier, "weights", train, CPU)._entry(test_images)
    torn = max(entry.glob("*.raw"), key=lambda path: path.stat().st_size)
    torn.write_bytes(torn.read_bytes()[:-5])  # a kill in the middle of a row
    seen.clear()
    outputs = OutputCache(classifier, "weights", train, CPU).outputs(test_images, [odin])
    assert len(test_images) > 3 * batch_size(CPU)
    assert sum(seen) == len(test_images) - batch_size(CPU)  # of the second batch a row is torn
    for one, two in ((outputs.logits, whole.logits), (outputs.features, whole.features)):
        assert torch.equal(one, two)
    assert torch.equal(outputs.observed[odin.observation], whole.observed[odin.observation])


def test_a_new_detector_costs_one_pass_and_what_was_there_stays(
    classifier: Classifier, train: ImageSet, test_images: ImageSet, seen: list[int]
) -> None:
    cache = OutputCache(classifier, "weights", train, CPU)
    cache.outputs(test_images)
    files = {path: path.stat().st_mtime_ns for path in cache._entry(test_images).glob("*.raw")}
    cache.outputs(test_images, [create("odin"), create("odin"), create("odin", temperature=1.0)])
    assert sum(seen) == 2 * len(test_images)
    cache.outputs(test_images, [create("odin", temperature=1.0)])
    assert sum(seen) == 2 * len(test_images)
    assert all(path.stat().st_mtime_ns == time for path, time in files.items())


def test_detectors_that_learn_from_a_pass_learn_once_and_from_the_right_images(
    classifier: Classifier, train: ImageSet, test_images: ImageSet, seen: list[int]
) -> None:
    cache = OutputCache(classifier, "weights", train, CPU)
    first, again = create("gram"), create("gram")
    cache.train_outputs([first])
    scores = first.score(cache.outputs(test_images, [first]))
    count = sum(seen)
    cache = OutputCache(classifier, "weights", train, CPU)
    cache.train_outputs([again])
    assert (again.score(cache.outputs(test_images, [again])) == scores).all()
    assert sum(seen) == count
    elsewhere = OutputCache(classifier, "weights", train.select(range(100)), CPU)
    other = create("gram")
    elsewhere.train_outputs([other])
    assert (other.score(elsewhere.outputs(test_images, [other])) != scores).any()


def test_a_damaged_record_of_the_cache_is_made_anew(
    classifier: Classifier, train: ImageSet, test_images: ImageSet
) -> None:
    cache = OutputCache(classifier, "weights", train, CPU)
    expected = cache.outputs(test_images)
    entry: Path = cache._entry(test_images)
    (entry / "arrays.json").write_text("{")
    again = OutputCache(classifier, "weights", train, CPU).outputs(test_images)
    assert torch.equal(again.logits, expected.logits)


def test_a_pass_that_was_cut_short_at_its_very_end_is_whole(
    classifier: Classifier, train: ImageSet, test_images: ImageSet, monkeypatch: pytest.MonkeyPatch, seen: list[int]
) -> None:
    images = test_images.select(range(2 * batch_size(CPU)))
    with monkeypatch.context() as patched:
        patched.setattr("sio_data.detection.output_cache._Arrays.seal", lambda self: pytest.exit("killed"))
        with pytest.raises(pytest.exit.Exception):
            OutputCache(classifier, "weights", train, CPU).outputs(images)
    count = sum(seen)
    assert len(OutputCache(classifier, "weights", train, CPU).outputs(images)) == len(images)
    assert sum(seen) == count


@pytest.mark.parametrize("harm", ["flip", "longer", "zeros", "gone", "record", "nonsense"])
def test_a_damaged_array_is_made_anew(
    classifier: Classifier, train: ImageSet, test_images: ImageSet, harm: str
) -> None:
    cache = OutputCache(classifier, "weights", train, CPU)
    expected = cache.outputs(test_images)
    entry = cache._entry(test_images)
    wanted = (expected.logits.clone(), expected.features.clone())
    for path in entry.glob("*.raw"):
        content = path.read_bytes()
        if harm == "flip":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        elif harm == "longer":
            path.write_bytes(content + b"1234")
        elif harm == "zeros":
            path.write_bytes(bytes(len(content)))
        elif harm == "gone":
            path.unlink()
    if harm in ("record", "nonsense"):
        (entry / "arrays.json").write_text('{"logits": 5}' if harm == "record" else '{"logits": {"dtype": "O"}}')
    again = OutputCache(classifier, "weights", train, CPU).outputs(test_images)
    assert torch.equal(again.logits, wanted[0])
    assert torch.equal(again.features, wanted[1])


def test_what_a_detector_learned_is_learned_anew_if_its_file_is_damaged(
    classifier: Classifier, train: ImageSet, test_images: ImageSet
) -> None:
    cache = OutputCache(classifier, "weights", train, CPU)
    first, again = create("gram"), create("gram")
    cache.train_outputs([first])
    expected = first.score(cache.outputs(test_images, [first]))
    for path in cache._entry(train).glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    cache.train_outputs([again])
    assert (again.score(cache.outputs(test_images, [again])) == expected).all()


def test_a_cache_that_cannot_be_written_says_what_to_do(
    classifier: Classifier, train: ImageSet, test_images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "file")
    with pytest.raises(SioDataError, match=r"cannot be kept in .*file .*Let HF_DATASETS_CACHE name another folder"):
        OutputCache(classifier, "weights", train, CPU).outputs(test_images)
