import csv
import dataclasses
import errno
import hashlib
import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from sio_data import Classifier, evaluate, generate, load_source, train
from sio_data.detection import DETECTORS, Outputs, compute_outputs, create, evaluation, ood_metrics
from sio_data.detection.checkpoints import Checkpoints
from sio_data.detection.evaluation import Evaluation
from sio_data.detection.image_sets import EvaluationImages
from sio_data.errors import ClassMapError, InputError, SioDataError
from sio_data.image_set import ImageSet

OOD = ["near:unknown-digits=digits-unknown", "far:textures=textures"]


@pytest.fixture(scope="module")
def done(tiny_runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    folder = tmp_path_factory.mktemp("report") / "report"
    return evaluate(tiny_runs, folder, id="digits", ood=OOD, detectors=["msp", "mls", "ebo", "knn", "vim"])


def test_every_run_detector_and_set_has_its_row(done: Evaluation) -> None:
    rows = {(row.checkpoint, row.run, row.detector, row.ood) for row in done.results.rows}
    assert len(rows) == len(done.results.rows) == 2 * 2 * 5 * 2
    assert {run.name for run in done.results.runs} == {"seed-0", "seed-1"}


def test_figures_are_what_a_plain_computation_gives(done: Evaluation, tiny_runs: tuple[Path, Path]) -> None:
    model = Classifier.from_pretrained(tiny_runs[1] / "seed-1")

    @torch.inference_mode()
    def outputs(source: str, split: str) -> Outputs:
        images = load_source(source, split, labelled=False)
        return Outputs(model(images.images), model.features(images.images), images.labels)

    detector = create("knn").fit(train=outputs("digits", "train"))
    expected = ood_metrics(detector.score(outputs("digits", "test")), detector.score(outputs("digits-unknown", "test")))
    row = next(
        row
        for row in done.results.rows
        if (row.checkpoint, row.run, row.detector, row.group) == ("sio", "seed-1", "knn", "near")
    )
    assert row.auroc == pytest.approx(expected.auroc, abs=1e-6)
    assert row.fpr95 == pytest.approx(expected.fpr95, abs=0.01)
    test = load_source("digits", "test")
    accuracy = (model(test.images).argmax(1) == test.labels).double().mean().item()
    assert next(r for r in done.results.runs if (r.checkpoint, r.name) == ("sio", "seed-1")).accuracy == accuracy


def test_each_checkpoint_sees_each_image_once(
    tiny_runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    forward = torch.nn.Conv2d.forward

    def counted(layer: torch.nn.Conv2d, maps: torch.Tensor) -> torch.Tensor:
        if layer.in_channels == 3:  # the first layer, whichever way the images come to it
            seen.append(len(maps))
        return forward(layer, maps)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", counted)
    of_outputs = ["msp", "ebo", "knn", "vim"]
    evaluate([tiny_runs[0] / "seed-0"], tmp_path / "report", id="digits", ood=OOD, detectors=of_outputs)
    assert sum(seen) == 541 + 109 + 433 + 571 + 400


def test_all_detectors_that_suit_run_and_the_others_are_named(tiny_runs: tuple[Path, Path], tmp_path: Path) -> None:
    done = evaluate([tiny_runs[0] / "seed-0"], tmp_path / "report", id="digits", ood=OOD)
    skipped = {one["detector"]: one["reason"] for one in done.results.skipped}
    assert {*skipped} == {"godin", "rotpred", "mcd", "residual"}
    assert "cosine head" in skipped["godin"]
    assert "dim=512 leaves nothing of 512 features" in skipped["residual"]
    measured = {row.detector for row in done.results.rows}
    assert measured | {*skipped} == {*DETECTORS}
    page = done.report.read_text()
    assert all(name in page for name in DETECTORS)


def test_the_network_runs_once_over_each_set_whatever_looks_at_it(
    tiny_runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain: list[int] = []
    normalise = Classifier.normalise
    monkeypatch.setattr(
        Classifier, "normalise", lambda self, images: (plain.append(len(images)), normalise(self, images))[1]
    )
    chosen = ["msp", "odin", "iodin", "adascale_a", "adascale_l", "mds_ensemble", "rankfeat", "knn"]
    evaluate([tiny_runs[0] / "seed-0"], tmp_path / "one", id="digits", ood=OOD, detectors=chosen)
    assert sum(plain) == 541 + 109 + 433 + 571 + 400
    again = evaluate([tiny_runs[0] / "seed-0"], tmp_path / "two", id="digits", ood=OOD, detectors=[*chosen, "ebo"])
    assert sum(plain) == 541 + 109 + 433 + 571 + 400  # all of it was kept
    assert again.results.detectors == [*chosen, "ebo"]


def test_a_search_chooses_on_validation_images_and_tells_what(tiny_runs: tuple[Path, Path], tmp_path: Path) -> None:
    run = tiny_runs[0] / "seed-0"
    chosen = ["react", "knn", "odin:noise=0.0014", "msp", "vim"]
    options = {"id": "digits", "ood": OOD, "detectors": chosen, "ood_val": "textures#val"}
    done = evaluate([run], tmp_path / "report", search=True, **options)
    settings = {one["detector"]: one["settings"] for one in done.results.chosen}
    assert {*settings} == {"react", "knn", "odin:noise=0.0014", "vim"}
    assert settings["react"]["percentile"] in (85, 90, 95, 99)
    assert settings["odin:noise=0.0014"]["noise"] == 0.0014
    assert settings["vim"] == {"dim": 256}
    classifier = Classifier.from_pretrained(run)
    train, val = (compute_outputs(classifier, load_source("digits", split)) for split in ("train", "val"))
    ood_val = compute_outputs(classifier, load_source("textures", "val", labelled=False))
    aurocs = {}
    for k in (50, 100, 200, 500):
        detector = create("knn", k=k).fit(train=train)
        aurocs[k] = ood_metrics(detector.score(val), detector.score(ood_val)).auroc
    assert settings["knn"] == {"k": max(aurocs, key=lambda k: aurocs[k])}
    scores = done.scores["seed-0", "seed-0", "knn"][""]
    test = compute_outputs(classifier, load_source("digits", "test"))
    assert np.allclose(scores, create("knn", **settings["knn"]).fit(train=train).score(test))


def test_what_makes_no_evaluation_is_refused(tiny_runs: tuple[Path, Path], tmp_path: Path) -> None:
    run, out = tiny_runs[0] / "seed-0", tmp_path / "report"
    good = {"id": "digits", "ood": OOD}
    for options, message in (
        ({}, "give --id and --ood, or --benchmark"),
        ({"id": "digits"}, "give --id and --ood, or --benchmark"),
        ({"ood": OOD}, "give --id and --ood, or --benchmark"),
        ({**good, "benchmark": "cifar10"}, "names its images itself"),
        ({**good, "data": "somewhere"}, "give --benchmark"),
        ({"benchmark": "cifar"}, "Did you mean 'cifar10'"),
        ({**good, "search": True}, "needs OOD validation images"),
        ({**good, "detectors": []}, "a detector at least"),
        ({**good, "detectors": ["godin"]}, "godin suits none of the checkpoints"),
        ({**good, "detectors": ["residual"]}, "dim=512 leaves nothing"),
        ({**good, "detectors": ["knn:k=600"]}, "more than the 541 training images"),
        ({**good, "ood": [*OOD, OOD[0]]}, "a name of its own"),
        ({"benchmark": "cifar10", "data": str(tmp_path)}, "no folder of OpenOOD's layout"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate([run], out, **options)
        assert not out.exists()


def test_files_agree_with_each_other(done: Evaluation) -> None:
    folder = done.report.parent
    results = json.loads((folder / "results.json").read_text())
    with (folder / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(results["rows"]) == 40
    for one, two in zip(table, results["rows"], strict=True):
        assert float(one["auroc"]) == two["auroc"]
        assert one["detector"] == two["detector"]
    for entry in results["summary"]:
        values = [
            row[entry["metric"]]
            for row in results["rows"]
            if all(row[key] == entry[key] for key in ("checkpoint", "detector", "group"))
        ]
        assert entry["mean"] == pytest.approx(np.mean(values))
        assert entry["std"] == pytest.approx(np.std(values, ddof=1))
    assert results["id"]["images"] == {"train": 541, "val": 109, "test": 433}


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_report_is_one_file_that_asks_no_host(done: Evaluation) -> None:
    text = done.report.read_text()
    page = Page(text)
    assert all(link.startswith("data:") for link in page.links)
    assert page.tags.count("script") == 1
    assert "@import" not in text
    assert "url(" not in text
    assert page.tags.count("template") == 5
    assert page.tags.count("svg") == (5 + 1) * 2 * 3  # the best detector's are there without the script, too
    assert page.tags.count("img") == 2 * 12 + 1
    assert f"torch {torch.__version__}" in " ".join(page.words)


def test_predictions_are_places_in_the_classes_of_the_results(done: Evaluation) -> None:
    labels = done.images.test.labels.numpy()
    for run in done.results.runs:
        predictions = done.predictions[run.checkpoint, run.name]
        assert np.mean(predictions[""] == labels) == pytest.approx(run.accuracy)
        assert {name: len(values) for name, values in predictions.items()} == {
            "": 433, "unknown-digits": 571, "textures": 400,
        }  # fmt: skip


def test_the_papers_table_lies_beside_the_figures(done: Evaluation) -> None:
    table = json.loads((done.report.parent / "results.json").read_text())["table"]
    assert table["sides"] == ["baseline", "+SIO"]
    assert [pair["checkpoints"] for pair in table["pairs"]] == [["baseline", "sio"]]
    assert table["pairs"][0]["alpha"] == 0.8
    assert [row["name"] for row in table["rows"]] == done.results.detectors
    assert (done.report.parent / "table.tex").read_text().count("toprule") == 1
    with (done.report.parent / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["far +SIO"]) == pytest.approx(100 * table["rows"][0]["cells"][3]["mean"], abs=1e-4)


def test_report_walks_back_to_the_commands_of_every_step(
    tiny_generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_generator, "generator")
    generate("diffusers", "generator", "synthetic", per_class=2, sampling={"steps": "1"}, classes=["one", "two"])
    train("digits", "sio", synthetic="synthetic", epochs=1, seeds=[4])
    done = evaluate(["sio"], "report", id="digits", ood=OOD, detectors=["msp"])
    text = " ".join(Page(done.report.read_text()).words)
    fitted = json.loads(Path("generator/training.json").read_text())["command"]
    lines = [
        fitted,
        "sio-data generate --generator diffusers --weights generator --per-class 2 --class one --class two "
        "--sampling steps=1 --out synthetic",
        "sio-data train --real digits --synthetic synthetic --alpha 0.8 --out sio --seeds 4 --epochs 1",
        "sio-data evaluate sio --id digits --ood near:unknown-digits=digits-unknown --ood far:textures=textures "
        "--detector msp --out report",
    ]
    assert [line.strip() for line in text.splitlines() if line.strip().startswith("sio-data ")] == lines


@pytest.fixture(scope="module")
def mixed_runs(tiny_runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs in one folder, the first by cross-entropy, the second by `godin`."""
    folder = tmp_path_factory.mktemp("mixed") / "mixed"
    shutil.copytree(tiny_runs[0] / "seed-0", folder / "seed-0")
    train("digits", folder.parent / "godin", method="godin", epochs=1, seeds=[1])
    (folder.parent / "godin/seed-1").rename(folder / "seed-1")
    return folder


def test_runs_of_different_methods_are_refused(mixed_runs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"seed-0 was trained by ce .*seed-1 by godin .*cannot share one"):
        evaluate([mixed_runs], tmp_path / "report", id="digits", ood=OOD, detectors=["msp", "godin"])
    assert not (tmp_path / "report").exists()


def test_a_detector_that_does_not_suit_the_first_run_is_shown_on_the_next(mixed_runs: Path, tmp_path: Path) -> None:
    runs = Path(shutil.copytree(mixed_runs, tmp_path / "runs"))
    for record in runs.glob("*/training.json"):
        record.unlink()  # so that nobody can tell that the methods differ
    done = evaluate([runs], tmp_path / "report", id="digits", ood=OOD, detectors=["godin", "knn"])
    assert [(one["run"], one["detector"]) for one in done.results.skipped] == [("seed-0", "godin")]
    text = " ".join(" ".join(Page(done.report.read_text()).words).split())
    assert text.count("without seed-0") == 2 + 9 * 2 + 2 * (1 + (done.results.best_detector("runs") == "godin"))
    assert "godin is left out on runs (seed-0): " in text
    only = evaluate([runs], tmp_path / "only", id="digits", ood=OOD, detectors=["godin"])
    assert "runs (seed-1), with godin, the detector" in " ".join(only.report.read_text().split())


def test_a_failure_leaves_the_earlier_report_whole(
    tiny_runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report"

    def again(detector: str) -> None:
        evaluate([tiny_runs[0] / "seed-0"], out, id="digits", ood=OOD, detectors=[detector])

    write_bytes = Path.write_bytes

    def on_a_full_disk(path: Path, data: bytes) -> int:
        if path.name.startswith(".table.tex"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, data)

    def broken(evaluation: Evaluation) -> str:
        raise ValueError("broken")

    again("msp")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert len(before) == 5
    with monkeypatch.context() as patch:
        patch.setattr("sio_data.detection.output_files.render_report", broken)
        with pytest.raises(ValueError, match="broken"):
            again("mls")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", on_a_full_disk)
        with pytest.raises(SioDataError, match=r"no space is left for .*report\. Free some, and evaluate again"):
            again("mls")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_results_json_takes_its_place_last(
    tiny_runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, target: (placed.append(target), replace(path, target))[1])
    evaluate([tiny_runs[0] / "seed-0"], tmp_path / "report", id="digits", ood=OOD, detectors=["msp"])
    ours = [path.name for path in placed if path.parent.name == "report"]
    assert len(ours) == 5
    assert ours[-1] == "results.json"


def test_markup_in_names_stays_text(tiny_runs: tuple[Path, Path], tmp_path: Path) -> None:
    done = evaluate(
        [tiny_runs[0]],
        tmp_path / "report",
        id="digits",
        ood=["near:<script>x</script>=digits-unknown"],
        detectors=["msp"],
    )
    assert Page(done.report.read_text()).tags.count("script") == 1


def test_an_earlier_report_is_replaced_a_strange_folder_is_not(tiny_runs: tuple[Path, Path], tmp_path: Path) -> None:
    for detector in ("msp", "mls"):
        evaluate([tiny_runs[0]], tmp_path / "report", id="digits", ood=OOD, detectors=[detector])
    assert json.loads((tmp_path / "report/results.json").read_text())["detectors"] == ["mls"]


def test_a_split_that_detectors_are_fitted_on_cannot_judge_them(tiny_runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not to be judged by it"):
        evaluate([tiny_runs[0]], tmp_path / "report", id="digits#train", ood=OOD)
    assert evaluate([tiny_runs[0]], tmp_path / "report", id="digits#test", ood=OOD).results.id["images"]["test"] == 433


def test_images_without_a_label_cannot_be_right_or_wrong(
    tiny_runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str, split: str, **options: object) -> ImageSet:
        images = load_source(name, split, **options)
        return dataclasses.replace(images, labels=images.labels * 0 - 1) if split == "test" else images

    monkeypatch.setattr("sio_data.detection.image_sets.load_source", load)
    with pytest.raises(ClassMapError, match="433 of 433 images have no label"):
        evaluate([tiny_runs[0]], tmp_path / "report", id="digits", ood=OOD)


@pytest.mark.parametrize("change", [{"settings": []}, {"synthetic": 5}, {"synthetic": "/etc"}, {"command": 3}, None])
def test_a_damaged_training_record_costs_only_its_lines(
    tiny_runs: tuple[Path, Path], tmp_path: Path, change: dict[str, object] | None
) -> None:
    run = Path(shutil.copytree(tiny_runs[1] / "seed-0", tmp_path / "run"))
    record = json.loads((run / "training.json").read_text())
    (run / "training.json").write_text("{" if change is None else json.dumps(record | change))
    done = evaluate([run], tmp_path / "report", id="digits", ood=OOD, detectors=["msp"])
    assert "sio-data evaluate" in done.report.read_text()


def damage_manifest(generator: Path) -> None:
    Path("synthetic/sio.json").write_text("{")


def make_another_set(generator: Path) -> None:
    shutil.rmtree("synthetic")
    generate("diffusers", str(generator), "synthetic", per_class=3, sampling={"steps": "1"})


@pytest.mark.parametrize("change", [damage_manifest, make_another_set])
def test_only_the_very_set_that_was_trained_on_is_shown(
    tiny_generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    generate("diffusers", str(tiny_generator), "synthetic", per_class=2, sampling={"steps": "1"})
    train("digits", "sio", synthetic="synthetic", epochs=1, seeds=[0])
    change(tiny_generator)
    page = Page(evaluate(["sio"], "report", id="digits", ood=OOD, detectors=["msp"]).report.read_text())
    assert page.tags.count("img") == 2 * 12
    assert "sio-data generate" not in " ".join(page.words)


def test_folders_that_are_no_runs_do_not_matter(tiny_runs: tuple[Path, Path], tmp_path: Path) -> None:
    home = Path(shutil.copytree(tiny_runs[0], tmp_path / "home"))
    shutil.copytree(home / "seed-0", home / "seed-0-old")
    done = evaluate([home], tmp_path / "report", id="digits", ood=OOD, detectors=["msp"])
    assert [run.name for run in done.results.runs] == ["seed-0", "seed-1"]
    with pytest.raises(InputError, match="can be given once"):
        evaluate([home, f"{home}/"], tmp_path / "report", id="digits", ood=OOD)


def test_parameters_of_detectors_are_read(tiny_runs: tuple[Path, Path], tmp_path: Path) -> None:
    done = evaluate([tiny_runs[0]], tmp_path / "report", id="digits", ood=OOD, detectors=["knn:k=1", "knn:k=100"])
    by_detector = {row.detector: row.auroc for row in done.results.rows if row.run == "seed-0" and row.group == "near"}
    assert by_detector["knn:k=1"] != by_detector["knn:k=100"]
    for text in ("knn:k", "knn:k=", "knn:k=x", "knn:=3"):
        with pytest.raises(InputError):
            evaluate([tiny_runs[0]], tmp_path / "report", id="digits", ood=OOD, detectors=[text])


def test_class_order_of_a_checkpoint_may_differ_classes_may_not(tiny_runs: tuple[Path, Path], tmp_path: Path) -> None:
    def with_names(name: str, change: object) -> Path:
        run = Path(shutil.copytree(tiny_runs[0] / "seed-0", tmp_path / name))
        config = json.loads((run / "config.json").read_text())
        config["class_names"] = change(config["class_names"])
        (run / "config.json").write_text(json.dumps(config))
        return run

    reversed_names = with_names("reversed", lambda names: names[::-1])
    done = evaluate([reversed_names], tmp_path / "r1", id="digits", ood=OOD, detectors=["msp"])
    assert done.results.runs[0].accuracy < 0.5  # its names are now wrong, and are believed
    labels = done.images.test.labels.numpy()
    assert np.mean(done.predictions["reversed", "reversed"][""] == labels) == done.results.runs[0].accuracy
    renamed = with_names("renamed", lambda names: ["naught", *names[1:]])
    with pytest.raises(ClassMapError, match="knows the classes naught; digits has zero in their place"):
        evaluate([renamed], tmp_path / "r2", id="digits", ood=OOD, detectors=["msp"])
    assert not (tmp_path / "r2").exists()


def test_of_many_classes_only_those_that_differ_are_named() -> None:
    checkpoints = object.__new__(Checkpoints)
    names = [f"class {number}" for number in range(1000)]
    with_others = [*names[:900], *(f"other {number}" for number in range(100))]
    checkpoints.classifiers = {Path("run"): Classifier("convnet", names, 8)}
    images = ImageSet(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64), with_others, "set")
    with pytest.raises(ClassMapError) as caught:
        checkpoints.check_classes(images)
    said = str(caught.value)
    assert "run knows the classes class 900, class 901" in said
    assert "class 909 and 90 more; set has other 0, other 1" in said
    assert "class 899" not in said
    assert len(said) < 500


def test_outputs_are_kept_under_the_hash_of_the_weights_that_gave_them(
    tiny_runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(tiny_runs[0] / "seed-0", tmp_path / "run"))
    weights = (run / "model.safetensors").read_bytes()
    others = (tiny_runs[0] / "seed-1/model.safetensors").read_bytes()
    load = evaluation.load_images

    def load_late(*args: object, **options: object) -> EvaluationImages:
        (run / "model.safetensors").write_bytes(others)  # a training goes on, after the checkpoint was loaded
        return load(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "load_images", load_late)
        first = evaluate([run], tmp_path / "one", id="digits", ood=OOD, detectors=["msp"]).results
    assert first.runs[0].weights == hashlib.sha256(weights).hexdigest()
    again = evaluate([run], tmp_path / "two", id="digits", ood=OOD, detectors=["msp"]).results
    assert again.runs[0].weights == hashlib.sha256(others).hexdigest()
    assert [row.auroc for row in again.rows] != [row.auroc for row in first.rows]


def test_a_checkpoint_of_nan_is_named_with_the_set(tiny_runs: tuple[Path, Path], tmp_path: Path) -> None:
    broken = Classifier.from_pretrained(tiny_runs[0] / "seed-0")
    with torch.no_grad():
        broken.head.bias[0] = float("nan")
    broken.save_pretrained(tmp_path / "broken")
    with pytest.raises(InputError, match=r"broken, on the training images: the logits hold NaN"):
        evaluate([tiny_runs[0] / "seed-0", tmp_path / "broken"], tmp_path / "report", id="digits", ood=OOD)


def test_a_detector_that_gives_nan_is_left_out_or_named(
    tiny_runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DETECTORS["msp"], "_score", lambda self, outputs: outputs.logits[:, 0] * float("nan"))
    for name in {*DETECTORS} - {"msp", "mls"}:
        monkeypatch.delitem(DETECTORS, name)
    run = tiny_runs[0] / "seed-0"
    done = evaluate([run], tmp_path / "report", id="digits", ood=OOD)
    assert {row.detector for row in done.results.rows} == {"mls"}
    assert [(one["detector"], one["reason"]) for one in done.results.skipped] == [
        ("msp", "msp gave NaN or infinite scores.")
    ]
    with pytest.raises(SioDataError, match=r"seed-0: msp gave NaN or infinite scores"):
        evaluate([run], tmp_path / "strict", id="digits", ood=OOD, detectors=["msp", "mls"])


@pytest.mark.parametrize("ood", ["digits-unknown", "mid:a=b", "near:=b", "near:a=", "near:a"])
def test_what_names_no_ood_set_is_refused(tiny_runs: tuple[Path, Path], tmp_path: Path, ood: str) -> None:
    with pytest.raises(InputError, match="not of the form near:NAME=SOURCE"):
        evaluate([tiny_runs[0]], tmp_path / "report", id="digits", ood=[ood])
