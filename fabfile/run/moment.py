"""Hold hosts for the moment that one small change takes: locked all or none, and given back whatever happens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .. import ownership
from ..commands import lock
from ..commands.shell import Step
from ..errors import LockHeld, PreflightFailed
from ..fleet import Fleet
from ..inventory.values import Host
from ..transport import Outcome
from .claim import held_by
from .rollout import new_id

MOMENTS = ("env.push", "drain", "restore", "doctor")


@contextmanager
def moment(fleet: Fleet, hosts: Mapping[str, Host], selector: str, verb: str) -> Iterator[dict[str, Any]]:
    """Lock these hosts and hand out the owner's record; raise LockHeld, with nothing locked, where somebody else has one of them."""
    owner = ownership.record(new_id(), hosts, verb=verb)
    try:
        _take(fleet, hosts, selector, owner)
        yield owner
    finally:
        fleet.open_what_can_be()  # an interrupt has hung up
        reached = [host for name, host in hosts.items() if fleet.lines[name].alive]
        fleet.each("unlock", {host.name: [Step("unlock", lock.drop(host.app.root, owner["run"]))] for host in reached})


def _take(fleet: Fleet, hosts: Mapping[str, Host], selector: str, owner: Mapping[str, Any]) -> None:
    # The first host decides between two that come together; the others follow.
    first, rest = sorted(hosts)[:1], sorted(hosts)[1:]
    outcomes = _ask(fleet, hosts, first, owner)
    if all(outcome.ok for outcome in outcomes.values()):
        outcomes |= _ask(fleet, hosts, rest, owner)
    if held := held_by(outcomes):
        raise LockHeld(ownership.told(held, selector))
    if bad := {name: outcome for name, outcome in outcomes.items() if not outcome.ok}:
        told = "\n".join(f"  {name}: {outcome.last_words}" for name, outcome in bad.items())
        raise PreflightFailed(f"{', '.join(bad)}: can't be locked; nothing was touched.\n{told}")


def _ask(fleet: Fleet, hosts: Mapping[str, Host], names: Iterable[str], owner: Mapping[str, Any]) -> dict[str, Outcome]:
    return fleet.each("lock", {name: [Step("lock", lock.take(hosts[name].app.root, json.dumps(dict(owner))))] for name in names})
