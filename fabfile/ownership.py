"""Who owns a lock, and whether that owner is still there. Pure, but for one look at a process of this machine."""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

LEASE = 45.0  # seconds without a heartbeat until an owner elsewhere counts as gone; judged by the locked host's clock alone
BEAT = 10.0   # seconds between heartbeats

# A run that died in one of these has touched nothing that serves: the next one may simply take its lock.
HARMLESS = ("", "claim", "build", "finish")

Held = Mapping[str, Any]  # event `held`: owner (None if its record can't be read), phase, quiet (seconds since the last beat)


def here() -> dict[str, Any]:
    """Name this process so that another one can tell later whether it is dead: a pid alone comes again."""
    return {"boot": _read("/proc/sys/kernel/random/boot_id"), "pid": os.getpid(), "start": _start(os.getpid())}


def record(run: str, hosts: Iterable[str], commit: str = "", resumes: Sequence[str] = (), **options: object) -> dict[str, Any]:
    """Describe a run, so that another person on another machine can see what it was about, and finish it."""
    return {
        "run": run, "who": getpass.getuser(), "from": socket.gethostname(), **here(), "at": int(time.time()),
        "ci": os.environ.get("CI_JOB_URL") or _github_run(), "commit": commit, "hosts": sorted(hosts), "resumes": list(resumes), **options,
    }


def _github_run() -> str:
    found = [os.environ.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID")]
    return "{}/{}/actions/runs/{}".format(*found) if all(found) else ""


def _read(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError:
        return ""


def _start(pid: int) -> str:
    """Give the start time of a process in clock ticks (proc(5), field 22), or "" if there is none."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return "" if not fields or fields[0] == "Z" else fields[19]


def gone(held: Held) -> str:
    """Say why the owner counts as gone, or "" as long as it may be alive."""
    owner = held["owner"]
    if not isinstance(owner, Mapping):
        return ""
    boot = _read("/proc/sys/kernel/random/boot_id")
    if boot and owner.get("boot") == boot and owner.get("start") != _start(owner["pid"]):
        return f"its process {owner['pid']} on this machine is dead"
    return f"it was not heard of for {span(held['quiet'])}" if held["quiet"] > LEASE else ""


def harmless(held: Held) -> bool:
    """Say whether the owner died (if it did) where nothing that serves was in hand."""
    return str(held["phase"]).split(" ", 1)[0] in HARMLESS


def told(held: Mapping[str, Held], selector: str) -> str:
    """Tell who holds which hosts, those of one run together, and what to do about it."""
    alike: dict[str, list[str]] = {}
    for name, each in held.items():
        alike.setdefault(_told(each), []).append(name)
    lines = [f"{', '.join(names)}: {text}" for text, names in alike.items()]
    if all(gone(each) for each in held.values()):
        return "\n".join([*lines, f"Next:  fab resume --hosts {selector}  finishes it   or   fab abort --hosts {selector}  takes it back"])
    runs = {run_of(each) for each in held.values()}
    which = runs.pop() if len(runs) == 1 else None
    unlock = f"fab unlock --hosts {selector} --id {which or 'RUN'}"
    return "\n".join([*lines, f"Wait for it (--wait 10m); if you know that it is dead: {unlock}"])


def run_of(held: Held) -> str | None:
    return held["owner"]["run"] if isinstance(held["owner"], Mapping) else None


def _told(held: Held) -> str:
    owner = held["owner"]
    if not isinstance(owner, Mapping):
        return "locked by an unknown owner (its record is empty)"
    phase = f", in {held['phase']}" if held["phase"] else ""
    who = f"{owner['who']}@{owner['from']}"
    place = f" {owner['ci']}" if owner.get("ci") else ""
    if why := gone(held):
        return f"{who} began a {owner['verb']}{phase}, and left it: {why} (run {owner['run']}){place}"
    age = span(max(0, int(time.time() - owner["at"])))
    return f"{who} has been at {owner['verb']} for {age}{phase} (run {owner['run']}, pid {owner['pid']}){place}"


def span(seconds: float) -> str:
    """Spell a length of time in its largest unit that still says something."""
    for unit, name in ((1, "s"), (60, "min"), (3600, "h")):
        if seconds < 120 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:.0f} d"
