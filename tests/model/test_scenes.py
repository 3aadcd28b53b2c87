"""Sequences that chance reaches seldom, typed one by one: each boundary of a run, with each way to end there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fabfile.ownership import LEASE
from tests.model.judge import come_to_rest, judge
from tests.model.seam import COMMIT, installed, type_in
from tests.model.world import Command, Fault, Quality, Shape, World

OLD, NEW = "0001-aaaaaaa", "0002-0000001"
PHASES = ("build", "migrate", "drain", "reload", "restore", "finish")
Make = Callable[..., World]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make a world; whatever a scene does to it, it comes to rest."""
    made: list[World] = []

    def make(**shape: Any) -> World:
        made.append(World(Shape(**shape)))
        made[0].quality["0000001"] = Quality()
        return made[0]

    with installed():
        yield make
        for world in made:
            come_to_rest(world, "resume")


def typed(world: World, verb: str, *faults: Fault, **flags: Any) -> Command:
    command = type_in(world, verb, faults=faults, **flags)
    judge(world, command)
    return command


def deploy(world: World, *faults: Fault, number: int = 1, **flags: Any) -> Command:
    return typed(world, "deploy", *faults, ref=COMMIT.format(number), **flags)


def releases(world: World) -> set[str | None]:
    return {host.current for host in world.hosts.values()}


@pytest.mark.parametrize("way", ["resume", "abort"])
@pytest.mark.parametrize("step", [0, 2, 4, 99])
@pytest.mark.parametrize("nth", [0, 1])
@pytest.mark.parametrize("phase", PHASES)
def test_a_deploy_killed_anywhere_is_finished_or_taken_back(make: Make, phase: str, nth: int, step: int, way: str) -> None:
    world = make()
    if not deploy(world, Fault("kill", phase, nth, step)).dead:
        return  # this phase has but one script
    taken = typed(world, way)
    if taken.code == 2:  # every lock was given back before it died
        assert releases(world) == {NEW}
        return
    assert taken.code == 0, taken.text
    assert releases(world) == {NEW if way == "resume" else OLD}


@pytest.mark.parametrize("number", [1, 2], ids=["same", "other"])
@pytest.mark.parametrize("step", [0, 2, 4, 99])
@pytest.mark.parametrize("nth", [0, 1])
@pytest.mark.parametrize("phase", PHASES)
def test_a_deploy_killed_anywhere_is_followed_by_the_next_one_here(make: Make, phase: str, nth: int, step: int, number: int) -> None:
    world = make()
    world.quality["0000002"] = Quality()
    deploy(world, Fault("kill", phase, nth, step), machine="desk")
    again = deploy(world, machine="desk", number=number)
    assert again.code == 0, again.text
    assert {str(release)[5:] for release in releases(world)} == {f"{number:07x}"}


@pytest.mark.parametrize("number", [1, 2], ids=["same", "other"])
@pytest.mark.parametrize("phase", ["drain", "reload", "restore"])
def test_a_deploy_killed_elsewhere_is_followed_when_its_lease_is_over(make: Make, phase: str, number: int) -> None:
    world = make()
    world.quality["0000002"] = Quality()
    assert deploy(world, Fault("kill", phase, 1, 2), machine="desk").dead
    early = deploy(world, machine="laptop", number=number)
    assert (early.code, "--wait" in early.text) == (3, True)
    world.advance(LEASE + 5)
    assert deploy(world, machine="laptop", number=number).code == 0
    assert {str(release)[5:] for release in releases(world)} == {f"{number:07x}"}


@pytest.mark.parametrize("verb", ["rollback", "reload", "migrate"])
def test_what_is_to_become_of_a_dead_deploy_is_not_guessed_by_another_verb(make: Make, verb: str) -> None:
    world = make(migrate=False)
    assert deploy(world, Fault("kill", "reload", 1, 2)).dead
    refused = typed(world, verb)
    assert (refused.code, "Next:  fab resume" in refused.text) == (3, True)


@pytest.mark.parametrize("way", ["resume", "abort"])
@pytest.mark.parametrize("step", [0, 2, 99])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_bad_deploy_killed_anywhere_ends_on_the_old_release(make: Make, nth: int, step: int, way: str) -> None:
    world = make()
    world.quality["0000001"] = Quality(refused=frozenset(["a2"]))
    assert deploy(world, Fault("kill", "reload", nth, step)).dead
    assert typed(world, way).code == (1 if way == "resume" else 0)
    assert releases(world) == {OLD}


@pytest.mark.parametrize("step", [0, 1, 99])
@pytest.mark.parametrize("phase", PHASES)
def test_one_that_was_frozen_touches_nothing_after_another_took_over(make: Make, phase: str, step: int) -> None:
    world = make()
    frozen = deploy(world, Fault("freeze", phase, 0, step))
    assert frozen.frozen
    world.advance(100)
    code = deploy(world, number=2, machine="laptop").code
    if code == 3:
        code = typed(world, "resume", machine="laptop").code
    assert code == 0
    frozen.thaw()
    world.go_on()
    judge(world, frozen)
    assert frozen.code == 5
    assert "another run has taken over" in frozen.text


