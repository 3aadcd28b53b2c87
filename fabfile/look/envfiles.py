"""The env files of the fleet: what they name, where hosts differ, what the workers run with. Values stay where they are."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..commands import envfile, node
from ..commands.shell import Step
from ..errors import safe
from ..given import Change
from ..inventory.values import Host
from ..transport import Outcome
from .view import Look, refuse_unread, unheard

Read = Mapping[str, Any]  # of one process on one host: see ofProcess() in runtime/envfile.cjs
Place = tuple[str, str]   # process and name


class Envs:
    """Ask each host for its env files under a key that lives as long as this command: digests tell who agrees, and nothing else."""

    def __init__(self, look: Look, show: bool) -> None:
        self.look = look
        self.show = show
        self.key = secrets.token_hex(32)
        self.silent: dict[str, str] = {}  # hosts that could not be asked, and why

    def steps(self, host: Host, **order: Any) -> list[Step]:
        wanted = {"key": self.key, "show": self.show, **order}
        return [
            Step("tools", node.tools(host.node_bin, host.pm2_home)),
            Step("env", envfile.order(host.app.root, wanted)),
        ]

    def read(self) -> dict[str, Mapping[str, Read]]:
        """Read every host's; return host to process to what it reads. Those that can't be read are said, and raised by `settle`."""
        outcomes = self.look.each("env", lambda host: self.steps(
            host, processes={each.name: {"env_file": each.env_file} for each in host.app.processes}))
        return {name: event["processes"] for name, event in self.said(outcomes).items()}

    def compare(self, change: Change, files: Mapping[str, str]) -> dict[str, Any]:
        """Have every host say what a change would make of its file."""
        outcomes = self.look.each("env", lambda host: self.steps(host, change=change.of(files[host.name]), write=False))
        return {name: event["change"] for name, event in self.said(outcomes).items()}

    def said(self, outcomes: Mapping[str, Outcome]) -> dict[str, Mapping[str, Any]]:
        self.silent = unheard(outcomes, "env")
        return {name: event for name, outcome in outcomes.items() if (event := outcome.last("env"))}

    def settle(self) -> None:
        """Raise where a host could not be read: what was shown is not all."""
        refuse_unread(self.silent)

    def digest(self, name: str, value: str) -> str:
        """Digest a value of ours as the hosts do theirs."""
        return hmac.new(self.key.encode(), f"{name}\0{value}".encode(), hashlib.sha256).hexdigest()[:24]


def show(look: Look, values: bool) -> None:
    """Print the names in each process's env, hosts that agree together, and where they differ."""
    envs = Envs(look, values)
    found = envs.read()
    _table(look, found, values, only_different=False)
    _after(look, envs, found)


def diff(look: Look, change: Change | None, files: Mapping[str, str], values: bool) -> None:
    """Print how a file differs from each host's; without one, how hosts differ from each other and from what they run with."""
    envs = Envs(look, values)
    if change is None:
        found = envs.read()
        _table(look, found, values, only_different=True)
        _after(look, envs, found)
        return
    tell_changes(look, envs.compare(change, files), values)
    envs.settle()


# ---------------------------------------------------------------- one table


def _table(look: Look, found: Mapping[str, Mapping[str, Read]], values: bool, only_different: bool) -> None:
    rows: list[list[str]] = []
    records: list[Mapping[str, Any]] = []
    for (process, name), kinds in sorted(_kinds(found).items()):
        runs = [host for host, each in found.items() if process in each]
        missing = [host for host in runs if not any(host in hosts for hosts in kinds.values())]
        differs = len(kinds) > 1
        if only_different and not differs and not missing:
            continue
        note = "; ".join([*(["differs"] if differs else []), *([f"missing on {', '.join(missing)}"] if missing else [])])
        if len(kinds) == len(runs) > 2 and not values:  # a host's own name or address: no news, and no row for each
            rows.append([process, name, ", ".join(sorted({origin for origin, _ in kinds})), f"all {len(runs)}", "each has its own"])
            records.append({"hosts": runs, "missing": []})
            continue
        for (origin, _), hosts in kinds.items():
            value = [_spelled(_value(found[hosts[0]][process], name))] if values else []
            rows.append([process, name, origin, _hosts(hosts, runs), *value, note])
            records.append({"hosts": hosts, "missing": missing, **({"value": _value(found[hosts[0]][process], name)} if values else {})})
    if not rows:
        look.page.say("all hosts have the same names and values" if only_different and len(found) > 1 else "no names")
        return
    look.page.table("env", ["process", "name", "from", "hosts", *(["value"] if values else []), "note"], rows, records)


