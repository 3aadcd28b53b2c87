"""A run that is over, in words. Pure: a line of a host's history in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..ownership import span
from ..report.summary import OUTCOMES

Run = Mapping[str, Any]


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
    """Say how many requests a run sent and lost."""
    return f"{run.get('sent', 0):,} sent, {run.get('lost', 0):,} lost"


def in_words(run: Run) -> str:
    """Tell a run in one line: what, who, when, how it ended, what it cost."""
    ago = span(max(0.0, time.time() - run["at"]))
    what = " ".join(str(word) for word in (run["verb"], run.get("release")) if word)
    place = f" {run['ci']}" if run.get("ci") else ""
    return f"{what} by {who(run)}{place}, {ago} ago: {outcome(run)}, {counted(run)}"
