"""Open a fleet for one look: ask its hosts, and change nothing on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..commands import balancer
from ..commands.shell import Step
from ..errors import Unsettled
from ..fleet import Fleet
from ..inventory.values import Group, Host, Targets
from ..report.page import Page
from ..transport import Outcome


class Look:
    """Hold an open fleet for one look."""

    def __init__(self, targets: Targets, page: Page) -> None:
        self.targets = targets
        self.page = page
        self.fleet = Fleet(targets.places, lambda *_: None)
        self.hosts = {host.name: host for host in targets.hosts}
        self.unreachable = self.fleet.open_what_can_be()

    def each(self, phase: str, steps: Callable[[Host], list[Step]]) -> dict[str, Outcome]:
        """Send every host that can be reached its script; for the others the outcome says why not."""
        reached = {name: steps(host) for name, host in self.hosts.items() if name not in self.unreachable}
        outcomes = self.fleet.each(phase, reached)
        return {name: outcomes.get(name) or Outcome(None, tail=[self.unreachable[name]]) for name in self.hosts}

    def ask(self, name: str, steps: Iterable[Step], again: bool = False) -> Outcome:
        """Send one host or balancer its script, or say in the outcome why not; `again` logs in anew where no connection lives."""
        why = self.unreachable.get(name, "")
        if again and not self.fleet.lines[name].alive:
            why = self.fleet.reach(name)
        return Outcome(None, tail=[why]) if why else self.fleet.run("look", name, steps)

    def close(self) -> None:
        self.fleet.close()

    def servers(self, group: Group) -> dict[str, Mapping[str, Any]]:
        """Ask the balancer of a group that has one for its servers: event `server` by name."""
        assert group.balancer
        outcome = self.fleet.run("status", f"balancer {group.balancer.host}", [Step("rotation", balancer.rotation(group.balancer))])
        return {event["name"]: event for event in outcome.events if event["event"] == "server"}


def unheard(outcomes: Mapping[str, Outcome], *events: str) -> dict[str, str]:
    """Say of each host that told none of these events why it did not."""
    return {name: outcome.last_words for name, outcome in outcomes.items() if not outcome.last(*events)}


def refuse_unread(unread: Mapping[str, str], meaning: str = "", following: str = "") -> None:
    """Raise Unsettled that names each host of which something could not be read: what was shown is not all."""
    if unread:
        told = [f"{name}: can't be read{meaning}: {why}" for name, why in unread.items()]
        raise Unsettled("\n".join([*told, f"Next:  {following}"] if following else told))
