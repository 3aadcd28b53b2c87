"""Runs that are over, in words. Pure: lines of hosts' histories in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..ownership import span
from ..report.summary import OUTCOMES
from ..transport import Outcome

Run = Mapping[str, Any]
PRIVATE = ("boot", "pid", "start")  # which process it was is nobody's concern any more


def runs(outcome: Outcome) -> list[Run]:
    """List the runs in a host's history, oldest first; of a run that wrote twice the last word counts."""
    found = {event["record"]["run"]: event["record"] for event in outcome.events if event["event"] == "past_run"}
    return list(found.values())


def plain(run: Run) -> dict[str, Any]:
    """Give what a program may want to know of a run."""
    return {key: value for key, value in run.items() if key not in PRIVATE}


def code(run: Run) -> int:
    """Give the exit code that a run ended with."""
    return 0 if run["outcome"] == "ok" else int(run["outcome"])


def outcome(run: Run) -> str:
    """Say how a run ended, with its exit code where that is not 0."""
    number = code(run)
    return f"{OUTCOMES.get(number, 'interrupted')}" + (f" ({number})" if number else "")


def who(run: Run) -> str:
    return f"{run.get('who', '?')}@{run.get('from', '?')}"


def counted(run: Run) -> str:
    """Say how many requests a run sent and lost; nobody counts what is done by hand."""
    if run.get("by_hand"):
        return "-"
    return f"{run.get('sent', 0):,} sent, {run.get('lost', 0):,} lost"


def commits(run: Run) -> str:
    """Say from which commit to which a run led its hosts (a1b2c3d → e4f5a6b), or in how many ways; and which one it tried in vain."""
    was, now = run.get("was") or {}, run.get("now") or {}
    tried = _origin(run)
    ways = sorted({(_short(was.get(name), tried), _short(now.get(name), tried)) for name in {*was, *now}})
    if not ways:
        return tried or "-"
    if tried and code(run) and tried not in {other for _, other in ways}:
        return f"{', '.join(sorted({other for _, other in ways}))}, not {tried}"
    told = [f"stays {one}" if one == other else f"{one} → {other}" for one, other in ways]
    return ", ".join(told) if len(told) <= 2 else f"{len(told)} different ways"


def _origin(run: Run) -> str:
    """Say of what a run was to make a release: a commit, or an artifact of which nobody said the commit."""
    artifact = f"artifact {run['sha256'][:7]}" if run.get("sha256") else ""
    return (run.get("commit") or "")[:7] or artifact


def _short(release: str | None, tried: str) -> str:
    """Give the commit in a release's name, or the artifact if it is the one that the run tried."""
    short = release.split("-", 1)[-1] if release else "nothing"
    return tried if tried.endswith(f" {short}") else short


def in_words(run: Run) -> str:
    """Tell a run in one line: what, who, when, how it ended, what it cost."""
    ago = span(max(0.0, time.time() - run["at"]))
    what = " ".join(str(word) for word in (run["verb"], run.get("release")) if word)
    place = f" {run['ci']}" if run.get("ci") else ""
    return f"{what} by {who(run)}{place}, {ago} ago: {outcome(run)}, {counted(run)}"
