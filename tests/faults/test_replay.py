"""Sequences that the model fleet has found (tests/model), shrunk, and played here on the real one: runs that die while they mend a dead one."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.faults.case import Case
from tests.faults.ground import REFS, Ground
from tests.faults.history import event
from tests.faults.test_controller import ALL
from tests.lab import loopback
from tests.lab.crash import dying

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

At = tuple[str, str, str]  # phase, when, host: where tests.lab.crash kills it


@dataclass(frozen=True)
class Story:
    """A deploy that dies, commands that die after it, and the one that must end well; OTHER is the ref that the deploy was not of."""

    dies: At
    then: tuple[tuple[tuple[str, ...], At], ...]
    ends: str
    on_new: bool


STORIES = {
    "a resume killed in its claim, resumed": Story(("reload", "mid", "lab1"), ((("resume",), ("claim", "mid", "lab2")),), "resume", True),
    "a resume killed before its second host, resumed": Story(("reload", "mid", "lab1"), ((("resume",), ("reload", "before", "lab2")),), "resume", True),
    "an abort killed on its way back, aborted": Story(("reload", "after", "lab2"), ((("abort",), ("reload", "mid", "lab1")),), "abort", False),
    "a resume and then an abort killed, aborted": Story(
        ("drain", "after", "balancer lablb#2"),
        ((("resume",), ("reload", "mid", "lab2")), (("abort",), ("drain", "after", "balancer lablb"))), "abort", False),
    "another deploy killed while it takes the first one back, resumed": Story(
        ("reload", "mid", "lab2"), ((("deploy", "--ref", "OTHER"), ("reload", "mid", "lab1")),), "resume", False),
    "another deploy killed in the build after one killed in the build, resumed": Story(
        ("build", "after", "lab3"), ((("deploy", "--ref", "OTHER"), ("build", "before", "lab1")),), "resume", False),
}


@pytest.mark.parametrize("name", STORIES)
def test_replayed(case: Callable[..., Case], fleet: Ground, name: str) -> None:
    story = STORIES[name]
    ref = fleet.other_ref()
    other = next(each for each in REFS if each != ref)
    play = case(f"kill -9 of fab, then {name}", -9, struck=ALL, limit=120, takes_up=(story.ends,))
    with play.playing("deploy", "--ref", ref, program=dying(*story.dies)) as typed:
        typed.process.wait(60)
        play.strike()
        for words, at in story.then:
            fleet.killed(*at, *(word.replace("OTHER", other) for word in words))
    releases = {host["release"] for host in play.seen("again")["hosts"].values()}
    before = {host["release"] for host in play.seen("before")["hosts"].values()}
    assert len(releases) == 1
    assert (releases == before) is not (story.on_new or "build" in story.dies)


def test_driver_killed_and_then_fab_on_the_way_back(case: Callable[..., Case], fleet: Ground) -> None:
    """What had failed is not carried on: the hosts end on the old release."""
    play = case("kill -9 of the driver of the second host, then of fab as it takes the first one back", -9, struck=ALL, limit=120, takes_up=("abort",))
    with play.playing(program=dying("reload", "mid", "lab1#2")) as typed:
        assert play.history.wait(event("begin", "lab2"), 60, typed.since)
        for pid in fleet.commanded("lab2", b"driver.cjs"):
            loopback.kill(pid, signal.SIGKILL)
        typed.process.wait(60)
        play.strike()
    again, before = ({host["release"] for host in play.seen(when)["hosts"].values()} for when in ("again", "before"))
    assert again == before
