"""Compare what a host says of itself with what its link and hosts.yaml say. Pure: facts in, words out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from .inventory.values import Host, Process
from .ownership import span
from .plan import Facts

NOTHING: Facts = {"daemon": {}, "version": "", "processes": [], "saved": []}  # of a host that can't be read
RECENT = 600_000  # ms; a worker that died longer ago and has stood since is no news


def wanted(process: Process, facts: Facts) -> int:
    """Count the workers of a process that hosts.yaml wants on this host."""
    return int(facts["cpus"] if process.instances == "max" else process.instances)


def kept(process: Process, facts: Facts) -> int:
    """Count the workers that PM2 keeps of a process."""
    return sum(item["name"] == process.name for item in facts["processes"])


def miscounted(process: Process, facts: Facts) -> str:
    """Compare the workers that PM2 keeps with those that hosts.yaml wants."""
    count = kept(process, facts)
    return "" if count == wanted(process, facts) else f"{process.name}: {count} of {wanted(process, facts)} workers"


def linked(facts: Facts) -> str:
    current = facts["current"]
    return current["release"] or current["state"] if current["state"] in ("ok", "absent") else f"{current['state']}!"


def run_here(facts: Facts) -> dict[str, int]:
    """Count the living processes by the release whose directory they stand in, whether PM2 lists them or not."""
    living = [item["release"] or "not ours" for item in facts["processes"] if lives(item)]
    return dict(sorted(Counter([*living, *(stray["release"] or "not ours" for stray in facts["strays"])]).items()))


def running(facts: Facts) -> str:
    """Say which releases run, by the directories that the processes stand in."""
    return ", ".join(f"{release} x{number}" for release, number in run_here(facts).items()) or "nothing"


def lives(item: Mapping[str, Any]) -> bool:
    """Tell a process from an entry of PM2's list without one: stopped, errored, or waiting to be restarted."""
    return item["release"] is not None or item["status"] == "online"


def healthy(host: Host, facts: Facts) -> str:
    """Say how many workers are well, of those that there are or, where something is deployed, that there should be."""
    should = sum(wanted(process, facts) for process in host.app.processes) if facts["current"]["state"] == "ok" else 0
    return f"{sum(well(item) for item in facts['processes'])}/{max(should, len(facts['processes']))}"


def well(item: Mapping[str, Any]) -> bool:
    return not ailing(item)


def ailing(item: Mapping[str, Any]) -> str:
    """Say what is wrong with a worker, or "" if it serves."""
    if item["status"] != "online":
        return f"is {item['status']} in PM2"
    if item.get("halted"):
        return "is halted by a signal (SIGSTOP) and serves nobody"
    if item["state"] != "open":
        return f"is not open to requests but in state {item['state']}" if item["state"] else "did not start through the gate"
    health = item["health"]
    if health is None or health["status"] == 200:
        return ""
    return f"answers {health['status']} to its health route, want 200" if health["status"] else f"gives no answer: {health['why']}"


def sound(facts: Facts) -> bool:
    """Say whether whatever is sent to this host would be answered by the release that it should run."""
    return not facts["driving"] and all(well(item) and item["release"] == facts["current"]["release"] for item in facts["processes"])


def drifted(host: Host, facts: Facts, away: str = "") -> list[str]:
    """Name each way in which this host is not what its link and hosts.yaml say; `away` says why it is out of rotation, if it is."""
    found = []
    deployed = facts["current"]["state"] == "ok"
    if facts["trouble"]:
        found.append(facts["trouble"])
    if deployed and not facts["daemon"].get("pid"):
        found.append("PM2's daemon does not run")
    if facts["current"]["state"] not in ("ok", "absent"):
        found.append(f"current is {facts['current']['state']}")
    wrong = {item["release"] or "not ours" for item in facts["processes"] if lives(item)} - {facts["current"]["release"]}
    if wrong:
        found.append(f"drift: runs {', '.join(sorted(wrong))}")
    found += [f"worker {item['id']} {why}" for item in facts["processes"] if (why := ailing(item))]
    found += [f"worker {item['id']} stands in a directory that is gone" for item in facts["processes"] if item.get("gone")]
    found += [f"a reload is under way (run {run})" for run in facts["driving"]]
    found += [died(item) for item in facts["processes"] if item["died"] and item["up_ms"] < RECENT]
    if deployed and away:
        found.append(f"out of rotation: {away}")
    if facts["trouble"]:
        return found  # what PM2 lists is not known then
    if deployed:
        found += [text for process in host.app.processes if (text := miscounted(process, facts))]
    found += [f"pid {stray['pid']} runs {stray['release'] or 'not ours'}, unknown to PM2" for stray in facts["strays"]]
    return found


