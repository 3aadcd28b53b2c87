"""What will be done, as values, and the pure rules that refuse what would be unsafe. No connection, no clock."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .errors import PlanRefused, UsageError
from .inventory.values import App, Group, Host, Process, Targets
from .ownership import LEASE

Facts = Mapping[str, Any]  # one host's event `facts`: see runtime/truth.cjs

NODE_AT_LEAST = (20, 12)
LEAST_INODES = 20_000  # free ones: what a large node_modules takes


class Options(NamedTuple):
    """Hold the flags of one command."""

    verb: str
    aim: str = ""  # the verb of the run that `resume` or `abort` takes up
    ref: str = ""
    to: str = ""
    max_parallel: tuple[str, ...] = ()
    one_group_at_a_time: bool = False
    allow_downtime: bool = False
    again: bool = False
    resolved: str = ""
    process: str = ""    # of `scale`: which one,
    instances: str = ""  # and how many workers it is to have, a number or "max"
    artifact: str = ""   # what is deployed instead of a build: its name, without what may be secret in it,
    sha256: str = ""     # and what it must be

    @property
    def fetches(self) -> bool:
        """Say whether the hosts fetch the artifact by themselves."""
        return "://" in self.artifact

    @property
    def scales(self) -> bool:
        """Say whether workers are added or taken away, and those that stay are not replaced."""
        return "scale" in (self.verb, self.aim)

    @property
    def replaces(self) -> bool:
        """Say whether workers are replaced by others."""
        return not {self.verb, self.aim} & {"build", "migrate", "scale"}

    @property
    def makes_release(self) -> bool:
        """Say whether a new release comes to the hosts."""
        return self.verb in ("deploy", "build")

    @property
    def leads_back(self) -> bool:
        """Say whether this is a way back already: what fails on it has nothing to go back to."""
        return bool({self.verb, self.aim} & {"rollback", "abort"})


def scaled(targets: Targets, options: Options) -> Targets:
    """Give the targets with the number of workers that `scale` wants; its way back leads to what hosts.yaml says."""
    if not options.scales or options.leads_back:
        return targets
    groups = tuple(
        group._replace(hosts=tuple(host._replace(app=_scaled(host, options)) for host in group.hosts)) for group in targets.groups
    )
    return targets._replace(groups=groups)


def _scaled(host: Host, options: Options) -> App:
    wanted = instances(options.instances)
    meant = [each for each in host.app.processes if each.name == options.process or not options.process]
    if len(meant) != 1:
        names = ", ".join(each.name for each in host.app.processes)
        raise UsageError(f"{host.name} runs {names}; say which to scale: --process NAME")
    if _loses(meant[0]) and wanted != 1:
        raise UsageError(f"{meant[0].name} is in fork mode, where workers can't share a port; set exec_mode: cluster in hosts.yaml")
    return host.app._replace(processes=tuple(
        each._replace(instances=wanted) if each == meant[0] else each for each in host.app.processes
    ))


def as_found(host: Host, facts: Facts) -> Host:
    """Give a host with as many workers as it was found with: where `scale` goes back to."""
    count = Counter(item["name"] for item in facts["processes"])
    processes = tuple(each._replace(instances=count[each.name] or each.instances) for each in host.app.processes)
    return host._replace(app=host.app._replace(processes=processes))


def unlike_yaml(targets: Targets, options: Options) -> str:
    """Say where hosts.yaml wants another number of workers than a `scale` left; "" if it is the same."""
    wanted = {
        (each.name, each.instances) for old, new in zip(targets.hosts, scaled(targets, options).hosts, strict=True)
        for each in set(old.app.processes) - set(new.app.processes)
    }
    return "\n".join(
        f"hosts.yaml says instances: {number} for {name}; write {options.instances} there, or the next reload goes back to {number}"
        for name, number in sorted(wanted, key=str)
    )


def instances(text: str) -> int | str:
    """Read a number of workers, or "max" for one per core."""
    if text == "max":
        return text
    if not re.fullmatch(r"[1-9][0-9]{0,3}", text):
        raise UsageError(f"--instances {text!r} is no number of workers; write 1 or more, or max")
    return int(text)


def waves(hosts: Sequence[Host], widths: Sequence[str]) -> list[tuple[Host, ...]]:
    """Cut hosts into waves; each width is "N" or "N%" of all, at least one host; the last width repeats."""
    cut: list[tuple[Host, ...]] = []
    rest = list(hosts)
    while rest:
        width = _count(widths[min(len(cut), len(widths) - 1)], len(hosts))
        cut.append(tuple(rest[:width]))
        rest = rest[width:]
    return cut


def _count(width: str, total: int) -> int:
    if width.endswith("%"):
        return max(1, math.floor(total * int(width[:-1]) / 100))
    return int(width)


def widest(group: Group, widths: Sequence[str]) -> int:
    """Give the most hosts of a group that may be out of rotation at once."""
    return max(_count(width, len(group.hosts)) for width in widths)


def widths(group: Group, options: Options) -> Sequence[str]:
    """Give the widths of a group's waves: what was typed comes before what hosts.yaml says."""
    return options.max_parallel or group.update.max_parallel


