"""Compare what a host says of itself with what its link and hosts.yaml say. Pure: facts in, words out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .inventory.values import Host, Process
from .plan import Facts

NOTHING: Facts = {"daemon": {}, "version": "", "processes": [], "saved": []}  # of a host that can't be read
RECENT = 600_000  # ms; a worker that died longer ago and has stood since is no news


def miscounted(process: Process, facts: Facts) -> str:
    """Compare the workers that run with those that hosts.yaml wants."""
    wanted = facts["cpus"] if process.instances == "max" else process.instances
    count = sum(item["name"] == process.name for item in facts["processes"])
    return "" if count == wanted else f"{process.name}: {count} of {wanted} workers"


def linked(facts: Facts) -> str:
    current = facts["current"]
    return current["release"] or current["state"] if current["state"] in ("ok", "absent") else f"{current['state']}!"


def running(facts: Facts) -> str:
    """Say which releases the workers stand in, by their own directories."""
    count: dict[str, int] = {}
    for item in facts["processes"]:
        count[item["release"] or "not ours"] = count.get(item["release"] or "not ours", 0) + 1
    return ", ".join(f"{release} x{number}" for release, number in sorted(count.items())) or "nothing"


def healthy(facts: Facts) -> str:
    good = [item for item in facts["processes"] if well(item)]
    return f"{len(good)}/{len(facts['processes'])}"


def well(item: Mapping[str, Any]) -> bool:
    return item["status"] == "online" and item["state"] == "open" and (item["health"] is None or item["health"]["status"] == 200)


def sound(facts: Facts) -> bool:
    """Say whether whatever is sent to this host would be answered by the release that it should run."""
    return not facts["driving"] and all(well(item) and item["release"] == facts["current"]["release"] for item in facts["processes"])


def drifted(host: Host, facts: Facts, rotation: str = "") -> list[str]:
    """Name each way in which this host is not what its link and hosts.yaml say; `rotation` is the balancer's word, if any."""
    found = []
    if facts["trouble"]:
        found.append(facts["trouble"])
    if facts["current"]["state"] not in ("ok", "absent"):
        found.append(f"current is {facts['current']['state']}")
    wrong = {item["release"] or "not ours" for item in facts["processes"]} - {facts["current"]["release"]}
    if wrong:
        found.append(f"drift: runs {', '.join(sorted(wrong))}")
    found += [f"worker {item['id']} is {item['status']}, {item['state'] or 'not gated'}" for item in facts["processes"] if not well(item)]
    found += [f"a reload is under way (run {run})" for run in facts["driving"]]
    found += [died(item) for item in facts["processes"] if item["died"] and item["up_ms"] < RECENT]
    if facts["current"]["state"] == "ok":
        found += [text for process in host.app.processes if (text := miscounted(process, facts))]
        found += ["out of rotation"] if rotation.startswith("OUT") else []
    found += [f"pid {stray['pid']} runs {stray['release']}, unknown to PM2" for stray in facts["strays"]]
    return found


def pinned(facts: Facts) -> list[str]:
    """Name the processes that went back with the env file of before."""
    return [f"{name} runs with its last good env file: the one in shared/ made it fail; mend it and reload" for name in facts["pinned"]]


def notes(facts: Facts) -> list[str]:
    """Name what is no drift today, but will be one some day."""
    found = []
    daemon, module = facts["daemon"].get("version"), facts["version"]
    if daemon and daemon != module:
        found.append(f"PM2's daemon is {daemon}, its command {module}; `pm2 update` evens that out, but restarts everything")
    missing = {item["name"] for item in facts["processes"]} - set(facts["saved"])
    if missing:
        found.append(f"PM2 would not start {', '.join(sorted(missing))} after a reboot: its saved list lacks it; `pm2 save` there")
    return found


def died(item: Mapping[str, Any]) -> str:
    times = "once" if item["died"] == 1 else f"{item['died']} times"
    return f"worker {item['id']} died {times} since the deploy and was restarted by PM2, last {item['up_ms'] / 1000:.0f} s ago"
