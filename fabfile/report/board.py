"""Where a run stands, read from its events: each host's way through the phases, and what is being waited for until when."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from .stream import Event
from .telling import clock

COLUMNS = ("build", "migrate", "drain", "reload", "healthy", "rotation")
MOST_NAMED = 3  # hosts in one sentence; more are counted

# Phases whose `waiting` belongs into a column that is called otherwise.
_OF_PHASE = {"drain": "drain", "restore": "rotation", "mend": "rotation", "probe": "rotation", "build": "build", "migrate": "migrate",
             "reload": "reload"}
_DRAINED = {"drained": ("ok", "", "out"), "alone": ("said", "alone", "in"), "crowded": ("said", "crowded", "in"),
            "maintenance": ("said", "maint.", "maint.")}
_WORKER = {"boot": "to load its script", "held": "to prove healthy", "settling": "to stay healthy"}


@dataclass
class Cell:
    """Say where one host stands in one column, or stood: `state` is going, ok, failed, or said (neither of these); times are the run's."""

    host: str
    column: str
    began: float
    state: str = "going"
    text: str = ""
    ended: float | None = None
    total: float | None = None  # seconds that it must take

    def shown(self, now: float) -> str:
        """Put it into a word or two."""
        spent = (now if self.ended is None else self.ended) - self.began
        if self.state == "going" and self.total:
            return f"{min(spent, self.total):.0f} of {self.total:.0f} s"
        if self.state == "going":
            return f"{self.text} {spent:.0f}s".strip()
        return self.text or (f"ok {spent:.0f}s" if self.state == "ok" else "FAILED")


@dataclass
class Wait:
    """Say what a host is waited for, since when, and until when by which setting, if there is a limit."""

    what: str
    since: float
    until: float | None = None
    setting: str = ""
    after: str = ""  # what is waited for once `until` is over

    def told(self, now: float) -> tuple[str, str]:
        """Give what is waited for, and how long."""
        if self.until is not None and self.after:
            if now < self.until:
                return self.what, f"{now - self.since:.0f} of {self.until - self.since:.0f} s"
            return self.after, f"since {clock(self.until)}"
        if self.until is None:
            return self.what, f"since {clock(self.since)}"
        return self.what, f"until {clock(self.until)}" + (f" ({self.setting})" if self.setting else "")