def in_waves(group: Group, options: Options, names: Container[str]) -> list[tuple[Host, ...]]:
    """Cut those of a group's hosts that are named into the waves in which they are reloaded."""
    return waves([host for host in group.hosts if host.name in names], widths(group, options))


def rounds(groups: Iterable[Group], options: Options, names: Container[str]) -> int:
    """Count the waves that come one after another; those of several groups go side by side unless told otherwise."""
    counts = [len(in_waves(group, options, names)) for group in groups]
    return sum(counts) if options.one_group_at_a_time else max(counts, default=0)


def floor(groups: Sequence[Group], options: Options) -> int:
    """Give the fewest hosts that serve at any moment of a run that goes by its plan."""
    out = [_out(group, widths(group, options)) for group in groups]
    return sum(len(group.hosts) for group in groups) - (max(out, default=0) if options.one_group_at_a_time else sum(out))


def _out(group: Group, cut: Sequence[str]) -> int:
    """Give the most hosts of a group that are out at once: drained, but never the last one up; else only those that restart."""
    width = min(widest(group, cut), len(group.hosts))
    if group.balancer and len(group.hosts) > 1:
        return min(width, len(group.hosts) - 1)
    return width if any(_loses(process) for host in group.hosts for process in host.app.processes) else 0


def refuse_downtime(groups: Iterable[Group], allowed: bool) -> None:
    """Refuse a plan that can't keep every request: a fork-mode process restarts, and nothing else would serve."""
    if allowed:
        return
    for group in groups:
        forked = [process.name for host in group.hosts for process in host.app.processes if _loses(process)]
        if forked and (group.balancer is None or len(group.hosts) == 1):
            raise PlanRefused(
                f"{group.name}: {forked[0]} is in fork mode, where PM2 restarts instead of reloading, and no balancer with "
                "another host stands in for it: requests would be lost.\n"
                f"Set exec_mode: cluster for {forked[0]}, or accept the gap: --allow-downtime"
            )


def _loses(process: Process) -> bool:
    return process.exec_mode == "fork" and process.health is not None


def unfit(host: Host, facts: Facts, options: Options) -> list[str]:
    """List what makes a host unfit for a deploy; each with what to do about it."""
    return [text for text in (
        _old_node(facts), _no_room(host, facts, options), facts["trouble"], _bad_link(host, facts), _dead_daemon(host, facts, options),
        *_taken(facts), *_foreign(host, facts, options)
    ) if text]


def _old_node(facts: Facts) -> str | None:
    version = tuple(int(part) for part in facts["node"].split(".")[:2])
    if version >= NODE_AT_LEAST:
        return None
    return f"node is {facts['node']}; the gate needs {'.'.join(map(str, NODE_AT_LEAST))} or newer"


