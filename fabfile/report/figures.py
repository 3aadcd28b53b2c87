"""Turn the events of one run into the figures that a report shows: who, what, how it ended, and what was measured when. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

from ..commands.shell import cmd
from .lanes import Courses, Lane
from .stream import SCHEMA, Event
from .summary import told_state

CELLS = 180           # points that a picture shows of a series; a longer one is folded
LINES, LONG = 80, 240  # of what went wrong: lines, and characters in one
BACK_AND_FORTH = {    # how to undo what went well, or to go on from it
    "deploy": "fab rollback --hosts {hosts}   back to each host's last good release; the database is not touched",
    "resume": "fab rollback --hosts {hosts}   back to each host's last good release; the database is not touched",
    "rollback": "fab reload --to newest --hosts {hosts}   forward again to the newest release that is good everywhere",
    "build": "fab migrate --hosts {hosts}, then fab reload --to newest --hosts {hosts}",
    "migrate": "fab reload --to newest --hosts {hosts}",
}
HEADLINES = {
    0: "done", 1: "failed: the fleet is safe on the old release", 2: "refused: nothing was touched", 3: "locked: somebody else deploys",
    4: "not fit for it: nothing was touched", 5: "unsettled: a human must look",
}
STOPPED = "stopped, and tidied"
NO_END = "no end: it goes on, or it died and left this"


class Phase(NamedTuple):
    """Name a phase of the whole run, from `start` to `end` in seconds."""

    name: str
    what: str
    start: float
    end: float


class Cell(NamedTuple):
    """Count the requests of one stretch of time; `p99` in seconds, None where no answer was good."""

    start: float
    end: float
    sent: int
    failed: int
    p99: float | None


@dataclass(frozen=True)
class Answered:
    """Say from when to when a release answered requests, and how many."""

    release: str
    first: float
    last: float
    count: int


class Measured(NamedTuple):
    """Hold what was counted; `cells` lie on the run's own axis of time."""

    sent: int
    lost: int
    gap: float | None
    cells: tuple[Cell, ...]
    answers: tuple[Answered, ...]
    doubts: tuple[str, ...]


class Figures(NamedTuple):
    """Hold a run as a report shows it; `began` is seconds since the epoch, all other times are seconds since then."""

    run: str
    verb: str
    selector: str
    who: str
    where: str
    ci: str
    commit: str
    began: float | None
    seconds: float
    exit: int | None
    headline: str
    release: str                           # "" if it was about none in particular
    before: tuple[str, ...]                # what ran when it began
    message: str                           # how it went wrong, in the run's own words
    following: tuple[str, ...]             # what to type next
    states: tuple[tuple[str, str], ...]    # host, what is true of it now
    phases: tuple[Phase, ...]
    lanes: tuple[Lane, ...]
    capacity: tuple[tuple[float, int], ...]   # from when on how many hosts served
    floor: int | None
    measured: Measured | None
    foreign: int | None                    # the schema of another version that wrote the run


def figures(events: Iterable[Event]) -> Figures:
    """
    Read a run's events, its summary the last of them; what is missing is left out.

    Each is looked at once, and few are kept: hundreds of hosts have much to tell.
    """
    kept, courses = _Kept(), Courses({})
    for event in events:
        if event.get("event") == "run":
            courses = Courses({str(name): [str(host) for host in hosts] for name, hosts in dict(event.get("groups") or {}).items()})
        courses.take(event)
        kept.take(event)
    return _figures(kept, courses.lanes(kept.end))


class _Kept:
    """Keep what a run told of itself: its last `run`, `summary` and `requests`, its phases, and what it said last."""

    def __init__(self) -> None:
        self.run: Event = {}
        self.summary: Event = {}
        self.requests: Event = {}
        self.phases: list[Event] = []
        self.end = 0.0
        self.reloads = False
        self.words = ""  # a run that has written no summary may have told why it left, and what to type

    def take(self, event: Event) -> None:
        self.end = max(self.end, _seconds(event.get("at")))
        self.reloads = self.reloads or event.get("phase") == "reload"
        match event.get("event"):
            case "run":
                self.run = event
            case "summary":
                self.summary = event
            case "requests":
                self.requests = event
            case "phase":
                self.phases.append(event)
            case None if "text" in event:
                self.words = str(event["text"])


def _figures(kept: _Kept, found: tuple[Lane, ...]) -> Figures:
    run, summary, end = kept.run, kept.summary, kept.end
    verb, selector, code = str(run.get("verb", "run")), str(run.get("selector", "")), summary.get("exit")
    message, following = _told(str(summary.get("message") or "") if summary else kept.words)
    before = tuple(sorted({lane.before for lane in found if lane.before}))
    if code == 0 and not following and verb in BACK_AND_FORTH and before:
        following = [BACK_AND_FORTH[verb].format(hosts=cmd(selector))]
    schema = run.get("schema")
    return Figures(
        run=str(run.get("run", "")), verb=verb, selector=selector, who=str(run.get("who", "")), where=str(run.get("from", "")),
        ci=str(run.get("ci") or ""), commit=str(run.get("commit") or ""), began=run.get("began"), seconds=end, exit=code,
        headline=HEADLINES.get(code, STOPPED) if isinstance(code, int) else NO_END,
        release=str(summary.get("release") or _only(lane.serving[-1].release for lane in found)),
        before=before, message=message, following=tuple(following),
        states=tuple(_states(found, summary, kept.reloads)),
        phases=tuple(_phases(kept.phases, end)), lanes=found, capacity=tuple(_capacity(found)), floor=run.get("floor"),
        measured=_measured(kept.requests, run.get("began")) if kept.requests else None, foreign=None if schema == SCHEMA else schema,
    )


