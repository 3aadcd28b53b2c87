"""Judge the app's files on one host: the link, what is shared, the env file, and what a dead run left lying about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import ownership
from ..commands import doctor
from ..inventory.values import Process
from .verdict import Known, Verdict, bad, ok, unknown, unread, warn


def link(known: Known) -> list[Verdict]:
    if known.facts is None:
        return unread()
    place = known.more and not known.more["readonly"] and known.more["places"]["root"]
    if known.more and place and not place["writable"]:
        return unknown(f"not {known.more['user']}'s to judge; see rights")
    state, release = known.facts["current"]["state"], known.facts["current"]["release"]
    at = f"{known.root}/current"
    if state == "ok":
        return ok(f"current leads to {release}")
    if state == "absent":
        return (
            [bad(f"{at} is gone, but PM2 runs the app", "After its next restart it does not come up.", _relink(known))] if _ours(known)
            else ok("nothing is deployed yet")
        )
    told = {
        "directory": f"{at} is a directory, not a link", "file": f"{at} is a file, not a link",
        "outside": f"{at} leads out of {known.root}/releases", "dangling": f"{at} leads to {release}, which is gone",
        "incomplete": f"{at} leads to {release}, which is not complete",
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
        return unread()
    found = [verdict for each in known.more["shared"] for verdict in _shared(known, each)]
    return found or ok(", ".join(each["name"] for each in known.more["shared"]) or "hosts.yaml names none")


def _shared(known: Known, each: Mapping[str, Any]) -> list[Verdict]:
    is_, place = each["is"], each["path"]
    if each["kind"] == "dir":
        if is_ is None and each["linked"] != "none":
            return [bad(
                f"{place} is missing, and the live release has a link to it", "What the app writes there fails.",
                known.there(f"mkdir -p {doctor.word(place)}"), "shared dirs",
            )]
        if is_ and not is_["dir"]:
            return [bad(
                f"{place} is no directory", "hosts.yaml has it under shared: dirs.",
                known.there(f"mv {doctor.word(place)} {doctor.word(place + '.aside')}"),
            )]
        return []
    if is_ is None or is_["dangling"]:
        what = "is missing" if is_ is None else "is a link that leads nowhere"
        put = f"umask 077; cat >{doctor.word(place)}"
        return [bad(
            f"{place} {what}", "Every release links it; a deploy refuses this host.",
            f"{known.there(put)} <{doctor.word(each['name'].rpartition('/')[2])}",
        )]
    if is_["dir"]:
        return [bad(
            f"{place} is a directory", "hosts.yaml has it under shared: files.",
            f"move it in hosts.yaml: shared: {{dirs: [{each['name']}]}}",
        )]
    if each["linked"] in ("own", "astray"):
        return [warn(
            f"{known.root}/current/{each['name']} is not the link to {place}",
            "The live release reads another file than the one that people edit.",
            known.there(f"ln -sfn {doctor.word(place)} {doctor.word(known.root + '/current/' + each['name'])}"),
        )]
    return []


def env(known: Known) -> list[Verdict]:
    if known.more is None:
        return unread()
    found = [verdict for each in known.more["envs"] for verdict in _env(known, each)]
    return list(dict.fromkeys(found)) or ok(
        ", ".join(dict.fromkeys(f"{each['path']}: {each['count']} variables" for each in known.more["envs"] if each["is"])) or "none"
    )


def _env(known: Known, each: Mapping[str, Any]) -> list[Verdict]:
    assert known.more is not None
    is_, place = each["is"], each["path"]
    if is_ is None or is_["dangling"] or is_["dir"]:
        return []  # `shared` says so where it must be there
    if not is_["readable"]:
        return [bad(
            f"{place} ({is_['owner']}'s) can't be read", "The app would start without its settings.",
            known.asking(f"sudo chown {known.more['user']} {doctor.word(place)} && chmod 600 {doctor.word(place)}"),
        )]
    found = [
        bad(
            f"{place}:{one['line']} {one['why']}",
            "The gate reads something else there than was meant: variables are missing at the next start.",
            known.there(f"${{EDITOR:-vi}} +{one['line']} {doctor.word(place)}").replace("ssh", "ssh -t", 1),
        )
        for one in each["wrong"]
    ]
    if is_["size"] == 0 and known.deployed:
        found.append(bad(
            f"{place} is empty", "At the next start the app has none of its settings.",
            f"{known.there(f'cat >{doctor.word(place)}')} <.env",
        ))
    if int(is_["mode"], 8) & 0o077:
        found.append(warn(
            f"{place} has mode {is_['mode'].zfill(4)}, not 0600", "Every user of that host can read the app's secrets.",
            known.there(f"chmod 600 {doctor.word(place)}"), "env mode" if is_["mine"] else "",
        ))
    process = next(one for one in known.host.app.processes if one.name == each["name"])
    if each["port"] and process.port and each["port"] != process.port and each["port"] not in _heard(known, process):
        found.append(warn(
            f"{place} says PORT={each['port']}, hosts.yaml says port: {process.port}",
            "The env file wins, and a balancer asks the other port.", f"port: {each['port']}  in hosts.yaml, or correct the file",
        ))
    return found


def _heard(known: Known, process: Process) -> set[int]:
    """Give the ports that this process listens on: where it does as its env file says, hosts.yaml may know better why."""
    assert known.facts is not None
    return {port for item in known.facts["processes"] if item["name"] == process.name for port in item["ports"]}


def leftovers(known: Known) -> list[Verdict]:
    if known.more is None:
        return unread()
    held = known.said("held")
    found = known.more["leftovers"]
    if not found or (held and not ownership.gone(held)):
        return ok("none")
    told = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
    return [warn(
        f"left by a run that died: {told}", "They take room, and nobody reads them.",
        known.there("rm -r " + " ".join(doctor.word(file) for file in found)), "leftovers",
    )]
