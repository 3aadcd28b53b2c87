"""
What a GitHub workflow is shown: groups and annotations in its log; and after the run a summary page, and outputs for later steps.

Commands to the runner are lines of ours alone: errors.safe() takes the meaning from whatever else looks like one.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ..errors import safe
from .board import Board, Cell
from .plain import Plain
from .stream import Event
from .telling import is_bad, told
from .terminal import write

MOST_ANNOTATED = 5  # GitHub keeps ten per step, of which some are its own
STATES = {"new": "runs the new release", "old": "went back", "untouched": "was not changed", "unseen": "new, but clients can't reach it",
          "doubted": "new, but a hook says no",
          "unknown": "UNKNOWN"}


class Actions(Plain):
    """Print what the plain face prints, in a group for each phase, with an annotation for each of the first hosts that fail."""

    def __init__(self, verbose: bool = False) -> None:
        super().__init__(verbose)
        self._grouped = False
        self._annotated: set[str] = set()

    def show(self, event: Event) -> None:
        if event["event"] == "phase" and not event["host"]:
            self._ungroup()
            write(f"::group::{_data(event['phase'])}: {_data(event['what'])}\n")
            self._grouped = True
            return
        super().show(event)
        if is_bad(event):
            self._annotate(event["host"], event)

    def say(self, text: str) -> None:
        self._ungroup()  # what is said to people must not be folded away
        super().say(text)

    def close(self) -> None:
        self._ungroup()

    def _ungroup(self) -> None:
        if self._grouped:
            write("::endgroup::\n")
        self._grouped = False

    def _annotate(self, host: str, event: Event) -> None:
        if host in self._annotated or len(self._annotated) >= MOST_ANNOTATED:
            return
        self._annotated.add(host)
        text = told(event["phase"], "", event, verbose=True).strip()
        write(f"::error title={_property(host)} · {_property(event['phase'])}::{_data(text)}\n")


def _data(text: object) -> str:
    return safe(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: object) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


# ---------------------------------------------------------------------- after the run


class Over(Protocol):
    """Name what is read here of a run that is over."""

    @property
    def folder(self) -> Path: ...

    @property
    def summary(self) -> Mapping[str, Any]: ...


def tell_github(over: Over) -> str:
    """Write summary page and outputs into the files that the runner names; elsewhere nothing."""
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        _append(page, summary_page(over.summary, _events(over.folder)))
    if outputs := os.environ.get("GITHUB_OUTPUT"):
        _append(outputs, "".join(_output(name, value) for name, value in _outputs(over.summary).items()))
    return ""


def _append(file: str, text: str) -> None:
    with open(file, "a", encoding="utf-8") as opened:
        opened.write(text)


def _events(folder: Path) -> list[Event]:
    lines = (folder / "run.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(json.loads, lines) if "event" in record]


def _outputs(summary: Mapping[str, Any]) -> dict[str, object]:
    counted = summary["requests"] or {}
    return {"release": summary["release"], "status": summary["outcome"], "sent": counted.get("sent", ""), "lost": counted.get("lost", "")}


def _output(name: str, value: object) -> str:
    """Give an output its own end mark, which nobody can guess: no value can end itself and begin another."""
    mark = f"end-{secrets.token_hex(8)}"
    return f"{name}<<{mark}\n{value}\n{mark}\n"


def summary_page(summary: Mapping[str, Any], events: Iterable[Event]) -> str:
    """Write a page in Markdown: outcome, hosts, requests, and the phases of each host as a picture."""
    board = Board()
    for event in events:
        board.take(event)
    release = f" {_cell(summary['release'])}" if summary["release"] else ""
    lines = [f"### {_cell(summary['verb'])} {_cell(board.run.get('selector', ''))}{release}: {_cell(summary['outcome'])}", ""]
    lines += ["| host | state | release |", "|---|---|---|", *(_row(host, summary["hosts"].get(host), board) for host in board.hosts), ""]
    lines += [_requests(summary["requests"]), "", *_gantt(board)]
    return "\n".join([*lines, ""])


def _row(host: str, end: Mapping[str, Any] | None, board: Board) -> str:
    state = STATES.get(str(end["state"]), str(end["state"])) if end else "was not touched"
    state += f"; OUT OF ROTATION: {end['out_of_rotation']}" if end and end["out_of_rotation"] else ""
    return f"| {_cell(host)} | {_cell(state)} | {_cell(board.runs.get(host, ''))} |"


def _requests(counted: Mapping[str, Any] | None) -> str:
    if not counted:
        return "Requests: not measured."
    gap = "" if counted["longest_gap"] is None else f", longest gap {counted['longest_gap']:.2f} s"
    return f"Requests sent: **{counted['sent']}**, lost: **{counted['lost']}**{gap}."


def _cell(text: object) -> str:
    """Take from a text what Markdown and HTML would read in it."""
    plain = " ".join(safe(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|#~@])", r"\\\1", plain)


def _gantt(board: Board) -> list[str]:
    """Draw each host's phases as Mermaid does it; times are ms since the run began."""
    spans = board.spans()
    if not spans:
        return []
    lines = ["```mermaid", "gantt", "    dateFormat x", "    axisFormat %M:%S", "    todayMarker off"]
    for host in board.hosts:
        mine = [span for span in spans if span.host == host]
        lines += [f"    section {_word(host)}", *(_bar(span) for span in mine)] if mine else []
    return [*lines, "```"]


def _bar(span: Cell) -> str:
    kind = {"failed": "crit", "ok": "done"}.get(span.state, "active")
    return f"    {_word(span.column)} :{kind}, {span.began * 1000:.0f}, {(span.ended or span.began) * 1000:.0f}"


def _word(text: str) -> str:
    """Leave what Mermaid can't take for syntax."""
    return re.sub(r"[^A-Za-z0-9._ -]", "_", text)
