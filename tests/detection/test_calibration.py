import copy
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load, save

from sio_data import Classifier, calibrate, load_source, score
from sio_data.detection import compute_outputs, create, scoring
from sio_data.detection.calibration import choose_threshold
from sio_data.detection.scoring import iterate_scores
from sio_data.errors import ClassMapError, InputError, UnknownNameError


@pytest.fixture
def run(tiny_runs: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_runs[1] / "seed-0", tmp_path / "run"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three digits and what is none, of other sizes and kinds."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for place, image in enumerate(load_source("digits", "test").images[:3].permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image).save(folder / f"{place}.png")
    Image.new("L", (20, 12), 200).save(folder / "more" / "grey.jpg")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_the_threshold_lets_that_share_of_known_images_through() -> None:
    scores = np.array([3.0, 1.0, 2.0, 5.0, 4.0])
    assert choose_threshold(scores, 1.0) == pytest.approx(1, abs=1e-5)
    assert choose_threshold(scores, 1.0) < 1
    assert choose_threshold(scores, 0.8) == 1.5
    assert choose_threshold(scores, 0.79) == 1.5
    assert choose_threshold(scores, 0.2) == 4.5
    assert choose_threshold(scores, 0.01) == 4.5
    assert choose_threshold(np.arange(20.0), 0.95) == 0.5
    assert choose_threshold(np.ones(4), 0.5) == 1


@pytest.mark.parametrize("detector", ["ebo", "knn:k=20", "vim:dim=64", "odin", "gram", "react", "openmax"])
def test_a_calibrated_checkpoint_scores_as_the_detector_does(run: Path, detector: str) -> None:
    (calibration,) = calibrate(run, id="digits", detector=detector, tpr=0.9)
    classifier = Classifier.from_pretrained(run)
    train, val, test = (load_source("digits", split) for split in ("train", "val", "test"))
    name, _, parameters = detector.partition(":")
    values = {key: int(value) for key, value in [parameters.split("=")]} if parameters else {}
    fresh = create(name, **values).fit(
        train=compute_outputs(classifier, train), val=compute_outputs(classifier, val), network=classifier
    )
    expected = fresh.score(compute_outputs(classifier, test))
    scored = classifier.score(test.images)
    assert np.allclose(scored.scores, expected, rtol=1e-5, atol=1e-6)
    assert (scored.known == (scored.scores >= calibration.threshold)).all()
    assert (scored.labels == classifier(test.images).argmax(1).numpy()).all()
    known = classifier.score(val).known.mean()
    assert 0.9 <= known <= 0.9 + 1 / len(val) + 0.02
    assert calibration.images == len(val)


def test_the_detector_goes_where_the_checkpoint_goes(run: Path, tmp_path: Path) -> None:
    calibrate(run, id="digits", detector="knn:k=20")
    images = load_source("digits", "test").images[:10]
    classifier = Classifier.from_pretrained(run)
    expected = classifier.score(images).scores
    classifier.save_pretrained(tmp_path / "saved")
    assert (Classifier.from_pretrained(tmp_path / "saved").score(images).scores == expected).all()


def test_changed_weights_leave_their_detector_behind(run: Path, tmp_path: Path) -> None:
    calibrate(run, id="digits")
    classifier = Classifier.from_pretrained(run)
    classifier.score(load_source("digits", "test").images[:2])
    with torch.no_grad():
        classifier.head.bias += 1
    classifier.save_pretrained(tmp_path / "changed")
    with pytest.raises(InputError, match="has no detector yet"):
        Classifier.from_pretrained(tmp_path / "changed").score(load_source("digits", "test").images[:2])


def test_each_run_of_a_training_gets_its_own(tiny_runs: tuple[Path, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_runs[0], tmp_path / "runs"))
    one, two = calibrate(folder, id="digits")
    assert one.threshold != two.threshold
    assert (folder / "seed-1" / "detector.safetensors").is_file()


def test_pictures_are_scored_file_by_file(run: Path, pictures: Path) -> None:
    calibrate(run, id="digits", detector="knn:k=5", tpr=1.0)
    found = score(run, [pictures, pictures / "notes.txt"])
    assert [Path(one.path).name for one in found] == ["0.png", "1.png", "2.png", "grey.jpg", "notes.txt"]
    expected = Classifier.from_pretrained(run).score(load_source("digits", "test").images[:3])
    assert [one.score for one in found[:3]] == pytest.approx(expected.scores.tolist())
    assert [one.label for one in found[:3]] == [expected.class_names[label] for label in expected.labels]
    assert not found[3].known
    assert found[4].score is None
    assert found[4].error == "it is no picture"


def test_what_cannot_be_calibrated_is_refused_and_nothing_changes(run: Path) -> None:
    before = sorted(path.name for path in run.iterdir())
    for options, kind, message in (
        ({"tpr": 0.0}, InputError, "tpr must be above 0"),
        ({"tpr": float("nan")}, InputError, "tpr must be above 0"),
        ({"detector": "nothing"}, UnknownNameError, "unknown detector"),
        ({"detector": "knn:k=100000"}, InputError, "more than the 541 training images"),
        ({"detector": "godin"}, InputError, "does not suit"),
        ({"id": "textures#test"}, (ClassMapError, InputError), "textures"),
    ):
        with pytest.raises(kind, match=message):
            calibrate(run, **{"id": "digits", **options})
    assert sorted(path.name for path in run.iterdir()) == before


def rewrite(run: Path, **changes: object) -> None:
    """Change what the file of a detector tells of it; None takes an entry out."""
    path = run / "detector.safetensors"
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["about"])
    told = {name: value for name, value in (about | changes).items() if value is not None}
    path.write_bytes(save(load(path.read_bytes()), {"about": json.dumps(told)}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "is not what sio-data calibrate wrote"),
        ({"detector": "nothing"}, "unknown detector 'nothing'"),
        ({"detector": "knn"}, r"unknown parameter of knn 'dim'\. Known: k\. Run"),
        ({"detector": None}, "its detector is missing, or of the wrong kind"),
        ({"parameters": {"dim": "many"}}, "holds no sound detector"),
        ({"parameters": {"width": 3}}, "width"),
        ({"parameters": None}, "its parameters is missing, or of the wrong kind"),
        ({"threshold": "high"}, "its threshold is missing, or of the wrong kind"),
        ({"threshold": True}, "its threshold is missing, or of the wrong kind"),
        ({"threshold": float("nan")}, "out of range"),
        ({"tpr": 7}, "out of range"),
        ({"tpr": "0.9"}, "its tpr is missing, or of the wrong kind"),
        ({"tpr": True}, "its tpr is missing, or of the wrong kind"),
        ({"images": 0}, "out of range"),
        ({"images": 2.5}, "its images is missing, or of the wrong kind"),
        ({"images": True}, "its images is missing, or of the wrong kind"),
        ({"source": 3}, "its source is missing, or of the wrong kind"),
        ({"weights": "0" * 64}, "fitted for other weights"),
    ],
)
def test_a_detector_that_is_not_sound_is_refused(run: Path, changes: dict[str, object], message: str) -> None:
    images = load_source("digits", "test").images[:2]
    calibrate(run, id="digits", detector="vim:dim=64")
    rewrite(run)
    assert len(Classifier.from_pretrained(run).score(images).scores) == 2
    rewrite(run, **changes)
    with pytest.raises(InputError, match=message) as caught:
        Classifier.from_pretrained(run).score(images)
    said = str(caught.value)
    assert ".." not in said
    assert not any(word in said for word in ("NoneType", "Error", "__", "unsupported", "not supported"))


