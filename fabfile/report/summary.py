"""The last words of a run: what runs where now, requests sent and lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..inventory.values import Targets

OUTCOMES = {0: "done", 1: "failed", 2: "refused", 3: "locked", 4: "unfit", 5: "unsettled"}


class Ended(NamedTuple):
    """Hold a run that is over: its folder (run.jsonl is complete but for the summary), its targets, its summary."""

    folder: Path
    targets: Targets
    summary: Mapping[str, Any]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Align columns; the last one is left ragged."""
    rows = [list(head), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def requests(measured: Any) -> str:
    """Say in a line or more how many requests were sent and lost, and what stands against calling it proven."""
    if measured is None:
        return "probes: not measured"
    if not measured.sent:
        return "probes: none were sent where a loss would count (nothing served before, or nothing to ask)"
    line = f"probes of this run: {measured.sent} requests sent, {measured.lost} lost"
    if measured.longest_gap is not None:
        line += f", longest gap {measured.longest_gap:.2f} s"
    slow = [tally.p99 for tally in measured.judged if tally.p99 is not None]
    middle = [tally.p50 for tally in measured.judged if tally.p50 is not None]
    if slow:
        line += f", p50 {max(middle) * 1000:.0f} ms, p99 {max(slow) * 1000:.0f} ms"
    seen = sorted({release for tally in measured.judged for release in tally.versions})
    lines = [line, f"releases that answered them: {', '.join(seen) or 'none named itself'}"]
    if measured.lost:
        lines += [f"  lost: {each.failure} {each.status or ''} {each.kind}, while: {each.label}" for each in failures(measured)[:5]]
    return "\n".join(lines)


def record(rollout: Any, measured: Any, error: BaseException | None, folder: object) -> dict[str, Any]:
    """Say all of a run in one value: how it ended, what runs where now, requests sent and lost."""
    code = 0 if error is None else int(getattr(error, "code", 1))
    message = "" if error is None else str(getattr(error, "message", "") or error)
    return {
        "run": rollout.id, "verb": rollout.options.verb, "aim": rollout.options.aim or rollout.options.verb,
        "selector": rollout.targets.selector, "ci": rollout.owner()["ci"], "exit": code, "outcome": OUTCOMES.get(code, "interrupted"),
        "release": rollout.release, "commit": rollout.commit, "message": message,
        "hosts": {name: vars(end) for name, end in rollout.waves.reloaded.items()}, "log": str(folder),
        "requests": measured and {
            "sent": measured.sent, "lost": measured.lost, "longest_gap": measured.longest_gap, "proven": measured.proven,
        },
        "seconds": measured and round(measured.seconds, 1),
    }


def headline(record: Mapping[str, Any]) -> str:
    """Say in a line how a run ended, from its record: for chats, mails and annotations."""
    what = f"{record['verb']}{' of ' + record['release'] if record['release'] else ''} on {record['selector']}"
    counted = record["requests"]
    requests = f" · {counted['sent']} requests sent, {counted['lost']} lost" if counted and counted["sent"] else ""
    took = f" · {record['seconds']:.0f} s" if record["seconds"] is not None else ""
    why = f": {record['message'].splitlines()[0]}" if record["message"] else ""
    return f"{what}: {record['outcome']} (exit {record['exit']}){requests}{took}{why}"


def failures(measured: Any) -> list[Any]:
    return sorted((failure for tally in measured.judged for failure in tally.failures), key=lambda failure: failure.offset)


def places(measured: Any) -> str:
    """Name what was going on when requests were lost: phases and hosts, the first first."""
    return ", ".join(dict.fromkeys(each.label for each in failures(measured)))


def states(ends: Mapping[str, Any]) -> str:
    """List each host's state after the run."""
    return table(["host", "state"], [[name, text] for name, text in ends.items()])


def told_state(end: Any, explained: bool = False) -> str:
    """Say in words what a host runs now; why that is not known only where it was not `explained` before."""
    text = {
        "new": f"runs {end.now}, healthy",
        "old": f"is back on {end.was}, healthy" if end.was else "runs nothing: this was its first release",
        "untouched": "was not changed",
        "unseen": f"runs {end.now}, but clients can't be seen to reach it",
        "doubted": f"runs {end.now}, healthy, but a hook says no",
        "unknown": "UNKNOWN: see above" if explained else f"UNKNOWN: {end.why}",
    }[end.state]
    return f"{text}; OUT OF ROTATION: {end.out_of_rotation}" if end.out_of_rotation else text
