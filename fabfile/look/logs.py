"""The app's own words from many hosts, merged by time; followed, if wanted, until Ctrl-C."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..commands import ask, node
from ..commands.shell import Step
from ..errors import Unsettled, UsageError, safe
from ..inventory import words
from ..report import terminal
from .view import Look

LINES = 50           # of each host, where nothing else is said
TICK = 0.3           # seconds in which lines that are followed are put in order
FIRST = 10.0         # seconds in which all hosts should have told what there was
APART = 2.0          # seconds that a host's clock may differ before that is told
AGAIN = (1.0, 2.0, 5.0)  # seconds between tries to get back to a host

Entry = dict[str, Any]


def wanted(lines: int, since: str, errors: bool, release: str, grep: str, follow: bool) -> dict[str, Any]:
    """Put the flags of `fab logs` into what logs.cjs reads; raise UsageError."""
    if lines < 0:
        raise UsageError(f"--lines {lines}: say how many, 1 or more")
    try:
        re.compile(grep)
    except re.error as err:
        raise UsageError(f"--grep {grep!r} is no regular expression: {err}") from None
    if found := re.search(r"\(\?(?![:=!])|\\[AZ]", grep):  # node reads it there, whose own are not Python's
        raise UsageError(f"--grep {grep!r}: {found[0]} means something else on the hosts; write it without")
    return {
        "lines": lines or (0 if since else LINES), "since": moment(since), "errors": errors, "release": release, "grep": grep,
        "follow": follow, "places": None,
    }


def moment(since: str) -> str | dict[str, int] | None:
    """Read --since: "deploy", a duration (10m, 2h), or a date or time of here; a host's clock judges the first two."""
    if not since or since == "deploy":
        return since or None
    if re.fullmatch(r"[0-9.]+[a-z]+", since):
        try:
            return {"ago": int(words.duration(since) * 1000)}
        except ValueError as err:
            raise UsageError(f"--since: {err}") from None
    try:
        return {"at": int(datetime.fromisoformat(since).astimezone().timestamp() * 1000)}
    except ValueError:
        raise UsageError(f"--since {since!r} is neither deploy, nor a duration (10m), nor a time (2026-11-24, 2026-11-24T09:30)") from None


