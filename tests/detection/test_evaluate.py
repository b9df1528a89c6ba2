import csv
import dataclasses
import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from sio_data import Classifier, evaluate, generate, load_source, train
from sio_data.detection import Outputs, create, ood_metrics
from sio_data.detection.evaluation import Evaluation
from sio_data.errors import ClassMapError, InputError
from sio_data.image_set import ImageSet
from sio_data.training.checkpoint import Classifier as Model

OOD = ["near:unknown-digits=digits-unknown", "far:textures=textures"]


@pytest.fixture(scope="module")
def done(tiny_runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    return evaluate(tiny_runs, tmp_path_factory.mktemp("report") / "report", id="digits", ood=OOD)


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
    features = Model.features
    monkeypatch.setattr(Model, "features", lambda self, images: (seen.append(len(images)), features(self, images))[1])
    evaluate([tiny_runs[0] / "seed-0"], tmp_path / "report", id="digits", ood=OOD)
    assert sum(seen) == 541 + 109 + 433 + 571 + 400


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


def test_report_is_one_file_that_shows_the_figures_of_the_results(done: Evaluation, tiny_set: Path) -> None:
    text = done.report.read_text()
    page = Page(text)
    assert all(link.startswith("data:") for link in page.links)
    assert "script" not in page.tags
    assert "@import" not in text
    assert "url(" not in text
    shown = " ".join(" ".join(page.words).split())
    for checkpoint in ("baseline", "sio"):
        for detector in done.results.detectors:
            for group in ("near", "far"):
                assert f"{100 * done.results.spread(checkpoint, detector, group, 'auroc').mean:.2f}" in shown
    assert f"torch {torch.__version__}" in shown
    bold = [
        abs(one.mean - two.mean) > max(one.std, two.std)
        for metric in ("auroc", "fpr95")
        for detector in done.results.detectors
        for group in ("near", "far")
        for one, two in [[done.results.spread(name, detector, group, metric) for name in ("baseline", "sio")]]
    ]
    accuracies = [done.results.accuracy(name) for name in ("baseline", "sio")]
    bold.append(abs(accuracies[0].mean - accuracies[1].mean) > max(one.std for one in accuracies))
    assert text.count(' clear">') == sum(bold)
    assert page.tags.count("svg") == 2 * 5 * 3
    assert page.tags.count("img") == 1


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
        "--out report --detector msp",
    ]
    assert [line.strip() for line in text.splitlines() if line.strip().startswith("sio-data ")] == lines


def test_differences_are_marked_by_their_direction(done: Evaluation) -> None:
    from sio_data.detection.report import _cell
    from sio_data.detection.results import Spread

    low, high = Spread(0.90, 0.01, 3), Spread(0.95, 0.02, 3)
    assert _cell(high, low, better=1) == {
        "mean": "95.00", "std": "2.00", "difference": "+5.00", "mark": "better", "beyond_spread": True,
    }  # fmt: skip
    assert _cell(high, low, better=-1)["mark"] == "worse"
    assert _cell(low, low, better=1)["difference"] is None
    assert _cell(Spread(0.905, 0.01, 3), low, better=1)["beyond_spread"] is False


def test_markup_in_names_stays_text(tiny_runs: tuple[Path, Path], tmp_path: Path) -> None:
    done = evaluate(
        [tiny_runs[0]],
        tmp_path / "report",
        id="digits",
        ood=["near:<script>x</script>=digits-unknown"],
        detectors=["msp"],
    )
    assert "script" not in Page(done.report.read_text()).tags


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

    monkeypatch.setattr("sio_data.detection.evaluation.load_source", load)
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
    assert "img" not in page.tags
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
    renamed = with_names("renamed", lambda names: ["naught", *names[1:]])
    with pytest.raises(ClassMapError, match=r"knows the classes naught, .*; digits has zero"):
        evaluate([renamed], tmp_path / "r2", id="digits", ood=OOD, detectors=["msp"])
    assert not (tmp_path / "r2").exists()


@pytest.mark.parametrize("ood", ["digits-unknown", "mid:a=b", "near:=b", "near:a=", "near:a"])
def test_what_names_no_ood_set_is_refused(tiny_runs: tuple[Path, Path], tmp_path: Path, ood: str) -> None:
    with pytest.raises(InputError, match="not of the form near:NAME=SOURCE"):
        evaluate([tiny_runs[0]], tmp_path / "report", id="digits", ood=[ood])
