"""The user's hooks around a run in which something goes wrong: which of them may stop it, and what becomes of a stop in the middle of one."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fabfile import local
from fabfile.inventory.values import Hook
from fabfile.local import Done
from fabfile.run import afterwards
from tests.model import seam
from tests.model.judge import come_to_rest, judge
from tests.model.seam import COMMIT, installed, type_in
from tests.model.world import Command, Fault, Shape, World

OLD, NEW = "0001-aaaaaaa", "0002-0000001"
Moment = tuple[str, str]  # at, and the hosts on whose behalf


class Scene:
    """Hold a world with hooks, what each of them was told, and which say no."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.told: list[Moment] = []
        self.no: set[Moment] = set()
        self.meanwhile: Callable[[Moment], None] = lambda moment: None  # what happens while a hook is at work

    def hook(self, words: list[str], limit: float, *, stdin: str, directory: str) -> Done:
        """Stand in for local.run."""
        about = json.loads(stdin)
        moment = about["at"], ",".join(about["hosts"])
        self.told.append(moment)
        self.meanwhile(moment)
        return Done(9, "not this one", "") if moment in self.no else Done(0, "", "")

    def type(self, verb: str, *faults: Fault, **flags: Any) -> Command:
        self.told.clear()
        command = type_in(self.world, verb, faults=faults, **flags)
        judge(self.world, command)
        return command

    def deploy(self, *faults: Fault) -> Command:
        return self.type("deploy", *faults, ref=COMMIT.format(1))

    @property
    def current(self) -> list[str | None]:
        return [host.current for host in self.world.hosts.values()]


Make = Callable[..., Scene]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make a world of three hosts, one at a time, with these hooks; whatever a test does to it, it comes to rest."""
    made: list[Scene] = []

    def make(*wanted: Hook, **shape: Any) -> Scene:
        made.append(Scene(World(Shape(migrate=False, **shape))))
        made[0].world.hooks = wanted
        monkeypatch.setattr(local, "run", made[0].hook)
        return made[0]

    with installed():
        yield make
        for scene in made:
            scene.world.hooks = ()
            come_to_rest(scene.world, "resume")


def each(when: str) -> Hook:
    return Hook(when, "reload", "ask", each="host")


# ---------------------------------------------------------------- a run that takes up another's work


def test_a_resume_asks_about_every_host_even_of_one_whose_turn_was_over(make: Make) -> None:
    scene = make(each("after"))
    assert scene.deploy(Fault("kill", "restore", 0, 99)).dead
    assert (scene.told, scene.current) == ([], [NEW, OLD, OLD])
    assert scene.type("resume").code == 0
    assert scene.told == [("after reload", name) for name in ("a1", "a2", "a3")]


@pytest.mark.parametrize("name", ["a1", "a2", "a3"])
def test_a_hook_that_says_no_in_a_resume_stops_it_as_it_would_a_deploy(make: Make, name: str) -> None:
    scene = make(each("after"))
    assert scene.deploy(Fault("kill", "restore", 0, 99)).dead
    scene.no = {("after reload", name)}
    stopped = scene.type("resume")
    assert (stopped.code, f"{name} failed in reload: {name}: the hook after reload failed" in stopped.text) == (1, True), stopped.text
    assert scene.current == [OLD, OLD, OLD]
    assert scene.told[:int(name[1])] == [("after reload", f"a{number}") for number in range(1, int(name[1]) + 1)]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("verb, now", [("rollback", OLD), ("abort", OLD), ("resume", NEW)])
def test_no_hook_of_claim_stops_what_puts_things_right(make: Make, verb: str, now: str, when: str) -> None:
    scene = make(Hook(when, "claim", "ask"))
    assert scene.deploy(*([] if verb == "rollback" else [Fault("kill", "reload", 1, 0)])).dead is (verb != "rollback")
    scene.no = {(f"{when} claim", "a1,a2,a3")}
    assert scene.type(verb).code == 0
    assert (scene.told, scene.current) == ([(f"{when} claim", "a1,a2,a3")], [now] * 3)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_hook_of_claim_does_stop_a_deploy(make: Make, when: str) -> None:
    scene = make(Hook(when, "claim", "ask"))
    scene.no = {(f"{when} claim", "a1,a2,a3")}
    refused = scene.deploy()
    assert (refused.code, "Nothing was touched." in refused.text, scene.current) == (4, True, [OLD] * 3)


# ---------------------------------------------------------------- what a hook doubts


@pytest.mark.parametrize("on_failure, now, code", [
    ("rollback_all", [OLD, OLD, OLD], 1), ("rollback_failed", [NEW, OLD, OLD], 5), ("pause", [NEW, NEW, OLD], 5),
])
def test_a_host_that_a_hook_doubts_goes_back_as_on_failure_says(make: Make, on_failure: str, now: list[str], code: int) -> None:
    scene = make(each("after"), on_failure=on_failure)
    scene.no = {("after reload", "a2")}
    assert (scene.deploy().code, scene.current) == (code, now)
    assert not any(map(scene.world.out, scene.world.hosts))


# ---------------------------------------------------------------- a stop


def pressed(at: Moment) -> Callable[[Moment], None]:
    """Press Ctrl-C once that moment has come, and let it be heard before its hook is over."""
    def meanwhile(moment: Moment) -> None:
        if moment == at:
            seam.command().interrupted = True
            seam.sleep(3)
    return meanwhile


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("kinds", [["host"], ["wave", "host"]], ids=["host", "wave"])
def test_a_host_whose_hook_was_at_work_at_ctrl_c_is_not_touched(make: Make, kinds: list[str], balanced: bool) -> None:
    scene = make(*(Hook("before", "reload", "ask", each=kind) for kind in kinds), balanced=(balanced,))
    scene.meanwhile = pressed(("before reload", "a2"))
    stopped = scene.deploy()
    assert (stopped.code, scene.current) == (130, [NEW, OLD, OLD])
    assert "what was in hand was finished or taken back, nothing new was begun" in stopped.text
    assert set(stopped.rollout.waves.reloaded) == {"a1"}  # type: ignore[union-attr]
    assert (stopped.seen["drain"], any(map(scene.world.out, scene.world.hosts))) == (int(balanced), False)
    assert scene.told == [*[("before reload", "a1")] * len(kinds), ("before reload", "a2")]
    assert [host.lock for host in scene.world.hosts.values()] == [None] * 3


def test_a_stop_in_the_hook_of_a_host_that_goes_back_stops_it_not(make: Make) -> None:
    scene = make(each("before"), each("after"))
    scene.no = {("after reload", "a2")}
    seen: list[Moment] = []

    def meanwhile(moment: Moment) -> None:
        if moment == ("before reload", "a2") and moment in seen:
            pressed(moment)(moment)
        seen.append(moment)

    scene.meanwhile = meanwhile
    assert (scene.deploy().code, scene.current) == (130, [OLD, OLD, OLD])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_locks_are_gone_changes_no_word(make: Make, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    scene = make()

    def impatient(ended: Any) -> str:
        assert [host.lock for host in scene.world.hosts.values()] == [None] * 3
        for _ in range(3):
            seam.command().stop(number, None)  # type: ignore[misc]
        return "told"

    monkeypatch.setattr(afterwards, "TELLERS", (impatient,))
    done = scene.deploy()
    assert (done.dead, done.code, scene.current) == (False, 0, [NEW] * 3)
    assert [line.strip() for line in scene.world.story[-2:]].count("told") == 1
    assert not any("interrupted" in line for line in scene.world.story)
