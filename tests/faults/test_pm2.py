"""PM2 dead or wedged, a stranger on the port."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults import nemesis
from tests.faults.case import Case
from tests.faults.ground import Ground
from tests.faults.history import begun, event

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

DIES_WITH_IT = "the app of that host dies with its PM2, and what it had in hand with it"
STANDS_STILL = "in cluster mode PM2 itself accepts the connections, so nobody is served there while it stands still"


def test_daemon_killed_before_the_start(case: Callable[..., Case], fleet: Ground) -> None:
    """What it had saved is brought back, and then reloaded like any other."""
    play = case("PM2's daemon killed before the start", 0, excused={"traffic": DIES_WITH_IT})
    with play.playing(), play.fault(nemesis.daemon_killed(fleet.lab, "lab1"), begun):
        pass
    assert "lab1     PM2's daemon has died; a new one starts what it had saved" in play.text()


def test_daemon_killed_in_reload(case: Callable[..., Case], fleet: Ground) -> None:
    play = case("PM2's daemon killed in the reload of its host, which is drained", 1)
    with play.playing(), play.fault(nemesis.daemon_killed(fleet.lab, "lab1"), event("settle", "lab1"), most=60):
        pass
    assert "lab1 failed in reload: PM2's daemon has died" in play.text()
    assert "lab1: is back on" in play.text()


def test_daemon_stopped_before_the_start(case: Callable[..., Case], fleet: Ground) -> None:
    play = case("PM2's daemon stands still before the start", 4, limit=60, excused={"traffic": STANDS_STILL})
    with play.playing(), play.fault(nemesis.daemon_stopped(fleet.lab, "lab1"), begun):
        pass


def test_daemon_stopped_for_a_moment_in_reload(case: Callable[..., Case], fleet: Ground) -> None:
    play = case("PM2's daemon stands still for 4 s in the reload of its host, which is drained", 0, 1)
    with play.playing(), play.fault(nemesis.daemon_stopped(fleet.lab, "lab1"), event("begin", "lab1"), most=4):
        pass


def test_port_is_taken(case: Callable[..., Case], fleet: Ground) -> None:
    """Deploy to a host for the first time, where somebody else takes the port after the claim; nothing of theirs is touched."""
    fleet.lab.reset("lab3")
    play = case("a stranger on the port, first deploy of that host", 1, hosts=["lab3"], struck=["lab3"])
    with play.playing(), play.fault(nemesis.port_taken(fleet.lab, "lab3"), event("phase", phase="build")):
        pass
    assert "which is not ours and was left alone" in play.text()