def _no_room(host: Host, facts: Facts, options: Options) -> str | None:
    """Refuse to make a release on a full disk; to lead back from one that is bad, or to reload, there need be no room."""
    room = facts["room"]
    if room is None or not options.makes_release:
        return None
    if room["mb"] < host.app.min_free_mb:
        return f"{room['place']} has {room['mb']} MB free, a release wants {host.app.min_free_mb} MB (min_free_mb): disk full"
    if room["inodes"] is not None and room["inodes"] < LEAST_INODES:
        return f"{room['place']} has {room['inodes']} inodes free, node_modules wants {LEAST_INODES}: out of inodes"
    return None


def _bad_link(host: Host, facts: Facts) -> str | None:
    state, release = facts["current"]["state"], facts["current"]["release"]
    link = f"{host.app.root}/current"
    if state in ("ok", "absent"):
        return None
    if state in ("directory", "file"):
        return f"{link} is a {state}, not a link; move it away: it would be replaced"
    if state == "outside":
        return f"{link} leads out of {host.app.root}/releases; remove it"
    broken = "gone" if state == "dangling" else "not complete"
    return f"{link} leads to {release}, which is {broken}; a deploy could not go back to it: remove the link"


def _dead_daemon(host: Host, facts: Facts, options: Options) -> str | None:
    """Treat an empty PM2 beside a live link as an alarm, not as a first deploy; one that just died is revived by the driver."""
    if facts["processes"] or facts["trouble"] or facts["current"]["state"] != "ok" or options.allow_downtime:
        return None
    if not facts["daemon"]["pid"] and {process.name for process in host.app.processes} <= set(facts["saved"]):
        return None
    daemon = "runs, but lists none of the app's processes" if facts["daemon"]["pid"] else "does not run"
    return (
        f"current is {facts['current']['release']}, but PM2 ({facts['daemon']['home']}) {daemon}: the app is down or belongs to "
        "another PM2. `pm2 resurrect` there brings it back; --allow-downtime starts it anew"
    )


def _taken(facts: Facts) -> list[str]:
    return [
        f"port {each['port']} of {each['name']} is held by pid {each['pid'] or '?'} ({each['command']}), which is not ours and was left "
        "alone: end it, set another port:, or name the PM2 that it belongs to (pm2_home:)"
        for each in facts["taken"]
    ]


def _foreign(host: Host, facts: Facts, options: Options) -> list[str]:
    if options.allow_downtime:
        return []
    modes = {process.name: process.exec_mode for process in host.app.processes}
    return [
        f"{item['name']} runs in {item['mode']} mode from {item['script']}, not through the gate: no reload can replace it without "
        "losing requests. --allow-downtime replaces it once"
        for item in {each["name"]: each for each in facts["processes"]}.values()
        if not item["gated"] or item["mode"] != modes[item["name"]]
    ]


def next_release(facts: Iterable[Facts], origin: str) -> str:
    """Number the new release one above the highest on any host: hosts' clocks order nothing. It is of a commit or a sha256."""
    highest = max((number(release["id"]) for each in facts for release in each["releases"]), default=0)
    return f"{highest + 1:04d}-{origin[:7]}"


def number(release: str) -> int:
    """Return the counter that a release's name begins with: what orders releases."""
    return int(release.split("-", 1)[0])


def earlier(facts: Facts) -> str | None:
    """Name the release to go back to: the newest good one below the current."""
    current = facts["current"]["release"]
    good = [
        each["id"] for each in facts["releases"]
        if each["complete"] and each["stable"] and not each["bad"] and current and number(each["id"]) < number(current)
    ]
    return good[-1] if good else None


