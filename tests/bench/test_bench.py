"""The bench itself, on the smallest fleet: everybody's work is checked on the hosts, and the figures are there."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from .contestants import CHECKOUT


@pytest.mark.lab
def test_a_small_bench_runs_and_writes_its_page(tmp_path):
    words = ["--sizes", "2", "--runs", "1", "--rtt", "2", "--only", "gapless", "--write", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "tests.bench", *words], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    ours = json.loads((tmp_path / "speed.json").read_text())["sizes"]["2"]["gapless"]
    assert ours["runs"][0]["logins"] == 1.0
    assert ours["runs"][0]["channels"] >= 1
    assert ours["memory"] > 10
    assert "### 2 hosts" in (tmp_path / "speed.md").read_text()
    assert (tmp_path / "speed.svg").read_text().startswith("<svg ")
