"""Judge whether the app answers on one host, and whether a run holds it or left something undone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import ownership
from ..commands import doctor
from .verdict import Known, Verdict, bad, ok, unread, warn

SLOW = 0.5  # of the health route's own limit


def health(known: Known) -> list[Verdict]:
    if known.facts is None or known.more is None or known.facts["trouble"]:
        return unread()
    if not known.more["health"]:
        wanted = any(process.health for process in known.host.app.processes)
        return ok("nothing runs that could be asked" if wanted else "hosts.yaml names no route")
    routes = {process.name: process.health for process in known.host.app.processes if process.health}
    found = [
        verdict for each in known.more["health"]
        for verdict in _health(known, each, routes[each["name"]].path, routes[each["name"]].timeout)
    ]
    slowest = max(each["ms"] for each in known.more["health"])
    return found or ok(f"each worker answers 200, the slowest in {slowest} ms")


def _health(known: Known, each: Mapping[str, Any], route: str, limit: float) -> list[Verdict]:
    who = each["name"] if each["id"] is None else f"worker {each['id']} of {each['name']}"
    status, asked = each["status"], f"{who}: GET {route}"
    other = "or name another route: health: {path: /…}  in hosts.yaml"
    if status == 200:
        return [] if each["ms"] <= SLOW * limit * 1000 else [warn(
            f"{asked} took {each['ms']} ms of {limit:g} s", "A little more load, and it counts as unhealthy.",
            "make the route cheaper, or health: {timeout: 10s} in hosts.yaml",
        )]
    if status == 0:
        means = "It would be taken for dead: a deploy that meets it goes back."
        return [bad(f"{asked}: {each['why']}", means, f"{_log(known, each['name'])}   then, worker by worker: {known.fab('reload')}")]
    if 300 <= status < 400:
        where = f" to {each['location']}" if each.get("location") else ""
        means = "Redirects are not followed: a login page must not count as healthy."
        return [bad(f"{asked} gave {status}, a redirect{where}", means, f"answer 200 on {route} without a login, {other}")]
    if status == 404:
        means = "The app has no such route; no worker would ever count as healthy."
        return [bad(f"{asked} gave 404", means, "health: {path: /…}  in hosts.yaml, or add the route")]
    if status in (401, 403):
        means = "It wants a login; no worker would ever count as healthy."
        return [bad(f"{asked} gave {status}", means, f"answer 200 on {route} without a login, {other}")]
    return [bad(
        f"{asked} gave {status}, want 200", "It counts as unhealthy: a deploy that meets it goes back.",
        f"{_log(known, each['name'])}   tells why; where the release is to blame: {known.fab('rollback')}",
    )]


def _log(known: Known, name: str) -> str:
    assert known.facts is not None
    files = list(dict.fromkeys(item["errors"] for item in known.facts["processes"] if item["name"] == name and item["errors"]))
    return known.there("tail -n 50 " + " ".join(doctor.word(file) for file in files[:4]) if files else known.pm2("logs", "--nostream"))


def port(known: Known) -> list[Verdict]:
    if known.facts is None or known.more is None:
        return unread()
    found = []
    for each in known.more["ports"]:
        holder = each["holder"]
        if holder is None or holder.get("ours") or (not holder["pid"] and known.elsewhere()):
            continue  # nobody's, ours, or most likely that of another PM2, of which `owner` speaks
        runs = any(item["name"] == each["name"] and each["port"] in item["ports"] for item in known.facts["processes"])
        if runs:
            continue
        who = f"pid {holder['pid']} of {holder['user']}: {holder['command']}" if holder["pid"] else holder["command"]
        means = f"{each['name']} can't listen there; what answers on that port is something else."
        fix = (
            f"if it is not needed: {known.there(kill(known, holder))}   else another port: in hosts.yaml" if holder["pid"]
            else known.there(f"sudo ss -ltnp 'sport = :{each['port']}'")
        )
        found.append(bad(f"port {each['port']} of {each['name']} is held by {who}", means, fix))
    return found or ok(", ".join(str(each["port"]) for each in known.more["ports"]) or "hosts.yaml names none")


def kill(known: Known, holder: Mapping[str, Any]) -> str:
    assert known.more is not None
    return f"{'' if holder['user'] == known.more['user'] else 'sudo '}kill {holder['pid']}"


def migration(known: Known) -> list[Verdict]:
    if known.facts is None:
        return unread()
    lost = [each for each in known.facts["migrations"] if each["outcome"] == "unknown"]
    if not lost:
        return ok("none is unfinished")
    held = known.said("held")
    if held and not ownership.gone(held):
        return ok("a run is at it")
    name = known.host.name
    return [
        bad(
            f"whether the migration of {each['release']} (run {each['run']}) was applied is unknown: it ended without a word",
            "No deploy goes on before somebody has looked at the database.",
            f"fab migrate --resolved done --hosts {name}   or   fab migrate --resolved failed --hosts {name}",
        )
        for each in lost
    ]


def lock(known: Known) -> list[Verdict]:
    held = known.said("held")
    if held is None:
        return ok("free") if known.said("free") else unread()
    name, run = known.host.name, ownership.run_of(held)
    if run is None:
        return [bad(
            "locked by an unknown owner: its record is empty", "A full disk leaves such locks. No deploy can begin.",
            f"if no deploy runs: {known.there(f'rm -r {doctor.word(known.root)}/.gapless/lock')}",
        )]
    told = ownership.told({name: held}, name).splitlines()[0].removeprefix(f"{name}: ")
    if not ownership.gone(held):
        return [warn(
            told, "A deploy waits for it, or is refused.",
            f"wait: --wait 10m   or, if you know that it is dead: fab unlock --hosts {name} --id {run}",
        )]
    if ownership.harmless(held):
        return [warn(
            told, "It had nothing in hand; the next deploy takes its lock over unasked.", f"fab unlock --hosts {name} --id {run}", "lock",
        )]
    return [bad(
        told, "It died with something in hand: the fleet may be mixed.",
        f"fab resume --hosts {name}   finishes it   or   fab abort --hosts {name}   takes it back",
    )]
