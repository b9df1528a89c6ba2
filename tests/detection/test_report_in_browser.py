"""The report in a real browser: no console error, no request to any host."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from sio_data import evaluate

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
def test_report_opens_without_an_error_or_a_request(tiny_runs: tuple[Path, Path], tmp_path: Path) -> None:
    ood = ["near:unknown-digits=digits-unknown", "far:textures=textures"]
    report = evaluate(tiny_runs, tmp_path / "report", id="digits", ood=ood).report
    log = tmp_path / "net.json"
    result = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}",
            "--enable-logging=stderr", "--v=0", f"--log-net-log={log}", "--dump-dom", report.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "Out-of-distribution detection on digits" in result.stdout
    console = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    assert console == []
    events = json.loads(log.read_text())["events"]
    urls = {event["params"]["url"] for event in events if "url" in event.get("params", {})}
    asked = {url for url in urls if not url.startswith(("data:", "file:", "chrome", "about:"))}
    assert {url for url in asked if "google" not in url} == set()  # what the browser itself asks its maker is its own
