"""Write the report of a run: one HTML file that needs nothing else, made from its events alone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from .drawing import drawing, legend
from .figures import Figures, figures
from .lanes import Lane
from .markup import listed, tag, text
from .stream import SCHEMA, Event
from .telling import clock

STYLE = Path(__file__).with_name("report.css")
COLUMNS = ("claim", "build", "migrate", "drain", "reload", "settle", "back", "restore", "mend", "finish")
NAMED = 6            # hosts that a sentence names
MARKED = ("refused", "broken", "cut", "joined", "note")


def write(folder: Path, summary: Mapping[str, Any] | None = None) -> tuple[Path, Figures]:
    """Write report.html into a run's folder; `summary` where the run has not written its own yet."""
    run = figures(chain(read(folder / "run.jsonl"), [{"event": "summary", **summary}] if summary else ()))
    file = folder / "report.html"
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(document(run).encode("utf-8", "replace"))
    return file, run


def short(file: Path) -> str:
    """Name a file as a person would type it."""
    return str(file).replace(str(Path.home()), "~", 1)


def read(file: Path) -> Iterable[Event]:
    """Read events; the last line of a run that was killed may be torn."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event


def document(run: Figures) -> str:
    """Give the whole page."""
    head = (
        '<meta charset="utf-8">', '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        tag("title", text(f"{run.verb} {run.selector}: {run.headline}")), tag("style", STYLE.read_text(encoding="utf-8")),
    )
    parts = (_head, _foreign, _facts, _picture, _wrong, _following, _hosts, _doubts, _foot)
    body = tag("main", *(part(run) for part in parts))
    return f'<!doctype html>\n<html lang="en">{tag("head", *head)}{tag("body", body)}</html>\n'


def _section(title: str, *inside: str) -> str:
    return tag("section", tag("h2", text(title)), *inside)


def _box(*inside: str, **attributes: object) -> str:
    """Let what is wide scroll in itself, by keyboard too."""
    return tag("div", *inside, class_="box", tabindex=0, **attributes)


# ---------------------------------------------------------------- what and how


def _head(run: Figures) -> str:
    tone = "running" if run.exit is None else "good" if run.exit == 0 else "bad"
    sign = tag("span", {"good": "✓", "bad": "✕", "running": "?"}[tone], aria_hidden="true")
    code = f" · exit {run.exit}" if run.exit is not None else ""
    release = tag("small", text(run.release)) if run.release else ""
    return tag(
        "header", tag("p", f"gapless · {text(run.run)}", class_="name"), tag("h1", f"{text(f'{run.verb} {run.selector}')} {release}"),
        tag("p", sign, f" {text(run.headline)}{code}", class_=f"outcome {tone}"),
        tag("p", text(run.message.splitlines()[0])) if run.message else "", listed([text(each) for each in truth(run)], class_="truth"),
    )


def truth(run: Figures) -> list[str]:
    """Say in words what is true of the hosts now, those of which the same is true together, and what was counted."""
    alike: dict[str, list[str]] = {}
    for host, state in run.states:
        alike.setdefault(state, []).append(host)
    said = [f"{_named(hosts, len(run.states))}: {state}" for state, hosts in alike.items()]
    measured = run.measured
    if measured and measured.sent:
        gap = f", the longest gap between two good answers {measured.gap:.2f} s" if measured.gap is not None else ""
        said.append(f"{measured.lost} of {measured.sent} requests were lost{gap}")
    elif run.exit is not None:
        said.append("no request was counted")
    return said


def _named(hosts: list[str], total: int) -> str:
    if len(hosts) == total > 1:
        return f"all {total} hosts"
    return f"{', '.join(hosts[:NAMED])}{f' and {len(hosts) - NAMED} more' if len(hosts) > NAMED else ''}"


def _foreign(run: Figures) -> str:
    if run.foreign is None:
        return ""
    said = f"This run was written by another version of gapless (schema {run.foreign}, here {SCHEMA}): what is shown may lack something."
    return tag("p", text(said), class_="note")


def _facts(run: Figures) -> str:
    began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(run.began)) if run.began else "not known"
    old = ", ".join(run.before) or "nothing"
    facts = {
        "release": text(f"{old} → {run.release}" if run.release and old != run.release else old), "commit": text(run.commit[:12]),
        "by": text(f"{run.who} on {run.where}"), "began": text(began), "took": text(_took(run.seconds)), "CI": _link(run.ci),
    }
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", told)) for name, told in facts.items() if told))


def _link(url: str) -> str:
    return tag("a", text(url), href=url) if url.startswith(("https://", "http://")) else text(url)


def _took(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 90 else f"{int(seconds) // 60} min {int(seconds) % 60} s"


# ---------------------------------------------------------------- in detail


def _picture(run: Figures) -> str:
    what = (f"A lane for each of {len(run.lanes)} hosts with its phases, over {_took(run.seconds)}; below, on the same axis, "
            "hosts in rotation, requests, their latency and those lost. The table below holds the same in words.")
    picture = _box(drawing(run, "picture described"), role="group", aria_label="the picture; it scrolls sideways")
    title, described = tag("h2", "The run, second by second", id="picture"), tag("p", text(what), id="described", class_="unseen")
    return tag("section", title, described, tag("figure", picture, tag("figcaption", legend(run))))


def _wrong(run: Figures) -> str:
    if not run.message.strip():
        return ""
    stopped = run.exit is None or run.exit >= 128
    return _section("What it said last" if stopped else "What went wrong", _box(tag("pre", text(run.message))))


def _following(run: Figures) -> str:
    if not run.following:
        return ""
    return _section("Undo, or go on" if run.exit == 0 else "Next", listed([_command(each) for each in run.following], class_="next"))


def _command(told: str) -> str:
    """Set what is to be typed apart from what it does."""
    typed, _, why = told.partition("  ")
    return f"{tag('code', text(typed))} {text(why.strip())}".rstrip()


def _hosts(run: Figures) -> str:
    """Put every lane into words: when each phase began, and how long it took."""
    if not run.lanes:
        return ""
    kinds = [kind for kind in COLUMNS if any(segment.kind == kind for lane in run.lanes for segment in lane.segments)]
    head = tag("tr", *(tag("th", kind, scope="col") for kind in ("host", "now", *kinds, "met")))
    rows = (_row(lane, kinds, dict(run.states).get(lane.host, "")) for lane in run.lanes)
    hint = tag("p", "Begin of each phase since the start, and its length in seconds.", class_="hint")
    return _section("Host by host", hint, _box(tag("table", tag("thead", head), tag("tbody", *rows))))


def _row(lane: Lane, kinds: Iterable[str], state: str) -> str:
    met = "<br>".join(text(f"{clock(mark.at)} {mark.text}") for mark in lane.marks if mark.kind in MARKED)
    cells = (tag("td", each or "–") for each in (text(state), *(_spent(lane, kind) for kind in kinds), met))
    return tag("tr", tag("th", text(lane.host), scope="row"), *cells)


def _spent(lane: Lane, kind: str) -> str:
    return "<br>".join(f"{clock(each.start)} {tag('b', f'{each.end - each.start:.1f}')}" for each in lane.segments if each.kind == kind)


def _doubts(run: Figures) -> str:
    doubts = run.measured.doubts if run.measured else ()
    return _section("What stands against calling it proven", listed([text(each) for each in doubts])) if doubts else ""


def _foot(run: Figures) -> str:
    return tag("footer", f"Made of this run's own events (run.jsonl); {tag('code', text(f'fab report --run {run.run}'))} makes it again.")