def test_who_is_only_slow_keeps_its_lock(make: Make) -> None:
    world = make()
    frozen = deploy(world, Fault("freeze", "build"))
    world.advance(30)
    assert deploy(world, number=2, machine="laptop").code == 3
    assert typed(world, "resume", machine="laptop").code == 3
    frozen.thaw()
    world.go_on()
    judge(world, frozen)
    assert (frozen.code, releases(world)) == (0, {NEW})


def test_of_two_at_once_one_goes_on(make: Make) -> None:
    world = make(sizes=(3, 2))
    first = deploy(world, Fault("freeze", "claim", 0, 3))
    second = deploy(world, number=2, machine="laptop")
    first.thaw()
    world.go_on()
    judge(world, first)
    assert sorted([first.code, second.code]) == [0, 3]
    assert second.seen["claim"] == 1  # who has not got the first host asks no other


def test_a_build_that_fails_on_one_host_switches_none(make: Make) -> None:
    world = make()
    world.hosts["a3"].build_breaks = True
    assert deploy(world).code == 1
    assert (releases(world), [host for host in world.hosts.values() if NEW in host.releases]) == ({OLD}, list(world.hosts.values())[:2])


@pytest.mark.parametrize("on_failure, first, code", [("rollback_all", OLD, 1), ("rollback_failed", NEW, 5), ("pause", NEW, 5)])
def test_what_is_done_goes_back_as_on_failure_says(make: Make, on_failure: str, first: str, code: int) -> None:
    world = make(on_failure=on_failure)
    world.quality["0000001"] = Quality(refused=frozenset(["a2"]))
    assert deploy(world).code == code
    assert [host.current for host in world.hosts.values()] == [first, OLD, OLD]


def test_a_migration_of_unknown_outcome_stops_all_that_follow(make: Make) -> None:
    world = make()
    world.hosts["a1"].migration_dies = True
    assert deploy(world).code == 5
    assert deploy(world, number=2).code == 5
    assert releases(world) == {OLD}
    assert typed(world, "migrate", resolved="done").code == 0
    assert deploy(world, number=3).code == 0


def test_a_migration_is_not_begun_again_by_a_resume(make: Make) -> None:
    world = make()
    assert deploy(world, Fault("kill", "migrate", 0, 4)).dead
    assert typed(world, "resume").code == 0
    assert world.statistics["migration: begun"] == 1


def test_a_lost_link_is_not_taken_for_a_failed_reload(make: Make) -> None:
    world = make()
    assert deploy(world, Fault("cut", "reload", 0, 6)).code == 0
    assert releases(world) == {NEW}


def test_a_host_of_unknown_state_stays_drained(make: Make) -> None:
    world = make()
    world.hosts["a1"].driver_dies = True
    assert (deploy(world).code, world.out("a1")) == (5, True)
    assert deploy(world, number=2).code == 0


@pytest.mark.parametrize("order", range(6))
def test_a_wave_is_as_wide_as_was_asked_for(make: Make, order: int) -> None:
    world = make(sizes=(5,), widths=("2",))
    world.turns.shuffle(order)
    assert deploy(world).code == 0
    assert deploy(world, number=2, max_parallel="1").code == 0
    world.quality["0000003"] = Quality(refused=frozenset(["a4"]))
    assert deploy(world, number=3, max_parallel="1").code == 1


@pytest.mark.parametrize("way", ["resume", "abort"])
def test_a_host_whose_driver_died_too_is_not_put_back_before_it_is_whole(make: Make, way: str) -> None:
    world = make()
    world.hosts["a2"].driver_dies = True
    assert deploy(world, Fault("kill", "reload", 1, 4)).dead
    world.advance(30)
    assert (len(world.hosts["a2"].runs()), world.out("a2")) == (2, True)
    assert typed(world, way).code == 0
    assert releases(world) == {NEW if way == "resume" else OLD}


def test_ctrl_c_while_a_host_is_drained_puts_it_back_as_it_was(make: Make) -> None:
    world = make()
    stopped = deploy(world, Fault("interrupt", "drain", 1, 1))
    assert (stopped.code, [host.current for host in world.hosts.values()]) == (130, [NEW, OLD, OLD])
    assert not any(map(world.out, world.hosts))


@pytest.mark.parametrize("away", [0, 1, 2])
def test_a_host_out_of_reach_leaves_no_lock_on_the_others(make: Make, away: int) -> None:
    """Each host is locked as soon as it is reached, once the first one is; so the others may be by the time when one is given up."""
    world = make()
    hosts = list(world.hosts.values())
    hosts[away].away_until = world.now + 1000
    assert (deploy(world).code, releases(world)) == (4, {OLD})
    assert [host.lock for host in hosts] == [None, None, None]
    hosts[away].away_until = 0.0
    assert (deploy(world).code, releases(world)) == (0, {NEW})