def _seconds(at: object) -> float:
    return float(at) if isinstance(at, int | float) else 0.0


def _only(releases: Iterable[str]) -> str:
    found = set(releases)
    return found.pop() if len(found) == 1 else ""


def _told(message: str) -> tuple[str, list[str]]:
    """Part what a run said at its end into what was, and what to type next."""
    lines = [line if len(line) <= LONG else f"{line[:LONG]}…" for line in message.splitlines()]
    following = [line.removeprefix("Next:").strip() for line in lines if line.startswith("Next:")]
    said = [line for line in lines if not line.startswith("Next:")]
    more = [f"... {len(said) - LINES} lines more: they are in the logs of this run"] if len(said) > LINES else []
    return "\n".join([*said[:LINES], *more]), following


def _states(found: Sequence[Lane], summary: Event, reloads: bool) -> Iterable[tuple[str, str]]:
    """Say for each host what is true of it now, as the run itself read it back."""
    ends = summary.get("hosts") or {}
    for lane in found:
        serves = lane.serving[-1].release
        if not summary:
            yield lane.host, f"not known; last seen serving {serves or 'nothing'}"
        elif lane.host in ends:
            yield lane.host, _state(ends[lane.host])
        else:
            yield lane.host, ("was not touched" if reloads else "was not switched") + (f", serves {serves}" if serves else "")


def _state(end: Mapping[str, Any]) -> str:
    try:
        return told_state(SimpleNamespace(**end))
    except (KeyError, TypeError, AttributeError):  # of another version
        return f"{end.get('state')}: {end.get('now')}"


def _phases(begun: Sequence[Event], end: float) -> Iterable[Phase]:
    for event, after in zip(begun, [*begun[1:], {"at": end}], strict=False):
        yield Phase(str(event.get("phase")), str(event.get("what")), _seconds(event.get("at")), _seconds(after["at"]))


def _capacity(found: Iterable[Lane]) -> Iterable[tuple[float, int]]:
    """Count the hosts that served, from each moment on at which that changed."""
    changes: dict[float, int] = {}
    for lane in found:
        served = 0
        for each in lane.serving:
            changes[each.at] = changes.get(each.at, 0) + bool(each.release) - served
            served = int(bool(each.release))
    count = 0
    for at, change in sorted(changes.items()):
        if change or not at:
            count += change
            yield at, count


# ---------------------------------------------------------------- requests


def _measured(requests: Event, began: float | None) -> Measured:
    """Put the prober's counts on the run's axis; its own began when it was started, after the claim."""
    shift = max(0.0, requests["started"] - began) if began else 0.0
    judged = [tally for tally in requests["tallies"] if tally["counted"]]
    return Measured(
        sent=requests["sent"], lost=requests["lost"], gap=requests.get("longest_gap"),
        cells=tuple(_cells([tally["series"] for tally in judged], requests["seconds"], shift)),
        answers=tuple(_answers(judged, shift)), doubts=tuple(requests.get("doubts") or ()),
    )


def _cells(series: Sequence[Mapping[str, Any]], seconds: float, shift: float) -> Iterable[Cell]:
    """Fold several series into one of at most CELLS cells: counts add up, of the slowest answers the slowest counts."""
    step = max([each["step"] for each in series], default=1.0)
    step *= math.ceil(seconds / step / CELLS) or 1
    many = max(round(seconds / step), 1)  # what is left at the end is not a cell of its own: its rate would say nothing
    for number in range(many):
        start, end = number * step, seconds if number == many - 1 else (number + 1) * step
        here = [(each, _slots(each, start, end)) for each in series]
        slow = [each["p99"][slot] for each, slots in here for slot in slots if each["p99"][slot] is not None]
        yield Cell(start + shift, end + shift, sum(each["sent"][slot] for each, slots in here for slot in slots),
                   sum(each["failed"][slot] for each, slots in here for slot in slots), max(slow, default=None))


def _slots(series: Mapping[str, Any], start: float, end: float) -> range:
    """Give the indices of a series that lie in one cell."""
    first, last = (min(math.ceil(edge / series["step"]), len(series["sent"])) for edge in (start, end))
    return range(first, last)


def _answers(judged: Iterable[Mapping[str, Any]], shift: float) -> Iterable[Answered]:
    """Say which releases answered, the one that did first the first."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for tally in judged:
        for release, version in tally["versions"].items():
            found.setdefault(release, []).append(version)
    answers = (
        Answered(release, shift + min(each["first"] for each in seen), shift + max(each["last"] for each in seen),
                 sum(each["count"] for each in seen))
        for release, seen in found.items()
    )
    return sorted(answers, key=lambda each: each.first)
