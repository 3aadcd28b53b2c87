"""Hold what a deploy of ours must reach, and say of a bench what it reached. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import figures, work

Data = Mapping[str, Any]
COLUMNS = ("figure", "at", "at most", "measured", "", "guarded")
UNKNOWN = "not measured"


@dataclass(frozen=True)
class Target:
    """Name a figure that must stay at or below `most`; `measure` gives None where the bench has not measured it."""

    what: str
    at: str
    most: float
    measure: Callable[[Data], float | None]
    guarded: Callable[[Data], float | None] = lambda data: None  # the same of bare Fabric with the barriers of ours


def ratio(figure: str, other: str, size: int, name: str = "gapless") -> Callable[[Data], float | None]:
    """Compare ours with another contestant: with the floor run by run, with others turn by turn."""
    def measure(data: Data) -> float | None:
        here = data["sizes"].get(str(size), {})
        if name not in here or other not in here:
            return None
        mine = here[name]
        found = figures.cell(mine)["over_floor"][figure] if other == "floor" else figures.over(figure, mine, here[other])
        return found and found["median"]
    return measure


def ratios(what: str, at: str, limit: float, *compared: Any) -> Target:
    """Make a target of a ratio."""
    return Target(what, at, limit, ratio(*compared), ratio(*compared, name="guarded"))


def memory(size: int) -> Callable[[Data], float | None]:
    return lambda data: data["sizes"].get(str(size), {}).get("gapless", {}).get("memory")


def growth(name: str, figure: str) -> Callable[[Data], float | None]:
    """Give what each further host costs, from the smallest fleet to the largest."""
    def measure(data: Data) -> float | None:
        cells = {int(size): figures.cell(found[name]) for size, found in data["sizes"].items() if name in found}
        known = {size: cell[figure] if figure == "memory" else cell[figure] and cell[figure]["median"] for size, cell in cells.items()}
        return figures.slope({size: value for size, value in known.items() if value is not None})
    return measure


def most(figure: str) -> Callable[[Data], float | None]:
    """Give the highest median of any size."""
    def measure(data: Data) -> float | None:
        found = [figures.cell(found["gapless"])[figure]["median"] for found in data["sizes"].values() if "gapless" in found]
        return max(found, default=None)
    return measure


def memory_with_many(data: Data) -> float | None:
    """Give the memory of each further host, from the smallest fleet to the one of many hosts."""
    sizes = {int(size): found["gapless"]["memory"] for size, found in data["sizes"].items() if "gapless" in found}
    if not data["many"] or not sizes:
        return None
    smallest = min(sizes)
    return figures.slope({smallest: sizes[smallest], data["many"]["hosts"]: data["many"]["short"]["memory"]})


def wave(size: int) -> Callable[[Data], float | None]:
    """Give what each further wave of one host takes over its host's own reload."""
    def measure(data: Data) -> float | None:
        here = data["sizes"].get(str(size), {})
        if not {"gapless", "rolling"} <= here.keys():
            return None
        at_once, in_turn = (figures.cell(here[name])["wall"]["median"] for name in ("gapless", "rolling"))
        return float(in_turn - at_once) / (size - 1) - work.RELOAD
    return measure


TARGETS = (
    *(ratios("wall / floor", hosts, limit, "wall", "floor", size) for hosts, size, limit in (
        ("1 host", 1, 1.3), ("10 hosts", 10, 0.95), ("30 hosts", 30, 0.75), ("100 hosts", 100, 0.5))),
    *(ratios("wall / fused Fabric", f"{size} hosts", 1.15, "wall", "fused", size) for size in (10, 30, 100)),
    Target("a further wave over its reload, s", "10 waves", 0.36, wave(10)),
    ratios("controller CPU / floor", "1 host", 2.5, "cpu", "floor", 1),
    ratios("controller CPU / floor", "30 hosts", 0.3, "cpu", "floor", 30),
    Target("controller CPU, s per further host", "all sizes", 0.03, growth("gapless", "cpu")),
    Target("peak memory, MiB", "30 hosts", 45, memory(30)),
    Target("peak memory, MiB", "100 hosts", 60, memory(100)),
    Target("logins per host", "any size", 1, most("logins")),
    Target("exec channels per host", "any size", 4, most("channels")),
    Target("peak memory, MiB per further host", "300 hosts", 0.2, memory_with_many),
    Target("controller CPU of the build phase, s", "300 hosts, 10 s build", 1, lambda data: data["many"].get("build_cpu")),
)


def rows(data: Data) -> list[list[str]]:
    """Give a row per target: what, where, at most, measured, verdict, and the same of bare Fabric with our barriers."""
    return [
        [target.what, target.at, f"{target.most:g}", shown(value := target.measure(data)), verdict(target, value), shown(target.guarded(data))]
        for target in TARGETS
    ]


def shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def verdict(target: Target, value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return "reached" if round(value, 3) <= target.most else "**missed**"
