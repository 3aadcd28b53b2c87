"""One reading of the fleet: what each host, each balancer, and the app through the balancer say at this moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..commands import balancer, journal, lock, node, pm2
from ..commands.shell import Step
from ..drift import answered, drifted, in_rotation, pinned, why_out
from ..inventory.values import Group, Host, Process
from ..plan import Facts
from ..transport import Outcome
from .past import runs
from .view import Look

if TYPE_CHECKING:
    from ..probe import Answer

KNOWN_RUNS = 4     # lines of a host's history that are read for its last run: a run may have written two
THROUGH = 6        # questions through a balancer, each on a new connection
LONGEST_ANSWER = 5.0

Event = Mapping[str, Any]
Heard = tuple[Any, float]  # what a job has brought at last (None: nothing yet), and for how long its next answer is overdue


class Server(NamedTuple):
    """Hold what a balancer says of one host: `event` is its word, None if it does not know it; `trouble` says why there is none."""

    balancer: str
    event: Event | None
    trouble: str = ""

    @property
    def rotation(self) -> str:
        return f"? ({self.trouble})" if self.trouble else in_rotation(self.event)


class Reading(NamedTuple):
    """Hold what one host says, and what its balancer says of it."""

    host: Host
    group: str
    outcome: Outcome
    server: Server | None
    late: float = 0.0  # seconds for which it has not answered again; all this is older then

    @property
    def facts(self) -> Facts | None:
        return self.outcome.last("facts")

    @property
    def held(self) -> Event | None:
        return self.outcome.last("held")

    @property
    def answers(self) -> list[Event]:
        return [event for event in self.outcome.events if event["event"] == "answers"]

    @property
    def past(self) -> list[Event]:
        return runs(self.outcome)

    @property
    def left_by_last_run(self) -> str | None:
        """Name the release that the last run left this host on, as far as it knew."""
        left = (self.past[-1].get("now") or {}).get(self.host.name) if self.past else None
        return None if left == "?" else left

    @property
    def rotation(self) -> str:
        return self.server.rotation if self.server else "no balancer"

    def findings(self) -> list[str]:
        """Name all that is not as it should be."""
        late = [f"gives no answer for {self.late:.0f} s now; what is shown was so before"] if self.late else []
        return [*late, *self._findings()]

    def _findings(self) -> Iterator[str]:
        facts = self.facts
        if facts is None:
            yield "can't be read: " + "; ".join(self.outcome.tail[-2:] or [self.outcome.last_words])
            return
        unknown = bool(self.server and self.server.trouble)
        yield from drifted(self.host, facts, why_out(self.server.event) if self.server and not unknown else "")
        if facts["current"]["state"] == "absent" and (left := self.left_by_last_run):
            yield f"current is absent, though the last run left {left} here"
        yield from answered(self.host, facts, self.answers)
        if not self.outcome.ok:
            yield f"what its ports answer can't be read: {self.outcome.last_words}"
        if unknown and facts["current"]["state"] == "ok":
            yield f"nobody knows whether it is in rotation: {self.server.trouble}"  # type: ignore[union-attr]
        yield from pinned(facts)


class Front(NamedTuple):
    """Hold what the app answers through the balancer of a group, asked from here."""

    group: str
    balancer: str
    url: str
    answers: tuple[Answer, ...]

    @property
    def releases(self) -> dict[str, int]:
        return dict(sorted(Counter(each.release or "no release" for each in self.answers if each.status).items()))

    @property
    def failed(self) -> list[str]:
        return [each.why or f"{each.status}" for each in self.answers if each.status != 200]


class Whole(NamedTuple):
    """Hold one reading of the whole fleet."""

    hosts: tuple[Reading, ...]
    fronts: tuple[Front, ...]
    servers: tuple[tuple[str, Event], ...]  # each with the name of its balancer

    def findings(self) -> dict[str, list[str]]:
        """Name what is wrong, by host or balancer."""
        found = {each.host.name: texts for each in self.hosts if (texts := each.findings())}
        return found | {front.balancer: texts for front in self.fronts if (texts := self.front_findings(front))}

    def front_findings(self, front: Front) -> list[str]:
        """Name what clients would see through the balancer; before the first deploy it can be nothing good."""
        behind = [each.facts for each in self.hosts if each.group == front.group]
        if not any(facts and facts["current"]["state"] == "ok" for facts in behind):
            return []
        failed = Counter(front.failed)
        return [f"{count} of {len(front.answers)} requests to {front.url} got no good answer: {why}" for why, count in failed.items()]


def jobs(look: Look, again: bool = False) -> dict[str, Callable[[], Any]]:
    """Give all that must be asked for one reading, by name; `again` takes up connections that were lost."""
    asked = {host.name: host_steps(host) for host in look.targets.hosts} | rotation_steps(look)
    fronts = {f"front {group.name}": group for group in look.targets.groups if group.balancer and group.balancer.url}
    return {
        **{name: partial(look.ask, name, steps, again) for name, steps in asked.items()},
        **{name: partial(through, look, group) for name, group in fronts.items()},
    }


def take(look: Look) -> Whole:
    """Take one reading, and wait for all of it."""
    asked = jobs(look)
    answers = look.fleet.together(lambda name: asked[name](), asked, look.fleet.hang_up)
    return whole(look, {name: (answer, 0.0) for name, answer in answers.items()})


def whole(look: Look, heard: Mapping[str, Heard]) -> Whole:
    """Put together what was heard."""
    hosts = tuple(
        Reading(host, group.name, *_server(group, host, heard)) for group in look.targets.groups for host in group.hosts
    )
    fronts = [answer for name, (answer, _) in heard.items() if name.startswith("front ") and answer is not None]
    servers = [
        (name.removeprefix("balancer "), event) for name, (said, _) in heard.items() if name.startswith("balancer ") and said is not None
        for event in said.events if event["event"] == "server"
    ]
    return Whole(hosts, tuple(fronts), tuple(servers))


def _server(group: Group, host: Host, heard: Mapping[str, Heard]) -> tuple[Outcome, Server | None, float]:
    outcome, late = heard[host.name]
    outcome = outcome or Outcome(None, tail=["no answer yet"])
    if group.balancer is None:
        return outcome, None, late
    said: Outcome = heard[f"balancer {group.balancer.host}"][0] or Outcome(None, tail=["no answer yet"])
    if said.code is None or not said.ok:
        return outcome, Server(group.balancer.host, None, f"{group.balancer.host}: {said.last_words}"), late
    events = {(event["backend"], event["name"]): event for event in said.events if event["event"] == "server"}
    return outcome, Server(group.balancer.host, events.get((group.balancer.backend, host.server))), late


def host_steps(host: Host) -> list[Step]:
    """Ask who holds the lock, what ran last, what runs, and what the ports answer; what needs the least comes first."""
    app = host.app
    return [
        Step("lock", lock.show(app.root)), Step("history", journal.runs(app.root, KNOWN_RUNS)),
        Step("tools", node.tools(host.node_bin, host.pm2_home)), Step("facts", pm2.facts(app.root, app.processes)),
        Step("answers", pm2.answers(app.header, app.processes, questions(app.processes))),
    ]


def questions(processes: tuple[Process, ...]) -> int:
    """Give the number of questions to a port in which each worker should have its turn."""
    workers = max(4 if process.instances == "max" else int(process.instances) for process in processes)
    return min(16, max(4, 2 * workers))


def rotation_steps(look: Look) -> dict[str, list[Step]]:
    """Ask each balancer once for the servers of all its backends."""
    found: dict[str, dict[tuple[str, str], Step]] = {}
    for group in look.targets.groups:
        if front := group.balancer:
            steps = found.setdefault(f"balancer {front.host}", {})
            steps.setdefault((front.socket, front.backend), Step("rotation", balancer.rotation(front)))
    return {name: list(steps.values()) for name, steps in found.items()}


def through(look: Look, group: Group) -> Front:
    """Ask the app through the balancer of a group, as a client would."""
    from .. import probe

    front = group.balancer
    assert front
    app = group.hosts[0].app
    url, name = look.fleet.url(front, app.route)
    return Front(group.name, front.host, str(front.url), tuple(probe.ask(url, name, app.header, THROUGH, LONGEST_ANSWER)))