def pinned(facts: Facts) -> list[str]:
    """Name the processes that went back with the env file of before."""
    return [f"{name} runs with its last good env file: the one in shared/ made it fail; mend it and reload" for name in facts["pinned"]]


def answered(host: Host, facts: Facts, answers: Iterable[Mapping[str, Any]]) -> list[str]:
    """Name what clients would see on the host's own ports that is not what its link says; `answers` are events of answers.cjs."""
    if facts["current"]["state"] != "ok":
        return []
    return [text for each in answers for text in _answered(each, facts["current"]["release"] if host.app.header else None)]


def _answered(answer: Mapping[str, Any], release: str | None) -> list[str]:
    port, asked = f"port {answer['port']}", answer["asked"]
    if not answer["listening"]:
        return [f"nobody listens on {port}"]
    found = []
    silent = [each for each in asked if not each["status"]]
    if silent:
        found.append(f"{len(silent)} of {len(asked)} connections to {port} got no answer: {silent[0]['why']}")
    for status, count in sorted(Counter(each["status"] for each in asked if each["status"] not in (0, 200)).items()):
        found.append(f"{port} answers {status} to GET {answer['route']} ({count} of {len(asked)})")
    others = Counter(each["release"] for each in asked if each["status"] and release not in (None, each["release"]))
    for other, count in others.items():
        found.append(f"{port} answers as {other or 'something that names no release'} ({count} of {len(asked)})")
    return found


def in_rotation(server: Mapping[str, Any] | None) -> str:
    """Read HAProxy's word about a server; "UP 2/3" still takes traffic, a weight of 0 takes none whatever the status says."""
    if server is None:
        return "OUT (unknown to it)"
    if not server["status"].startswith(("UP", "no check")):
        return f"OUT ({server['status']})"
    return "in" if server["weight"] else "OUT (weight 0)"


def why_out(server: Mapping[str, Any] | None) -> str:
    """Say why a server gets no traffic: drained by whom, in maintenance, or failing its check; "" if it gets some."""
    if server is None:
        return "the balancer's backend has no server of its name (server: in hosts.yaml)"
    if in_rotation(server) == "in":
        return ""
    status, since = server["status"], f"for {span(server['since'])}"
    if status.startswith("DRAIN"):
        by = f"by run {server['by']}" if server["by"] else f"by {server.get('hand') or 'hand'}"
        return f"drained {by}, {since}" + (f": {server['reason']}" if server.get("reason") else "")
    if status.startswith("MAINT"):
        return f"in maintenance, which no run of ours sets, {since}"
    if status.startswith(("UP", "no check")):
        return "its weight at the balancer was set to 0"
    said = " ".join(str(part) for part in (server["check"], server["code"], server["said"] and f"({server['said']})") if part)
    return f"{status} at the balancer: its check says {said or 'nothing'}, {since}"


def notes(facts: Facts) -> list[str]:
    """Name what is no drift today, but will be one some day."""
    found = []
    daemon, module = facts["daemon"].get("version"), facts["version"]
    if daemon and daemon != module:
        found.append(f"PM2's daemon is {daemon}, its command {module}; `pm2 update` evens that out, but restarts everything")
    missing = {item["name"] for item in facts["processes"]} - set(facts["saved"])
    if missing:
        found.append(f"PM2 would not start {', '.join(sorted(missing))} after a reboot: its saved list lacks it; `pm2 save` there")
    for other in facts.get("foreign", ()):
        found.append(f"PM2 also runs {other['name']} ({other['release']}, pid {other['pid']}), of which hosts.yaml says nothing")
    return found


def died(item: Mapping[str, Any]) -> str:
    times = "once" if item["died"] == 1 else f"{item['died']} times"
    return f"worker {item['id']} died {times} since the deploy and was restarted by PM2, last {item['up_ms'] / 1000:.0f} s ago"
