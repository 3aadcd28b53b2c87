"""Play one case: load, a command, a fault at its moment, the last look, the same command again; all into one history."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import load
from tests.faults import look
from tests.faults.ground import Ground
from tests.faults.history import LINKS_EVERY, POOL_EVERY, History, Moment, sampled, told
from tests.faults.typed import Typed
from tests.lab.conftest import Done
from tests.lab.hosts import BALANCER

MOMENT_WITHIN = 60.0   # seconds until the moment of a fault must have come
ORPHANS_WITHIN = 10.0
CHECKS_WITHIN = 8.0
RATE, SLOW = 80, 2
TIMER = 2  # processes of the timer that puts a drained server back: its shell and that shell's sleep


@dataclass
class Case:
    """One fault, to be played once on the shared fleet."""

    site: Ground
    folder: Path
    name: str
    codes: tuple[int, ...]
    limit: float = 60.0
    width: int = 1
    hosts: list[str] = field(default_factory=list)
    struck: list[str] = field(default_factory=lambda: ["lab1"])  # whom the fault hits: the time to safety is theirs
    excused: dict[str, str] = field(default_factory=dict)
    rate: int = RATE
    room: str = ""  # what the file of this case is about: its heading in the table
    takes_up: tuple[str, ...] = ()  # what is typed after a run that left its locks; the same command otherwise

    def __post_init__(self) -> None:
        self.history = History(self.folder / "history.jsonl")
        self.hosts = self.hosts or self.site.lab.names
        self.words: list[str] = []
        self.played = False

    # ------------------------------------------------------------ playing

    @contextlib.contextmanager
    def playing(self, *words: str, program: Sequence[str] = (), terminal: bool = False) -> Iterator[Typed]:
        """Type the command under load; break what is to be broken inside the block. Look, and type it again, afterwards."""
        self.words = list(words) if words else ["deploy", "--ref", self.site.other_ref()]
        self.history.write(
            "case", name=self.name, room=self.room, hosts=self.hosts, struck=self.struck, width=self.width, limit=self.limit, codes=self.codes, excused=self.excused,
        )
        lab = self.site.lab
        self.before = {pid for host in (*lab.names, BALANCER) for pid in lab.pids(host)}
        self.history.write("look", when="before", **look.fleet(self.site))
        with self.watched():
            self.typed = self.type(1, program=program, terminal=terminal)
            try:
                yield self.typed
            finally:
                self.typed.end()
            self.recovered()
            self.last_look("after", self.leftovers())
        self.again()
        self.played = True

    def type(self, number: int, *words: str, program: Sequence[str] = (), terminal: bool = False) -> Typed:
        typed = [*(words or self.words), "--hosts", ",".join(self.hosts)]
        return Typed(self.history, typed, self.site.environment(), number, terminal=terminal, **({"program": program} if program else {}))

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Have clients ask, and sample balancer and links, while the block runs."""
        lab = self.site.lab
        with contextlib.ExitStack() as stack:
            stack.enter_context(sampled(self.history, "pool", lambda: look.pool(lab), POOL_EVERY))
            stack.enter_context(sampled(self.history, "links", lambda: look.links(lab), LINKS_EVERY))
            stack.callback(lambda: self.tell_clients(tally))
            tally = stack.enter_context(load.running(
                lab.url, path="/", slow_path="/slow?ms=1000", post_path="/items", rate=self.rate, slow=SLOW,
            ))
            time.sleep(1)
            yield
            time.sleep(1)

    def tell_clients(self, tally: load.Tally) -> None:
        """Write down what the clients saw, in our own time."""
        shift = time.monotonic() - time.time()
        lost = [{**failure, "at": round(tally.started + float(str(failure["at"])) + shift, 3)} for failure in tally.failures]
        self.history.write("clients", sent=tally.total, lost=lost, versions=dict(tally.versions), longest_gap_ms=tally.longest_gap_ms)

    @contextlib.contextmanager
    def fault(self, fault: AbstractContextManager[Any], at: Moment, *, until: Moment | None = None, most: float = 60.0) -> Iterator[None]:
        """
        Break something at one moment and mend it at another, `most` seconds later at the latest.

        Without `until` it lasts for `most`, or until the command ends, whichever comes first. The block runs while it is broken.
        """
        seen = self.history.wait(at, MOMENT_WITHIN, self.typed.since)
        assert seen is not None, f"the moment of the fault never came:\n{self.text()}"
        since = len(self.history.records)
        self.history.write("fault", name=self.name)
        with fault:
            yield
            self.last(until, most, since)
        self.history.write("healed", name=self.name)

    def strike(self) -> None:
        """Write down that the fault is just over: the command broke itself."""
        self.history.write("fault", name=self.name)
        self.history.write("healed", name=self.name)

    def seen(self, when: str) -> dict[str, Any]:
        """Give what a look at the fleet found."""
        return next(record for record in reversed(self.history.records) if record["kind"] == "look" and record["when"] == when)

    def last(self, until: Moment | None, most: float, since: int) -> None:
        """Let the fault last."""
        end = time.monotonic() + most
        while time.monotonic() < end and not self.typed.over:
            if self.history.wait(until or (lambda _: False), min(0.2, max(0.0, end - time.monotonic())), since):
                return

    # ------------------------------------------------------------ looking

    def recovered(self) -> None:
        """Give the balancer's checks time to see that a host has come back: a fault that has just been mended is not our doing."""
        end = time.monotonic() + CHECKS_WITHIN
        while any(status.startswith("DOWN") for status in look.pool(self.site.lab).values()) and time.monotonic() < end:
            time.sleep(0.2)

    def leftovers(self) -> dict[str, list[str]]:
        """Give what we started on the hosts ten seconds to end, and name what did not."""
        end = time.monotonic() + ORPHANS_WITHIN
        while (found := self.strangers()) and time.monotonic() < end:
            time.sleep(0.3)
        return found

    def strangers(self) -> dict[str, list[str]]:
        """List what is left of us; as long as a server is drained, the timer on the balancer that will put it back is wanted."""
        found = look.strangers(self.site.lab, self.before)
        drained = any(status.startswith("DRAIN") for status in look.pool(self.site.lab).values())
        return {host: texts for host, texts in found.items() if not (drained and host == BALANCER and len(texts) == TIMER)}

    def last_look(self, when: str, strangers: dict[str, list[str]]) -> None:
        status = self.plain("status")
        fleet = look.fleet(self.site)
        self.history.write("look", when=when, **fleet, status={"code": status.code, "text": status.out}, strangers=strangers)

    def again(self) -> None:
        """Type the same command without the fault, or what takes up a dead run, if one left its locks."""
        left = any(look.lock(self.site.lab, host) for host in self.hosts)
        self.type(2, *(self.takes_up if left else [])).end()
        self.last_look("again", self.leftovers())

    def plain(self, *words: str) -> Done:
        return self.site.fab(*words, hosts=",".join(self.hosts))

    def text(self, number: int = 1) -> str:
        """Give what the command under fault (1), or the same command again (2), printed."""
        return told(self.history.records, number)

    def kinds_lost(self) -> set[str]:
        """Name the kinds of requests that were lost."""
        return {loss["kind"] for record in self.history.records if record["kind"] == "clients" for loss in record["lost"]}
