"""The cable between us and a host: cut, one-way, stalled, slow, reset. The balancer still reaches the host, where not said otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import nemesis
from tests.faults.case import Case
from tests.faults.ground import Ground
from tests.faults.history import begun, event
from tests.faults.wire import Wire

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

IN_BUILD = event("step", "lab1", name="npm ci")
IN_RELOAD = event("begin", "lab1")
SETTLING = event("settle", "lab1")


@pytest.fixture
def wire(fleet: Ground, tmp_path: Path) -> Iterator[Wire]:
    """Lead our ssh to lab1 over a wire of ours."""
    with nemesis.through(fleet.lab, "lab1", tmp_path) as (wire, config):
        fleet.configure(ssh_config=config)
        yield wire


@pytest.fixture
def cables(fleet: Ground) -> Ground:
    """Give the fleet where hosts have cables of their own."""
    fleet.needs_mounts()
    return fleet


def test_no_fault_at_all(case: Callable[..., Case]) -> None:
    """Be sure that the checker has nothing to say when nothing breaks."""
    with case("none", 0).playing():
        pass


def test_reset_in_build(case: Callable[..., Case], wire: Wire) -> None:
    play = case("ssh connection reset in the build", 1)
    with play.playing(), play.fault(nemesis.reset(wire), IN_BUILD, most=1):
        pass


def test_reset_in_reload(case: Callable[..., Case], wire: Wire) -> None:
    play = case("ssh connection reset in the reload, refused for 3 s", 0)
    with play.playing(), play.fault(nemesis.reset(wire), IN_RELOAD, most=3):
        pass


def test_stall_in_reload(case: Callable[..., Case], wire: Wire) -> None:
    play = case("link stands still for 8 s in the reload", 0)
    with play.playing(), play.fault(nemesis.stalled(wire), IN_RELOAD, most=8):
        pass


def test_stall_for_good_in_reload(case: Callable[..., Case], wire: Wire) -> None:
    """Whoever acknowledges every packet and never answers is gone all the same: an sshd that hangs, a host out of memory."""
    play = case("link stands still in the reload, for good", 5, limit=170)
    with play.playing(), play.fault(nemesis.stalled(wire), IN_RELOAD, most=175):
        pass


def test_slow_link(case: Callable[..., Case], wire: Wire) -> None:
    play = case("slow link: 150 ms each way, for each packet", 0, limit=90)
    with play.playing(), play.fault(nemesis.slowed(wire, 0.15), begun, most=120):
        pass


def test_cable_out_before_the_start(case: Callable[..., Case], cables: Ground) -> None:
    play = case("cable out before the start", 4, limit=40, excused={"traffic": "what the cut host had in hand can't be answered"})
    with play.playing(), play.fault(nemesis.link_down(cables.lab, "lab1"), begun, most=60):
        pass


def test_cable_out_for_a_moment_in_reload(case: Callable[..., Case], cables: Ground) -> None:
    play = case("cable out for 5 s in the reload", 0, limit=90)
    with play.playing(), play.fault(nemesis.link_down(cables.lab, "lab1"), IN_RELOAD, most=5):
        pass


def test_answers_lost_in_reload(case: Callable[..., Case], cables: Ground) -> None:
    play = case("one-way loss for 5 s in the reload: orders arrive, answers do not", 0, limit=90)
    with play.playing(), play.fault(nemesis.answers_lost(cables.lab, "lab1"), IN_RELOAD, most=5):
        pass


def test_cable_out_for_a_minute_in_reload(case: Callable[..., Case], cables: Ground) -> None:
    """The host's own driver has long ended when it is heard again."""
    play = case("cable out for 60 s in the reload", 0, limit=120)
    with play.playing(), play.fault(nemesis.link_down(cables.lab, "lab1"), IN_RELOAD, most=60):
        pass


def test_cable_out_for_good_in_reload(case: Callable[..., Case], cables: Ground) -> None:
    play = case("cable out in the reload, for good", 5, limit=170)
    with play.playing(), play.fault(nemesis.link_down(cables.lab, "lab1"), SETTLING, most=175):
        pass
