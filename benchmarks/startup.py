"""How long `sio-data --help` takes, against an interpreter that does nothing. Prints a table and JSON.

Run by `make bench`. Goal: the median under 0.5 s.
"""

import json
import statistics
import subprocess
import sys
import time

RUNS = 15
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "sio-data --help": ["-m", "sio_data", "--help"],
    "sio-data generate --help": ["-m", "sio_data", "generate", "--help"],
    "import sio_data": ["-c", "import sio_data"],
}


def seconds(words: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS + 1):  # in turn, so that a drift of the machine meets all alike; the first round warms up
        for name, words in COMMANDS.items():
            times[name].append(seconds(words))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    bare = medians["python -c pass"]
    print(f"{'':28}{'median s':>10}{'ratio':>8}")
    for name, median in medians.items():
        print(f"{name:28}{median:>10.3f}{median / bare:>8.1f}")
    print(json.dumps({name: {"median_s": median, "ratio": median / bare} for name, median in medians.items()}))


if __name__ == "__main__":
    main()
