"""Run one command and measure it: wall, CPU of all that it started, memory, logins, and what the machine did beside it."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import figures
from .fleet import Fleet

SAMPLED = 0.05  # seconds between two looks at what a tree uses
LIMIT = 300.0   # seconds for one run


class Failed(RuntimeError):
    """A contestant did not do its work; the message holds its last words."""


@dataclass
class Reading:
    """Hold the figures of one run; None is unknown."""

    wall: float
    cpu: float
    host_cpu: float | None   # per host
    line_cpu: float | None
    busy: float              # share of the machine that others took
    memory: float | None = None  # MiB
    logins: float = 0.0      # per host
    channels: float = 0.0
    curve: list[tuple[float, float]] = field(default_factory=list)  # the time, and the CPU used until then

    def told(self) -> dict[str, Any]:
        """Give the figures as they are kept: rounded, and without the curve."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items() if name != "curve"}


class Watch:
    """
    Look at what a tree uses again and again until `stop`: the most memory that it took in MiB, or how its CPU grows.

    What only one look saw does not count: a child between vfork and exec shows its parent's memory as its own.
    """

    def __init__(self, fleet: Fleet, root: int, memory: bool) -> None:
        self.fleet = fleet
        self.root = root
        self.memory = memory
        self.most = 0.0
        self.curve: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        before = 0.0
        while not self._over.wait(SAMPLED):
            group = self.fleet.groups["controller"] if self.fleet.groups else None
            if self.memory:
                now = sum(map(pss, group.pids() if group else family(self.root)))
                self.most, before = max(self.most, min(before, now)), now
            elif group:
                self.curve.append((time.time(), group.seconds()))

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


def pss(pid: int) -> float:
    """Give the share of memory that a process takes, in MiB; nothing if it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def family(root: int) -> list[int]:
    """List a process and all below it."""
    found = [root]
    for pid in found:
        with suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def run(command: list[str], fleet: Fleet, hosts: Iterable[str], env: Mapping[str, str], cwd: Path, memory: bool, watched: bool) -> Reading:
    """Run a contestant once; raise Failed when it does not end with 0. Either way of watching costs a little of the machine."""
    hosts = list(hosts)
    sizes = {host: fleet.log(host).stat().st_size for host in hosts}
    before = clocks(fleet)
    began = time.monotonic()
    watch = carry_out(command, fleet, env, cwd, memory, watched)
    wall = time.monotonic() - began
    after = clocks(fleet)
    spent = {name: None if before[name] is None else after[name] - before[name] for name in before}
    logs = [figures.sshd_log(fleet.log(host).read_bytes()[sizes[host]:].decode(errors="replace")) for host in hosts]
    return Reading(
        wall=wall, cpu=spent["controller"], host_cpu=spent["hosts"] and spent["hosts"] / len(hosts), line_cpu=spent["line"],
        busy=figures.others(spent), memory=watch.most if watch and memory else None, logins=sum(each.logins for each in logs) / len(hosts),
        channels=sum(each.channels for each in logs) / len(hosts), curve=watch.curve if watch else [])


def carry_out(command: list[str], fleet: Fleet, env: Mapping[str, str], cwd: Path, memory: bool, watched: bool) -> Watch | None:
    """Run the command to its end, in the controller's control group."""
    with open(cwd / "output", "wb") as out:
        enter = fleet.groups["controller"].enter if fleet.groups else None
        child = subprocess.Popen(
            command, cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, preexec_fn=enter, start_new_session=True)
        watch = Watch(fleet, child.pid, memory) if memory or watched else None
        late = threading.Timer(LIMIT, child.kill)  # a wait with a limit looks every 50 ms, and so would the wall
        late.start()
        try:
            code = child.wait()
        finally:
            late.cancel()
            child.kill()
            child.wait()
            if watch:
                watch.stop()
    if code:
        raise Failed(f"{' '.join(command)[:300]} ended with {code}:\n{(cwd / 'output').read_text(errors='replace')[-3000:]}")
    return watch


def clocks(fleet: Fleet) -> dict[str, Any]:
    """Read how much CPU everybody has used so far: ours by its group, or by the children that have ended."""
    with open("/proc/stat") as file:
        words = [int(word) / os.sysconf("SC_CLK_TCK") for word in file.readline().split()[1:9]]
    idle = words[3] + words[4]
    found: dict[str, Any] = {"machine": sum(words), "idle": idle, "hosts": None, "line": None}
    if fleet.groups:
        return found | {name: group.seconds() for name, group in fleet.groups.items()}
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found | {"controller": ended.ru_utime + ended.ru_stime}
