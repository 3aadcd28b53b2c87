"""Hold hosts for the moment that one small change takes: locked all or none, and given back whatever happens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .. import ownership
from ..commands import journal, lock
from ..commands.shell import Step, softly
from ..errors import Interrupted, LockHeld, PreflightFailed
from ..fleet import Fleet
from ..inventory.values import Host
from ..transport import Outcome
from .claim import held_by
from .rollout import new_id

MOMENTS = ("env.push", "drain", "restore", "doctor")


@dataclass
class Deed:
    """Hold what a person does by hand: the owner's record, and for each host where something was done, what its history is to say."""

    owner: dict[str, Any]
    did: dict[str, str] = field(default_factory=dict)


@contextmanager
def remembered(fleet: Fleet, hosts: Mapping[str, Host], verb: str) -> Iterator[Deed]:
    """Append a line to the history of each of these hosts where something was done, however it ended."""
    deed, begun, outcome = Deed(ownership.record(new_id(), hosts, verb=verb)), time.monotonic(), "ok"
    try:
        yield deed
    except BaseException as err:
        outcome = str(getattr(err, "code", Interrupted.exit_code))
        raise
    finally:
        record = {**deed.owner, "by_hand": True, "outcome": outcome, "seconds": round(time.monotonic() - begun, 1)}
        if deed.did:
            fleet.open_what_can_be()  # an interrupt has hung up
            fleet.each("history", {
                name: [Step("history", softly(journal.append(hosts[name].app.root, {**record, "what": what})))]
                for name, what in deed.did.items() if name in hosts and fleet.lines[name].alive
            })


@contextmanager
def moment(fleet: Fleet, hosts: Mapping[str, Host], selector: str, owner: Mapping[str, Any]) -> Iterator[None]:
    """Lock these hosts for this owner; raise LockHeld, with nothing locked, where somebody else has one of them."""
    try:
        _take(fleet, hosts, selector, owner)
        yield
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
