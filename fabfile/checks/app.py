"""Judge the app on one host: its files, its link, its lock, and whether its health route answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import ownership
from ..commands import doctor
from ..inventory.values import Process
from .verdict import Known, Verdict, bad, ok, unknown, warn

SLOW = 0.5  # of the health route's own limit


def link(known: Known) -> list[Verdict]:
    if known.facts is None:
        return unknown("was not read")
    state, release = known.facts["current"]["state"], known.facts["current"]["release"]
    place = f"{known.root}/current"
    if state == "ok":
        return ok(f"current leads to {release}")
    if state == "absent":
        return [bad(f"{place} is gone, but PM2 runs the app", "After its next restart it does not come up.", _relink(known))] if _ours(known) else ok("nothing is deployed yet")
    told = {
        "directory": f"{place} is a directory, not a link", "file": f"{place} is a file, not a link",
        "outside": f"{place} leads out of {known.root}/releases", "dangling": f"{place} leads to {release}, which is gone",
        "incomplete": f"{place} leads to {release}, which is not complete",
    }[state]
    means = "A deploy refuses this host, and a worker that restarts may find nothing to run."
    return [bad(told, means, _relink(known))]


def _ours(known: Known) -> list[Mapping[str, Any]]:
    assert known.facts is not None
    return [item for item in known.facts["processes"] if item["gated"]]


def _relink(known: Known) -> str:
    """Point the link at what runs, else at the newest release that was ever healthy, else take it away."""
    assert known.facts is not None
    complete = {each["id"] for each in known.facts["releases"] if each["complete"] and not each["bad"]}
    running = [item["release"] for item in known.facts["processes"] if item["release"] in complete]
    stable = [each["id"] for each in known.facts["releases"] if each["id"] in complete and each["stable"]]
    at = doctor.word(f"{known.root}/current")
    aside = f"mv {at} {at}.aside; " if known.facts["current"]["state"] in ("directory", "file") else ""
    if running or stable:
        return known.there(f"{aside}ln -sfn releases/{(running or stable[-1:])[0]} {at}")
    return known.there(aside.removesuffix("; ") or f"rm {at}")


def shared(known: Known) -> list[Verdict]:
    if known.more is None:
        return unknown("was not looked at")
    found = [verdict for each in known.more["shared"] for verdict in _shared(known, each)]
    return found or ok(", ".join(each["name"] for each in known.more["shared"]) or "hosts.yaml names none")


def _shared(known: Known, each: Mapping[str, Any]) -> list[Verdict]:
    is_, place = each["is"], each["path"]
    if each["kind"] == "dir":
        if is_ is None and each["linked"] != "none":
            return [bad(f"{place} is missing, and the live release has a link to it", "What the app writes there fails.",
                        known.there(f"mkdir -p {doctor.word(place)}"), "shared dirs")]
        if is_ and not is_["dir"]:
            return [bad(f"{place} is no directory", "hosts.yaml has it under shared: dirs.", known.there(f"mv {doctor.word(place)} {doctor.word(place + '.aside')}"))]
        return []
    if is_ is None or is_["dangling"]:
        what = "is missing" if is_ is None else "is a link that leads nowhere"
        put = f"umask 077; cat >{doctor.word(place)}"
        return [bad(f"{place} {what}", "Every release links it; a deploy refuses this host.", f"{known.there(put)} <{doctor.word(each['name'].rpartition('/')[2])}")]
    if is_["dir"]:
        return [bad(f"{place} is a directory", "hosts.yaml has it under shared: files.", f"move it in hosts.yaml: shared: {{dirs: [{each['name']}]}}")]
    if each["linked"] in ("own", "astray"):
        return [warn(f"{known.root}/current/{each['name']} is not the link to {place}", "The live release reads another file than the one that people edit.",
                     known.there(f"ln -sfn {doctor.word(place)} {doctor.word(known.root + '/current/' + each['name'])}"))]
    return []


def env(known: Known) -> list[Verdict]:
    if known.more is None:
        return unknown("was not looked at")
    found = [verdict for each in known.more["envs"] for verdict in _env(known, each)]
    return list(dict.fromkeys(found)) or ok(", ".join(dict.fromkeys(f"{each['path']}: {each['count']} variables" for each in known.more["envs"] if each["is"])) or "none")


def _env(known: Known, each: Mapping[str, Any]) -> list[Verdict]:
    is_, place = each["is"], each["path"]
    if is_ is None or is_["dangling"] or is_["dir"]:
        return []  # `shared` says so where it must be there
    if not is_["readable"]:
        return [bad(f"{place} ({is_['owner']}'s) can't be read", "The app would start without its settings.", known.there(f"sudo chown $(id -un) {doctor.word(place)}"))]
    found = [
        bad(f"{place}:{one['line']} {one['why']}", "The gate reads something else there than was meant: variables are missing at the next start.",
            known.there(f"${{EDITOR:-vi}} +{one['line']} {doctor.word(place)}").replace("ssh", "ssh -t", 1))
        for one in each["wrong"]
    ]
    if is_["size"] == 0 and known.deployed:
        found.append(bad(f"{place} is empty", "At the next start the app has none of its settings.", f"{known.there(f'cat >{doctor.word(place)}')} <.env"))
    if int(is_["mode"], 8) & 0o077:
        found.append(warn(f"{place} has mode {is_['mode'].zfill(4)}, not 0600", "Every user of that host can read the app's secrets.",
                          known.there(f"chmod 600 {doctor.word(place)}"), "env mode" if is_["mine"] else ""))
    process = next(one for one in known.host.app.processes if one.name == each["name"])
    if each["port"] and process.port and each["port"] != process.port and each["port"] not in _heard(known, process):
        found.append(warn(f"{place} says PORT={each['port']}, hosts.yaml says port: {process.port}", "The env file wins, and a balancer asks the other port.",
                          f"port: {each['port']}  in hosts.yaml, or correct the file"))
    return found


def _heard(known: Known, process: Process) -> set[int]:
    """Give the ports that this process listens on: where it does as its env file says, hosts.yaml may know better why."""
    assert known.facts is not None
    return {port for item in known.facts["processes"] if item["name"] == process.name for port in item["ports"]}


def health(known: Known) -> list[Verdict]:
    if known.facts is None or known.more is None:
        return unknown("was not asked")
    if not known.more["health"]:
        wanted = any(process.health for process in known.host.app.processes)
        return ok("nothing runs that could be asked" if wanted else "hosts.yaml names no route")
    routes = {process.name: process.health for process in known.host.app.processes if process.health}
    found = [verdict for each in known.more["health"] for verdict in _health(known, each, routes[each["name"]].path, routes[each["name"]].timeout)]
    slowest = max(each["ms"] for each in known.more["health"])
    return found or ok(f"each worker answers 200, the slowest in {slowest} ms")


def _health(known: Known, each: Mapping[str, Any], route: str, limit: float) -> list[Verdict]:
    who = "the app" if each["id"] is None else f"worker {each['id']}"
    status = each["status"]
    if status == 200:
        if each["ms"] <= SLOW * limit * 1000:
            return []
        return [warn(f"{who}: GET {route} took {each['ms']} ms of {limit:g} s", "A little more load, and it counts as unhealthy.", "make the route cheaper, or health: {timeout: 10s} in hosts.yaml")]
    if status == 0:
        return [bad(f"{who}: GET {route}: {each['why']}", "It would be taken for dead: a deploy that meets it goes back.", _log(known, each["name"]))]
    if 300 <= status < 400:
        where = f" to {each['location']}" if each.get("location") else ""
        return [bad(f"{who}: GET {route} gave {status}, a redirect{where}", "Redirects are not followed: a login page must not count as healthy.",
                    f"answer 200 on {route} without a login, or name another route: health: {{path: /…}} in hosts.yaml")]
    if status == 404:
        return [bad(f"{who}: GET {route} gave 404", "The app has no such route; no worker would ever count as healthy.", "health: {path: /…}  in hosts.yaml, or add the route")]
    if status in (401, 403):
        return [bad(f"{who}: GET {route} gave {status}", "It wants a login; no worker would ever count as healthy.", f"answer 200 on {route} without a login")]
    return [bad(f"{who}: GET {route} gave {status}, want 200", "It counts as unhealthy: a deploy that meets it goes back.", _log(known, each["name"]))]


def _log(known: Known, name: str) -> str:
    assert known.facts is not None
    files = list(dict.fromkeys(item["errors"] for item in known.facts["processes"] if item["name"] == name and item["errors"]))
    return known.there("tail -n 50 " + " ".join(doctor.word(file) for file in files[:4]))


def port(known: Known) -> list[Verdict]:
    if known.facts is None or known.more is None:
        return unknown("was not looked at")
    found = []
    for each in known.more["ports"]:
        holder = each["holder"]
        if holder is None or holder.get("ours"):
            continue
        runs = any(item["name"] == each["name"] and each["port"] in item["ports"] for item in known.facts["processes"])
        if runs:
            continue
        who = f"pid {holder['pid']} of {holder['user']}: {holder['command']}" if holder["pid"] else holder["command"]
        means = f"{each['name']} can't listen there; what answers on that port is something else."
        fix = (f"if it is not needed: {known.there(kill(known, holder))}   else another port: in hosts.yaml" if holder["pid"]
               else known.there(f"sudo ss -ltnp 'sport = :{each['port']}'"))
        found.append(bad(f"port {each['port']} of {each['name']} is held by {who}", means, fix))
    return found or ok(", ".join(str(each["port"]) for each in known.more["ports"]) or "hosts.yaml names none")


def kill(known: Known, holder: Mapping[str, Any]) -> str:
    assert known.more is not None
    return f"{'' if holder['user'] == known.more['user'] else 'sudo '}kill {holder['pid']}"


def migration(known: Known) -> list[Verdict]:
    if known.facts is None:
        return unknown("was not read")
    lost = [each for each in known.facts["migrations"] if each["outcome"] == "unknown"]
    if not lost:
        return ok("none is unfinished")
    held = known.said("held")
    if held and not ownership.gone(held):  # type: ignore[arg-type]
        return ok("a run is at it")
    name = known.host.name
    return [bad(f"whether the migration of {each['release']} (run {each['run']}) was applied is unknown: it ended without a word",
                "No deploy goes on before somebody has looked at the database.",
                f"fab migrate --resolved done --hosts {name}   or   fab migrate --resolved failed --hosts {name}") for each in lost]


def lock(known: Known) -> list[Verdict]:
    held = known.said("held")
    if held is None:
        return ok("free") if known.said("free") else unknown("was not read")
    name, run = known.host.name, ownership.run_of(held)  # type: ignore[arg-type]
    if run is None:
        return [bad("locked by an unknown owner: its record is empty", "A full disk leaves such locks. No deploy can begin.",
                    f"if no deploy runs: {known.there(f'rm -r {doctor.word(known.root)}/.gapless/lock')}")]
    told = ownership.told({name: held}, name).splitlines()[0].removeprefix(f"{name}: ")  # type: ignore[dict-item]
    if not ownership.gone(held):  # type: ignore[arg-type]
        return [warn(told, "A deploy waits for it, or is refused.", f"wait: --wait 10m   or, if you know that it is dead: fab unlock --hosts {name} --id {run}")]
    if ownership.harmless(held):  # type: ignore[arg-type]
        return [warn(told, "It had nothing in hand; the next deploy takes its lock over unasked.", f"fab unlock --hosts {name} --id {run}", "lock")]
    return [bad(told, "It died with something in hand: the fleet may be mixed.", f"fab resume --hosts {name}   finishes it   or   fab abort --hosts {name}   takes it back")]


def leftovers(known: Known) -> list[Verdict]:
    if known.more is None:
        return unknown("was not looked at")
    held = known.said("held")
    found = known.more["leftovers"]
    if not found or (held and not ownership.gone(held)):  # type: ignore[arg-type]
        return ok("none")
    told = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
    return [warn(f"left by a run that died: {told}", "They take room, and nobody reads them.", known.there("rm -r " + " ".join(doctor.word(file) for file in found)), "leftovers")]
