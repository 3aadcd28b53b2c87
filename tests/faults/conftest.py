"""The fleet that all fault cases share, and the checker at the end of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import checker
from tests.faults.case import Case
from tests.faults.ground import REFS, Ground
from tests.faults.history import read
from tests.lab.fleet import Lab
from tests.lab.namespaces import allowed


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Bring the fleet up, with the first release everywhere."""
    disk = "48m" if allowed() else None
    with Lab.up(f"f{os.getpid() % 10_000}", 3, disk=disk, bound=True) as lab:
        ground = Ground(lab, tmp_path_factory.mktemp("faults"))
        done = ground.fab("deploy", "--ref", REFS[0])
        assert done.code == 0, done.out
        ground.other_ref()
        yield ground


@pytest.fixture
def fleet(ground: Ground) -> Iterator[Ground]:
    """Give the fleet whole, and take it back whole: what one case breaks must not be the next one's fault."""
    ground.configure()
    yield ground
    assert ground.locks() == []
    assert ground.rotation() == set(ground.lab.names)


@pytest.fixture
def case(fleet: Ground, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Case]]:
    """Make the case of a test; its history is judged when the test is over, by the one checker."""
    made: list[Case] = []

    def make(name: str, *codes: int, **settings: object) -> Case:
        room = str(request.module.__doc__).split("\n", 1)[0].rstrip(".")
        made.append(Case(fleet, tmp_path, name, codes, room=room, **settings))  # type: ignore[arg-type]
        return made[0]

    yield make
    for each in made:
        each.history.close()
        if each.played:
            broken = checker.judge(read(each.history.file))
            assert broken == [], "\n".join([*broken, "", each.text(1), "", "and typed again:", each.text(2), f"history: {each.history.file}"])
