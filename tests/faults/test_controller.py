"""The machine that deploys: killed at every phase, paused, interrupted."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.faults import nemesis
from tests.faults.case import Case
from tests.faults.history import Moment, event

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

MOMENTS: dict[str, Moment] = {
    "in the claim, one lock taken": event("locked", "lab1"),
    "in the build": event("step", "lab2", name="npm ci"),
    "as the reload begins": event("phase", phase="reload"),
    "while the first host is drained": event("drain", "lab1", said="drained"),
    "as the first host's driver begins": event("begin", "lab1"),
    "while the first host settles": event("settle", "lab1"),
    "between the first host and the second": event("restore", "lab1", ok=True),
    "while the last host settles": event("settle", "lab3"),
    "as it finishes": event("phase", phase="finish"),
}
CALM = ["in the build", "while the first host settles", "between the first host and the second"]


@pytest.mark.parametrize("when", MOMENTS)
def test_killed(case: Callable[..., Case], when: str) -> None:
    """What is in hand ends by itself, no request is lost, and the next command knows what to do."""
    play = case(f"kill -9 of fab {when}", -9, struck=["lab1", "lab2", "lab3"])
    with play.playing() as typed, play.fault(nemesis.signalled(typed.process, signal.SIGKILL), MOMENTS[when], most=0):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
@pytest.mark.parametrize("when", CALM)
def test_interrupted(case: Callable[..., Case], when: str, number: signal.Signals) -> None:
    play = case(f"{number.name} to fab {when}", 128 + number, struck=["lab1", "lab2", "lab3"])
    with play.playing() as typed, play.fault(nemesis.signalled(typed.process, number), MOMENTS[when], most=0):
        pass


@pytest.mark.parametrize("when", ["in the build", "while the first host settles"])
def test_paused(case: Callable[..., Case], when: str) -> None:
    play = case(f"fab paused for 8 s {when}", 0, limit=90, struck=["lab1", "lab2", "lab3"])
    with play.playing() as typed, play.fault(nemesis.paused(typed.process), MOMENTS[when], most=8):
        pass
