"""Make a set with two Ray actors, kill one of them in mid-run, and say what happened.

Run by test_ray.py in a process of its own, so that the Ray cluster ends with it. The actor is killed as soon as a shard
is finished; shards that were finished then must not be made again.
"""

import json
import os
import sys
import time
from pathlib import Path
from threading import Thread

import psutil

os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"

from sio_data import generate


def finished(folder: Path) -> dict[str, int]:
    """When each shard that has a record was written."""
    shards = [path.stem for path in (folder / ".records").glob("train-*.json")]
    return {shard: (folder / "data" / f"{shard}.tar").stat().st_mtime_ns for shard in shards}


def kill_one(folder: Path, happened: dict[str, object]) -> None:
    parent = psutil.Process()
    while not finished(folder):
        time.sleep(0.01)
    happened["finished"] = finished(folder)
    actors = [child for child in parent.children(recursive=True) if "ShardMaker" in " ".join(child.cmdline())]
    actors[0].kill()
    happened["killed"] = len(actors)


def main() -> None:
    weights, folder = sys.argv[1], Path(sys.argv[2])
    happened: dict[str, object] = {"killed": 0}
    killer = Thread(target=kill_one, args=(folder, happened), daemon=True)
    killer.start()
    arguments = json.loads(sys.argv[3])
    done = generate("diffusers", weights, folder, engine="ray", workers=2, **arguments)
    killer.join(60)
    before = happened["finished"]
    shards = {path.stem: path.stat().st_mtime_ns for path in (folder / "data").glob("train-*.tar")}
    kept = all(shards[shard] == moment for shard, moment in before.items())
    sys.stdout.write(json.dumps({**happened, "complete": done.complete, "made": done.made, "kept": kept}))


main()
