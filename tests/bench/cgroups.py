"""Put controller, hosts and line into control groups of their own: the kernel then knows the CPU of each, daemons and all."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

NAME = "gapless-bench"


class Group:
    """Hold one control group; `enter` is for a child, between fork and exec."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def enter(self) -> None:
        """Move the calling process into it."""
        file = os.open(self.folder / "cgroup.procs", os.O_WRONLY)
        os.write(file, b"0")
        os.close(file)

    def seconds(self) -> float:
        """Give the CPU that all its processes have used so far, those that ended too."""
        lines = (self.folder / "cpu.stat").read_text().splitlines()
        return int(dict(line.split() for line in lines)["usage_usec"]) / 1e6

    def pids(self) -> list[int]:
        """List who is in it now."""
        return [int(pid) for pid in (self.folder / "cgroup.procs").read_text().split() if pid != "0"]


def place() -> Path | None:
    """Find where our own groups may be made: below our own one, in version 2."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    roots = [Path(words[1]) for words in mounts if words[2] == "cgroup2"]
    own = next((line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")), "/")
    found = roots[0] / own.lstrip("/") if roots else None
    return found if found and os.access(found, os.W_OK) else None


def make(name: str) -> dict[str, Group] | None:
    """Make the groups of one bench; None where this machine lets us not."""
    home = place()
    if home is None:
        return None
    folder = home / f"{NAME}-{name}"
    try:
        folder.mkdir()
        return {kind: Group(folder / kind) for kind in ("controller", "hosts", "line")}
    except OSError:
        remove(name)
        return None


def remove(name: str, patience: float = 5.0) -> None:
    """Remove them again, once all who were in them have ended."""
    home = place()
    if home is None or not (home / f"{NAME}-{name}").exists():
        return
    folder = home / f"{NAME}-{name}"
    for each in [*folder.iterdir(), folder]:
        if each.is_dir():
            until(lambda each=each: _removed(each), patience)


def _removed(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def until(true: Callable[[], bool], patience: float) -> bool:
    """Wait until something is true."""
    end = time.monotonic() + patience
    while not (now := true()) and time.monotonic() < end:
        time.sleep(0.05)
    return now
