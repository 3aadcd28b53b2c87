"""HAProxy that takes no orders, or comes back without a memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults import nemesis
from tests.faults.case import Case
from tests.faults.ground import Ground
from tests.faults.history import event

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

SETTLING = event("settle", "lab1")
IDLE = "HAProxy closes idle keep-alive connections when it is reloaded, and some client may be about to use one"
CUT = "what HAProxy has in hand when it is killed is lost with it"


def test_deaf_before_the_first_drain(case: Callable[..., Case], fleet: Ground) -> None:
    """What can't be drained is not reloaded: no worker of any host is replaced."""
    play = case("HAProxy's socket gone before the first drain", 1, 5)
    with play.playing(), play.fault(nemesis.balancer_deaf(fleet.lab), event("phase", what="lock, facts")):
        pass
    assert "could not be drained" in play.text()
    assert "worker 0 open" not in play.text()


def test_deaf_while_a_host_is_drained(case: Callable[..., Case], fleet: Ground) -> None:
    """A host that can't be put back is told as out, and the same command puts it back once there is somebody to ask."""
    play = case("HAProxy's socket gone while a host is drained", 5)
    with play.playing(), play.fault(nemesis.balancer_deaf(fleet.lab), SETTLING):
        pass
    assert "OUT OF ROTATION" in play.text()


def test_reloaded_in_the_middle(case: Callable[..., Case], fleet: Ground) -> None:
    play = case("HAProxy reloaded while a host is drained: it forgets the drain", 0, excused={"traffic": IDLE})
    with play.playing(), play.fault(nemesis.balancer_reloaded(fleet.lab), SETTLING, most=0):
        pass
    assert play.kinds_lost() <= {"keepalive"}


def test_reloaded_while_workers_are_replaced(case: Callable[..., Case], fleet: Ground) -> None:
    """The gate alone must keep the requests of a host that was drained and gets traffic again in the middle of its reload."""
    play = case("HAProxy reloaded as the first worker is replaced: it forgets the drain", 0, excused={"traffic": IDLE})
    with play.playing(), play.fault(nemesis.balancer_reloaded(fleet.lab), event("begin", "lab1"), most=0):
        pass
    assert play.kinds_lost() <= {"keepalive"}


def test_restarted_in_the_middle(case: Callable[..., Case], fleet: Ground) -> None:
    play = case("HAProxy killed and started again while a host is drained", 0, 5, excused={"traffic": CUT})
    with play.playing(), play.fault(nemesis.balancer_restarted(fleet.lab), SETTLING, most=0):
        pass
