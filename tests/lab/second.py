"""A second reading of a fleet, past ssh and past all code that `fab status` is made of: /proc, links, sockets, HTTP, HAProxy's own word."""

from __future__ import annotations

import http.client
import json
import os
import socket
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.lab.fleet import Lab

# One line per process: pid, parent, state, command line, directory.
PROCESSES = r"""
for p in /proc/[0-9]*; do
    stat=$(cat $p/stat 2>/dev/null) || continue
    rest=${stat##*) }
    set -- $rest
    printf '%s\t%s\t%s\t%s\t%s\n' "${p#/proc/}" "$2" "$1" "$(tr '\0\t\n' '   ' <$p/cmdline 2>/dev/null)" "$(readlink $p/cwd)"
done
"""
QUESTIONS = 6


def fleet(lab: Lab) -> dict[str, dict[str, Any]]:
    """Read all hosts at once."""
    servers = lab.servers()
    with ThreadPoolExecutor(len(lab.names)) as pool:
        read = pool.map(lambda host: reading(lab, host, servers[host]), lab.names)
        return dict(zip(lab.names, read, strict=True))


def reading(lab: Lab, host: str, server: dict[str, Any]) -> dict[str, Any]:
    """Say what is true of one host, in the words of `fab status --format json`."""
    processes = [line.split("\t") for line in lab.run(host, PROCESSES).stdout.splitlines()]
    root = os.path.realpath(lab.root(host)) if lab.mode != "namespace" else lab.root(host)
    daemons = {pid: state for pid, _, state, command, _ in processes if command.startswith("PM2 v")}
    workers = [each for each in processes if f"{root}/.gapless/gate.cjs" in each[3]]
    able = [pid for pid, parent, state, *_ in workers if state != "T" and daemons.get(parent, "T") != "T" and asked(lab, host, pid) == 200]
    link, whole = linked(lab, host)
    answers = outside(lab, host)
    return {
        "link": link, "whole": whole, "runs": dict(Counter(release(root, cwd) for *_, cwd in workers)),
        "halted": sorted(int(pid) for pid, _, state, *_ in workers if state == "T" and daemons), "well": len(able), "daemon": bool(daemons),
        "answers": sorted({each for each in answers if each}), "silent": "" in answers,
        "in": str(server["status"]).startswith("UP") and int(server["weight"]) > 0, "pinned": pinned(lab, host), "lock": owner(lab, host),
    }


def release(root: str, cwd: str) -> str:
    place, _, rest = cwd.removesuffix(" (deleted)").partition(f"{root}/releases/")
    return rest.split("/")[0] if rest and not place else "not ours"


def linked(lab: Lab, host: str) -> tuple[str | None, bool]:
    """Give the name that `current` leads to, and whether a complete release is there."""
    place = lab.path(host, lab.root(host))
    try:
        name = Path(os.readlink(place / "current")).name
    except OSError:
        return None, False
    return name, (place / "releases" / name / ".gapless.json").exists()


class Unix(http.client.HTTPConnection):
    """Speak HTTP over a unix socket."""

    def __init__(self, place: Path) -> None:
        super().__init__("localhost", timeout=2)
        self.place = place

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(2)
        self.sock.connect(str(self.place))


def asked(lab: Lab, host: str, pid: str) -> int:
    """Ask one worker for its health; 0 where no answer comes."""
    talk = Unix(lab.path(host, lab.root(host)) / f".gapless/run/health-{pid}.sock")
    try:
        talk.request("GET", "/health")
        return talk.getresponse().status
    except OSError:
        return 0
    finally:
        talk.close()


def outside(lab: Lab, host: str) -> list[str]:
    """Ask the host's real port, each time on a new connection: the release of each answer, "" where none came."""
    with ThreadPoolExecutor(QUESTIONS) as pool:
        return list(pool.map(lambda _: answer(lab.host_url(host)), range(QUESTIONS)))


def answer(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=2) as said:
            return str(said.headers["x-release"])
    except urllib.error.HTTPError as err:
        return str(err.headers["x-release"])
    except OSError:
        return ""


def pinned(lab: Lab, host: str) -> list[str]:
    try:
        text = (lab.path(host, lab.root(host)) / ".gapless/run/reload.json").read_text()
    except OSError:
        return []
    return sorted(json.loads(text).get("env_files", {}))


def owner(lab: Lab, host: str) -> str | None:
    try:
        text = (lab.path(host, lab.root(host)) / ".gapless/lock/owner.json").read_text()
    except OSError:
        return None
    return str(json.loads(text)["run"])
