"""Turn readings into figures: ratios to the floor run just before, medians, slopes, and what an sshd's log says. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Sshd:
    """Count what one host's sshd let in."""

    logins: int
    channels: int


def sshd_log(text: str) -> Sshd:
    """Read what an sshd logged at level VERBOSE."""
    return Sshd(len(re.findall(r"^Accepted \S+ for ", text, re.M)), len(re.findall(r"^Starting session: ", text, re.M)))


def others(spent: Mapping[str, Any]) -> float:
    """Give the share of the machine that was taken by who has no part in the run."""
    ours = sum(spent[name] or 0.0 for name in ("controller", "hosts", "line"))
    busy = spent["machine"] - spent["idle"] - ours
    return min(1.0, max(0.0, busy / spent["machine"])) if spent["machine"] else 0.0


def spread(values: Iterable[float | None]) -> dict[str, float] | None:
    """Give median, least and most of what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return {"median": median(known), "least": min(known), "most": max(known)} if known else None


def ratios(pairs: Iterable[tuple[float | None, float | None]]) -> dict[str, float] | None:
    """Give the spread of a figure over that of the floor run just before it."""
    return spread(mine / floor for mine, floor in pairs if mine is not None and floor)


def slope(by_size: Mapping[int, float]) -> float | None:
    """Give what each further host costs, from the smallest fleet to the largest."""
    sizes = sorted(by_size)
    return (by_size[sizes[-1]] - by_size[sizes[0]]) / (sizes[-1] - sizes[0]) if len(sizes) > 1 else None


SPREADS = ("wall", "cpu", "host_cpu", "line_cpu", "busy", "logins", "channels")


def cell(found: Mapping[str, Any]) -> dict[str, Any]:
    """Gather the runs of one contestant at one size, each beside the floor run before it."""
    runs, floors = found["runs"], found["floors"] or found["runs"]
    over = {name: ratios((mine[name], floor[name]) for mine, floor in zip(runs, floors, strict=True)) for name in ("wall", "cpu")}
    return {**{name: spread(run[name] for run in runs) for name in SPREADS}, "over_floor": over, "memory": found["memory"], "runs": len(runs)}


def over(name: str, mine: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float] | None:
    """Compare two contestants turn by turn: their runs stand next to each other in time."""
    return ratios((one[name], two[name]) for one, two in zip(mine["runs"], other["runs"], strict=False))


def while_building(log: str, curve: Sequence[tuple[float, float]]) -> dict[str, float]:
    """
    Read from a run's own log when it built, and from its CPU curve what that cost.

    `build_cpu` is of the whole phase; `waiting_cpu` of the time in which every host was busy with the command itself, if there was one.
    """
    events = [json.loads(line) for line in log.splitlines()]
    began = events[0]["began"]
    building = [event for event in events if event.get("phase") == "build"]
    commands = [event["at"] for event in building if event["event"] == "step" and str(event.get("name", "")).startswith("sleep ")]
    ends = [event["at"] for event in building if event["event"] == "end"]
    moments = {"first": building[0]["at"], "all": max(commands), "one done": min(ends), "done": max(ends)}
    used = {name: at(curve, began + moment) for name, moment in moments.items()}
    phase = {"build_cpu": used["done"] - used["first"], "build_seconds": moments["done"] - moments["first"]}
    if moments["one done"] <= moments["all"]:
        return phase
    return phase | {"waiting_cpu": used["one done"] - used["all"], "waiting_seconds": moments["one done"] - moments["all"]}


def at(curve: Sequence[tuple[float, float]], moment: float) -> float:
    """Read a curve at some moment; between two points it is straight."""
    for (before, low), (after, high) in pairwise(curve):
        if before <= moment <= after:
            return low + (high - low) * (moment - before) / (after - before)
    return curve[-1][1] if curve and moment > curve[-1][0] else 0.0
