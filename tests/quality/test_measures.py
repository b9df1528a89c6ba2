import json
from dataclasses import replace
from pathlib import Path

import pytest

from sio_data.errors import InputError
from sio_data.quality.findings import (
    AccuracyScore,
    Agreement,
    Distances,
    Duplicates,
    NearCopies,
    NearCopy,
    Network,
    RealImages,
    Repeat,
)  # fmt: skip
from sio_data.quality.measures import Measures

MEASURES = Measures(
    set_digest="0" * 64,
    images=2000,
    image_size=32,
    real=RealImages("cifar10", "1" * 64, 45000, "test", 500),
    features=Network("runs/seed-0", "abcdef0123456789"),
    distances=Distances(512, 12.3456, 0.00123, 0.00005, 100, 1000, 0.7, 0.6, 0.9, 0.8, 5, 2000),
    duplicates=Duplicates(1, 0, (Repeat("000000007", "000000003"),)),
    near_copies=NearCopies(20, 1, 0.5, 50, (NearCopy("000000007", 12, 0.25),)),
    hash_copies=NearCopies(4, 2, 4.0, 0, (NearCopy("000000009", 3, 2.0),)),
    agreement=Agreement(
        Network("runs/seed-0", "abcdef0123456789"), 0.9, {"cat": 0.8, "dog": None, "owl": 1.0}, 0.95,
        ("cat", "dog", "owl"), ((1, 2, 3), (0, 0, 0), (4, 5, 6)), {"cat": "dog", "dog": "cat"},
    ),
    accuracy_score=AccuracyScore(0.85, 1000, 500, "convnet", 60, 0),
    seed=0,
    versions={"torch": "2"},
)  # fmt: skip


def test_json_gives_back_the_measures(tmp_path: Path) -> None:
    for measures in (MEASURES, replace(MEASURES, agreement=None, accuracy_score=None)):
        measures.write(tmp_path / "m.json")
        assert Measures.read(tmp_path / "m.json") == measures


def test_rows_name_each_measure_with_its_source_and_each_value_with_its_number() -> None:
    rows = dict(MEASURES.rows())
    assert rows["FID (Heusel et al. 2017)"] == "12.35 (2,000 synthetic, 45,000 real images)"
    assert rows["KID (Bińkowski et al. 2018)"] == "0.00123 ± 5e-05 (100 subsets of 1,000 of each)"
    assert "0.700, 0.600 (2,000 of each" in rows["precision, recall (Kynkäänniemi et al. 2019)"]
    assert rows["in the features of"] == "runs/seed-0 (abcdef012345), 512 numbers"
    copies = [value for name, value in rows.items() if name.startswith("near-copies")]
    assert copies == [
        "20 of 2,000 (1.00 %); of 500 real test images 0.20 %", "4 of 2,000 (0.20 %); of 500 real test images 0.40 %",
    ]  # fmt: skip
    assert rows["classes it agrees with least"] == "cat 80.00 %, owl 100.00 %"
    assert rows["WRONG CLASS ORDER"] == "what is labelled cat looks like dog, what is labelled dog looks like cat"
    assert rows["classification accuracy score (Ravuri & Vinyals 2019)"].startswith(
        "85.00 % of 500 real test images, after 60 epochs on 1,000 of 2,000 synthetic ones alone"
    )
    assert "WRONG CLASS ORDER" not in dict(replace(MEASURES, agreement=None).rows())


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("format",), "other"), (("images",), 0), (("images",), "3"), (("images",), True), (("more",), 1),
        (("real",), None), (("real", "held_out_images"), 0), (("distances", "fid"), float("inf")),
        (("distances", "fid"), "<b>"), (("distances", "fid"), 10**400), (("duplicates", "repeats"), {}),
        (("duplicates", "repeats"), [1]), (("agreement", "per_class"), []), (("agreement", "confusion"), [["1"]]),
        (("agreement", "suspected"), {"cat": 1}), (("near_copies", "listed"), [{"key": "1", "real": 1}]),
        (("versions",), None), (("near_copies", "count"), 10**400), (("near_copies", "count"), -1),
        (("near_copies", "count"), 2001), (("hash_copies", "held_out"), 501), (("duplicates", "inside"), 2001),
        (("images",), 10**400), (("image_size",), 0), (("agreement", "accuracy"), 1.5),
        (("agreement", "per_class", "cat"), -0.1), (("agreement", "held_out"), 2), (("distances", "recall"), 1.01),
        (("distances", "fid"), -1), (("accuracy_score", "accuracy"), 1e300), (("accuracy_score", "trained_on"), 2001),
        (("hash_copies", "bound"), 65), (("features", "name"), "\ud800"), (("versions", "\udfff"), "1"),
    ],
)  # fmt: skip
def test_what_is_not_sound_is_refused(place: tuple[str, ...], value: object, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    MEASURES.write(path)
    whole = json.loads(path.read_text())
    inner = whole
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    path.write_text(json.dumps(whole))
    with pytest.raises(InputError):
        Measures.read(path)


def test_reading_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    code = "import sys; import sio_data.quality.measures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
