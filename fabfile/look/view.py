"""Read the fleet as it is: what runs by link, by process and by the balancer, and who holds the locks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from .. import ownership
from ..commands import balancer, lock, node, pm2
from ..commands.shell import Step
from ..drift import NOTHING, drifted, healthy, linked, notes, pinned, running
from ..errors import RunFailed, Unsettled, UsageError
from ..fleet import Fleet
from ..inventory.values import Group, Host, Targets
from ..report.page import Page
from ..run.claim import held_by
from ..transport import Outcome


class Look:
    """Hold an open fleet for one look; changes nothing, but for `unlock`."""

    def __init__(self, targets: Targets, page: Page) -> None:
        self.targets = targets
        self.page = page
        balancers = {f"balancer {group.balancer.host}": group.balancer.ssh for group in targets.groups if group.balancer}
        self.fleet = Fleet({**{host.name: host.ssh for host in targets.hosts}, **balancers}, lambda *_: None)
        self.hosts = {host.name: host for host in targets.hosts}
        self.unreachable = self.fleet.open_what_can_be()

    def each(self, phase: str, steps: Callable[[Host], list[Step]]) -> dict[str, Outcome]:
        """Send every host that can be reached its script; for the others the outcome says why not."""
        reached = {name: steps(host) for name, host in self.hosts.items() if name not in self.unreachable}
        outcomes = self.fleet.each(phase, reached)
        return {name: outcomes.get(name) or Outcome(None, tail=[self.unreachable[name]]) for name in self.hosts}

    def close(self) -> None:
        self.fleet.close()

    # ------------------------------------------------------------------ status

    def status(self) -> None:
        """Print a line per host; raise when a host is not what its link says, so that scripts can ask too."""
        outcomes = self.each("status", self.facts_steps)
        rotation = self.rotation()
        rows, drifts = [], []
        for name, outcome in outcomes.items():
            facts = outcome.last("facts")
            if facts is None:
                rows.append([name, "?", "?", "?", rotation.get(name, "-"), "can't be read: " + "; ".join(outcome.tail[-2:])])
                drifts.append(name)
                continue
            seen = rotation.get(name, "no balancer")
            drift = [*drifted(self.hosts[name], facts, seen), *pinned(facts)]
            rows.append([name, linked(facts), running(facts), healthy(facts), seen, "; ".join(drift) or "ok"])
            drifts += [name] if drift else []
        self.page.table("host", ["host", "current", "running", "healthy", "rotation", "state"], rows)
        for name, outcome in outcomes.items():
            for text in notes(outcome.last("facts") or NOTHING):
                self.page.say(f"note: {name}: {text}")
        held = held_by(outcomes)
        if held:
            self.page.say(ownership.told(held, self.targets.selector))
        drifts += [name for name, each in held.items() if ownership.gone(each) and name not in drifts]
        if drifts:
            raise Unsettled(f"{', '.join(sorted(drifts))}: not as it should be, see above")

    def facts_steps(self, host: Host) -> list[Step]:
        return [
            Step("lock", lock.show(host.app.root)), Step("tools", node.tools(host.node_bin, host.pm2_home)),
            Step("facts", pm2.facts(host.app.root, host.app.processes)),
        ]

    def rotation(self) -> dict[str, str]:
        """Ask each balancer once how it sees the servers; return host name to its words."""
        seen: dict[str, str] = {}
        for group in self.targets.groups:
            seen |= self.rotation_of(group)
        return seen

    def rotation_of(self, group: Group) -> dict[str, str]:
        front = group.balancer
        if front is None:
            return {}
        if f"balancer {front.host}" in self.unreachable:
            return {host.name: f"? ({front.host} can't be reached)" for host in group.hosts}
        status = {name: event["status"] for name, event in self.servers(group).items()}
        return {host.name: in_rotation(status.get(host.server, "unknown to it")) for host in group.hosts}

    def servers(self, group: Group) -> dict[str, Mapping[str, Any]]:
        """Ask the balancer of a group that has one for its servers: event `server` by name."""
        assert group.balancer
        outcome = self.fleet.run("status", f"balancer {group.balancer.host}", [Step("rotation", balancer.rotation(group.balancer))])
        return {event["name"]: event for event in outcome.events if event["event"] == "server"}

    # ------------------------------------------------------------------ locks

    def locks(self) -> None:
        """Print who holds the lock of each host."""
        self.page.table("host", ["host", "lock", "who", "doing", "since", "run"], [self.lock_row(*item) for item in self.owners().items()])

    def owners(self) -> dict[str, Outcome]:
        """Ask every host who holds its lock: event `held` or `free`, or neither where it can't be read."""
        return self.each("lock", lambda host: [Step("lock", lock.show(host.app.root))])

    def lock_row(self, name: str, outcome: Outcome) -> list[str]:
        held = outcome.last("held")
        if held is None:
            return [name, "free" if outcome.last("free") else f"? ({outcome.last_words})", "-", "-", "-", "-"]
        owner = held["owner"]
        if not isinstance(owner, Mapping):
            return [name, "held", "unknown owner", "-", "-", "-"]
        age = f"{int(time.time() - owner['at'])} s ago"
        doing = f"{owner['verb']}, {held['phase']}" if held["phase"] else owner["verb"]
        why = ownership.gone(held)
        return [name, f"held; {why}" if why else "held", f"{owner['who']}@{owner['from']}", doing, age, owner["run"]]

    def unlock(self, run: str) -> None:
        """Remove the locks of exactly this run."""
        if not run:
            raise UsageError("say which run's lock: --id RUN; `fab lock` shows it")
        held = held_by(self.owners())
        mine = {name for name, each in held.items() if ownership.run_of(each) == run}
        if not mine:
            raise UsageError(f"no host named here is locked by run {run}; see: fab lock --hosts {self.targets.selector}")
        outcomes = self.fleet.each("unlock", {name: [Step("unlock", lock.drop(self.hosts[name].app.root, run))] for name in mine})
        if bad := [name for name, outcome in outcomes.items() if not outcome.ok]:
            raise RunFailed(f"{', '.join(bad)}: the lock could not be removed")
        self.page.say(f"unlocked: {', '.join(sorted(mine))}")


def in_rotation(status: str) -> str:
    """Read HAProxy's status; "UP 2/3" still takes traffic."""
    return "in" if status.startswith(("UP", "no check")) else f"OUT ({status})"
