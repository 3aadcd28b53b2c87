"""Turn readings into figures: ratios to the floor run just before, medians, slopes, and what an sshd's log says. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


def cell(runs: Sequence[Mapping[str, Any]], floors: Sequence[Mapping[str, Any]], memory: float | None) -> dict[str, Any]:
    """Gather the runs of one contestant at one size, each beside the floor run before it."""
    figures = {name: spread(run[name] for run in runs) for name in ("wall", "cpu", "host_cpu", "line_cpu", "busy", "logins", "channels")}
    pairs = list(zip(runs, floors, strict=False))
    over = {name: ratios((mine[name], floor[name]) for mine, floor in pairs) for name in ("wall", "cpu")}
    return {**figures, "over_floor": over, "memory": memory, "runs": len(runs)}
