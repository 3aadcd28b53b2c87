"""A person's own command on many hosts: some at once, what they say grouped or as it comes, and one exit code."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..commands import ask, node
from ..commands.shell import Step
from ..errors import RunFailed, Unsettled, UsageError, safe
from ..inventory import words
from ..report import terminal
from ..transport import Outcome
from .view import Look

HALF = 1000        # lines kept of the beginning of what a host says, and of its end
NAMES = 6          # hosts that are named one by one
TIMED_OUT = 124    # as timeout(1) says it
POLICIES = ("any", "all", "none")


class Order(NamedTuple):
    """Hold what to run and how: seconds for each host, how many hosts at once, what counts as a failure of the whole."""

    command: str
    timeout: float
    limit: int
    policy: str
    stream: bool


def order(command: str, timeout: str, limit: int, policy: str, stream: bool) -> Order:
    """Read the flags of `fab exec`; raise UsageError."""
    if not command.strip():
        raise UsageError("say what to run: fab exec --hosts GROUP --command 'uptime'")
    if limit < 1:
        raise UsageError(f"--limit {limit}: say how many hosts at once, 1 or more")
    if policy not in POLICIES:
        raise UsageError(f"--policy {policy}: there is {', '.join(POLICIES)}")
    try:
        return Order(command, words.positive_duration(timeout), limit, policy, stream)
    except ValueError as err:
        raise UsageError(f"--timeout: {err}") from None


@dataclass
class Said:
    """Hold what a host said: the first and the last lines, and how many are missing between them; and how it ended."""

    head: list[str] = field(default_factory=list)
    end: deque[str] = field(default_factory=lambda: deque(maxlen=HALF))
    lines: int = 0
    code: int | None = None
    seconds: float = 0.0
    why: str = ""       # it has no code of its own: out of reach, link lost, not started

    def add(self, text: str) -> None:
        self.lines += 1
        if len(self.head) < HALF:
            self.head.append(text)
        else:
            self.end.append(text)

    @property
    def output(self) -> list[str]:
        left_out = self.lines - len(self.head) - len(self.end)
        return [*self.head, *([f"[{left_out} lines are left out here]"] if left_out else []), *self.end]

    @property
    def verdict(self) -> str:
        """Say how it ended, nothing for well."""
        return self.why or ("" if self.code == 0 else f"exit code {self.code}")


class Execution:
    """Run one order on all hosts of a look."""

    def __init__(self, look: Look, order: Order) -> None:
        self.look = look
        self.order = order
        self.said = {name: Said() for name in look.hosts}
        self.unknown: set[str] = set()
        self.width = max(len(name) for name in look.hosts)
        self._printing = threading.Lock()
        self.fleet = look.fleet
        self.fleet.emit = self.hear

    def carry_out(self) -> None:
        """Run it everywhere, show what was said, and raise what the policy makes of it."""
        slots = threading.BoundedSemaphore(self.order.limit)

        def on(host: str) -> None:
            with slots:
                self.one(host)

        self.fleet.together(on, self.look.hosts, self.fleet.hang_up)
        self.show()
        self.judge()

    def one(self, host: str) -> None:
        said = self.said[host]
        if self.fleet.stopping.is_set() or host in self.look.unreachable:
            said.why = self.look.unreachable.get(host, "not started")
            return
        app = self.look.hosts[host]
        wanted = {"command": self.order.command, "timeout_ms": int(self.order.timeout * 1000)}
        outcome = self.fleet.run("exec", host, [
            Step("tools", node.tools(app.node_bin, app.pm2_home)), Step("exec", ask.execute(app.app.root, wanted)),
        ])
        self.ended(host, outcome)

    def ended(self, host: str, outcome: Outcome) -> None:
        """Note how it ended there: its own exit code, 124 after the timeout, 128 and more by a signal; None where nobody knows."""
        said = self.said[host]
        said.seconds = round(outcome.seconds, 3)
        end = outcome.last("ended")
        if end is None:
            said.code = outcome.code
            said.why = outcome.last_words
            if outcome.code is None:
                self.unknown.add(host)
                said.why = f"its link was lost, and how it ended is unknown: {outcome.last_words}"
        elif end["late"]:
            said.code, said.why = TIMED_OUT, f"ended after {self.order.timeout:g} s (--timeout)"
        else:
            said.code = end["code"] if end["signal"] is None else 128
            said.why = f"ended by {end['signal']}" if end["signal"] else ""

    def hear(self, phase: str, host: str, event: Mapping[str, Any]) -> None:
        """Take lines as they come, in whichever thread."""
        if event["event"] != "output":
            return
        for line in event["lines"]:
            self.said[host].add(line["text"])
            if self.order.stream and not self.look.page.json:
                with self._printing:
                    terminal.put_headed(host, f"{host:<{self.width}}{'|' if line['kind'] == 'out' else '!'}", f" {line['text']}")

    # ------------------------------------------------------------------ what is shown

    def show(self) -> None:
        for host, said in self.said.items():
            self.look.page.tell("host", host=host, code=said.code, output=safe("\n".join(said.output)), seconds=said.seconds, why=said.why)
        if self.order.stream:
            for host, said in self.said.items():
                if said.verdict:
                    self.look.page.say(f"{host}: {said.verdict}")
            return
        grouped = groups(self.said)
        for names, said in grouped:
            if len(self.said) > 1:
                self.look.page.say(f"{named(names)} said{f' ({said.verdict})' if said.verdict else ''}:{'' if said.lines else ' nothing'}")
            for text in said.output if not self.look.page.json else []:
                terminal.put(f"  {text}" if len(self.said) > 1 else text)

    def judge(self) -> None:
        """Raise what the policy makes of the ends."""
        bad = [host for host, said in self.said.items() if said.code != 0]
        if not bad or self.order.policy == "none" or (self.order.policy == "all" and len(bad) < len(self.said)):
            return
        told = "; ".join(f"{host}: {self.said[host].verdict}" for host in bad[:NAMES])
        more = f"; and {len(bad) - NAMES} more" if len(bad) > NAMES else ""
        failed = f"{len(bad)} of {len(self.said)} hosts failed: {told}{more}"
        if self.unknown:
            raise Unsettled(f"{failed}\nOf {len(self.unknown)} nobody knows how it ended: look before you run it again.")
        raise RunFailed(failed)


def groups(said: Mapping[str, Said]) -> list[tuple[list[str], Said]]:
    """Put hosts together that said and did the same; most hosts first, then in order of hosts.yaml."""
    found: dict[tuple[object, ...], list[str]] = {}
    for host, each in said.items():
        found.setdefault((each.code, each.verdict, each.lines, *each.output), []).append(host)
    return sorted(((names, said[names[0]]) for names in found.values()), key=lambda group: -len(group[0]))


def named(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= NAMES else f"{len(names)} hosts"
