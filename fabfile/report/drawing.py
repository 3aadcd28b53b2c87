"""Draw the figures of a run as one SVG: a lane for each host, and below them what was measured, all on one axis of time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .axis import BOLD, WIDTH, Axis, cut, shade
from .figures import Figures
from .lanes import Lane, Mark, Segment
from .markup import listed, moved, tag, text, titled
from .strips import strips
from .telling import clock

TOP = 30                    # units for the names of the phases
MONO = 7.8                  # units that one letter of a host's name takes
BAD = ("refused", "broken")
COLOURS = {"claim": "other", "finish": "other", "mend": "restore"}
NAMES = {"other": "claim, finish", "settle": "settle: must stay healthy", "back": "going back"}
LEGEND = ("other", "build", "migrate", "drain", "reload", "settle", "restore", "back")
# Each phase has a pattern of its own beside its colour: lines of a tile, as a path.
TILES = {"drain": "M0 8L8 0", "settle": "M0 4H8", "migrate": "M4 0V8", "back": "M0 0L8 8M0 8L8 0", "restore": "M2 2h.5M6 6h.5"}
DIAMOND = '<path class="warn" d="M0-7L7 0L0 7L-7 0Z"/>'
SIGNS = {
    "refused": '<circle class="bad" r="7"/><path class="on" d="M-3-3L3 3M3-3L-3 3"/>',
    "broken": '<path class="bad" d="M0-7.5L7.5 6H-7.5Z"/><path class="on" d="M0-3V1.5M0 3.6V4.4"/>',
    "cut": f'{DIAMOND}<path class="on" d="M-2.5 0H2.5"/>',
    "joined": f'{DIAMOND}<path class="on" d="M-2.5 0H2.5M0-2.5V2.5"/>',
    "note": '<circle class="warn" r="5"/><path class="on" d="M0-2V2"/>',
}
SIGNED = {"refused": "refused, failed", "broken": "broken", "cut": "link lost, and back", "note": "note"}
BARS = {"new": "serves {release}", "old": "serves another release", "out": "out of rotation, or nothing there to serve"}


class Look(NamedTuple):
    """Say how tall lanes are, and how much stands in them: less, the more hosts there are; `single`: each thing tells itself."""

    row: int
    words: bool
    single: bool

    @property
    def block(self) -> int:
        return self.row - (14 if self.words else 8)


def look(hosts: int) -> Look:
    return Look(38, True, True) if hosts <= 12 else Look(24, False, True) if hosts <= 24 else Look(16, False, False)


def drawing(run: Figures, labelled: str) -> str:
    """Draw the picture; `labelled` are the ids of the words that describe it."""
    longest = max([len(lane.host) for lane in run.lanes], default=0)
    axis = Axis(min(max(longest * MONO + 24, 140), 260), max(run.seconds, 1.0))
    parts, y = [], float(TOP)
    for piece, height in (_lanes(run, axis), *strips(run, axis)):
        parts.append(moved(0, y, piece))
        y += height
    bottom = y + 6
    patterns = tag("defs", *(_pattern(kind, path) for kind, path in TILES.items()))
    grid = "".join(_tick(axis, at, bottom) for at in axis.ticks())
    return tag("svg", patterns, grid, _phases(run, axis, bottom - 12), *parts, class_="picture", viewBox=f"0 0 {WIDTH} {bottom + 8:g}",
               width=WIDTH, height=bottom + 8, role="img", aria_labelledby=labelled)


def _pattern(kind: str, path: str) -> str:
    inside = tag("rect", class_=f"f {kind}", width=8, height=8), tag("path", class_=f"h {kind}", d=path)
    return tag("pattern", *inside, id=f"p-{kind}", width=8, height=8, patternUnits="userSpaceOnUse")


def _tick(axis: Axis, at: float, bottom: float) -> str:
    x = axis.x(at)
    return tag("path", class_="grid", d=f"M{x} 22V{bottom - 10:g}") + tag("text", clock(at), class_="time", x=x, y=bottom + 2)


def _phases(run: Figures, axis: Axis, bottom: float) -> str:
    """Head the columns with the phases of the whole run; where they are too narrow for their names, the longer ones have theirs."""
    drawn: list[str] = []
    taken: list[tuple[float, float]] = []
    for phase in sorted(run.phases, key=lambda each: each.start - each.end):
        x, room = axis.x(phase.start), len(phase.name) * 7.2 + 10
        if x + room > WIDTH or any(x < end and start < x + room for start, end in taken):
            continue
        taken.append((x, x + room))
        line, name = tag("path", class_="begin", d=f"M{x} 8V{bottom:g}"), tag("text", text(phase.name), class_="phase", x=x + 5, y=17)
        drawn.append(tag("g", titled(f"{clock(phase.start)} {phase.name}: {phase.what}"), line, name))
    return "".join(drawn)


# ---------------------------------------------------------------- legend


def legend(run: Figures) -> str:
    """Explain the colours, patterns and signs that this picture has."""
    kinds = {COLOURS.get(segment.kind, segment.kind) for lane in run.lanes for segment in lane.segments}
    marks = {mark.kind for lane in run.lanes for mark in lane.marks}
    served = {shade(each.release, run) for lane in run.lanes for each in lane.serving}
    block = {"x": 1, "y": 1, "width": 24, "height": 12, "rx": 2}
    items = [_swatch(26, tag("rect", class_=f"s {kind}", **block), NAMES.get(kind, kind)) for kind in LEGEND if kind in kinds]
    if "open" in marks and look(len(run.lanes)).single:
        ticks = tag("path", class_="boot", d="M4 7v6") + tag("path", class_="open", d="M11 1v12")
        items.append(_swatch(16, ticks, "a worker boots, opens"))
    items += [_swatch(16, moved(8, 7, SIGNS[kind]), words) for kind, words in SIGNED.items() if kind in marks]
    bar = {"x": 1, "y": 5, "width": 24, "height": 5}
    for kind in (kind for kind in BARS if kind in served):
        items.append(_swatch(26, tag("rect", class_=f"bar {kind}", **bar), BARS[kind].format(release=run.release)))
    return listed(items, class_="legend")


def _swatch(width: int, drawn: str, words: str) -> str:
    return tag("svg", drawn, width=width, height=14, aria_hidden="true") + text(words)


# ---------------------------------------------------------------- lanes


def _lanes(run: Figures, axis: Axis) -> tuple[str, float]:
    """Draw all lanes, and give their height; where there are several groups, each stands under its name."""
    shown, states = look(len(run.lanes)), dict(run.states)
    several = len({lane.group for lane in run.lanes}) > 1
    parts, group, y = [], "", 0.0
    for number, lane in enumerate(run.lanes):
        if several and lane.group != group:
            group = lane.group
            parts.append(tag("text", text(group), class_="group", x=8, y=y + 15))
            y += 22
        met = _met(lane, axis, shown, states.get(lane.host, ""))
        height = shown.row + (17 if met else 0)
        stripe = tag("rect", class_="stripe", width=WIDTH, height=height) if number % 2 == 0 else ""
        parts.append(moved(0, y, stripe, _lane(lane, run, axis, shown, states.get(lane.host, "")), met))
        y += height
    return "".join(parts), y


def _lane(lane: Lane, run: Figures, axis: Axis, shown: Look, state: str) -> str:
    whole, short = titled(f"{lane.host}: {state}"), text(cut(lane.host, axis.left - 18, MONO))
    name = tag("text", whole, short, class_="host" if shown.words else "host small", x=8, y=shown.row / 2 + 4)
    if not shown.single:
        return tag("g", titled(_whole(lane, state)), name, _merged(lane, run, axis, shown)) + _signs(lane, axis, shown)
    blocks = "".join(_segment(each, axis, shown) for each in lane.segments)
    words = "".join(_word(each, axis, shown) for each in lane.segments)
    left = "" if any(mark.kind in BAD for mark in lane.marks) else _left_alone(lane, axis, shown, state)
    return name + _bars(lane, run, axis, shown) + blocks + _ticks(lane.marks, axis, shown) + words + _signs(lane, axis, shown) + left


def _segment(each: Segment, axis: Axis, shown: Look) -> str:
    kind = COLOURS.get(each.kind, each.kind)
    x, width = axis.x(each.start), max(axis.x(each.end) - axis.x(each.start), 1.5)
    told = titled(f"{clock(each.start)} {each.text}, {each.end - each.start:.1f} s")
    return tag("rect", told, class_=f"s {kind}", x=x, y=3, width=width, height=shown.block, rx=2)


def _word(each: Segment, axis: Axis, shown: Look) -> str:
    """Name a segment in itself, where it is wide enough."""
    kind = COLOURS.get(each.kind, each.kind)
    label = each.text.split(":")[0] if each.kind == "back" else each.kind
    x, width = axis.x(each.start), axis.x(each.end) - axis.x(each.start)
    if not shown.words or cut(label, width - 8) != label:
        return ""
    return tag("text", text(label), class_=f"word {kind}", x=x + width / 2, y=shown.block / 2 + 7)


def _bars(lane: Lane, run: Figures, axis: Axis, shown: Look) -> str:
    """Draw what the host served below what was done to it: hollow where it got no request."""
    ends = [*(each.at for each in lane.serving[1:]), run.seconds]
    size = {"y": shown.block + 5, "height": 5 if shown.words else 3}
    return "".join(
        tag("rect", titled(f"{clock(each.at)} {f'serves {each.release}' if each.release else BARS['out']}"),
            class_=f"bar {shade(each.release, run)}", x=axis.x(each.at), width=axis.x(end) - axis.x(each.at), **size)
        for each, end in zip(lane.serving, ends, strict=True)
    )


def _ticks(marks: Sequence[Mark], axis: Axis, shown: Look) -> str:
    """Draw when workers booted and opened."""
    heights = {"boot": f"{3 + shown.block * 0.55:g}v{shown.block * 0.45:g}", "open": f"3v{shown.block}"}
    return "".join(
        tag("path", titled(f"{clock(mark.at)} {mark.text}"), class_=mark.kind, d=f"M{axis.x(mark.at)} {heights[mark.kind]}")
        for mark in marks if mark.kind in heights
    )


def _merged(lane: Lane, run: Figures, axis: Axis, shown: Look) -> str:
    """Draw a lane among very many: what looks alike is one path, and only the whole of it tells something."""
    blocks: dict[str, str] = {}
    for each in lane.segments:
        kind = f"s {COLOURS.get(each.kind, each.kind)}"
        blocks[kind] = blocks.get(kind, "") + _block(axis, each.start, each.end, 3, shown.block)
    for serving, end in zip(lane.serving, [*(each.at for each in lane.serving[1:]), run.seconds], strict=True):
        kind = f"bar {shade(serving.release, run)}"
        blocks[kind] = blocks.get(kind, "") + _block(axis, serving.at, end, shown.block + 5, 3)
    return "".join(tag("path", class_=kind, d=path) for kind, path in blocks.items())


def _block(axis: Axis, start: float, end: float, y: float, height: float) -> str:
    x = axis.x(start)
    return f"M{x:g} {y}v{height}h{max(axis.x(end) - x, 1):.1f}v{-height}z"


def _whole(lane: Lane, state: str) -> str:
    spent = (f"{each.kind} {clock(each.start)} {each.end - each.start:.1f} s" for each in lane.segments)
    return "; ".join((f"{lane.host}: {state}", *spent))


def _signs(lane: Lane, axis: Axis, shown: Look) -> str:
    y, scale = 3 + shown.block / 2, 1.0 if shown.row > 20 else 0.8
    return "".join(
        moved(axis.x(mark.at), y, titled(f"{clock(mark.at)} {mark.text}"), SIGNS[mark.kind], scale=scale)
        for mark in lane.marks if mark.kind in SIGNS
    )


def _met(lane: Lane, axis: Axis, shown: Look, state: str) -> str:
    """Write below a lane what went wrong there, from the moment on at which it did, or as near as the words fit."""
    bad = [mark for mark in lane.marks if mark.kind in BAD]
    if not bad or not shown.words:
        return ""
    words, x = cut(f"{bad[-1].text}; {state}", axis.right - axis.left, BOLD), axis.x(bad[-1].at) - 7
    fits = x + len(words) * BOLD < axis.right
    return tag("text", text(words), class_="met" if fits else "met before", x=x if fits else axis.right, y=shown.row + 9)


def _left_alone(lane: Lane, axis: Axis, shown: Look, state: str) -> str:
    """Write behind what was done to a host that it was not touched, where that is so."""
    if not shown.words or not state.startswith("was not touched"):
        return ""
    x = axis.x(max(_edges(lane, finish=False), default=0.0)) + 8
    said = cut(state, axis.x(min(_edges(lane, finish=True), default=axis.seconds)) - x - 6)
    return tag("text", text(said), class_="said", x=x, y=shown.block / 2 + 7) if said else ""


def _edges(lane: Lane, finish: bool) -> Iterable[float]:
    """Give where the finish of a lane begins, or where all before it ends."""
    return [each.start if finish else each.end for each in lane.segments if (each.kind == "finish") == finish]
