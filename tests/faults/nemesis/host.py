"""Break what runs on a host, and what it stands on: PM2, ports, disks."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.faults import look
from tests.lab import loopback
from tests.lab.fleet import Lab, is_open, wait_until


def daemon(lab: Lab, host: str) -> int:
    """Find the PM2 daemon of a host."""
    return next(pid for pid in lab.pids(host) if look.is_daemon(pid))


@contextlib.contextmanager
def daemon_killed(lab: Lab, host: str) -> Iterator[None]:
    """Kill PM2's daemon; its workers go with it, as in real life. Mending is `pm2 resurrect`, as a person would."""
    loopback.kill(daemon(lab, host), signal.SIGKILL)
    try:
        yield
    finally:
        if not any(look.is_daemon(pid) for pid in lab.pids(host)):
            lab.pm2(host, "resurrect")


@contextlib.contextmanager
def daemon_stopped(lab: Lab, host: str) -> Iterator[None]:
    """Have PM2's daemon stand still: it answers nobody, and in cluster mode takes no connection either."""
    pid = daemon(lab, host)
    loopback.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        loopback.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def port_taken(lab: Lab, host: str) -> Iterator[None]:
    """Have a stranger listen on the app's port."""
    there = lab.host(host)
    serve = f"require('http').createServer((q, s) => s.writeHead(404).end()).listen({there.http_port})"
    lab.run(host, f'setsid node -e "{serve}" stranger </dev/null >/dev/null 2>&1 &')
    wait_until("the stranger to listen", lambda: is_open((there.address, there.http_port)))
    try:
        yield
    finally:
        for pid in lab.pids(host):
            if loopback.command_line(pid).endswith(b"\0stranger\0"):
                loopback.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def disk_full(lab: Lab, host: str) -> Iterator[None]:
    """Leave no byte free where the app lives."""
    lab.fill_disk(host)
    try:
        yield
    finally:
        lab.free_disk(host)


@contextlib.contextmanager
def read_only(lab: Lab, host: str) -> Iterator[None]:
    """Let nobody write where the app lives, as the kernel does after a fault of the disk."""
    remount(lab, host, "ro")
    try:
        yield
    finally:
        remount(lab, host, "rw")


@contextlib.contextmanager
def out_of_inodes(lab: Lab, host: str) -> Iterator[None]:
    """Leave no inode free where the app lives, though there is room."""
    total = lab.run(host, f"df -Pi {lab.root(host)} | awk 'NR == 2 {{ print $2 }}'").stdout.strip()
    remount(lab, host, "nr_inodes=$(df -Pi . | awk 'NR == 2 { print $3 }')")
    try:
        yield
    finally:
        remount(lab, host, f"nr_inodes={total}")


def revive(lab: Lab, host: str, bin_: str = "/bin") -> None:
    """Start PM2 anew with what it had saved, and wait until the balancer sees it."""
    lab.run(host, f"PATH={bin_}:$PATH pm2 resurrect")
    wait_until(f"{host} to serve again", lambda: look.pool(lab)[host].startswith("UP"))


def remount(lab: Lab, host: str, option: str) -> None:
    """Change the disk of a host's app; whoever has a file open for writing is waited for."""
    lab.run(host, f"cd {lab.root(host)} && until mount -o remount,{option} . 2>/dev/null; do :; done", timeout=20)


@contextlib.contextmanager
def clock_off(lab: Lab, host: str, library: Path, seconds: int) -> Iterator[None]:
    """Have every program that a host starts, PM2 first, see another time, on files too."""
    own = lab.host(host).folder
    bound = " && ".join(f"mount --bind {own}/{name} /etc/{name}" for name in ("passwd", "shadow", "hosts"))
    lab.pm2(host, "kill")
    # An /etc of the host's own: the loader reads its list there, and so does the library its offset.
    lab.run(host, f"""set -e
        mkdir ~/.etc && mount -t tmpfs lab ~/.etc && mkdir ~/.etc/upper ~/.etc/work && mount -t tmpfs lab /dev/shm
        mount -t overlay -o lowerdir=/etc,upperdir=$HOME/.etc/upper,workdir=$HOME/.etc/work overlay /etc && {bound}
        echo {seconds:+d} >/etc/faketimerc && echo {library} >/etc/ld.so.preload""")
    revive(lab, host)
    try:
        yield
    finally:
        lab.run(host, "pm2 kill; umount -l -R /etc; umount -l /dev/shm ~/.etc; rmdir ~/.etc")
        revive(lab, host)