class Logs:
    """Gather entries from all hosts, and print them in order of time."""

    def __init__(self, look: Look, asked: Mapping[str, Any]) -> None:
        self.look = look
        self.asked = dict(asked)
        self.follows = bool(asked["follow"])
        self.places: dict[str, Mapping[str, Any]] = {}
        self.ahead: dict[str, float] = {}  # ms by which a host's clock is ahead of ours
        self.heard: queue.Queue[tuple[str, Mapping[str, Any]]] = queue.Queue()
        self.lost: dict[str, str] = {}
        self.lines = Lines(look)
        self.fleet = look.fleet
        self.fleet.emit = self.hear

    # ------------------------------------------------------------------ in a thread for each host

    def hear(self, phase: str, host: str, event: Mapping[str, Any]) -> None:
        """Take what a host tells."""
        if event["event"] == "told":
            ahead = event["now"] - time.time() * 1000
            self.ahead[host] = ahead if abs(ahead) > APART * 1000 else 0.0
        if event["event"] in ("entries", "told"):
            self.places[host] = event.get("places") or self.places.get(host, {})
            self.heard.put((host, event))

    def listen(self, host: str) -> None:
        """Hear one host to its end; one that is followed again and again, from where it had come to."""
        why = self.look.unreachable.get(host, "")
        tries = 0
        while True:
            begun = time.monotonic()
            if not why:
                why = self.once(host)
            if not why or not self.follows or self.fleet.stopping.is_set():
                break
            self.heard.put((host, {"event": "lost", "why": why}))
            tries = 0 if time.monotonic() - begun > AGAIN[-1] else tries
            why = self.back(host, tries)
            tries += 1
        self.heard.put((host, {"event": "over", "why": why}))

    def once(self, host: str) -> str:
        """Run the reader on a host until it ends; return why it should not have."""
        app = self.look.hosts[host]
        names = [process.name for process in app.app.processes]
        wanted = {**self.asked, "names": names, "places": self.places.get(host)}
        outcome = self.fleet.run("logs", host, [
            Step("tools", node.tools(app.node_bin, app.pm2_home)), Step("logs", ask.logs(app.app.root, wanted)),
        ])
        return "" if outcome.ok and not self.follows else outcome.last_words

    def back(self, host: str, tries: int) -> str:
        """Wait a little, and log in anew; return why that failed."""
        if self.fleet.stopping.wait(AGAIN[min(tries, len(AGAIN) - 1)]):
            return "stopped"
        self.fleet.lines[host].close()
        if not (why := self.fleet.reach(host)):
            self.heard.put((host, {"event": "back"}))
        return why

    # ------------------------------------------------------------------ in the thread of whoever looks

    def show(self) -> None:
        """Print what there is; followed, until the caller is interrupted or nobody reads any more."""
        for host in self.look.hosts:
            threading.Thread(target=self.listen, args=(host,), daemon=True).start()
        try:
            self.lines.put(self.past())
            while self.follows and terminal.is_read():
                self.lines.put(self.taken(time.monotonic() + TICK))
        finally:
            self.fleet.stopping.set()
        if self.lost:
            told = "\n".join(f"  {host}: {why}" for host, why in self.lost.items())
            raise Unsettled(f"{len(self.lost)} of {len(self.look.hosts)} hosts could not be heard\n{told}\n"
                            f"Next:  fab doctor --hosts {self.look.targets.selector}")

    def past(self) -> list[Entry]:
        """Take what there was before we came, from all that answer; who is late is not waited for when others are followed."""
        waiting = set(self.look.hosts)
        end = time.monotonic() + (FIRST if self.follows else float("inf"))
        entries: list[tuple[str, Entry]] = []
        while waiting and time.monotonic() < end:
            host, found = self.next(end)
            entries += [(host, entry) for entry in found or []]
            if found is None:
                waiting.discard(host)
        return self.sorted(entries)

    def taken(self, end: float) -> list[Entry]:
        """Take what comes until `end`, in order of time."""
        entries: list[tuple[str, Entry]] = []
        while time.monotonic() < end:
            host, found = self.next(end)
            entries += [(host, entry) for entry in found or []]
        return self.sorted(entries)

    def next(self, end: float) -> tuple[str, list[Entry] | None]:
        """Wait for the next word; return its host, and its entries: None when that host has told what there was, or will tell nothing."""
        try:
            host, event = self.heard.get(timeout=min(max(0.0, end - time.monotonic()), 60.0))
        except queue.Empty:
            return "", []
        if event["event"] == "entries":
            return host, list(event["lines"])
        if event["event"] == "over" and event["why"]:
            self.lost[host] = str(event["why"])
        self.note(host, event)
        return host, None

    def note(self, host: str, event: Mapping[str, Any]) -> None:
        """Say what a host has to say beside its app's words."""
        notes = list(event.get("notes", []))
        if event["event"] == "lost":
            notes.append(f"can't be heard, and is tried again: {event['why']}")
        if event["event"] == "back":
            notes.append("can be heard again")
        if event["event"] == "told" and self.ahead.get(host):
            way = "ahead of" if self.ahead[host] > 0 else "behind"
            notes.append(f"its clock is {abs(self.ahead[host]) / 1000:.0f} s {way} ours; its times are put right here")
        for text in notes:
            self.look.page.say(f"note: {host}: {text}")

    def sorted(self, entries: list[tuple[str, Entry]]) -> list[Entry]:
        """Put entries in order of time by our clock; those of one moment stay together as their host told them."""
        there = [{**entry, "host": host, "at": entry["at"] - self.ahead.get(host, 0.0)} for host, entry in entries]
        return sorted(there, key=lambda entry: (entry["at"], entry["host"]))


class Lines:
    """Print entries: `HH:MM:SS.mmm web1 0| text` for people, with ! for what went to stderr; an object each for programs."""

    def __init__(self, look: Look) -> None:
        self.page = look.page
        self.day = datetime.now().date()
        self.width = max(len(name) for name in look.hosts)
        self.several = len({process.name for host in look.targets.hosts for process in host.app.processes}) > 1

    def put(self, entries: list[Entry]) -> None:
        for entry in entries:
            when = datetime.fromtimestamp(entry["at"] / 1000).astimezone()
            if self.page.json:
                self.tell(entry, when)
                continue
            if when.date() != self.day:
                self.day = when.date()
                self.page.say(f"── {self.day}")
            terminal.put_headed(entry["host"], self.head(entry, when), f" {entry['text']}")

    def head(self, entry: Entry, when: datetime) -> str:
        """Give time, host and worker; milliseconds only where they are known."""
        clock = when.strftime("%H:%M:%S") + (f".{when.microsecond // 1000:03d}" if entry["fine"] else "    ")
        worker = "-" if entry["id"] is None else str(entry["id"])
        name = f"{entry['name']} " if self.several else ""
        return f"{clock} {entry['host']:<{self.width}} {name}{worker}{'|' if entry['kind'] == 'out' else '!'}"

    def tell(self, entry: Entry, when: datetime) -> None:
        self.page.tell(
            "line", time=when.isoformat(timespec="milliseconds"), by=entry["by"], host=entry["host"], process=entry["name"],
            worker=entry["id"], stream=entry["kind"], text=safe(entry["text"]),
        )

