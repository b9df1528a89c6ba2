import json
import subprocess
import sys
from pathlib import Path

import pytest

from sio_data import generate
from sio_data.errors import InputError
from tests.conftest import BACKEND, snapshot
from tests.test_generation import ARGUMENTS


def test_a_killed_actor_loses_no_finished_shard_and_its_own_is_made_again(tiny_generator: Path, tmp_path: Path) -> None:
    arguments = {"per_class": 40, "shard_size": 20, "batch_size": 4, "sampling": {"steps": "20"}}
    script = Path(__file__).with_name("kill_a_ray_worker.py")
    result = subprocess.run(
        [sys.executable, script, str(tiny_generator), str(tmp_path / "ray"), json.dumps(arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    happened = json.loads(result.stdout.splitlines()[-1])
    assert happened["killed"] >= 1
    assert 1 <= len(happened["finished"]) < 12
    assert (happened["complete"], happened["made"], happened["kept"]) == (True, 240, True)
    generate(BACKEND, str(tiny_generator), tmp_path / "local", **arguments)
    assert snapshot(tmp_path / "ray") == snapshot(tmp_path / "local")


def test_without_ray_it_says_what_to_install(
    tiny_generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'sio-data\[ray\]'"):
        generate(BACKEND, str(tiny_generator), tmp_path / "set", engine="ray", **ARGUMENTS)
    assert not (tmp_path / "set").exists()


def test_a_cluster_that_does_not_answer_is_refused_at_once(tiny_generator: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no Ray cluster answers at '127\.0\.0\.1:1'"):
        generate(
            BACKEND, str(tiny_generator), tmp_path / "set", engine="ray", ray_address="127.0.0.1:1", **ARGUMENTS
        )  # fmt: skip
    assert not (tmp_path / "set").exists()
