"""A run that was frozen asks whose its hosts are before it touches what no host's own fence guards."""

from __future__ import annotations

import threading
import time

import pytest

from fabfile.errors import LockLost
from fabfile.inventory.values import App, Host, Ssh
from fabfile.run import lease
from fabfile.transport import Outcome

HOST = Host("web1", Ssh("web1"), App("shop", "repo", "/srv/shop", ()), "web1")


class Fleet:
    """Count what is asked; `owned` says what the hosts answer."""

    def __init__(self) -> None:
        self.lines = {"web1": None, "balancer lb1": None}
        self.beats: dict[str, str] = {}
        self.owned = True
        self.asked = 0
        self.beaten = threading.Event()

    def each(self, phase: str, scripts: object) -> dict[str, Outcome]:
        self.asked += 1
        return {"web1": Outcome(0 if self.owned else 1, tail=["is no longer that of run r1"])}

    def beat(self) -> None:
        self.beaten.set()


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(lease, "_clock", lambda: now[0])
    return now


def test_a_run_that_was_never_frozen_asks_nobody(clock):
    fleet = Fleet()
    held = lease.Lease("r1", [HOST], fleet)
    clock[0] += lease.LEASE - 1
    held.check()
    assert fleet.asked == 0


def test_after_a_freeze_it_asks_once_and_goes_on_with_what_is_still_its_own(clock):
    fleet = Fleet()
    held = lease.Lease("r1", [HOST], fleet)
    clock[0] += lease.LEASE + 1
    held.check()
    held.check()
    assert fleet.asked == 1


def test_after_a_freeze_it_stops_when_another_took_over(clock):
    fleet = Fleet()
    held = lease.Lease("r1", [HOST], fleet)
    fleet.owned = False
    clock[0] += lease.LEASE + 1
    with pytest.raises(LockLost, match="web1: this run was frozen, and another run has taken over"):
        held.check()


def test_the_heartbeat_that_wakes_first_does_not_hide_the_freeze(clock, monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 0.02)
    fleet = Fleet()
    held = lease.Lease("r1", [HOST], fleet)
    held.start()
    assert fleet.beaten.wait(5) and set(fleet.beats) == set(fleet.lines)
    clock[0] += lease.LEASE + 1
    until = time.monotonic() + 5
    while not held._doubt and time.monotonic() < until:
        time.sleep(0.01)
    fleet.beaten.clear()
    assert not fleet.beaten.wait(0.2)  # a sign of life would keep a lock alive that may be another's
    held.check()
    assert (fleet.asked, fleet.beaten.wait(5)) == (1, True)
    held.stop()
    assert not held._thread.is_alive()
