"""Migrations and ways back: what can't be done twice, and what is done in a hurry."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.faults import nemesis
from tests.faults.case import Case
from tests.faults.ground import Ground
from tests.faults.history import event
from tests.faults.test_controller import ALL
from tests.lab import loopback
from tests.lab.crash import dying

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

RUN_LOG = "~/shop/shared/migrations"
MIGRATING = event("begin", "lab1", phase="migrate")


@pytest.fixture
def database(fleet: Ground) -> Callable[[], int]:
    """Have a migration that takes two seconds; give what says how often one was begun."""
    fleet.lab.run("lab1", f": >{RUN_LOG}")
    fleet.configure(migrate='sh -c "echo begun >>../../shared/migrations; sleep 2"')
    return lambda: fleet.lab.run("lab1", f"cat {RUN_LOG}").stdout.count("begun")


@pytest.mark.parametrize("when", ["before", "mid", "after"])
def test_killed(case: Callable[..., Case], database: Callable[[], int], when: str) -> None:
    """It goes on by itself on its host, and is not begun again."""
    play = case(f"kill -9 of fab {'in the middle of' if when == 'mid' else when} the migration", -9, struck=ALL)
    with play.playing(program=dying("migrate", when, "lab1")) as typed:
        typed.process.wait(60)
        play.strike()
    assert database() == 1
    assert len({host["release"] for host in play.seen("again")["hosts"].values()}) == 1


def test_session_killed(case: Callable[..., Case], fleet: Ground, database: Callable[[], int]) -> None:
    play = case("sshd's child killed in the migration", 0)
    with play.playing(), play.fault(nemesis.sessions_killed(fleet.lab, "lab1"), MIGRATING, most=0):
        pass
    assert database() == 2  # the deploy's and, of another release, that of the same command typed again


def test_interrupted(case: Callable[..., Case], database: Callable[[], int]) -> None:
    """It is finished before the run ends: a schema half changed is nobody's wish."""
    play = case("SIGINT to fab in the migration", 130, struck=ALL)
    with play.playing() as typed, play.fault(nemesis.signalled(typed.process, signal.SIGINT), MIGRATING, most=0):
        pass
    assert database() == 2


def test_migration_killed(case: Callable[..., Case], fleet: Ground, database: Callable[[], int]) -> None:
    """Nobody knows whether it was applied: every deploy stops until somebody has looked."""
    play = case("kill -9 of the migration and its wrapper", 5, takes_up=())
    with play.playing() as typed:
        assert play.history.wait(MIGRATING, 60, typed.since)
        play.strike()
        for pid in fleet.commanded("lab1", b"migrate.cjs") + fleet.commanded("lab1", b"shared/migrations"):
            loopback.kill(pid, signal.SIGKILL)
        typed.process.wait(60)
        stopped = fleet.fab("deploy", "--ref", fleet.other_ref())
        assert (stopped.code, "UNKNOWN" in stopped.out, database()) == (5, True, 1), stopped.out
        assert fleet.fab("migrate", "--resolved", "failed", hosts="lab1").code == 0
    assert "Whether the migration ran is UNKNOWN" in play.text()
    assert database() == 2


@pytest.fixture
def deployed(fleet: Ground) -> Ground:
    """Give the fleet with one release more to go back from."""
    done = fleet.fab("deploy", "--ref", fleet.other_ref())
    assert done.code == 0, done.out
    return fleet


@pytest.mark.parametrize("number", [1, 2])
def test_rollback_killed(case: Callable[..., Case], deployed: Ground, number: int) -> None:
    play = case(f"kill -9 of fab in the middle of the way back of host {number}", -9, struck=ALL)
    with play.playing("rollback", program=dying("reload", "mid", f"lab{number}")) as typed:
        typed.process.wait(60)
        play.strike()
    assert len({host["release"] for host in play.seen("again")["hosts"].values()}) == 1


def test_rollback_that_lost_its_session(case: Callable[..., Case], deployed: Ground) -> None:
    deployed.fab("deploy", "--ref", deployed.other_ref())  # for the same command again
    play = case("sshd's child killed in a rollback", 0)
    with play.playing("rollback"), play.fault(nemesis.sessions_killed(deployed.lab, "lab2"), event("begin", "lab2"), most=0):
        pass
