"""Stand hosts on 127.0.0.1: own ports, directory, HOME and PM2_HOME each. Needs no rights."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from .hosts import BALANCER, DEFAULT_NAME, Host, LabError
from .init import family, marked

ADDRESS = "127.0.0.1"
# Each lab has forty ports below the range that the kernel gives to clients.
FIRST_PORT, PORTS_PER_LAB, APP_OFFSET = 20000, 40, 20
# Where hosts.yaml looks for the balancer, so that one file suits both grounds.
WEB_PORT = 8080


class Loopback:
    """The ground where hosts share the machine's network and file system."""

    mode = "loopback"
    gateway = None

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number

    @staticmethod
    def free(number: int) -> bool:
        """Tell whether nobody listens on the ports of this number."""
        return all(is_free(port) for port in range(first_port(number), first_port(number) + PORTS_PER_LAB))

    def host(self, name: str, index: int, folder: Path) -> Host:
        """Place a host on two ports: sshd, and the app or the balancer; the default lab's balancer at 8080."""
        ssh = first_port(self.number) + index
        http = first_port(self.number) + APP_OFFSET + index
        if name == BALANCER and self.name == DEFAULT_NAME and is_free(WEB_PORT):
            http = WEB_PORT
        return Host(name, ADDRESS, ssh, http, folder, folder / "home")

    def lay(self, hosts: Iterable[Host]) -> None:
        """Need nothing beforehand."""

    def spawn_prefix(self, host: Host) -> list[str]:
        """Need nothing before init's command line."""
        return []

    @staticmethod
    def init_pid(spawned: int) -> int:
        """Know init as what was spawned."""
        return spawned

    @staticmethod
    def enter_prefix(init: int) -> list[str]:
        """Need nothing before a command; its environment makes it the host's."""
        return []

    @staticmethod
    def outside(init: int, path: Path) -> Path:
        """Name a path as it is."""
        return path

    @staticmethod
    def pids(host: Host, init: int) -> list[int]:
        """List the processes of a host: init, what descends from it, and what carries the host's mark."""
        return sorted(family([init, *marked(mark(host.folder) + b"\0")]))

    def link(self, host: Host, state: str) -> None:
        """Refuse: there is no cable."""
        raise LabError("a loopback host has no link to cut; this needs namespaces, which need root")


def first_port(number: int) -> int:
    """Say where the ports of a lab begin."""
    return FIRST_PORT + number * PORTS_PER_LAB


def is_free(port: int) -> bool:
    """Tell whether a port can be bound."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((ADDRESS, port))
        except OSError:
            return False
    return True


def mark(folder: Path) -> bytes:
    """Return the environment entry that every process of a host starts with."""
    return f"GAPLESS_LAB={folder}".encode()


def sweep(folder: Path) -> None:
    """Ask each init of the lab to end its host, then kill what still carries the lab's mark."""
    lab = mark(folder) + b"/"
    for pid in marked(lab):
        if b"init.py" in command_line(pid):
            kill(pid, signal.SIGTERM)
    wait_gone(lab, 5)
    for pid in family(marked(lab)):
        kill(pid, signal.SIGKILL)
    if not wait_gone(lab, 5):
        raise LabError(f"processes {marked(lab)} of {folder} do not end")


def wait_gone(entry: bytes, seconds: float) -> bool:
    """Wait until nothing carries the mark."""
    deadline = time.monotonic() + seconds
    while marked(entry):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def command_line(pid: int) -> bytes:
    """Read a command line, empty if the process is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def kill(pid: int, sig: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sig)
