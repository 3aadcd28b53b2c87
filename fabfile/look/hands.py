"""Take hosts out of rotation by a person's decision, and put them back; what stays so until somebody says otherwise."""

from __future__ import annotations

import getpass
import socket
import time

from .. import probe
from ..commands import byhand
from ..commands.shell import Step
from ..drift import sound
from ..errors import PreflightFailed, RunFailed, Unsettled, UsageError
from ..fleet import Fleet
from ..inventory.values import Balancer, Group, Host, Targets
from ..plan import Facts
from ..run.moment import Deed, moment, remembered
from ..transport import Outcome
from .reading import host_steps
from .view import Look

PROBE_LIMIT = 15.0  # seconds until the host's release must have answered through the balancer
HEAD = ["host", "server", "rotation", "state"]


def drain(look: Look, reason: str, allow_downtime: bool) -> None:
    """Give these hosts no new sessions until `restore`, and wait for those that they have; refuse to take out the last ones up."""
    behind = _behind(look)
    if not allow_downtime:
        _refuse_last(look)
    # A host that is dead is the usual one to take out: there is no lock to be had there, and no history.
    locked = {host.name: host for _, _, host in behind if host.name not in look.unreachable}
    with remembered(look.fleet, locked, "drain") as deed:
        with moment(look.fleet, locked, look.targets.selector, deed.owner):
            _take_out(look, behind, deed, reason, allow_downtime)
        _wait_calm(look, behind)


def _take_out(look: Look, behind: list[tuple[Group, Balancer, Host]], deed: Deed, reason: str, allow_downtime: bool) -> None:
    record = {"hand": f"{getpass.getuser()}@{socket.gethostname()}", "hand_since": int(time.time()), "reason": reason}
    for turn, (_, front, host) in enumerate(behind):
        outcome = _ask(look.fleet, front, Step("drain", byhand.take_out(front, host.server, record, allow_downtime)))
        if not outcome.last("already", "alone"):
            deed.did[host.name] = reason
        _taken_out(look, host, outcome, [each.name for _, _, each in behind[:turn]])


def _wait_calm(look: Look, behind: list[tuple[Group, Balancer, Host]]) -> None:
    """Wait for the sessions of what is out, drain_timeout at most; raise Unsettled where some are left."""
    rows, busy = [], []
    for group, front, host in behind:
        outcome = _ask(look.fleet, front, Step("wait", byhand.wait_calm(front, host.server, group.update.drain_timeout)))
        left = (outcome.last("left") or {}).get("sessions")
        state = "no sessions left" if left == 0 else f"{'?' if left is None else left} sessions left after drain_timeout"
        rows.append([host.name, f"{front.backend}/{host.server}", "out", state])
        busy += [] if left == 0 else [host.name]
    look.page.table("drain", HEAD, rows)
    again = f"Next:  fab restore --hosts {','.join(host.name for _, _, host in behind)}"
    if busy:
        raise Unsettled(f"{', '.join(busy)}: out of rotation, and still answering what was begun.\n{again}")
    look.page.say(f"Deploys reload what is out, and leave it out. {again}")


def restore(look: Look, force: bool) -> None:
    """Put hosts back into rotation whose workers are well, and see them answer through the balancer."""
    behind = _behind(look)
    locked = {host.name: host for _, _, host in behind if host.name not in look.unreachable}
    with remembered(look.fleet, locked, "restore") as deed, moment(look.fleet, locked, look.targets.selector, deed.owner):
        found = {name: outcome.last("facts") for name, outcome in look.each("facts", host_steps).items()}
        bad = [name for name, one in found.items() if not one or not one["processes"] or not sound(one)]
        if bad and not force:
            raise PreflightFailed(
                f"{', '.join(bad)}: not healthy, so clients would get errors; nothing was touched.\n"
                f"Next:  fab status --hosts {','.join(bad)}   (--force puts it back all the same)"
            )
        rows = [_brought_back(look, front, host, None if host.name in bad else found[host.name], deed) for _, front, host in behind]
    look.page.table("restore", HEAD, rows)


def _brought_back(look: Look, front: Balancer, host: Host, facts: Facts | None, deed: Deed) -> list[str]:
    """Put one host back, and see it answer if it is well; without `facts` it is not."""
    deed.did[host.name] = "" if facts else "not healthy, and put back all the same"
    outcome = _ask(look.fleet, front, Step("restore", byhand.bring_back(front, host.server, facts is not None)))
    if not outcome.ok:
        raise RunFailed(f"{host.name} is not back in rotation: {outcome.last_words}\nNext:  fab status --hosts {host.name}")
    if facts and (why := _unseen(look, front, host, str(facts["current"]["release"]))):
        raise Unsettled(f"{host.name} is back in rotation, but does not answer there: {why}")
    return [host.name, f"{front.backend}/{host.server}", "in", "ok" if facts else "not healthy, and put back all the same"]


def refuse_without_balancer(targets: Targets) -> None:
    """Refuse groups that have no balancer: there is nothing to take their hosts out of."""
    if none := [group.name for group in targets.groups if group.balancer is None]:
        raise UsageError(f"{', '.join(none)}: hosts.yaml names no balancer for it, so there is nothing to take a host out of")


def _behind(look: Look) -> list[tuple[Group, Balancer, Host]]:
    """List the chosen hosts with their balancers; refuse where one can't be asked."""
    found = [(group, group.balancer, host) for group in look.targets.groups if group.balancer for host in group.hosts]
    for _, front, _ in found:
        if why := look.unreachable.get(f"balancer {front.host}"):
            raise PreflightFailed(f"the balancer can't be asked; nothing was touched.\n  {front.host}: {why}")
    return found


def _refuse_last(look: Look) -> None:
    """Refuse where nothing would be left in rotation; each server is asked about once more in its turn."""
    for group in look.targets.groups:
        servers = look.servers(group)
        up = {name for name, event in servers.items() if event["status"].startswith(("UP", "no check"))}
        chosen = {host.server for host in group.hosts}
        if up and up <= chosen:
            raise PreflightFailed(
                f"{group.name}: {', '.join(sorted(up))} is all that is in rotation, and nobody else would answer; nothing was touched.\n"
                "Leave one in, or accept the outage: --allow-downtime"
            )


def _taken_out(look: Look, host: Host, outcome: Outcome, before: list[str]) -> None:
    out = f"\n{', '.join(before)}: out of rotation by now. Next:  fab restore --hosts {','.join(before)}" if before else ""
    if outcome.last("alone"):
        raise PreflightFailed(f"{host.name} is the last one in rotation by now, and stays in; or accept the outage: --allow-downtime{out}")
    if not outcome.ok:
        raise RunFailed(f"{host.name} is not out of rotation: {outcome.last_words}{out}")
    if already := outcome.last("already"):
        who = already.get("hand", "somebody's hand") + (f": {already['reason']}" if already.get("reason") else "")
        look.page.say(f"{host.name}: was out of rotation already, by {who}")


def _ask(fleet: Fleet, front: Balancer, step: Step) -> Outcome:
    return fleet.run(step.name, f"balancer {front.host}", [step])


def _unseen(look: Look, front: Balancer, host: Host, release: str) -> str:
    """Say why the host's release did not answer through the balancer; "" if it did, or nobody knows where clients come in."""
    if not front.url:
        return ""
    url, name = look.fleet.url(front, host.app.route)
    return probe.answers(url, name, host.app.header, release, PROBE_LIMIT)
