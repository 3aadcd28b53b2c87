"""A jump host that all hosts lie behind: lost for a moment, for good, silent."""

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
ALL = ["lab1", "lab2", "lab3"]


@pytest.fixture
def jump(fleet: Ground, tmp_path: Path) -> Iterator[Wire]:
    """Lead our ssh to every host, the balancer's too, through one jump host at the end of a wire."""
    with nemesis.jump(fleet.lab, tmp_path) as (wire, config):
        fleet.configure(ssh_config=config)
        yield wire


def test_lost_in_build(case: Callable[..., Case], jump: Wire) -> None:
    play = case("jump host lost in the build", 1, struck=ALL)
    with play.playing(), play.fault(nemesis.reset(jump), IN_BUILD, most=1):
        pass


def test_lost_for_a_moment_in_reload(case: Callable[..., Case], jump: Wire) -> None:
    play = case("jump host lost in the reload, refused for 3 s", 0, limit=90)
    with play.playing(), play.fault(nemesis.reset(jump), IN_RELOAD, most=3):
        pass


def test_lost_for_good_in_reload(case: Callable[..., Case], jump: Wire) -> None:
    play = case("jump host lost in the reload, for good", 5, limit=120)
    with play.playing(), play.fault(nemesis.reset(jump), IN_RELOAD, most=175):
        pass


def test_silent_from_the_start(case: Callable[..., Case], jump: Wire) -> None:
    """All wait for one login at the jump host, and one line tells why it failed."""
    play = case("jump host silent from the start", 4, limit=40, struck=ALL)
    with play.playing(), play.fault(nemesis.stalled(jump), begun, most=60):
        pass
    assert play.text().count("jump host") == 1
