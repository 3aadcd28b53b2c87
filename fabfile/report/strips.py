"""Draw what stands below the lanes, on their axis: hosts in rotation, who answered, requests, latency, and what was lost. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from .axis import Axis, shade
from .figures import Cell, Figures, Measured
from .markup import tag, text, titled
from .telling import clock

BASE = 50       # where a strip stands, in units from its top
TALL = 38       # how high it may rise from there
ROW = 62        # the height of a strip with the air below it
TOLD = 60       # changes that a hover text tells


def strips(run: Figures, axis: Axis) -> Iterable[tuple[str, float]]:
    """Draw each strip, and give its height."""
    yield "", 14
    if run.lanes:
        yield _capacity(run, axis), 64
    if run.measured and run.measured.cells:
        yield _answers(run, run.measured, axis), max(42, 16 * len(run.measured.answers) + 18)
        yield _rate(run.measured, axis), ROW
        yield _slow(run.measured, axis), ROW
        yield _lost(run.measured, axis) + _hover(run.measured, axis, 2 * ROW), 44


def _head(name: str, more: str, y: float = 16) -> str:
    return tag("text", text(name), class_="strip", x=8, y=y) + tag("text", text(more), class_="more", x=8, y=y + 15)


def _ground(axis: Axis) -> str:
    return tag("path", class_="base", d=f"M{axis.left:g} {BASE}H{axis.right}")


def _capacity(run: Figures, axis: Axis) -> str:
    """Draw how many hosts served, and the floor: the fewest that the plan allowed."""
    total, low = len(run.lanes), min(count for _, count in run.capacity)
    line = ""
    for (at, count), (end, _) in zip(run.capacity, [*run.capacity[1:], (run.seconds, 0)], strict=True):
        line += f"{'L' if line else 'M'}{axis.x(at)} {_height(count, total)}H{axis.x(end)}"
    told = titled("; ".join(f"{clock(at)} {count} of {total}" for at, count in run.capacity[:TOLD]))
    area = tag("path", class_="shade", d=f"{line}V{BASE}H{axis.left:g}Z")
    head = _head("hosts in rotation", f"{low} to {total} of {total}" if low < total else f"all {total}, always")
    return head + _ground(axis) + _floor(run, axis) + tag("g", told, area, tag("path", class_="line", d=line))


def _height(count: int, total: int) -> float:
    return round(BASE - TALL * count / total, 1)


def _floor(run: Figures, axis: Axis) -> str:
    """Draw the floor from when on it was reached: in a first deploy nothing serves before."""
    reached = next((at for at, count in run.capacity if run.floor is not None and count >= run.floor), None)
    if run.floor is None or reached is None:
        return ""
    x, y = axis.x(reached), _height(run.floor, len(run.lanes))
    told = titled(f"floor {run.floor}: the fewest hosts in rotation that the plan allows")
    words = tag("text", f"floor {run.floor}", class_="floorword", x=x + 6, y=min(y + 13, BASE - 3))
    return tag("path", told, class_="floor", d=f"M{x} {y}H{axis.right}") + words


def _answers(run: Figures, measured: Measured, axis: Axis) -> str:
    """Draw from when to when which release answered the requests."""
    drawn = ""
    for number, each in enumerate(measured.answers):
        x, y, kind = axis.x(each.first), number * 16 + 5, shade(each.release, run)
        width, words = max(axis.x(each.last) - x, 2.0), f"{each.release}: {each.count}"
        needed = len(words) * 7 + 12
        side, at = ("inside", x + 6) if width > needed else ("aside before", x - 6) if x - axis.left > needed else ("aside", x + width + 6)
        told = titled(f"{each.release} answered {each.count} requests, {clock(each.first)} to {clock(each.last)}")
        bar = tag("rect", class_=f"answer {kind}", x=x, y=y, width=width, height=13, rx=2)
        drawn += tag("g", told, bar, tag("text", text(words), class_=side, x=at, y=y + 10.5))
    return _head("answered by", "release: requests" if measured.answers else "none named itself", 15) + drawn


def _rate(measured: Measured, axis: Axis) -> str:
    rates = [cell.sent / (cell.end - cell.start) for cell in measured.cells]
    most = max(rates) or 1.0
    columns = ((cell, rate / most) for cell, rate in zip(measured.cells, rates, strict=True))
    return _head("requests/s", f"{measured.sent} sent, most {most:.0f}/s") + _columns(columns, axis, "rate")


def _slow(measured: Measured, axis: Axis) -> str:
    most = max((cell.p99 for cell in measured.cells if cell.p99 is not None), default=0.0) or 1.0
    columns = ((cell, cell.p99 / most) for cell in measured.cells if cell.p99 is not None)
    return _head("latency, p99", f"most {most * 1000:.0f} ms") + _columns(columns, axis, "slow")


def _columns(columns: Iterable[tuple[Cell, float]], axis: Axis, kind: str) -> str:
    """Draw one column for each cell, as high as its share of the highest."""
    path = "".join(f"M{axis.x(cell.start):g} {BASE}V{BASE - TALL * share:.1f}H{axis.x(cell.end):g}V{BASE}" for cell, share in columns)
    return _ground(axis) + tag("path", class_=kind, d=path)


def _column(cell: Cell, axis: Axis, y: float, height: float, kind: str, told: str) -> str:
    x = axis.x(cell.start)
    return tag("rect", titled(f"{clock(cell.start)} {told}"), class_=kind, x=x, y=y, width=max(axis.x(cell.end) - x, 1.0), height=height)


def _hover(measured: Measured, axis: Axis, above: float) -> str:
    """Lay what each cell counted over it, from so far above, for the mouse."""
    return "".join(_column(cell, axis, -above, above + 32, "hover", _counted(cell)) for cell in measured.cells)


def _counted(cell: Cell) -> str:
    slow = f", p99 {cell.p99 * 1000:.0f} ms" if cell.p99 is not None else ""
    return f"{cell.sent / (cell.end - cell.start):.0f} requests/s{slow}, {cell.failed} lost"


def _lost(measured: Measured, axis: Axis) -> str:
    """Draw the requests that were lost; the strip is there to stay empty."""
    frame = tag("rect", class_="frame", x=axis.left, y=4, width=axis.right - axis.left, height=28, rx=3)
    lost = "".join(_column(cell, axis, 4, 28, "lost", _counted(cell)) for cell in measured.cells if cell.failed)
    kind, middle = "lostword" if measured.lost else "none", (axis.left + axis.right) / 2
    words = tag("text", f"{measured.lost} lost of {measured.sent}", class_=kind, x=middle, y=23)
    gap = f"longest gap {measured.gap:.2f} s" if measured.gap is not None else ""
    return _head("lost requests", gap) + frame + lost + words
