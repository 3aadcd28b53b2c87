"""A host whose clock differs from ours and from the others'."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import nemesis
from tests.faults.case import Case
from tests.faults.ground import Ground
from tests.faults.history import begun

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

HOUR = 3600


@pytest.mark.parametrize(("name", "seconds"), [("ahead", HOUR), ("behind", -HOUR)], ids=["ahead", "behind"])
def test_an_hour_off(case: Callable[..., Case], fleet: Ground, name: str, seconds: int) -> None:
    """No lease, no deadline and no release's number goes by two clocks."""
    fleet.needs_mounts()
    fleet.needs_program("faketime")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    # OpenSSH's sandbox kills whoever loads that library.
    dropbear = nemesis.dropbear(fleet.lab, "lab1", fleet.needs_program("dropbear"))
    play = case(f"clock of one host an hour {name}", 0)
    with dropbear, nemesis.clock_off(fleet.lab, "lab1", library, seconds), play.playing(), play.fault(nemesis.nothing(), begun):
        off = int(fleet.lab.run("lab1", "date +%s").stdout) - int(fleet.lab.run("lab2", "date +%s").stdout)
        assert abs(off - seconds) < 60
