"""One reading as data: an object for each host, with all that is known of it. Pure."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from .. import ownership
from ..drift import NOTHING, ailing, notes, run_here, wanted
from ..plan import Facts
from . import past
from .reading import Event, Reading, Server

WORKER = (
    "name", "id", "pid", "status", "mode", "state", "release", "gone", "halted", "gated", "restarts", "died", "started", "up_ms", "memory",
    "cpu", "ports", "health",
)


def of(each: Reading) -> dict[str, Any]:
    """Say all that is known of a host, beside what its line shows."""
    facts = each.facts
    found: dict[str, Any] = {
        "group": each.group, "reachable": each.outcome.code is not None, "read": facts is not None, "late": round(each.late, 1),
        "drift": each.findings(), "notes": notes(facts or NOTHING), "server": each.server and of_server(each.server),
        "run": run_in_hand(each.held), "last": past.plain(each.past[-1]) if each.past else None,
    }
    return found | (of_facts(each, facts) if facts else {})


def of_server(server: Server) -> dict[str, Any]:
    return {"balancer": server.balancer, "trouble": server.trouble, **plain(server.event or {})}


def of_facts(each: Reading, facts: Facts) -> dict[str, Any]:
    workers = [*(of_worker(item) for item in facts["processes"]), *(of_stray(stray) for stray in facts["strays"])]
    return {
        "link": facts["current"], "runs": run_here(facts), "answers": [of_port(answer) for answer in each.answers], "workers": workers,
        "well": sum(item["well"] for item in workers), "wanted": sum(wanted(process, facts) for process in each.host.app.processes),
        "pinned": facts["pinned"], "driving": facts["driving"], "trouble": facts["trouble"], "node": facts["node"],
        "pm2": {**facts["daemon"], "command": facts["version"], "saved": facts["saved"]},
    }


def of_worker(item: Mapping[str, Any]) -> dict[str, Any]:
    return {**{key: item.get(key) for key in WORKER}, "well": not ailing(item), "why": ailing(item), "listed": True}


def of_stray(stray: Mapping[str, Any]) -> dict[str, Any]:
    return {**stray, "well": False, "why": "unknown to PM2", "listed": False}


def of_port(answer: Event) -> dict[str, Any]:
    """Count what a port answered, by release ("" for none) and by status (0 where no answer came)."""
    asked = answer["asked"]
    return {
        "name": answer["name"], "port": answer["port"], "listening": answer["listening"], "asked": len(asked),
        "releases": dict(Counter(each["release"] or "" for each in asked if each["status"])),
        "statuses": dict(Counter(f"{each['status']}" for each in asked)), "ms": [each["ms"] for each in asked],
    }


def run_in_hand(held: Event | None) -> dict[str, Any] | None:
    """Describe the run that holds the lock of a host: its phase, since when, and why it counts as dead, if it does."""
    if held is None:
        return None
    owner = held["owner"] if isinstance(held["owner"], Mapping) else {}
    kept = {key: owner.get(key) for key in ("run", "verb", "who", "from", "at", "ci", "commit")}
    since = max(0, int(time.time() - owner["at"])) if "at" in owner else None
    return {**kept, "phase": held["phase"], "seconds": since, "quiet": held["quiet"], "dead": ownership.gone(held)}


def plain(event: Event) -> dict[str, Any]:
    """Take an event for what it says; what kind it was goes by another name here."""
    return {key: value for key, value in event.items() if key != "event"}
