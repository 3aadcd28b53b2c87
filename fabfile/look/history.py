"""What was done to the hosts: a line for each run, whatever hosts it was about, the newest last."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..commands import journal
from ..commands.shell import Step
from ..errors import UsageError
from ..ownership import span
from . import past
from .past import Run
from .view import Look, refuse_unread

HEAD = ["when", "who", "verb", "commits", "hosts", "took", "requests", "outcome"]
MOST = 1000


def show(look: Look, lines: int) -> None:
    """Print the last runs of these hosts; raise where a host can't be read."""
    # A run may have written two lines into a host's history.
    outcomes = look.each("history", lambda host: [Step("history", journal.history(host.app.root, 2 * lines))])
    runs = merged({name: past.runs(outcome) for name, outcome in outcomes.items() if outcome.ok})[-lines:]
    look.page.table("past", HEAD, [row(run, hosts) for run, hosts in runs], [record(run, hosts) for run, hosts in runs])
    unread = {name: outcome.last_words for name, outcome in outcomes.items() if not outcome.ok}  # who has none tells nothing
    if not runs and not unread:
        look.page.say("no run has ended on these hosts yet")
    refuse_unread(unread)


def check(lines: int) -> None:
    if not 1 <= lines <= MOST:
        raise UsageError(f"--lines {lines}: give a number from 1 to {MOST}")


def merged(found: Mapping[str, list[Run]]) -> list[tuple[Run, list[str]]]:
    """Put the lines of one run together, with the hosts that have it, oldest first; what some host saw go worse counts."""
    runs: dict[str, tuple[Run, list[str]]] = {}
    for name, its in found.items():
        for run in its:
            known, hosts = runs.get(run["run"], (run, []))
            runs[run["run"]] = (max(known, run, key=past.code), [*hosts, name])
    return sorted(runs.values(), key=lambda item: (item[0]["at"], item[0]["run"]))


def row(run: Run, hosts: list[str]) -> list[str]:
    when = time.strftime("%m-%d %H:%M", time.localtime(run["at"]))
    about = hosts[0] if len(hosts) == 1 else f"{len(hosts)}"
    ended = "; ".join(text for text in (past.outcome(run), run.get("what"), run.get("ci")) if text)
    return [when, past.who(run), run["verb"], past.commits(run), about, span(run.get("seconds", 0)), past.counted(run), ended]


def record(run: Run, hosts: list[str]) -> dict[str, Any]:
    return {**past.plain(run), "exit": past.code(run), "hosts": hosts}
