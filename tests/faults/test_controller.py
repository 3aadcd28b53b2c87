"""The machine that deploys: killed at every boundary, frozen, paused, interrupted."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from fabfile.ownership import LEASE
from tests.faults import nemesis
from tests.faults.case import Case
from tests.faults.ground import Ground
from tests.faults.history import Moment, event, said
from tests.lab.crash import dying

HOLD = LEASE + 6 + 1 + 2 * 8  # seconds: what plan.hold gives for this fleet's hosts.yaml

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

MOMENTS: dict[str, Moment] = {
    "in the build": event("step", "lab2", name="npm ci"),
    "while the first host settles": event("settle", "lab1"),
    "between the first host and the second": event("restore", "lab1", ok=True),
}


ALL = ["lab1", "lab2", "lab3"]
BOUNDARIES = [
    *[(phase, when, host) for phase in ("claim", "build", "reload", "finish") for when in ("before", "mid", "after") for host in ALL],
    *[(phase, when, f"balancer lablb#{turn}") for phase in ("drain", "restore") for when in ("before", "mid", "after") for turn in (1, 2, 3)],
]


@pytest.mark.parametrize(("phase", "when", "where"), BOUNDARIES)
def test_killed(case: Callable[..., Case], phase: str, when: str, where: str) -> None:
    """What is in hand ends by itself, no request is lost, and `fab resume` ends where an undisturbed run would have ended."""
    name = f"kill -9 of fab {WHEN[when]} {phase} of {where.replace('balancer lablb#', 'server ')}"
    play = case(name, -9, struck=ALL, takes_up=("resume",))
    with play.playing(program=dying(phase, when, where)) as typed:
        typed.process.wait(60)
        play.strike()
    assert len({host["release"] for host in play.seen("again")["hosts"].values()}) == 1


WHEN = {"before": "before", "mid": "in the middle of", "after": "after"}


def test_a_drained_host_whose_deployer_is_gone_comes_back_by_itself(case: Callable[..., Case], fleet: Ground) -> None:
    play = case("kill -9 of fab while the first host settles, nobody resumes", -9, limit=150, struck=["lab1"])
    with play.playing() as typed, play.fault(nemesis.signalled(typed.process, signal.SIGKILL), MOMENTS["while the first host settles"], most=0):
        typed.process.wait(10)
        wait_for(lambda: fleet.rotation() == set(ALL), HOLD + 30)


def test_frozen_until_another_took_over(case: Callable[..., Case], fleet: Ground) -> None:
    """A deployer sleeps past its lease, another one resumes its run; when it wakes up it touches nothing."""
    play = case("fab frozen past its lease, resumed by another, and woken", 5, limit=200, struck=ALL)
    with play.playing() as typed, play.fault(nemesis.paused(typed.process), MOMENTS["while the first host settles"], most=0):
        wait_for(lambda: fleet.fab("lock").out.count("was not heard of for") == len(ALL), LEASE + 30, every=3)
        resumed = fleet.fab("resume")
        assert resumed.code == 0, resumed.out
        served = {pid for host in ALL for pid in fleet.commanded(host, b"gate.cjs")}
        typed.process.send_signal(signal.SIGCONT)
        typed.process.wait(60)
        assert {pid for host in ALL for pid in fleet.commanded(host, b"gate.cjs")} <= served  # some of the old ones leave meanwhile
    assert "another run has taken over" in play.text()


def wait_for(true: Callable[[], object], seconds: float, every: float = 0.5) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not so within {seconds:.0f} s"
        time.sleep(every)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["int", "term", "hup"])
@pytest.mark.parametrize("when", MOMENTS)
def test_interrupted(case: Callable[..., Case], when: str, number: signal.Signals) -> None:
    play = case(f"{number.name} to fab {when}", 128 + number, struck=["lab1", "lab2", "lab3"])
    with play.playing() as typed, play.fault(nemesis.signalled(typed.process, number), MOMENTS[when], most=0):
        pass


@pytest.mark.parametrize("when", MOMENTS)
def test_terminal_closed(case: Callable[..., Case], when: str) -> None:
    """What nobody reads any more is in the log, the last words too."""
    play = case(f"fab's terminal closed {when}", 129, struck=ALL)
    with play.playing(terminal=True) as typed, play.fault(nemesis.reader_gone(typed), MOMENTS[when], most=0):
        pass


def test_told_twice_that_the_terminal_closed(case: Callable[..., Case]) -> None:
    """A shell passes SIGHUP on, and the kernel sends its own when that shell ends: nobody has lost patience."""
    play = case("SIGHUP to fab twice while the first host settles", 129, struck=ALL)
    settling = MOMENTS["while the first host settles"]
    with play.playing() as typed, play.fault(nemesis.signalled(typed.process, signal.SIGHUP, times=2, apart=0.05), settling, most=0):
        pass
    assert "left at once" not in play.text()


@pytest.mark.parametrize("when", MOMENTS)
def test_interrupted_twice(case: Callable[..., Case], when: str) -> None:
    """The second Ctrl-C leaves at once; what is in hand goes on by itself, and `fab resume` finishes it."""
    play = case(f"SIGINT to fab twice {when}", 130, struck=ALL)
    with play.playing() as typed, play.fault(nemesis.signalled(typed.process, signal.SIGINT, times=2, apart=0.2), MOMENTS[when], most=0):
        pass


def test_reader_gone(case: Callable[..., Case]) -> None:
    """The deploy goes on to its end, and the log is whole."""
    play = case("stdout closed after the first line, as by `| head -1`", 0, struck=ALL)
    with play.playing() as typed, play.fault(nemesis.reader_gone(typed), said("── claim"), most=0):
        pass
    assert "probes of this run: " in play.text()


def test_reader_gone_of_a_run_that_fails(case: Callable[..., Case], fleet: Ground) -> None:
    """The exit code is the one that it would have had; why it failed is in the log."""
    play = case("stdout closed after the first line, and sshd's child killed in the build", 1, struck=ALL)
    with play.playing() as typed:
        with play.fault(nemesis.reader_gone(typed), said("── claim"), most=0):
            pass
        with play.fault(nemesis.sessions_killed(fleet.lab, "lab2"), event("step", "lab2", name="npm ci"), most=0):
            pass


@pytest.mark.parametrize("when", ["in the build", "while the first host settles"])
def test_paused(case: Callable[..., Case], when: str) -> None:
    play = case(f"fab paused for 8 s {when}", 0, limit=90, struck=["lab1", "lab2", "lab3"])
    with play.playing() as typed, play.fault(nemesis.paused(typed.process), MOMENTS[when], most=8):
        pass
