"""What the random sequences have found: each shrunk to the commands and faults that show it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.model.judge import come_to_rest, judge
from tests.model.seam import COMMIT, installed, type_in
from tests.model.world import Command, Fault, Quality, Shape, World

FIRST, SECOND = COMMIT.format(1), COMMIT.format(2)


@pytest.fixture
def world() -> Iterator[World]:
    """Give three hosts behind a balancer, one at a time; whatever a test does to them, they come to rest."""
    with installed():
        world = World(Shape(migrate=False))
        yield world
        come_to_rest(world, "resume")


def typed(world: World, verb: str, *faults: Fault, **flags: Any) -> Command:
    """Type a verb, and judge how it ended."""
    command = type_in(world, verb, faults=faults, **flags)
    judge(world, command)
    return command


def died(world: World) -> Command:
    """Kill a deploy in the middle of its first host."""
    command = typed(world, "deploy", Fault("kill", "reload", step=2), ref=FIRST)
    assert command.dead
    return command


@pytest.mark.parametrize("verb", ["resume", "abort", "unlock", "status"])
def test_ctrl_c_while_looking_is_no_failed_deploy(world: World, verb: str) -> None:
    died(world)
    phase = "look" if verb == "status" else "lock"
    assert typed(world, verb, Fault("interrupt", phase), **({"id": "r1a"} if verb == "unlock" else {})).code == 130


def test_a_host_left_drained_counts_when_others_are_taken_back(world: World) -> None:
    failed = typed(world, "reload", Fault("cut", "reload", nth=1))
    assert (failed.code, world.out("a2")) == (5, True)
    assert world.statistics["balancer: crowded"] == 1


def test_what_was_left_drained_as_unfit_is_not_put_back_by_a_drain_that_fails(world: World) -> None:
    world.hosts["a1"].driver_dies = True
    assert typed(world, "deploy", ref=FIRST).code == 5
    world.fronts["balancer lb-a"].refuses.append("drain")
    failed = typed(world, "reload")
    assert (failed.code, world.out("a1")) == (1, True)
    assert "a1: was not changed; OUT OF ROTATION: it was not fit for it before" in failed.text


def test_a_resume_that_lost_a_host_in_its_claim_can_be_resumed(world: World) -> None:
    died(world)
    assert typed(world, "resume", Fault("cut", "claim", nth=1, seconds=5)).code == 4
    assert {host.lock.owner["run"] for host in world.hosts.values() if host.lock and host.lock.owner} == {"r1a", "r2a"}
    world.advance(60)
    assert typed(world, "resume").code == 0
    assert {host.current for host in world.hosts.values()} == {"0002-0000001"}


def test_a_resume_that_found_a_host_out_of_reach_leaves_something_to_resume(world: World) -> None:
    died(world)
    assert typed(world, "resume", Fault("cut", "claim", nth=2, step=0, seconds=5)).code == 4
    world.advance(60)
    assert typed(world, "abort").code == 0
    assert {host.current for host in world.hosts.values()} == {"0001-aaaaaaa"}


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
def test_a_deploy_that_died_on_its_way_back_is_not_resumed_to_success(world: World, again: bool) -> None:
    world.quality["0000001"] = Quality(refused=frozenset(["a2"]))
    assert typed(world, "deploy", Fault("kill", "reload", nth=2, step=2), ref=FIRST).dead
    if again:
        assert typed(world, "resume", Fault("kill", "reload", step=2)).dead
    resumed = typed(world, "resume")
    assert (resumed.code, "had failed" in resumed.text) == (1, True)
    assert {host.current for host in world.hosts.values()} == {"0001-aaaaaaa"}


def test_a_deploy_that_died_on_its_way_back_from_nothing_bad_is_not_carried_on(world: World) -> None:
    world.hosts["a2"].driver_dies = True
    assert typed(world, "deploy", Fault("kill", "reload", nth=2, step=2), ref=FIRST).dead
    resumed = typed(world, "resume")
    assert (resumed.code, "had failed, and was going back" in resumed.text) == (1, True)
    assert {host.current for host in world.hosts.values()} == {"0001-aaaaaaa"}


def test_a_run_that_took_over_another_s_lock_does_not_take_over_its_release(world: World) -> None:
    assert typed(world, "deploy", Fault("kill", "build", nth=2, step=99), ref=FIRST).dead
    assert typed(world, "deploy", Fault("kill", "build"), ref=SECOND).dead
    assert typed(world, "resume").code == 0
    assert {host.current.split("-")[1] for host in world.hosts.values() if host.current} == {"0000002"}


def test_a_migration_that_died_in_its_claim_is_resumed_for_the_release_that_was_meant() -> None:
    with installed():
        world = World(Shape())
        assert typed(world, "migrate", Fault("kill", "migrate")).dead
        assert typed(world, "resume").code == 0
        assert [work.plan["release"] for host in world.hosts.values() for work in host.works] == ["0001-aaaaaaa"]


def test_an_abort_that_died_is_resumed_as_one(world: World) -> None:
    """Found on the real fleet: it was taken for a deploy that had failed."""
    assert typed(world, "deploy", Fault("kill", "reload", nth=1), ref=FIRST).dead
    assert typed(world, "abort", Fault("kill", "reload", step=2)).dead
    resumed = typed(world, "resume")
    assert (resumed.code, resumed.text.count("had failed")) == (0, 0)
    assert {host.current for host in world.hosts.values()} == {"0001-aaaaaaa"}


def test_a_rollback_that_died_is_resumed_where_nothing_earlier_is_left(world: World) -> None:
    """Found on the real fleet: hosts that had gone back were asked for a release before that."""
    assert typed(world, "deploy", ref=FIRST).code == 0
    assert typed(world, "rollback", Fault("kill", "reload", nth=1)).dead
    resumed = typed(world, "resume")
    assert resumed.code == 0, resumed.text
    assert {host.current for host in world.hosts.values()} == {"0001-aaaaaaa"}


def test_what_was_left_out_as_unfit_stays_out_when_a_later_run_is_taken_back(world: World) -> None:
    world.quality["0000001"] = Quality(refused=frozenset(world.hosts))
    world.hosts["a1"].going_back_fails = True
    assert typed(world, "deploy", ref=FIRST).code == 5
    assert typed(world, "reload", Fault("kill", "reload", step=2)).dead
    assert (typed(world, "abort").code, world.out("a1")) == (5, True)
