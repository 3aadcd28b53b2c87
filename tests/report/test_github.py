"""What GitHub's runner is told: groups, annotations, a page and outputs; and nothing that a host has made up."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fabfile.errors import RunFailed, safe
from fabfile.report.github import Actions, summary_page, tell_github
from tests.report import RUNS, events, records

COMMAND = re.compile(r"^\s*::(\w[\w-]*)(?: ([^\n]*?))?::(.*)$", re.MULTILINE)  # what the runner obeys


@pytest.fixture(autouse=True)
def in_a_workflow(monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")


def shown(run: str, capsys: Any, *more: dict[str, Any]) -> str:
    face = Actions()
    for record in [*records(run)[:-1], *more]:
        face.show(record) if "event" in record else face.say(record["text"])
    face.close()
    return str(capsys.readouterr().out)


def test_each_phase_is_a_group_and_the_verdict_stands_outside(capsys):
    out = shown("good", capsys)
    names = [(name, data) for name, _, data in COMMAND.findall(out)]
    assert [data for name, data in names if name == "group"] == [
        "claim: lock, facts", "build: 0005-ad4ac5e", "migrate: npx prisma migrate deploy on lab1", "reload: 0005-ad4ac5e",
        "finish: look again, history, unlock, prune",
    ]
    assert [name for name, _ in names] == ["group", "endgroup"] * 5
    assert out.rindex("::endgroup::") < out.index("probes of this run: 431 requests sent, 0 lost")
    assert re.search(r"^00:12 lab1     drained in 0\.\d s$", out, re.MULTILINE)


def test_a_host_that_fails_gets_one_annotation(capsys):
    out = shown("taken back", capsys)
    found = [(given, data) for name, given, data in COMMAND.findall(out) if name == "error"]
    assert found == [("title=lab2 · reload", "REFUSED: health: GET /health answered 500, want 200 (for 6000 ms)")]


def test_five_annotations_are_the_most(capsys):
    failing = [{"event": "failed", "why": "x", "lines": [], "at": 1.0, "phase": "reload", "host": f"h{n}"} for n in range(20)]
    assert shown("good", capsys, *failing).count("::error ") == 5


def as_the_runner_compares(text: str) -> str:
    """Leave out characters without width, as .NET does when it looks for a beginning by the rules of a language."""
    return "".join(character for character in text if unicodedata.category(character) != "Cf")


ORDERS = ["::add-mask::x", "  ::set-output name=a::b", "\t::stop-commands::x", "a\n::error::x", "\u200b::error::x", ":\u200b:error::x",
          "\xa0::group::x", "\r::error::x", "\x1b[0m::error::x", "::::error::x"]


@pytest.mark.parametrize("text", [*ORDERS, "before ##[error]x", "##\u200b[group]x", "a\n##[add-path]/tmp"])
def test_nothing_that_a_host_says_is_an_order(text, capsys):
    failed = {"event": "failed", "why": text, "lines": [text], "at": 40.0, "phase": "reload", "host": "lab1"}
    note = {"event": "note", "text": text, "at": 40.0, "phase": "reload", "host": "lab1"}
    out = as_the_runner_compares(shown("good", capsys, failed, note, {"at": 41.0, "text": text}))
    obeyed = [(name, data) for name, _, data in COMMAND.findall(out) if name not in ("group", "endgroup")]
    assert len(obeyed) == 1 and obeyed[0][0] == "error", out
    assert "\n" not in obeyed[0][1]
    assert "##[" not in out
    for message in map(as_the_runner_compares, (safe(text), str(RunFailed(text).message))):  # what fab itself prints at the end, past every face
        assert not COMMAND.search(message)
        assert "##[" not in message


def test_elsewhere_nothing_is_changed(monkeypatch):
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert safe("::1 ##[x]") == "::1 ##[x]"


def test_what_is_escaped_comes_back_whole(capsys):
    failed = {"event": "failed", "why": "100% of\nthis: a, b", "lines": [], "at": 40.0, "phase": "reload", "host": "a:b,c%d"}
    out = shown("good", capsys, failed)
    assert "::error title=a%3Ab%2Cc%25d · reload::REFUSED: 100%25 of%0Athis: a, b\n" in out


# ---------------------------------------------------------------------- page and outputs


@dataclass(frozen=True)
class Over:
    folder: Path
    summary: dict[str, Any]


def over(run: str, place: Path, **changes: Any) -> Over:
    """Give a run that is over as the tellers get it: all is kept but its summary."""
    (place / "run.jsonl").write_text("\n".join(line for line in RUNS[run].read_text().splitlines() if '"event": "summary"' not in line))
    return Over(place, {**events(run)[-1], **changes})


@pytest.mark.parametrize("run, state, lost", [("good", "done", 0), ("taken back", "failed", 0)])
def test_page_and_outputs_are_written(run, state, lost, tmp_path, monkeypatch):
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
        monkeypatch.setenv(name, str(tmp_path / name))
        (tmp_path / name).write_text("before\n")
    assert tell_github(over(run, tmp_path)) == ""
    outputs = (tmp_path / "GITHUB_OUTPUT").read_text()
    found = {name: value for name, _, value in re.findall(r"^(\w+)<<(\S+)\n(.*?)\n\2$", outputs, re.MULTILINE | re.DOTALL)}
    assert found == {"release": events(run)[-1]["release"], "status": state, "sent": str(events(run)[-1]["requests"]["sent"]), "lost": "0"}
    page = (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    assert page.startswith("before\n### deploy lab ")
    assert f"lost: **{lost}**" in page
    assert page.count("    section lab") == 3
    bars = re.findall(r"^    [\w ]+ :(done|crit|active), (\d+), (\d+)$", page, re.MULTILINE)
    assert len(bars) > 10
    assert all(int(begin) < int(end) for _, begin, end in bars)
    assert any(kind == "crit" for kind, *_ in bars) == (run == "taken back")


def test_elsewhere_nothing_is_written(tmp_path, monkeypatch):
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    assert tell_github(over("good", tmp_path)) == ""
    assert [file.name for file in tmp_path.iterdir()] == ["run.jsonl"]


def test_no_value_begins_another_output(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "out"))
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    tell_github(over("good", tmp_path, release="x\nend\nstatus<<end\nbad"))
    text = (tmp_path / "out").read_text()
    mark = text.splitlines()[0].removeprefix("release<<")
    assert text.startswith(f"release<<{mark}\nx\nend\nstatus<<end\nbad\n{mark}\n")
    assert len(mark) > 16


def test_no_name_is_markdown_or_mermaid(tmp_path):
    first, *rest = events("good")
    name = "a|b<img src=x>`c`:d\n```"
    changed = [{**event, "host": name if event["host"] == "lab1" else event["host"]} for event in rest]
    page = summary_page(events("good")[-1], [first | {"groups": {"lab": [name]}}, *changed])
    assert "<img" not in page
    assert page.count("```") == 2
    assert next(line for line in page.splitlines() if line.startswith("| a")).count(" | ") == 2
