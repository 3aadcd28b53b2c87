"""
Break one thing, and mend it again: each fault is a context manager that undoes itself, whatever happens in between.

None of them waits by itself: when a fault begins and when it ends is a moment in the history (case.py).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.faults import look
from tests.faults.wire import Wire
from tests.lab import loopback, namespaces, texts
from tests.lab.fleet import Lab, is_open, is_service, wait_until
from tests.lab.hosts import BALANCER


@contextlib.contextmanager
def nothing() -> Iterator[None]:
    """Break nothing now: what is wrong was wrong from the start."""
    yield


# ---------------------------------------------------------------- the network


@contextlib.contextmanager
def link_down(lab: Lab, host: str) -> Iterator[None]:
    """Pull a host's cable."""
    lab.cut(host)
    try:
        yield
    finally:
        lab.heal(host)


@contextlib.contextmanager
def answers_lost(lab: Lab, host: str) -> Iterator[None]:
    """Lose what a host sends to us, and nothing of what we send to it; the balancer is heard in both directions."""
    assert isinstance(lab.ground, namespaces.Namespaces)
    where = ["-n", lab.ground.netns(lab.host(host)), "route"]
    namespaces.ip(*where, "add", "blackhole", f"{lab.ground.gateway}/32")
    try:
        yield
    finally:
        namespaces.ip(*where, "del", "blackhole", f"{lab.ground.gateway}/32")


@contextlib.contextmanager
def stalled(wire: Wire) -> Iterator[None]:
    """Let nothing through, and lose nothing."""
    wire.stall()
    try:
        yield
    finally:
        wire.flow()


@contextlib.contextmanager
def slowed(wire: Wire, seconds: float) -> Iterator[None]:
    """Make every packet wait, in both directions."""
    wire.delay = seconds
    try:
        yield
    finally:
        wire.delay = 0.0


@contextlib.contextmanager
def reset(wire: Wire) -> Iterator[None]:
    """End the connections by RST and refuse new ones."""
    wire.refuses = True
    wire.reset()
    try:
        yield
    finally:
        wire.refuses = False


@contextlib.contextmanager
def through(lab: Lab, host: str, folder: Path) -> Iterator[tuple[Wire, Path]]:
    """Lay a wire to a host's sshd; give it with the ssh config that leads through it."""
    target = lab.host(host)
    with Wire((target.address, target.ssh_port)) as wire:
        key = (target.folder / "hostkey.pub").read_text()
        known = folder / "known_hosts"
        known.write_text(lab.known_hosts.read_text() + texts.known_host("127.0.0.1", wire.port, key))
        config = folder / "ssh_config"
        # The first entry that matches wins.
        config.write_text(f"Host {host}\n  HostName 127.0.0.1\n  Port {wire.port}\n\n" + lab.ssh_config.read_text().replace(str(lab.known_hosts), str(known)))
        yield wire, config


# ---------------------------------------------------------------- sshd and login shells


@contextlib.contextmanager
def sessions_killed(lab: Lab, host: str) -> Iterator[None]:
    """Kill sshd's child of every connection; what it had started is left to itself."""
    for pid in lab.pids(host):
        if loopback.command_line(pid).startswith(b"sshd: ") and b"listener" not in loopback.command_line(pid):
            loopback.kill(pid, signal.SIGKILL)
    yield


@contextlib.contextmanager
def sshd_with(lab: Lab, host: str, *lines: str) -> Iterator[None]:
    """Run a host's sshd with these settings; the first of a keyword is the one that counts."""
    file = lab.host(host).folder / "sshd_config"
    kept = file.read_text()
    file.write_text("".join(f"{line}\n" for line in lines) + kept)
    restart_sshd(lab, host)
    try:
        yield
    finally:
        file.write_text(kept)
        restart_sshd(lab, host)


def restart_sshd(lab: Lab, host: str) -> None:
    lab.stop_sshd(host)
    lab.start_sshd(host)


@contextlib.contextmanager
def login_shell(lab: Lab, host: str, shell: str, files: dict[str, str]) -> Iterator[None]:
    """Give the user of a host another login shell, with these files in the home directory."""
    passwd = lab.host(host).folder / "passwd"
    kept = passwd.read_text()
    home = lab.path(host, lab.host(host).home)
    # Written in place: the host has this very inode mounted as /etc/passwd.
    passwd.write_text("".join(f"{line.rpartition(':')[0]}:{shell}\n" if line.startswith("root:") else f"{line}\n" for line in kept.splitlines()))
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    try:
        yield
    finally:
        passwd.write_text(kept)
        for name in files:
            (home / name).unlink()


# ---------------------------------------------------------------- PM2, ports, disks


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


# ---------------------------------------------------------------- the balancer


@contextlib.contextmanager
def balancer_deaf(lab: Lab) -> Iterator[None]:
    """Take HAProxy's socket away; it serves on, but takes no orders."""
    at_home, away = look.sockets(lab)
    at_home.rename(away)
    try:
        yield
    finally:
        away.rename(at_home)


@contextlib.contextmanager
def balancer_reloaded(lab: Lab) -> Iterator[None]:
    """Reload HAProxy as its service does: a new one takes over, the old one finishes. What was drained is forgotten."""
    start_balancer(lab, "-sf", *(str(inner(pid)) for pid in balancers(lab)))
    yield


@contextlib.contextmanager
def balancer_restarted(lab: Lab) -> Iterator[None]:
    """Kill HAProxy and start it anew; what was in flight is lost with it."""
    for pid in balancers(lab):
        loopback.kill(pid, signal.SIGKILL)
    start_balancer(lab)
    yield


def balancers(lab: Lab) -> list[int]:
    return [pid for pid in lab.pids(BALANCER) if is_service(pid, lab.inits[BALANCER], (b"haproxy.cfg",))]


def start_balancer(lab: Lab, *more: str) -> None:
    file = lab.balancer.folder / "haproxy.cfg"
    lab.run(BALANCER, f"setsid haproxy -db -f {file} {' '.join(more)} </dev/null >/dev/null 2>&1 &")
    wait_until("the new HAProxy to answer", lambda: knows(lab))


def knows(lab: Lab) -> bool:
    try:
        return set(look.pool(lab)) == set(lab.names)
    except OSError:
        return False


def inner(pid: int) -> int:
    """Give the number by which a process is known inside its own namespace."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])


# ---------------------------------------------------------------- the controller


@contextlib.contextmanager
def paused(process: subprocess.Popen[str]) -> Iterator[None]:
    """Stop the controller as a closed lid does, and let it go on."""
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # woken by the case itself, and gone
            os.kill(process.pid, signal.SIGCONT)


@contextlib.contextmanager
def signalled(process: subprocess.Popen[str], number: signal.Signals) -> Iterator[None]:
    """Send the controller a signal, if it is still there; there is nothing to mend."""
    process.send_signal(number)
    yield
