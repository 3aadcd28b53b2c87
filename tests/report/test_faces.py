"""Which face is shown to whom; and that whoever reads along may leave, or never have been there."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fabfile.errors import UsageError
from fabfile.report import faces
from tests.report import RUNS, documented, events

HOME = Path(__file__).parent.parent.parent
COMMON = {"event", "at", "at_host", "phase", "host"}
ONLY_LOOKS = {  # rooms, and scripts for a host, that no run has
    "look", "begin", "ask", "byhand", "doctor", "envfile", "outlook", "answers", "execute", "lines", "logs", "monit", "passed", "running", "tails", "writers",
}
LOOKS = {"past", "free", "server", "nothing", "traffic", "commit", "between", "unknown", "past_run", "plan", "exit"}  # answers to a look, a recovery or the transport, and a stand-in: no part of a run's stream


@pytest.fixture
def place(monkeypatch):
    """Make up where we are: a terminal or none, and the environment."""
    def make(terminal: bool, **environment: str) -> None:
        for name in ("CI", "GITHUB_ACTIONS", "NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TERM", "xterm")
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    return make


@pytest.mark.parametrize("terminal, environment, asked, given", [
    (True, {}, "", "live"), (False, {}, "", "plain"), (True, {"CI": "true"}, "", "plain"), (True, {"TERM": "dumb"}, "", "plain"),
    (True, {}, "plain", "plain"), (True, {}, "json", "json"), (False, {}, "live", "plain"), (True, {"TERM": "dumb"}, "live", "plain"),
    (True, {"CI": "true"}, "live", "live"), (False, {"CI": "true", "GITHUB_ACTIONS": "true"}, "", "github"),
    (False, {"GITHUB_ACTIONS": "true"}, "json", "json"), (False, {"GITHUB_ACTIONS": "true"}, "plain", "plain"),
])
def test_the_face_fits_the_place(place, terminal, environment, asked, given):
    place(terminal, **environment)
    assert faces.chosen(asked) == given


def test_without_rich_it_is_plain_and_live_says_what_to_install(place, monkeypatch):
    place(True)
    monkeypatch.setattr(faces, "find_spec", lambda name: None)
    assert faces.chosen("") == "plain"
    with pytest.raises(UsageError, match=r"pip install 'gapless\[pretty]'"):
        faces.chosen("live")


def test_a_closed_stdout_is_no_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert faces.chosen("") in ("plain", "github")


def test_only_the_live_face_imports_rich(monkeypatch):
    found = {file.name for file in (HOME / "fabfile").rglob("*.py") if re.search(r"^\s*(from|import) rich\b", file.read_text(), re.MULTILINE)}
    assert found == {"live.py"}
    assert importlib.util.find_spec("rich")


@pytest.mark.parametrize("format", ["plain", "json", "github"])
@pytest.mark.parametrize("gone", [">&-", "2>&-", ">&- 2>&-", "| head -1", "2>&1 | head -1", "2>&1 >/dev/full"])
def test_whoever_leaves_ends_no_run(tmp_path, format, gone):
    given = "" if format == "github" else format
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HOME), "HOME": str(tmp_path), **({"GITHUB_ACTIONS": "true"} if format == "github" else {})}
    command = f"{{ {sys.executable} -m tests.report.replay 'taken back' 1000 {given}; echo $? >code; }} {gone}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert (tmp_path / "replayed").exists(), done.stderr
    assert ((tmp_path / "code").read_text(), done.stderr) == ("0\n", "")


def test_json_is_one_object_a_line_from_run_to_summary(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(HOME)}
    out = subprocess.run([sys.executable, "-m", "tests.report.replay", "good", "1000", "json"], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    told = [json.loads(line) for line in out.stdout.splitlines()]
    assert [(told[place]["event"], told[place]["schema"]) for place in (0, -1)] == [("run", 1), ("summary", 1)]


@pytest.mark.parametrize("run", RUNS)
def test_each_event_of_a_real_run_is_documented_with_its_fields(run):
    known = documented()
    for event in events(run):
        assert set(event) - COMMON <= known.get(event["event"], set()), event


def test_each_event_that_the_code_can_tell_is_documented():
    files = [file for file in (HOME / "fabfile").rglob("*") if file.suffix in (".py", ".cjs") and not ONLY_LOOKS & {file.parent.name, file.stem}]
    text = "\n".join(file.read_text() for file in files)
    told = set(re.findall(r"""event\\?["']: ?\\?["'](\w+)|\.write\('(\w+)'""", text))
    kinds = {one or other for one, other in told} - LOOKS
    assert {"worker", "drained", "waiting", "held", "note"} <= kinds  # it does find them
    assert kinds - set(documented()) == set()
