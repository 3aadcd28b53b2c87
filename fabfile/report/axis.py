"""Measure a picture: seconds to units, and how much text fits. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .figures import Figures

WIDTH = 1120                # units of the picture, and pixels where the page is wide enough
RIGHT = 26                  # room for half a label of the axis
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
TICKS = 12                  # labels that the axis may bear
GLYPH = 6.3                 # units that one letter takes at 12 px
BOLD = 7.3                  # the same in bold


class Axis(NamedTuple):
    """Turn seconds since the run began into units from the left."""

    left: float
    seconds: float

    @property
    def right(self) -> float:
        return WIDTH - RIGHT

    def x(self, at: float) -> float:
        return round(self.left + (self.right - self.left) * min(max(at, 0.0), self.seconds) / self.seconds, 1)

    def ticks(self) -> Iterator[float]:
        step = next((step for step in STEPS if self.seconds / step <= TICKS), self.seconds / TICKS)
        at = 0.0
        while at <= self.seconds:
            yield at
            at += step


def cut(value: str, room: float, glyph: float = GLYPH) -> str:
    """Shorten a text to the room, in units, that it may take; "" where not even three letters fit."""
    most = int(room / glyph)
    if len(value) <= most:
        return value
    return f"{value[:most - 1].rstrip()}…" if most > 3 else ""


def shade(release: str, run: Figures) -> str:
    """Give the colour of what serves: the run's own release, another one, or nothing."""
    return "out" if not release else "new" if release == run.release else "old"
