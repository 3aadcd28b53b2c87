"""Write docs/faults.md from what the cases came to."""

from __future__ import annotations

from tests.faults.case import Result

HEAD = """\
# What breaks, and what it costs

Each row is one run of `fab` on a fleet of three hosts (real sshd, PM2 and HAProxy, `make faults`), with one fault in it and clients that
never retry. Every run was then judged by one checker (`tests/faults/checker.py`): requests, capacity, rotation, links, truth of exit code
and status, locks, orphans, time, explanation, and whether the same command ends well when it is typed again. This page is written by
that run.

- *safe after*: seconds from the fault until, on the hosts that it struck, no link moved any more and the balancer gave them traffic;
  `-` where one stayed out until the command was typed again.
- *end*: what the command left behind, before it was typed again.

| fault | command | requests sent | lost | safe after | end | exit |
|---|---|--:|--:|--:|---|--:|
"""


def page(results: list[Result]) -> str:
    """Put all results into one page."""
    notes = [f"- {each.name}: {why}." for each in results for why in each.excused.values()]
    told = ["", "Where requests may be lost, it is the fault itself that loses them, and only while it acts:", "", *notes, ""] if notes else [""]
    return HEAD + "\n".join([*map(row, results), *told])


def row(result: Result) -> str:
    """Put one result into a row; a case that broke a promise says so where it is read first."""
    name = result.name + (" **(broken promise)**" if result.broken else "")
    safe = "-" if result.safe is None else f"{result.safe:.1f} s"
    exit_code = "killed" if result.code == -9 else str(result.code)
    return f"| {name} | `{' '.join(result.words)}` | {result.sent:,} | {result.lost:,} | {safe} | {result.end} | {exit_code} |"
