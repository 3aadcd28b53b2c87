"""Stand hosts on namespaces: own network, mounts, processes and host name each. Needs root."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from . import system
from .hosts import BALANCER, Host, LabError

NETNS = Path("/run/netns")
HOME = Path("/srv")
SSH_PORT, APP_PORT, WEB_PORT = 22, 3000, 8080
MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
MEMORY = 12 << 30  # bytes that a lab's files may take where they lie in memory
UNSHARE = ("--mount", "--uts", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc")


def allowed() -> bool:
    """Tell whether this process may make the namespaces."""
    if os.geteuid() != 0 or not system.find("unshare"):
        return False
    trial = [system.path_of("unshare"), "--net", *UNSHARE, "mount", "-t", "tmpfs", "lab", "/srv"]
    return subprocess.run(trial, capture_output=True, timeout=30, check=False).returncode == 0


class Namespaces:
    """The ground where hosts have addresses of their own and identical paths."""

    mode = "namespace"

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.bridge = f"gl-{name}"
        self.gateway = f"10.77.{number}.1"

    @staticmethod
    def free(number: int) -> bool:
        """Tell whether nobody holds this subnet."""
        return f" 10.77.{number}.1/" not in ip("-o", "-4", "addr", "show")

    def host(self, name: str, index: int, folder: Path) -> Host:
        """Place a host: the balancer at .10, the others from .11."""
        address = f"10.77.{self.number}.{10 + index}"
        return Host(name, address, SSH_PORT, WEB_PORT if name == BALANCER else APP_PORT, folder, HOME)

    def lay(self, hosts: Iterable[Host]) -> None:
        """Make the bridge, and one cable and network namespace per host. No way leads out of it but the relay."""
        hosts = list(hosts)
        lines = [
            f"link add {self.bridge} type bridge",
            f"addr add {self.gateway}/24 dev {self.bridge}",
            f"link set {self.bridge} up",
        ]
        for host in hosts:
            lines += [
                f"netns add {self.netns(host)}",
                f"link add {self.cable(host)} type veth peer name eth0 netns {self.netns(host)}",
                f"link set {self.cable(host)} master {self.bridge} up",
            ]
        ip("-batch", "-", input_="\n".join(lines))
        for host in hosts:
            inner = f"link set lo up\naddr add {host.address}/24 dev eth0\nlink set eth0 up\n"
            ip("-n", self.netns(host), "-batch", "-", input_=inner)

    def netns(self, host: Host) -> str:
        """Name a host's network namespace."""
        return f"gl-{self.name}-{host.name}"

    def cable(self, host: Host) -> str:
        """Name the bridge's end of a host's cable; the kernel takes 15 characters at most."""
        return f"gl-{self.name}-{host.name.removeprefix('lab')}"

    def spawn_prefix(self, host: Host) -> list[str]:
        """Say what goes before init's command line."""
        nsenter, unshare = system.path_of("nsenter"), system.path_of("unshare")
        return [nsenter, f"--net={NETNS / self.netns(host)}", unshare, *UNSHARE, "--"]

    @staticmethod
    def init_pid(spawned: int) -> int:
        """Find init below the `unshare` that was spawned, by the number that we know it by."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):
                if children := Path(f"/proc/{spawned}/task/{spawned}/children").read_text().split():
                    return int(children[0])
            time.sleep(0.005)
        raise LabError("a host's init did not start")

    @staticmethod
    def enter_prefix(init: int) -> list[str]:
        """Say what goes before a command that is to run inside the host."""
        return [system.path_of("nsenter"), f"--target={init}", "--mount", "--uts", "--net", "--pid", "--"]

    @staticmethod
    def outside(init: int, path: Path) -> Path:
        """Name a host's path as the controller can open it, its mounts included."""
        return Path(f"/proc/{init}/root") / path.relative_to("/")

    @staticmethod
    def pids(host: Host, init: int) -> list[int]:
        """List the processes of a host: all that share init's PID namespace."""
        home = os.readlink(f"/proc/{init}/ns/pid")
        found = []
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdigit() and os.readlink(f"/proc/{entry}/ns/pid") == home:
                    found.append(int(entry))
        return found

    def link(self, host: Host, state: str) -> None:
        """Set a host's cable up or down."""
        ip("link", "set", self.cable(host), state)


def sweep(name: str) -> None:
    """End every process in this lab's namespaces, then remove the namespaces and the bridge."""
    if os.geteuid() != 0 or not system.find("ip"):
        return
    ours = [path.name for path in NETNS.glob(f"gl-{name}-*")] if NETNS.exists() else []
    for netns in ours:
        empty(netns)
        ip("netns", "del", netns)
    if Path(f"/sys/class/net/gl-{name}").exists():
        ip("link", "del", f"gl-{name}")


def lay_memory(folder: Path) -> None:
    """Have a directory's files lie in memory, if much more is free than they may take."""
    if memory_free() > 1.5 * MEMORY:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEMORY},mode=0700", "lab", str(folder)], check=True)


def lift_memory(folder: Path) -> None:
    """Undo that; whoever still has a file open there keeps no one waiting."""
    subprocess.run(["umount", "--lazy", str(folder)], check=False)  # somebody else who cleans up may have done it


def memory_free() -> int:
    """Return the bytes that programs may still take: what the machine has left, or what a container may have at all."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    limits = [Path(place).read_text().strip() for place in MEMORY_LIMITS if Path(place).exists()]
    return min([free, *(int(limit) for limit in limits if limit.isdigit())])


def empty(netns: str) -> None:
    """Kill all in a network namespace; with init its whole PID namespace goes."""
    deadline = time.monotonic() + 10
    while pids := ip("netns", "pids", netns).split():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        if time.monotonic() > deadline:
            raise LabError(f"processes {', '.join(pids)} in {netns} do not end")
        time.sleep(0.01)


def ip(*words: str, input_: str | None = None) -> str:
    """Run `ip`; what it complains about is the error message."""
    command = [system.path_of("ip"), *words]
    done = subprocess.run(command, input=input_, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise LabError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