class Board:
    """Take the events of a run one after another; `cells` is the table, `past` holds the cells that a later turn has replaced."""

    def __init__(self) -> None:
        self.run: Event = {}
        self.hosts: list[str] = []
        self.phase = Wait("the first event", 0.0)
        self.release = ""
        self.sent: int | None = None
        self.lost = 0
        self.ended: Event | None = None
        self.cells: dict[str, dict[str, Cell]] = {}
        self.past: list[Cell] = []
        self.waits: dict[str, Wait] = {}
        self.latest: dict[str, str] = {}     # the column in which a host moved last
        self.runs: dict[str, str] = {}       # the release that each host was last seen to run
        self._limits: dict[str, Wait] = {}   # how long each worker of a host may take
        self._booting: dict[str, dict[str, Wait]] = {}  # by host, its workers in hand that are not open yet
        self._back = False                   # whether the hosts that were done are taken back
        self._heard: dict[str, Callable[[str, float, Event], None]] = {
            "step": self._step, "end": self._end, "waiting": self._waiting, "facts": self._facts, "drain": self._drain,
            "restore": self._restored, "mend": self._restored, "probed": self._probed, "begin": self._begin, "worker": self._worker,
            "settle": self._settle, "done": self._done, "failed": self._failed, "revert": self._revert, "reverted": self._reverted,
            "broken": self._broken, "lost": self._broken,
        }

    def take(self, event: Event) -> None:
        """Go on by one event; what can't be understood (a host with another version of our scripts) changes nothing."""
        with suppress(KeyError, TypeError, ValueError, AttributeError):
            host, kind = event["host"], event["event"]
            if not host:
                self._of_run(kind, event)
            elif host in self.cells and kind in self._heard:
                self._heard[kind](host, float(event["at"]), event)

    def _of_run(self, kind: str, event: Event) -> None:
        at = float(event["at"])
        if kind == "run":
            self.run = event
            self.hosts = [host for hosts in event["groups"].values() for host in hosts]
            self.cells = {host: {} for host in self.hosts}
        elif kind == "phase":
            self._phase(event["phase"], str(event["what"]), at)
        elif kind == "waiting":
            self.waits[""] = _wait(event)
        elif kind in ("probe", "requests"):
            self.sent, self.lost = int(event["sent"]), int(event["lost"])
        elif kind == "summary":
            self.ended = event
            self.waits = {}

    def _phase(self, phase: str, what: str, at: float) -> None:
        self.phase = Wait(f"{phase}: {what}", at)
        self.waits.pop("", None)
        if phase == "claim":
            self.waits = {host: Wait("to log in", at) for host in self.hosts}
        if phase in ("build", "reload"):
            self.release = what
        self._back = self._back or phase == "roll back"

    # ------------------------------------------------------------------ the table

    def _go(self, host: str, column: str, at: float, text: str = "", total: float | None = None) -> Cell:
        """Be under way in a column; a turn that had ended there makes room for a new one."""
        cell = self.cells[host].get(column)
        if cell is None or cell.ended is not None:
            if cell and cell.began != cell.ended:
                self.past.append(cell)
            cell = self.cells[host][column] = Cell(host, column, at)
        cell.text, cell.total, self.latest[host] = text, total, column
        return cell

    def _close(self, host: str, column: str, at: float, state: str = "ok", text: str = "") -> None:
        cell = self.cells[host].get(column)
        if cell is None or cell.ended is not None:
            cell = self._go(host, column, at)
        cell.state, cell.text, cell.ended, self.latest[host] = state, text, at, column

    def _going(self, host: str, *columns: str) -> list[str]:
        return [column for column in columns if column in self.cells[host] and self.cells[host][column].ended is None]

    # ------------------------------------------------------------------ one event each

    def _step(self, host: str, at: float, event: Event) -> None:
        phase, name = event["phase"], str(event["name"])
        if phase != "reload":
            self.waits[host] = Wait(name if phase == "build" else f"{phase}: {name}", at)
        if phase == "build" and not self._is_failed(host, phase):
            self._go(host, phase, at, name)

    def _end(self, host: str, at: float, event: Event) -> None:
        phase, code = event["phase"], event["code"]
        self.waits.pop(host, None)
        if phase in ("build", "migrate") and not self._is_failed(host, phase):
            self._close(host, phase, at, "ok" if code == 0 else "failed", "LOST" if code is None else "")
        if phase == "reload" and code != 0:
            for column in self._going(host, "reload", "healthy"):
                self._close(host, column, at, "failed", "LOST" if code is None else "FAILED")

    def _is_failed(self, host: str, column: str) -> bool:
        """Tell a phase that failed on a host: what is tidied up there afterwards is no success of it."""
        return column in self.cells[host] and self.cells[host][column].state == "failed"

    def _waiting(self, host: str, at: float, event: Event) -> None:
        wait = _wait(event)
        if event["phase"] == "reload":
            self._limits[host] = wait
        self.waits[host] = wait
        if column := _OF_PHASE.get(event["phase"]):
            self._go(host, column, at)

    def _facts(self, host: str, _: float, event: Event) -> None:
        self.runs[host] = event["current"]["release"] or ""

    def _drain(self, host: str, at: float, event: Event) -> None:
        self.waits.pop(host, None)
        state, text, rotation = _DRAINED.get(event["said"], ("failed", "", "?")) if event["ok"] else ("failed", "", "?")
        self._close(host, "rotation", at, "said", rotation)
        self._close(host, "drain", at, state, text)

    def _restored(self, host: str, at: float, event: Event) -> None:
        self.waits.pop(host, None)
        if event["event"] == "restore" or event["said"] == "restored" or not event["ok"]:
            self._close(host, "rotation", at, "ok" if event["ok"] else "failed", "in" if event["ok"] else "OUT")

    def _probed(self, host: str, at: float, event: Event) -> None:
        self.waits.pop(host, None)
        self._close(host, "rotation", at, "ok" if event["ok"] else "failed", "in" if event["ok"] else "UNSEEN")

    def _begin(self, host: str, at: float, event: Event) -> None:
        phase = event["phase"]
        self._booting.pop(host, None)
        self._go(host, phase, at)
        self.waits[host] = Wait(str(event["command"]) if phase == "migrate" else "to replace its first worker", at)

    def _worker(self, host: str, at: float, event: Event) -> None:
        number, state = str(event["id"]), str(event["state"])
        booting = self._booting.setdefault(host, {})
        limit = self._limits.get(host, Wait("", at))
        begun = booting.pop(number).since if number in booting and state != "boot" else at
        if state in _WORKER:
            until = limit.until and begun + limit.until - limit.since
            booting[number] = Wait(f"worker {number} {_WORKER[state]}", begun, until, limit.setting)
        self.waits[host] = min(booting.values(), key=lambda wait: wait.since, default=Wait("the next worker", at))
        if not self._going(host, "back"):
            self._go(host, "reload", at, f"{number}: {state}")

    def _settle(self, host: str, at: float, event: Event) -> None:
        seconds = event["ms"] / 1000
        self._booting.pop(host, None)
        if self._going(host, "reload"):
            self._close(host, "reload", at)
        if not self._going(host, "back"):
            self._go(host, "healthy", at, total=seconds)
        self.waits[host] = Wait("must stay healthy", at, at + seconds, "min_healthy_time", after="old workers to end")

    def _done(self, host: str, at: float, event: Event) -> None:
        self.waits.pop(host, None)
        if event["phase"] == "migrate":
            self._close(host, "migrate", at)
            return
        self._close(host, "healthy", at, *(("said", "went back") if self._back else ()))
        self.runs[host] = str(event["release"])

    def _failed(self, host: str, at: float, event: Event) -> None:
        for column in self._going(host, "reload", "healthy") or ["reload"]:
            self._close(host, column, at, "failed")
        self._booting.pop(host, None)
        self.waits[host] = Wait("to be taken back", at)

    def _revert(self, host: str, at: float, event: Event) -> None:
        self._limits.pop(host, None)  # on the way back a worker may take longer
        self._booting.pop(host, None)
        self._go(host, "back", at)
        self.waits[host] = Wait(f"to go back to {event['to'] or 'nothing'}", at)

    def _reverted(self, host: str, at: float, event: Event) -> None:
        self.waits.pop(host, None)
        if self._going(host, "back"):
            self._close(host, "back", at, "failed", "went back")
        for column in self._going(host, "reload"):
            self._close(host, column, at, "failed")
        self._close(host, "healthy", at, "failed", "untouched" if event.get("untouched") else "went back")
        self.runs[host] = event.get("release") or ""

    def _broken(self, host: str, at: float, event: Event) -> None:
        self.waits.pop(host, None)
        column = "migrate" if event["phase"] == "migrate" else "reload"
        for each in self._going(host, "reload", "healthy", "migrate", "back") or [column]:
            self._close(host, each, at, "failed", "LOST" if event["event"] == "lost" else "BROKEN" if column == "reload" else "")

    # ------------------------------------------------------------------ in words

    def waiting(self, now: float) -> str:
        """Say what is being waited for, and until or since when; who has waited longest comes first."""
        alike: dict[str, list[str]] = {}
        for host in sorted(self.waits, key=lambda host: self.waits[host].since):
            alike.setdefault(self.waits[host].told(now)[0], []).append(host)
        names = next(iter(alike.values()), [])
        what, long = (self.waits[names[0]] if names else self.phase).told(now)
        others = len(self.waits) - len(names)
        told = f"waiting: {f'{_named(sorted(names))} {what}'.strip()}, {long}"
        return f"{told}; and {others} more" if others else told

    def spans(self) -> list[Cell]:
        """List every turn that has ended, by the time it began."""
        ended = [cell for cells in self.cells.values() for cell in cells.values() if cell.ended is not None]
        return sorted((cell for cell in (*self.past, *ended) if cell.ended != cell.began), key=lambda cell: cell.began)


def _wait(event: Event) -> Wait:
    at, limit = float(event["at"]), event.get("limit")
    return Wait(str(event["what"]), at, at + float(limit) if limit is not None else None, str(event.get("setting") or ""))


def _named(hosts: list[str]) -> str:
    return ", ".join(hosts) if len(hosts) <= MOST_NAMED else f"{', '.join(hosts[:MOST_NAMED - 1])} and {len(hosts) - MOST_NAMED + 1} others"
