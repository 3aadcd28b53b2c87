"""Look at a fleet past ssh and past our own code: what is linked, what runs, who holds locks, whom the balancer serves."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
from pathlib import Path
from typing import Any

from tests.lab import loopback
from tests.lab.conftest import Site
from tests.lab.fleet import Lab, is_service
from tests.lab.hosts import BALANCER
from tests.lab.texts import BACKEND

AWAY = "away-"  # what a hidden socket's name begins with: we look through it all the same


def sockets(lab: Lab) -> list[Path]:
    """Name the places where HAProxy's socket may lie: where it belongs, and where a fault hid it."""
    place = lab.balancer.folder / "home/haproxy"
    return [place / "admin.sock", place / f"{AWAY}admin.sock"]


def pool(lab: Lab) -> dict[str, str]:
    """Read each server's status from HAProxy."""
    there = next(place for place in [*sockets(lab), Path("/nowhere")] if place.exists() or place.name == "nowhere")
    with socket.socket(socket.AF_UNIX) as talk:
        talk.settimeout(2)
        talk.connect(str(there))
        talk.sendall(f"show stat {BACKEND} 4 -1\n".encode())
        text = b"".join(iter(lambda: talk.recv(65536), b"")).decode()
    return {row["svname"]: row["status"] for row in csv.DictReader(io.StringIO(text.removeprefix("# ")))}


def link(lab: Lab, host: str) -> dict[str, Any]:
    """Read `current`: what kind of thing it is, where it leads, and whether that is a complete release."""
    place = lab.path(host, lab.root(host)) / "current"
    try:
        release = Path(os.readlink(place)).name
    except FileNotFoundError:
        return {"is": "absent", "release": None}
    except OSError:
        return {"is": "not a link", "release": None}
    marker = lab.path(host, lab.root(host)) / "releases" / release / ".gapless.json"
    try:
        named = json.loads(marker.read_text())["release"]
    except (OSError, ValueError, KeyError):
        return {"is": "incomplete", "release": release}
    return {"is": "complete" if named == release else f"marked as {named}", "release": release}


def links(lab: Lab) -> dict[str, dict[str, Any]]:
    return {host: link(lab, host) for host in lab.names}


def lock(lab: Lab, host: str) -> str | None:
    """Say who holds a host's lock: a run, "nobody named", or None when it is free."""
    place = lab.path(host, lab.root(host)) / ".gapless/lock"
    if not place.exists():
        return None
    try:
        return str(json.loads((place / "owner.json").read_text())["run"])
    except (OSError, ValueError, KeyError, IndexError):
        return "nobody named"


def fleet(site: Site) -> dict[str, Any]:
    """Take the last look: all of it, host by host."""
    lab = site.lab
    return {
        "hosts": {host: {**link(lab, host), "runs": site.processes(host), "lock": lock(lab, host)} for host in lab.names},
        "pool": pool(lab),
    }


def strangers(lab: Lab, before: set[int]) -> dict[str, list[str]]:
    """List what runs on the hosts that is neither the app, its PM2 nor a service, and was not there before."""
    found = {host: [text for pid in ours(lab, host, before) if (text := command(pid))] for host in (*lab.names, BALANCER)}
    return {host: texts for host, texts in found.items() if texts}


def ours(lab: Lab, host: str, before: set[int]) -> list[int]:
    """List the processes that we started on a host: its sessions, scripts, drivers, timers."""
    daemons = {pid for pid in lab.pids(host) if is_daemon(pid)}
    return [pid for pid in lab.pids(host) if pid not in before | daemons and not at_home(pid, daemons, lab.inits[host])]


def at_home(pid: int, daemons: set[int], init: int) -> bool:
    """Tell whether a process belongs on a host: init itself, a service, or a worker that PM2 has started."""
    return pid == init or is_service(pid, init) or parent(pid) in daemons


def is_daemon(pid: int) -> bool:
    return loopback.command_line(pid).startswith(b"PM2 v")


def command(pid: int) -> str:
    return loopback.command_line(pid).replace(b"\0", b" ").decode(errors="replace").strip()


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
