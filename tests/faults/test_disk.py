"""A disk that is full, out of inodes or read-only: at the start, where the lock is taken, and in the build."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults import nemesis
from tests.faults.case import Case
from tests.faults.ground import Ground
from tests.faults.history import begun, event

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

IN_BUILD = event("step", "lab2", name="npm ci")


@pytest.fixture
def disks(fleet: Ground) -> Ground:
    """Give the fleet where hosts have disks of their own."""
    fleet.needs_mounts()
    return fleet


def test_full_where_the_lock_is_taken(case: Callable[..., Case], disks: Ground) -> None:
    """A lock that can't be written is never one that somebody holds."""
    disks.configure(app="min_free_mb: 0")
    play = case("disk full at the start, and no room asked for", 4)
    with play.playing(), play.fault(nemesis.disk_full(disks.lab, "lab1"), begun):
        pass
    assert "lab1: the lock cannot be written: no space left" in play.text()
    assert "is locked" not in play.text()


def test_read_only_from_the_start(case: Callable[..., Case], disks: Ground) -> None:
    play = case("disk read-only from the start", 4)
    with play.playing(), play.fault(nemesis.read_only(disks.lab, "lab1"), begun):
        pass
    assert "lab1: /srv/shop lies on a file system that is read-only" in play.text()
    assert "is locked" not in play.text()


def test_out_of_inodes_from_the_start(case: Callable[..., Case], disks: Ground) -> None:
    play = case("out of inodes from the start", 4)
    with play.playing(), play.fault(nemesis.out_of_inodes(disks.lab, "lab1"), begun):
        pass
    assert "out of inodes" in play.text()
    assert "is locked" not in play.text()


def test_full_in_build(case: Callable[..., Case], disks: Ground) -> None:
    play = case("disk full on one host in the build", 1)
    with play.playing(), play.fault(nemesis.disk_full(disks.lab, "lab2"), IN_BUILD):
        pass
    assert "No host was switched" in play.text()


def test_out_of_inodes_in_build(case: Callable[..., Case], disks: Ground) -> None:
    play = case("out of inodes on one host in the build", 1)
    with play.playing(), play.fault(nemesis.out_of_inodes(disks.lab, "lab2"), IN_BUILD):
        pass
    assert "out of inodes" in play.text()
    assert "No host was switched" in play.text()


def test_read_only_in_build(case: Callable[..., Case], disks: Ground) -> None:
    """What can't be written can't be unlocked either; that is said, and the next run mends it."""
    play = case("disk read-only on one host in the build", 5)
    with play.playing(), play.fault(nemesis.read_only(disks.lab, "lab2"), event("phase", phase="build")):
        pass
    assert "Read-only file system" in play.text()
    assert "No host was switched" in play.text()