@pytest.mark.parametrize("content", [b"", b"{}", b"x" * 1000])
def test_another_file_is_no_detector(run: Path, content: bytes) -> None:
    (run / "detector.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="is not what sio-data calibrate wrote"):
        Classifier.from_pretrained(run).score(load_source("digits", "test").images[:2])


def test_a_detector_that_is_cut_short_is_refused(run: Path) -> None:
    images = load_source("digits", "test").images[:2]
    with pytest.raises(InputError, match="sio-data calibrate"):
        Classifier.from_pretrained(run).score(images)
    calibrate(run, id="digits", detector="vim:dim=64")
    whole = (run / "detector.safetensors").read_bytes()
    (run / "detector.safetensors").write_bytes(whole[:-1])
    with pytest.raises(InputError, match="is not what sio-data calibrate wrote"):
        Classifier.from_pretrained(run).score(images)


def test_a_state_of_wrong_shape_is_refused(run: Path) -> None:
    calibrate(run, id="digits", detector="vim:dim=64")
    path = run / "detector.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    state = load(path.read_bytes())
    path.write_bytes(save({name: state[name] if name == "shape" else torch.zeros(3, 2) for name in state}, metadata))
    with pytest.raises(InputError, match=r"no sound detector: what it learned does not fit the checkpoint\. Run"):
        Classifier.from_pretrained(run).score(load_source("digits", "test").images[:2])


@pytest.mark.parametrize("moment", [1, 2])
def test_a_kill_leaves_the_earlier_detector_or_the_new_one_whole(
    run: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    (earlier,) = calibrate(run, id="digits", detector="vim:dim=64")
    replace, replaced = Path.replace, []

    def kill(self: Path, target: Path) -> Path:
        replaced.extend([target] * (target.parent == run))
        if len(replaced) == moment:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", kill)
    with suppress(KeyboardInterrupt):
        calibrate(run, id="digits", detector="knn:k=5")
    found = Classifier.from_pretrained(run).calibration
    assert (found.detector.name, found.threshold == earlier.threshold) == (
        ("vim", True) if moment == 1 else ("knn", False)
    )


def test_the_threshold_is_never_set_on_test_images(run: Path) -> None:
    (plain,) = calibrate(run, id="digits")
    (named,) = calibrate(run, id="digits#test")
    assert (named.threshold, named.images, named.source) == (plain.threshold, 109, "digits")
    with pytest.raises(InputError, match="not to be judged by it"):
        calibrate(run, id="digits#train")


def test_the_network_runs_once_whatever_is_calibrated(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain: list[int] = []
    normalise = Classifier.normalise
    monkeypatch.setattr(
        Classifier, "normalise", lambda self, images: (plain.append(len(images)), normalise(self, images))[1]
    )
    calibrate(run, id="digits", detector="knn:k=5")
    assert sum(plain) == 541 + 109
    calibrate(run, id="digits", detector="vim:dim=64", storage="mapped")
    assert sum(plain) == 541 + 109
    with pytest.raises(UnknownNameError, match="unknown storage 'cloud'"):
        calibrate(run, id="digits", storage="cloud")


def test_weights_that_are_no_longer_those_of_the_detector_do_not_keep_a_classifier_from_being_saved(
    run: Path, tiny_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    images = load_source("digits", "test").images[:2]
    calibrate(run, id="digits")
    sound = (run / "detector.safetensors").read_bytes()
    other = Path(shutil.copytree(tiny_runs[1] / "seed-1", tmp_path / "other"))
    for place, content in (("stale", sound), ("unsound", b"no detector")):
        (other / "detector.safetensors").write_bytes(content)
        classifier = Classifier.from_pretrained(other)
        classifier.save_pretrained(tmp_path / place)
        assert not (tmp_path / place / "detector.safetensors").exists()
        assert torch.equal(Classifier.from_pretrained(tmp_path / place)(images), classifier(images))
    changed = Classifier.from_pretrained(other)
    with torch.no_grad():
        changed.head.bias += 1
    changed.save_pretrained(tmp_path / "changed")
    assert not (tmp_path / "changed/detector.safetensors").exists()


def test_weights_changed_in_memory_are_not_scored_by_the_detector(run: Path) -> None:
    images = load_source("digits", "test").images[:2]
    calibrate(run, id="digits", detector="knn:k=5")
    classifier = Classifier.from_pretrained(run)
    expected = classifier.score(images).scores
    assert (copy.deepcopy(classifier).to("cpu").score(images).scores == expected).all()
    with torch.no_grad():
        classifier.network.get_parameter(next(name for name, _ in classifier.network.named_parameters())).mul_(1.5)
    with pytest.raises(InputError, match="the weights were changed since they were loaded"):
        classifier.score(images)
    loaded = Classifier.from_pretrained(run)
    loaded.load_state_dict(classifier.state_dict())  # before the detector was read
    with pytest.raises(InputError, match="the weights were changed since they were loaded"):
        loaded.score(images)


@pytest.mark.filterwarnings("error")
def test_what_would_never_end_or_is_too_large_is_named_and_the_rest_is_scored(
    run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrate(run, id="digits")
    os.mkfifo(pictures / "pipe.png")
    (pictures / "zero.png").symlink_to("/dev/zero")
    Image.new("L", (40, 30)).save(pictures / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    found = {Path(one.path).name: one for one in score(run, [pictures, pictures / "pipe.png"])}
    assert {name: one.error for name, one in found.items() if one.error} == {
        "pipe.png": "it is no regular file",
        "zero.png": "it is no regular file",
        "large.png": "it has more than 1,000 pixels",
    }
    assert found["0.png"].score is not None


def test_scores_come_as_the_work_goes_on(run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calibrate(run, id="digits")
    monkeypatch.setattr(scoring, "_BATCH", 2)
    expected = score(run, [pictures])
    read = scoring._read

    def stop_at_the_third(path: Path, size: int) -> object:
        if path.name == "2.png":
            raise KeyboardInterrupt
        return read(path, size)

    monkeypatch.setattr(scoring, "_read", stop_at_the_third)
    found = []
    with suppress(KeyboardInterrupt):
        found.extend(iterate_scores(run, [pictures]))
    assert found == expected[:2]


def test_images_of_another_size_are_refused(run: Path) -> None:
    calibrate(run, id="digits")
    with pytest.raises(InputError, match="8x8 pixels, not 16"):
        Classifier.from_pretrained(run).score(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