def doomed(facts: Facts, keep: int, live: Iterable[str | None]) -> list[str]:
    """List releases to prune: incomplete ones, bad ones and all but the newest `keep`; never one that lives or is stable last."""
    stable = [each["id"] for each in facts["releases"] if each["stable"]]
    spared = {*live, facts["current"]["release"], *stable[-2:], *(item["release"] for item in facts["processes"])}
    good = [each["id"] for each in facts["releases"] if each["complete"] and not each["bad"]]
    kept = {*good[-keep:], *spared}
    return [each["id"] for each in facts["releases"] if each["id"] not in kept]


def migrated(facts: Mapping[str, Facts], release: str) -> str:
    """Say how the last migration of a release ended, on whichever host it ran: done, failed, unknown, or "" if none was begun."""
    found = [each for one in facts.values() for each in one["migrations"] if each["release"] == release]
    return str(max(found, key=lambda each: each["at"])["outcome"]) if found else ""


def unknown_migrations(facts: Mapping[str, Facts]) -> dict[str, dict[str, str]]:
    """Return, for each host where one is, run to release of the migrations whose outcome nobody knows."""
    found = {
        name: {each["run"]: each["release"] for each in one["migrations"] if each["outcome"] == "unknown"} for name, one in facts.items()
    }
    return {name: each for name, each in found.items() if each}


def marker(app: App, update_ms: tuple[int, int], release: str, commit: str, ref: str, artifact: str = "") -> str:
    """
    Write the complete marker, which is also the gate's settings (docs/on-the-host.md); `update_ms` is deadline and kill.

    `artifact` is the sha256 of what it was unpacked from, if it was.
    """
    deadline, kill = update_ms
    return json.dumps({
        **({"artifact": artifact} if artifact else {}),
        "schema": 1, "release": release, "commit": commit, "ref": ref, "app": app.name, "header": app.header,
        "processes": {process.name: _settings(process, deadline, kill) for process in app.processes},
    })


def _settings(process: Process, deadline: int, kill: int) -> dict[str, Any]:
    health = process.health and {"path": process.health.path, "timeout_ms": _ms(process.health.timeout)}
    return {
        "script": process.script, "port": process.port, "env_file": process.env_file, "env": dict(process.env),
        "health": health, "healthy_deadline_ms": deadline, "kill_timeout_ms": kill,
    }


def timing(group: Group) -> tuple[int, int]:
    """Give healthy_deadline and kill_timeout in ms."""
    return _ms(group.update.healthy_deadline), _ms(group.update.kill_timeout)


def hold(group: Group, host: Host, facts: Facts) -> float:
    """
    Give the seconds after which a drained host is put back if its deployer was not heard of: lease, and what its driver may take.

    The driver goes on without the deployer, and what it reloads as drained should stay drained until it is done. A way back that
    takes long is not waited for: a server comes back when it is fit, and after a good reload nobody should wait for that time.
    """
    update = group.update
    workers = sum(facts["cpus"] if each.instances == "max" else int(each.instances) for each in host.app.processes)
    return LEASE + update.healthy_deadline + update.min_healthy_time + workers * update.kill_timeout


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def driver(host: Host, group: Group, facts: Facts, release: str, lock: str, drained: bool, downtime: bool,
           bad: str | None = None, scale: bool = False) -> dict[str, Any]:
    """
    Describe one host's reload to its driver; `bad` names a release that failed elsewhere and must not be gone back to.

    With `scale` no worker is replaced: some are added, or some leave.
    """
    deadline, kill = timing(group)
    return {
        "lock": lock, "release": release, "bad": bad, "pm2": facts["pm2"], "drained": drained, "allow_downtime": downtime,
        "scale": scale, "progress_ms": _ms(group.update.progress_deadline),
        "min_healthy_ms": _ms(group.update.min_healthy_time), "healthy_deadline_ms": deadline, "kill_timeout_ms": kill,
        "processes": {
            each.name: {
                "instances": each.instances, "exec_mode": each.exec_mode, "port": each.port, "env_file": each.env_file,
            }
            for each in host.app.processes
        },
    }
