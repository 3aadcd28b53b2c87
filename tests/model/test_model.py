"""Random commands under random faults: what must hold, holds after every step, and each sequence comes to rest."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.model.hosts import Front
from tests.model.judge import come_to_rest, judge
from tests.model.seam import COMMIT, installed, type_in
from tests.model.world import MACHINES, Command, Fault, Quality, Shape, World

SEQUENCES = int(os.environ.get("MODEL_SEQUENCES", "0"))  # none: the few of every day, always the same ones
WIDTHS = ("1", "2", "50%", "1,100%")
PHASES = ("reload", "drain", "restore", "reload", "migrate", "finish", "build", "claim", "reload", "mend", "wait", "past", "lock", "unlock")
SECONDS = (0, 5, 200)
PLANTED = ("build_breaks", "driver_dies", "going_back_fails", "migration_fails", "migration_dies")
TROUBLES = (*PLANTED, "away", "a worker dies", "clock jumps", "drain hangs", "balancer away", "maintenance", "refuses drain", "refuses ready")

fault = st.builds(
    Fault, st.sampled_from(("kill", "cut", "one-way", "freeze", "interrupt")), st.sampled_from(PHASES), st.sampled_from((0, 0, 0, 1, 1, 2, 3)),
    st.sampled_from((0, 1, 2, 3, 4, 5, 99)), st.sampled_from(SECONDS),
)
faults = st.one_of(st.just([]), st.lists(fault, min_size=1, max_size=2))
few = st.integers(0, 9)
order = st.integers(0, 999)
machine = st.sampled_from(MACHINES)
shapes = st.builds(
    Shape, st.sampled_from(((3,), (2,), (1,), (2, 2), (3, 2), (4, 1), (5,), (1, 1))), st.tuples(st.just(True), st.booleans()),
    st.sampled_from(WIDTHS).map(lambda text: tuple(text.split(","))),
    st.sampled_from(("rollback_all", "rollback_all", "rollback_failed", "pause")), st.sampled_from((False, False, False, True)), st.booleans(),
)


class Fleet(RuleBasedStateMachine):
    """Type, break, wait; the world judges."""

    statistics: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.world = World(Shape())
        self.commits = 0

    @initialize(shape=shapes)
    def begin(self, shape: Shape) -> None:
        self.world = World(shape, self.statistics)
        self.world.tell(repr(shape))
        self.world.count("sequences")

    def host(self, number: int) -> Any:
        hosts = list(self.world.hosts.values())
        return hosts[number % len(hosts)]

    def group(self, number: int) -> str:
        names = ["all", *(group.name for group in self.world.groups)]
        return names[number % len(names)] if number < 3 else "all"

    def type_in(self, name: str, group: int, where: str, order: int, faults: list[Fault], **flags: Any) -> Command:
        self.world.turns.shuffle(order)
        self.world.count("commands")
        command = type_in(self.world, name, self.group(group), where, faults, **{key: value for key, value in flags.items() if value})
        judge(self.world, command)
        return command

    # ------------------------------------------------------------------ commands

    @rule(refused=st.sampled_from(("", "", "all", "one", "falls")), number=few, group=few, where=machine, order=order, faults=faults,
          width=st.sampled_from(("", *WIDTHS)))
    def deploy(self, refused: str, number: int, group: int, where: str, order: int, faults: list[Fault], width: str) -> None:
        self.commits += 1
        names = frozenset(self.world.hosts) if refused == "all" else frozenset([self.host(number).name])
        quality = {"": Quality(), "falls": Quality(falls_over=names)}.get(refused, Quality(refused=names))
        self.world.quality[f"{self.commits:07x}"] = quality
        self.world.tell(f"{self.commits:07x}: {quality}")
        self.type_in("deploy", group, where, order, faults, ref=COMMIT.format(self.commits), max_parallel=width)

    @rule(name=st.sampled_from(("reload", "rolling", "rollback")), newest=st.booleans(), group=few, where=machine, order=order, faults=faults)
    def reload(self, name: str, newest: bool, group: int, where: str, order: int, faults: list[Fault]) -> None:
        self.type_in(name, group, where, order, faults, to="newest" if newest and name != "rollback" else "")

    @rule(name=st.sampled_from(("build", "migrate")), group=few, where=machine, order=order, faults=faults)
    def by_hand(self, name: str, group: int, where: str, order: int, faults: list[Fault]) -> None:
        self.commits += 1
        self.type_in(name, group, where, order, faults, ref=COMMIT.format(self.commits) if name == "build" else "")

    @precondition(lambda self: self.left())
    @rule(name=st.sampled_from(("resume", "resume", "abort")), group=few, where=machine, order=order, faults=faults)
    def take_up(self, name: str, group: int, where: str, order: int, faults: list[Fault]) -> None:
        self.type_in(name, group, where, order, faults)

    def left(self) -> list[str]:
        """List the runs that hold a lock, all of which are dead or frozen: each command is over before the next is typed."""
        return sorted({host.lock.owner["run"] for host in self.world.hosts.values() if host.lock and host.lock.owner})

    @precondition(lambda self: self.left())
    @rule(number=few, faults=faults)
    def unlock(self, number: int, faults: list[Fault]) -> None:
        """Remove the lock of a run that a person believes to be dead."""
        run = self.left()[number % len(self.left())]
        owner = self.world.owner_of(run)
        self.world.loose = self.world.loose or owner in self.world.living
        self.type_in("unlock", 0, "desk", 0, faults, id=run)

    @precondition(lambda self: any(command.frozen for command in self.world.living))
    @rule(order=order)
    def thaw(self, order: int) -> None:
        """Let what was frozen go on, whoever has taken its place meanwhile."""
        self.world.turns.shuffle(order)
        self.world.tell("thaw")
        frozen = [command for command in self.world.living if command.frozen]
        for command in frozen:
            command.thaw()
        self.world.go_on()
        for command in frozen:
            judge(self.world, command)

    # ------------------------------------------------------------------ faults

    @rule(number=few, kind=st.sampled_from(TROUBLES), seconds=st.sampled_from(SECONDS))
    def trouble(self, number: int, kind: str, seconds: int) -> None:
        """Break something of a host or of its balancer; what is planted strikes once, when its time comes."""
        host = self.host(number)
        front = self.world.front(host.name)
        self.world.tell(f"{host.name}: {kind} {seconds}")
        if kind in PLANTED:
            setattr(host, kind, True)
        elif kind == "away":
            host.away_until = self.world.now + seconds
        elif kind == "a worker dies":
            for worker in host.workers[:1]:
                worker.died_at = self.world.now
        elif kind == "clock jumps":
            host.ahead += 100 if seconds else -100
            self.world.loose = True
        elif front is not None:
            self.trouble_in_front(front, host.name, kind)

    def trouble_in_front(self, front: Front, name: str, kind: str) -> None:
        if kind == "drain hangs":
            front.hangs.add(name)
        elif kind == "balancer away":
            front.away_until = self.world.now + 5
        elif kind == "maintenance":
            front.servers[name].state = "ready" if front.servers[name].state == "maint" else "maint"
        else:
            front.refuses.append(kind.removeprefix("refuses "))

    @rule(seconds=st.sampled_from((1, 30, 60, 700)))
    def time_passes(self, seconds: int) -> None:
        self.world.tell(f"{seconds} s pass")
        self.world.advance(seconds)

    # ------------------------------------------------------------------ end

    def teardown(self) -> None:
        if not self.world.promise and self.world.story:
            self.world.turns.shuffle(0)
            come_to_rest(self.world, "resume" if len(self.world.commands) % 2 else "abort")


def chosen() -> settings:
    """Give the few sequences of every day, or as many new ones as were asked for."""
    every_day = SEQUENCES == 0
    return settings(
        max_examples=SEQUENCES or 100, stateful_step_count=12, derandomize=every_day, database=None, deadline=None, print_blob=not every_day,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
    )


@pytest.mark.timeout(3600)
def test_any_sequence_of_commands_and_faults_keeps_what_is_promised(record_property: Any) -> None:
    Fleet.statistics.clear()
    try:
        with installed():
            run_state_machine_as_test(Fleet, settings=chosen())
    finally:
        record_property("model", dict(Fleet.statistics))
