"""Draw figures against the number of hosts, both on logarithmic axes, as an SVG that reads on dark and light ground. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, TOP, GAP = 230, 230, 46, 34, 128
COLOURS = {"gapless": "#e5484d", "floor": "#8b8d98", "fused": "#3e8fdd", "naive": "#2f9e6b", "pyinfra": "#b8860b", "barriers": "#a06cd5", "gated": "#17a2a2", "capistrano": "#d9822b", "guarded": "#7a8f00"}
STYLE = """\
text { font: 11px system-ui, sans-serif; fill: #50545c } .title { font-weight: 600; font-size: 12px } .ours { font-weight: 700 }
.grid { stroke: #8b8d98; stroke-opacity: .28 } .line { fill: none; stroke-width: 1.6 } .line.ours { stroke-width: 3 }
@media (prefers-color-scheme: dark) { text { fill: #b4b9c4 } }
"""

Series = Mapping[str, Mapping[int, float]]  # by name: number of hosts, and the figure


def draw(panels: Mapping[str, Series]) -> str:
    """Draw a panel per title, side by side."""
    drawn = [panel(title, series, LEFT + n * (LEFT + WIDTH + GAP)) for n, (title, series) in enumerate(panels.items())]
    wide, high = len(panels) * (LEFT + WIDTH + GAP), TOP + HEIGHT + 44
    names = escape(", ".join(panels))
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" role="img" aria-label="{names}">',
        f"<style>\n{STYLE}</style>", *drawn, "</svg>", "",
    ])


class Axis:
    """Place values on a logarithmic axis of some length."""

    def __init__(self, values: Sequence[float], length: float) -> None:
        self.low, self.high = min(values), max(values)
        if self.low == self.high:
            self.low, self.high = self.low / 2, self.high * 2
        self.length = length

    def __call__(self, value: float) -> float:
        return self.length * math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[float]:
        """Give 1, 2 and 5 of each power of ten that lies in between; only the powers where these are too many."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1, 2, 5), (1, 3), (1,)):
            found = [step * 10.0 ** power for power in powers for step in steps if self.low <= step * 10.0 ** power <= self.high]
            if len(found) <= 7:
                break
        return found


def panel(title: str, series: Series, left: float) -> str:
    """Draw one set of lines with its axes, and each name at the end of its line."""
    known = {name: {hosts: value for hosts, value in points.items() if value > 0} for name, points in series.items()}
    known = {name: points for name, points in known.items() if points}
    hosts = sorted({number for points in known.values() for number in points})
    across, up = Axis(hosts, WIDTH), Axis([value for points in known.values() for value in points.values()], HEIGHT)
    bottom = TOP + HEIGHT
    parts = [f'<text class="title" x="{left}" y="{TOP - 16}">{escape(title)}</text>']
    for tick in up.ticks():
        y = bottom - up(tick)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}h{WIDTH}"/><text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for number in hosts:
        x = left + across(number)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}v{HEIGHT}"/><text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{number}</text>')
    parts.append(f'<text x="{left + WIDTH / 2}" y="{bottom + 34}" text-anchor="middle">hosts</text>')
    ends = {}
    for name, points in known.items():
        places = [(left + across(number), bottom - up(value)) for number, value in sorted(points.items())]
        parts.append(line(name, places))
        ends[name] = places[-1][1]
    for name, y in apart(ends).items():
        parts.append(f'<text class="{kind(name)}" x="{left + WIDTH + 8}" y="{y + 4:.1f}" style="fill:{colour(name)}">{escape(name)}</text>')
    return "<g>" + "\n".join(parts) + "</g>"


def line(name: str, places: Sequence[tuple[float, float]]) -> str:
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 if kind(name) else 2.2}" fill="{colour(name)}"/>' for x, y in places)
    return f'<path class="line {kind(name)}" stroke="{colour(name)}" d="{path}"/>{dots}'


def kind(name: str) -> str:
    return "ours" if name.startswith("gapless") else ""


def colour(name: str) -> str:
    return next((value for start, value in COLOURS.items() if name.startswith(start)), "#8b8d98")


def apart(ends: Mapping[str, float], space: float = 13) -> dict[str, float]:
    """Move labels down until none covers the one above."""
    placed: dict[str, float] = {}
    last = -math.inf
    for name, y in sorted(ends.items(), key=lambda item: item[1]):
        last = placed[name] = max(y, last + space)
    return placed
