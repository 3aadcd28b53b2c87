"""Judge a balancer: whether it can be talked to, and whether what it says of its servers is what hosts.yaml says."""

from __future__ import annotations

import csv
import difflib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..commands import doctor
from ..inventory.values import Balancer, Group
from .verdict import Known, Verdict, bad, ok, unknown, unread, warn

Row = Mapping[str, str]  # of `show stat`, by the names in its first line


@dataclass(frozen=True)
class Front:
    """Hold what was read of the balancer of a group."""

    group: Group  # all hosts of it, chosen or not
    balancer: Balancer
    events: Sequence[Mapping[str, Any]] = ()
    answer: tuple[int, str] | None = None  # what its url gave: status, or 0 and why
    servers: Mapping[str, Row] = field(default_factory=dict)

    def said(self, event: str) -> Mapping[str, Any] | None:
        return next((each for each in self.events if each["event"] == event), None)

    @property
    def client(self) -> str:
        """Name what its host talks to HAProxy with."""
        return str((self.said("socket") or {}).get("client", ""))

    def there(self, command: str) -> str:
        """Spell out how to run a command on the balancer's host."""
        return doctor.typed(self.balancer.ssh, command)

    def config(self, change: str) -> str:
        """Spell out a change of HAProxy's configuration, and how it comes into force."""
        check = "sudo haproxy -c -f /etc/haproxy/haproxy.cfg && sudo systemctl reload haproxy"
        return f"{change} of haproxy.cfg, then: {self.there(check)}"


def _address(row: Row) -> tuple[str, str]:
    """Part a server's address from its port."""
    at, _, port = row.get("addr", "").rpartition(":")
    return at, port


def rows(events: Iterable[Mapping[str, Any]]) -> dict[str, Row]:
    """Read the rows of a backend by server."""
    lines = [each["text"] for each in events if each["event"] == "row"]
    if not lines:
        return {}
    read = csv.DictReader([lines[0].removeprefix("# "), *lines[1:]])
    return {row["svname"]: row for row in read if row["svname"] not in ("FRONTEND", "BACKEND")}


def socket(front: Front) -> list[Verdict]:
    said, where, there = front.said("socket"), front.balancer.socket, front.there
    if said is None:
        return unread()
    means, admin = "No host can be drained: a deploy fails closed.", f"stats socket {where} mode 660 level admin   in global"
    if not said["there"]:
        return [bad(
            f"there is no socket {said['path']}", means,
            f"{there('sudo systemctl start haproxy')}   where it runs: {front.config(admin)}",
        )]
    if not said["writable"]:
        return [bad(f"{said['user']} may not write to {said['path']}", means, _let_in(front, said))]
    if not said["client"]:
        return [bad("no socat, perl or python3 to talk to the socket with", means, there("sudo apt-get install -y socat"))]
    if silent := front.said("silent"):
        start = f"{there('sudo systemctl start haproxy')}   where it does not come up: {there('systemctl status haproxy')}"
        return [bad(f"HAProxy's socket {said['path']}: {silent['said'].strip()}", means, start)]
    if "denied" in str((front.said("admin") or {}).get("said", "")).lower():
        return [bad(
            f"the socket {said['path']} takes no orders: its level is not admin", means,
            front.config(admin),
        )]
    return ok(f"{said['path']} takes orders")


def _let_in(front: Front, said: Mapping[str, Any]) -> str:
    """Spell out how our user comes to write to the socket: by its group, if that may."""
    if said.get("mode", "").rjust(3, "0")[-2] in "2367" and said["group"] != "root":
        join = front.there(f"sudo usermod -aG {doctor.word(said['group'])} {said['user']}")
        return f"{join}   counts from the next login"
    join = front.there(f"sudo usermod -aG haproxy {said['user']}")
    return f"{front.config(f'stats socket {front.balancer.socket} mode 660 group haproxy level admin   in global')}   and: {join}"


def servers(front: Front) -> list[Verdict]:
    """Compare the backend as a whole with the group as a whole."""
    names = front.said("backends")
    if names is None:
        return unread()
    backend = front.balancer.backend
    if backend not in names["names"].split():
        close = difflib.get_close_matches(backend, names["names"].split(), n=1) or names["names"].split()[:1]
        return [bad(
            f"HAProxy has no backend {backend}; it has {', '.join(names['names'].split()) or 'none'}", "No host can be drained.",
            f"backend: {close[0] if close else 'NAME'}  in hosts.yaml",
        )]
    ours = {host.server for host in front.group.hosts}
    found = []
    extra = sorted(set(front.servers) - ours)
    if extra:
        found.append(warn(
            f"{backend} has servers that {front.group.name} in hosts.yaml has not: {', '.join(extra)}",
            "They serve, and no deploy reaches them: they stay on old code.",
            f"add the host to {front.group.name} ({{host: HOST, server: {extra[0]}}}), or take it out of haproxy.cfg",
        ))
    unchecked = [name for name, row in front.servers.items() if name in ours and row.get("status", "").startswith("no check")]
    if unchecked:
        found.append(warn(
            f"no health check for {', '.join(unchecked)}", "HAProxy sends requests to a host that is dead.",
            front.config(f"server {unchecked[0]} {front.servers[unchecked[0]].get('addr') or 'ADDRESS:PORT'} check   in backend {backend}"),
        ))
    sticky = sorted(name for name, row in front.servers.items() if row.get("cookie"))
    if sticky:
        found.append(warn(
            f"sessions stick to servers by a cookie: {', '.join(sticky)}",
            "A drained server still gets the clients that have its cookie, and may never be empty.",
            f"take the cookie out: {front.config(f'backend {backend}')}   or raise drain_timeout: in hosts.yaml",
        ))
    return found or ok(f"{', '.join(sorted(front.servers))}")


