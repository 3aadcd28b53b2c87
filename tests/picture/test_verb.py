"""`fab report`: which run, where its picture is, and what is said where there is none; and the one after each run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fabfile.inventory.values import Targets
from fabfile.run.afterwards import Ended, tell
from tests.picture.recording import FOLDER, recorded

HOME = Path(__file__).parents[2]
FIRST, LAST = "20260101-120000-aaaaaa", "20260102-120000-bbbbbb"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Give a state directory with two runs in it."""
    for run, name in ((FIRST, "good"), (LAST, "throws")):
        (tmp_path / "gapless" / run).mkdir(parents=True)
        shutil.copy(FOLDER / f"{name}.jsonl", tmp_path / "gapless" / run / "run.jsonl")
    return tmp_path


def say(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-c", "from fabric.main import program; program.run()", "-r", str(HOME), "report", *words]
    environment = {**os.environ, "XDG_STATE_HOME": str(state), "HOME": str(state)}
    done = subprocess.run(run, cwd=HOME, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in done.stdout + done.stderr
    return done


def test_it_draws_the_last_run_or_the_one_that_is_named(state):
    for words, run, headline in (((), LAST, "failed: the fleet is safe on the old release"), (("--run", FIRST), FIRST, "done")):
        done = say(state, *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"deploy lab: {headline}\nreport: ~/gapless/{run}/report.html\n"
        assert "<svg" in (state / "gapless" / run / "report.html").read_text()


def test_a_run_that_is_not_known_is_refused_with_those_that_are(state):
    done = say(state, "--run", "20260101")
    assert done.returncode == 2
    assert done.stderr == f"--run 20260101: no such run on this machine; the newest are:\n  {LAST}\n  {FIRST}\n"
    assert "no run has begun on this machine" in say(state / "nowhere").stderr


def test_programs_are_told_in_json(state):
    lines = [json.loads(line) for line in say(state, "--format", "json").stdout.splitlines()]
    assert [line["event"] for line in lines] == ["report", "summary"]
    assert lines[0]["file"] == str(state / "gapless" / LAST / "report.html")


def test_a_run_of_another_version_is_drawn_and_said_to_be(state):
    file = state / "gapless" / LAST / "run.jsonl"
    file.write_text(file.read_text().replace('"schema": 1', '"schema": 9', 1))
    done = say(state)
    assert (done.returncode, "another version (schema 9" in done.stdout) == (0, True)


def test_after_a_run_it_is_drawn_with_the_summary_that_is_still_to_be_written(tmp_path):
    events = recorded("good")
    (tmp_path / "run.jsonl").write_text("\n".join(map(json.dumps, events[:-1])))
    said: list[str] = []
    tell(Ended(tmp_path, Targets("lab", (), ()), events[-1]), said.append)
    assert said == [f"report: {tmp_path}/report.html"]
    assert "done · exit 0" in (tmp_path / "report.html").read_text()


def test_what_can_not_be_drawn_is_a_note_and_no_more(tmp_path):
    said: list[str] = []
    tell(Ended(tmp_path, Targets("lab", (), ()), {"exit": 0}), said.append)
    assert len(said) == 1
    assert said[0].startswith("note: report: ")
