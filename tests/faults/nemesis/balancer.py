"""Break HAProxy, or what it knows."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.faults import look
from tests.lab import loopback
from tests.lab.fleet import Lab, is_service, wait_until
from tests.lab.hosts import BALANCER


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