def url(front: Front) -> list[Verdict]:
    if front.balancer.url is None:
        return unknown("hosts.yaml names no url: of the balancer, so no run can count requests there")
    if front.answer is None:
        return unread()
    status, why = front.answer
    if status == 200:
        return ok(f"{front.balancer.url} answers 200")
    if status == 0:
        return [bad(
            f"{front.balancer.url}: {why}", "This is where clients come in, and where each run counts requests.",
            "correct url: of the balancer in hosts.yaml, or let this machine reach it",
        )]
    if status == 503:
        return [bad(
            f"{front.balancer.url} gave 503", "HAProxy has no server to send a request to: the site is down.",
            f"fab status --hosts {front.group.name}",
        )]
    return [warn(
        f"{front.balancer.url} gave {status}{', ' + why if why else ''}, want 200",
        "Each run takes that for a loss where it was 200 before.",
        "correct url: (it may have a path of its own), or the health route behind it",
    )]


def server(known: Known, neighbours: Mapping[str, Sequence[str]]) -> list[Verdict]:
    """Judge one host by its server's row; `neighbours` has each host's own addresses."""
    front = known.group.balancer
    if front is None:
        return ok("no balancer in front")
    if not known.rows:
        return unread()
    row = known.rows.get(known.host.server)
    mine = set(neighbours.get(known.host.name, ()))
    if row is None:
        same = [name for name, one in known.rows.items() if _address(one)[0] in mine] or difflib.get_close_matches(
            known.host.server, known.rows, n=1
        )
        return [bad(
            f"backend {front.backend} has no server {known.host.server}; it has {', '.join(known.rows)}",
            "This host can't be drained, and no deploy is safe.", known.yaml(f"server: {same[0] if same else 'NAME'}"),
        )]
    found = []
    at, port = _address(row)
    others = [name for name, addresses in neighbours.items() if name != known.host.name and at in addresses]
    if at and at not in mine and len(others) == 1 and not _loopback(at):
        right = [name for name, one in known.rows.items() if _address(one)[0] in mine]
        found.append(bad(
            f"server {known.host.server} is {at}, which is {others[0]}",
            "Draining this host would empty another one, and this one would be reloaded under traffic.",
            known.yaml(f"server: {right[0]}") if right else f"correct the address of server {known.host.server} in haproxy.cfg",
        ))
    wanted = {process.port for process in known.host.app.processes if process.port}
    heard = {each for item in (known.facts or {}).get("processes", []) for each in item["ports"]}
    if port and wanted and int(port) not in wanted | heard:
        found.append(bad(
            f"server {known.host.server} is asked at port {port}, the app listens at {', '.join(map(str, sorted(heard or wanted)))}",
            "No request of a client reaches the app there.",
            f"correct the port of server {known.host.server} in haproxy.cfg, or port: in hosts.yaml",
        ))
    return found or [_rotation(known, row)]


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def _rotation(known: Known, row: Row) -> Verdict:
    front = known.group.balancer
    assert front is not None
    status = row.get("status", "")
    if status.startswith(("UP", "no check")):
        return Verdict("ok", f"in rotation ({status})") if row.get("weight") != "0" else _weightless(known, front)
    if not known.deployed:
        return Verdict("ok", f"{status}: nothing is deployed yet")
    back = known.fab("restore")
    if status.startswith(("MAINT", "DRAIN")):
        means = "Somebody took it out, or a run that died; a deploy leaves it out."
        return warn(f"out of rotation: {status}", means, f"if it should serve: {back}")
    return bad(
        f"out of rotation: HAProxy says {status} {row.get('check_status', '')} {row.get('last_chk', '')}".rstrip(),
        "It gets no request; the others carry its share.", f"fab status --hosts {known.host.name}",
    )


def _weightless(known: Known, front: Balancer) -> Verdict:
    weight = doctor.order(front, f"set server {front.backend}/{known.host.server} weight 100%", known.client)
    return warn(
        "out of rotation: its weight at HAProxy is 0", "It is up, and gets no request; the others carry its share.",
        f"if it should serve: {doctor.typed(front.ssh, weight)}   where haproxy.cfg says weight 0: correct it there",
    )