def _kinds(found: Mapping[str, Mapping[str, Read]]) -> dict[Place, dict[tuple[str, str], list[str]]]:
    """Group hosts for each name by where its value is from and what it is, by its digest."""
    kinds: dict[Place, dict[tuple[str, str], list[str]]] = {}
    for host, processes in found.items():
        for process, read in processes.items():
            own, file = read["own"]["digests"], read["read"]["digests"]
            for name in {**own, **file}:
                origin = (f"{read['file']}, over app.env" if name in own else read["file"]) if name in file else "app.env in hosts.yaml"
                kind = origin, file.get(name) or own[name]
                kinds.setdefault((process, name), {}).setdefault(kind, []).append(host)
    return kinds


def _value(read: Read, name: str) -> str:
    return str({**read["own"]["values"], **read["read"]["values"]}[name])


def _spelled(value: str) -> str:
    """Spell a value on one line, where none of it can drive a terminal."""
    return value if value == safe(value) and value.isprintable() and value == value.strip() and value else json.dumps(value)


def _hosts(hosts: Sequence[str], of: Sequence[str]) -> str:
    return f"all {len(of)}" if len(hosts) == len(of) > 1 else ", ".join(hosts)


# ---------------------------------------------------------------- what is not in it


def _after(look: Look, envs: Envs, found: Mapping[str, Mapping[str, Read]]) -> None:
    """Say what the workers do not run with yet, and what could not be read."""
    for text, hosts in _alike({host: _absent(each) for host, each in found.items()}).items():
        look.page.say(f"{', '.join(hosts)}: {text}")
    stale = _alike({host: _stale(each) for host, each in found.items()})
    for text, hosts in stale.items():
        look.page.say(f"{', '.join(hosts)}: {text}")
        look.page.tell("stale", hosts=hosts, processes={name: read["stale"] for name, read in found[hosts[0]].items() if _names(read)})
    undeployed = {host: _undeployed(envs, look.hosts[host], each) for host, each in found.items()}
    for text, hosts in _alike(undeployed).items():
        look.page.say(f"{', '.join(hosts)}: {text}")
    if stale:
        hosts = [host for each in stale.values() for host in each]
        look.page.say(f"Next:  fab reload --hosts {','.join(sorted(hosts))}")
    envs.settle()


def _absent(processes: Mapping[str, Read]) -> str:
    absent = sorted({f"{read['file']} of {name}" for name, read in processes.items() if read["file"] and not read["there"]})
    return f"there is no {', '.join(absent)}" if absent else ""


def _names(read: Read) -> list[str]:
    return sorted({name for names in read["stale"].values() for name in names})


def _stale(processes: Mapping[str, Read]) -> str:
    told = [f"{name}: {', '.join(_names(read))}" if len(processes) > 1 else ", ".join(_names(read))
            for name, read in processes.items() if _names(read)]
    pinned = [name for name, read in processes.items() if read["pinned"]]
    return "; ".join([
        *([f"changed since the last reload: {'; '.join(told)}"] if told else []),
        *([f"{', '.join(pinned)} runs with its last good env file: with this one it failed"] if pinned else []),
    ])


def _undeployed(envs: Envs, host: Host, processes: Mapping[str, Read]) -> str:
    """Name what app.env in hosts.yaml says now and the release that runs does not know."""
    names: set[str] = set()
    for each in host.app.processes:
        if each.name in processes and processes[each.name]["release"]:
            ours = {name: envs.digest(name, value) for name, value in each.env}
            theirs = processes[each.name]["own"]["digests"]
            names |= {name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)}
    return f"app.env in hosts.yaml is not what the release was built with: {named(names)}; the next deploy brings it" if names else ""


def _alike(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Group hosts by what is to be said of them."""
    alike: dict[str, list[str]] = {}
    for host, text in texts.items():
        if text:
            alike.setdefault(text, []).append(host)
    return alike


# ---------------------------------------------------------------- a change


def tell_changes(look: Look, changes: Mapping[str, Mapping[str, Any]], values: bool) -> None:
    """Print a row for each name that a change adds, changes or removes, hosts together where it does the same."""
    hosts: dict[tuple[str, ...], list[str]] = {}
    for host, change in changes.items():
        for what in ("added", "changed", "removed"):
            for name in change[what]:
                shown = [_spelled(change[side].get(name, "")) for side in ("before", "after")] if values else []
                hosts.setdefault((change["file"], name, what, *shown), []).append(host)
    if not hosts:
        look.page.say("no name is added, changed or removed")
        return
    rows = [[file, name, what, _hosts(named, list(changes)), *shown] for (file, name, what, *shown), named in sorted(hosts.items())]
    head = ["file", "name", "what", "hosts", *(["before", "after"] if values else [])]
    look.page.table("change", head, rows, [{"hosts": named} for _, named in sorted(hosts.items())])


def unread(changes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Name the lines that node would not read as they are meant, by their numbers."""
    lines = {host: [f"line {each['line']}: {each['why']}" for each in change["unread"]] for host, change in changes.items()}
    return [f"  {', '.join(hosts)}: {text}" for text, hosts in _alike({host: "; ".join(each) for host, each in lines.items()}).items()]


def named(hosts: Iterable[str]) -> str:
    return ", ".join(sorted(hosts))
