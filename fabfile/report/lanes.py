"""Follow one host through a run: what was done to it and when, what it met, and what it served meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from .stream import Event
from .telling import told

PHASES = ("claim", "build", "migrate", "finish")  # one script from begin to end; a reload has parts
WORDS = 160  # characters of what was said at a moment; all of it is in the log
NOTED = ("revive", "stray", "scale", "remove", "note")


class Segment(NamedTuple):
    """Name a stretch of a host's time, in seconds since the run began; `kind` is also its colour."""

    kind: str  # claim build migrate drain reload settle back restore mend finish
    start: float
    end: float
    text: str


class Mark(NamedTuple):
    """Name a moment in a host's time."""

    kind: str  # boot open refused broken cut joined note
    at: float
    text: str


class Serving(NamedTuple):
    """Say from when on clients of a host met which release; "" if it got no request or had nothing to answer with."""

    at: float
    release: str


class Lane(NamedTuple):
    """Hold one host's way through a run."""

    host: str
    group: str
    before: str | None
    segments: tuple[Segment, ...]
    marks: tuple[Mark, ...]
    serving: tuple[Serving, ...]


class Course:
    """Follow one host, event by event in their order."""

    def __init__(self, host: str, group: str) -> None:
        self.host = host
        self.group = group
        self.before: str | None = None
        self.segments: list[Segment] = []
        self.marks: list[Mark] = []
        self.serving = [Serving(0.0, "")]
        self.going_back = False             # the run takes back what it had done
        self._runs = ""                     # the release of its workers
        self._rotates = True
        self._open: tuple[str, float, str] | None = None
        self._cut: float | None = None      # since when its link is down
        self._seen: set[tuple[object, ...]] = set()

    def take(self, event: Event) -> None:
        """Take the host's next event; one that another version wrote otherwise is left out."""
        with suppress(KeyError, TypeError, ValueError, AttributeError):
            if self._is_new(event):
                self._joined(event)
                self._take(str(event["phase"]), str(event["event"]), float(event["at"]), event)

    def lane(self, end: float) -> Lane:
        """Give the lane of a run that came to its end, or was left, after so many seconds."""
        self._close(end)
        return Lane(self.host, self.group, self.before, tuple(self.segments), tuple(self.marks), tuple(self.serving))

    def _is_new(self, event: Event) -> bool:
        """Tell what was not heard before: who follows a driver after a lost link hears all of it again."""
        if "at_host" not in event:
            return True
        key = (event["at_host"], event["event"], event.get("id"), event.get("state"))
        new = key not in self._seen
        self._seen.add(key)
        return new

    def _joined(self, event: Event) -> None:
        if self._cut is not None:
            self._mark("joined", event["at"], f"link back after {event['at'] - self._cut:.1f} s")
            self._cut = None

    def _take(self, phase: str, kind: str, at: float, event: Event) -> None:
        if kind == "facts":
            self._facts(phase, at, event)
        elif kind == "end":
            self._end(phase, at, event)
        elif kind in ("drain", "restore", "mend") and phase == kind:
            self._turn(kind, at, event)
        elif phase in PHASES and kind in ("step", "begin"):
            self._begin(phase, at, phase)
        elif phase == "reload":
            self._reload(kind, at, event)

    def _mark(self, kind: str, at: float, text: str) -> None:
        self.marks.append(Mark(kind, at, text if len(text) <= WORDS else f"{text[:WORDS]}…"))

    # ------------------------------------------------------------------ its phases

    def _begin(self, kind: str, at: float, text: str) -> None:
        if self._open and self._open[0] == kind:
            self._open = (kind, self._open[1], text)
            return
        self._close(at)
        self._open = (kind, at, text)

    def _close(self, at: float) -> None:
        if self._open:
            kind, start, text = self._open
            self.segments.append(Segment(kind, start, max(at, start), text))
        self._open = None

    def _end(self, phase: str, at: float, event: Event) -> None:
        """Take the end of a script; its code is None when the link was lost."""
        if event["code"] is None:
            self._cut = at
            self._mark("cut", at, f"link lost in {phase}, step {event['step'] or 'start'}")
            return
        if event["code"] and phase != "reload":
            self._mark("refused", at, f"failed in {phase}, step {event['step'] or 'start'}")
        self._close(at)

    def _reload(self, kind: str, at: float, event: Event) -> None:
        if kind in ("step", "begin"):
            self._work(at, f": {event['from'] or 'nothing'} → {event['to']}" if kind == "begin" else "")
        elif kind == "worker":
            self._worker(at, event)
        elif kind == "settle" and self._open and self._open[0] != "back":
            self._begin("settle", at, f"must stay healthy for {event['ms'] / 1000:.0f} s")
        elif kind == "failed":
            self._mark("refused", at, f"refused: {event['why']}")
        elif kind == "revert":
            self._begin("back", at, f"back to {event['to'] or 'nothing'}")
        elif kind in ("done", "reverted"):
            self._close(at)
            self._run(at, event.get("release"))
        elif kind in ("broken", "lost"):
            self._close(at)
            self._mark("broken", at, f"{kind}: {event.get('back') or event.get('why')}")
            self._run(at, None)
        elif kind in NOTED:
            self._mark("note", at, told("reload", "", event, verbose=False).strip())

    def _work(self, at: float, there: str) -> None:
        """Begin its reload; what is followed again after a lost link goes on."""
        if self._open and self._open[0] in ("reload", "settle", "back") and not there:
            return
        kind = "back" if self.going_back else "reload"
        self._begin(kind, at, kind + there)

    def _worker(self, at: float, event: Event) -> None:
        if event["state"] in ("boot", "open"):
            self._mark(event["state"], at, f"worker {event['id']} {event['state']}: {event['release']} (pid {event['pid']})")
        if event["state"] == "open":
            self._run(at, event["release"])

    def _turn(self, kind: str, at: float, event: Event) -> None:
        """Take what was asked of the balancer; an event tells its end."""
        start = max(0.0, at - event["seconds"]) if "seconds" in event else at
        text = told(kind, "", event, verbose=False).strip()
        if kind == "drain" and event["said"] == "maintenance":
            self._rotates, self.serving = False, [Serving(0.0, "")]
        elif kind == "drain" and event["said"] == "drained" and event["ok"]:
            self._rotate(start, False)
        elif event["ok"]:
            self._rotate(at, kind != "drain" or self._rotates)
        if text:
            self._close(start)
            self.segments.append(Segment(kind, start, at, text))
        if not event["ok"]:
            self._mark("refused", at, text)

    # ------------------------------------------------------------------ what it serves

    def _facts(self, phase: str, at: float, event: Event) -> None:
        """Take what the host says of itself, first and last."""
        runs = event["current"]["release"] if event["processes"] else None
        if phase == "claim":
            self.before, self._runs = event["current"]["release"], runs or ""
            self.serving = [Serving(0.0, self._runs)]
        elif phase == "finish" and runs is None:
            self._run(at, runs)

    def _run(self, at: float, release: str | None) -> None:
        self._runs = release or ""
        self._rotate(at, self._rotates)

    def _rotate(self, at: float, rotates: bool) -> None:
        self._rotates = rotates
        release = self._runs if rotates else ""
        if release != self.serving[-1].release:
            self.serving.append(Serving(at, release))


class Courses:
    """Follow every host of these groups, as long as a run goes on."""

    def __init__(self, groups: Mapping[str, Iterable[str]]) -> None:
        self._of = {host: Course(host, group) for group, hosts in groups.items() for host in hosts}

    def take(self, event: Event) -> None:
        """Take the run's next event."""
        host: Any = event.get("host")
        if event.get("event") == "phase" and event.get("phase") == "roll back":
            for course in self._of.values():
                course.going_back = True
        elif host in self._of:
            self._of[host].take(event)

    def lanes(self, end: float) -> tuple[Lane, ...]:
        """Give the lane of each host in a run that took so many seconds."""
        return tuple(course.lane(end) for course in self._of.values())
