"""
The world around the code: commands that are typed, lines to hosts, faults, and what must hold at every instant.

The code under test is the whole of it from the verb to Fleet; what is replaced is one SSH connection (Line), the text that
would go over it (a list of steps instead), threads, clocks, and the prober.
"""

from __future__ import annotations

import shlex
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fabfile import plan
from fabfile.commands.shell import Step
from fabfile.errors import GaplessError
from fabfile.inventory.values import App, Around, Balancer, Group, Hook, Host, Process, Ssh, Targets, Update
from fabfile.ownership import BEAT, LEASE
from fabfile.run.rollout import Rollout
from fabfile.run.signals import Stop
from fabfile.sshconfig import Unreachable
from fabfile.transport import Outcome
from tests.model.hosts import Doing, Failed, Front, Release, Work, Worker
from tests.model.hosts import Host as ModelHost
from tests.model.turns import Killed, Pool, Task, Turns

MACHINES = ("desk", "laptop")
ROOT = "/srv/shop"


class Broken(AssertionError):
    """Say which promise was broken."""


@dataclass(frozen=True)
class Fault:
    """Strike one command: at the `nth` script of a phase, before it (0), after so many of its moments, or at its end (99)."""

    kind: str            # kill, interrupt, cut, one-way, freeze
    phase: str
    nth: int = 0
    step: int = 0
    seconds: int = 0     # how long the host stays out of reach after its link was lost

    def __str__(self) -> str:
        return f"{self.kind} in {self.phase}"


class Command:
    """One process of fab: what was typed, whether it still lives, and how it ended."""

    def __init__(self, world: World, verb: str, work: Callable[[], None], machine: str, faults: Sequence[Fault]) -> None:
        self.world = world
        self.verb = verb
        self.machine = machine
        self.pid = len(world.commands) + 100
        self.faults = list(faults)
        self.seen: Counter[str] = Counter()
        self.dead = self.frozen = self.interrupted = False
        self.plays: list[Play] = []
        self.runs: list[str] = []                  # the ids that it gave itself
        self.rollout: Rollout | None = None
        self.stop: Stop | None = None
        self.beat: Callable[[], None] | None = None
        self.beaten = world.now
        self.error: BaseException | None = None
        self.alone = not world.living
        self.before = world.states()
        self.began = len(world.story)
        self.main = world.turns.add(self, work)

    @property
    def over(self) -> bool:
        return self.main.done

    @property
    def code(self) -> int:
        error = self.main.error
        if error is None:
            return 0
        return error.code if isinstance(error, GaplessError) else -1

    @property
    def text(self) -> str:
        return str(getattr(self.main.error, "message", "") or "")

    def fault_at(self, phase: str, nth: int, step: int, end: bool) -> Fault | None:
        """Take the fault that is due now, if there is one."""
        due = [each for each in self.faults if (each.phase, each.nth) == (phase, nth) and (each.step == step or (end and each.step > step))]
        if due:
            self.faults.remove(due[0])
        return due[0] if due else None

    def kill(self) -> None:
        self.dead = True
        for play in self.plays:
            play.tear()

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False

    def hear_interrupt(self, task: Task) -> None:
        """Raise the Ctrl-C that came meanwhile, in the main thread alone."""
        if self.interrupted and task is self.main:
            self.interrupted = False
            if self.stop is None:
                raise KeyboardInterrupt
            self.stop(signal.SIGINT, None)


class Play:
    """One script on its way on its host; it goes on without us if it may."""

    def __init__(self, place: ModelHost | Front, steps: Iterable[Step], command: Command) -> None:
        self.place = place
        self.command = command
        self.outcome = Outcome(None)
        self.code: int | None = None
        self.heard = 0
        self.wake = 0.0
        self._going = self._go(list(steps))

    def _go(self, steps: list[Step]) -> Doing:
        for step in steps:
            self.outcome.step = step.name
            words, stdin, soft = parsed(step.command)
            try:
                yield from self.place.do(list(words), stdin, self._say)
            except Failed as err:
                if soft:
                    continue
                self.outcome.tail.append(str(err))
                self.code = err.code
                return
        self.code = 0

    def _say(self, event: str, **fields: Any) -> None:
        self.outcome.events.append({"event": event, **fields})

    @property
    def done(self) -> bool:
        return self.code is not None

    def move(self) -> None:
        """Take the next step of the script."""
        if self.done:
            return
        self.command.world.acting = self.command
        self.wake = next(self._going, None) or 0.0
        self.command.world.acting = None

    def tear(self) -> None:
        """End it where it is, as the dead-man's watch does."""
        if not self.done:
            self._going.close()  # type: ignore[attr-defined]
            self.code = -1


@lru_cache(maxsize=4096)
def parsed(command: str) -> tuple[tuple[str, ...], str, bool]:
    """Read the words of a call, what is on its stdin, and whether it may fail."""
    soft = command.startswith("{ ")
    call, _, rest = command.removeprefix("{ ").removesuffix("\n} || true").partition("<<'@END@'\n")
    return tuple(shlex.split(call)), rest, soft


class Line:
    """Stand in for transport.Line."""

    world: World

    def __init__(self, name: str, ssh: Ssh, gateways: object = None) -> None:
        self.name = name
        self.place = self.world.place(name)
        self.up = False
        self.plays: list[Play] = []

    def _command(self) -> Command:
        task = self.world.turns.current
        assert task is not None
        if task.command.dead:
            raise Killed
        return task.command

    def open(self) -> None:
        self._command()
        if self.place.away_until > self.world.now:
            raise Unreachable(f"no answer from {self.name}")
        self.up = True

    def warm(self) -> None:
        self._command()

    @property
    def alive(self) -> bool:
        return self.up

    def address(self) -> str:
        return self.name

    def close(self) -> None:
        self._command()
        self.up = False
        for play in self.plays:
            play.tear()

    def beat(self, script: Callable[[], list[Step]], mark: str) -> None:
        if self.up and self.place.away_until <= self.world.now:
            for step in script():
                words, stdin, _ = parsed(step.command)
                list(self.place.do(list(words), stdin, lambda *_, **__: None))

    def run(self, script: Callable[[], list[Step]], mark: str, heard: Callable[[dict[str, Any]], None]) -> Outcome:
        command, task = self._command(), self.world.turns.current
        assert task is not None
        play = Play(self.place, script(), command)
        nth = command.seen[task.phase]
        command.seen[task.phase] += 1
        command.plays.append(play)
        self.plays.append(play)
        try:
            self._follow(command, task, play, nth)
        except BaseException:
            play.tear()
            raise
        finally:
            command.plays.remove(play)
            self.plays.remove(play)
        outcome = play.outcome
        if self.up:
            outcome.code = play.code
        else:
            outcome.tail.append("connection lost: EOF")
        for event in outcome.events:
            heard(event)
        return outcome

    def _follow(self, command: Command, task: Task, play: Play, nth: int) -> None:
        step = 0
        while self.up:
            if fault := command.fault_at(task.phase, nth, step, play.done):
                self._strike(command, task, play, fault)
                continue
            if play.done:
                return
            play.move()
            step += 1
            self.world.turns.pause(wake=play.wake)
            command.hear_interrupt(task)

    def _strike(self, command: Command, task: Task, play: Play, fault: Fault) -> None:
        self.world.count(f"fault: {fault}")
        if fault.kind == "kill":
            command.kill()
            raise Killed
        if fault.kind == "interrupt":
            command.interrupted = True
        elif fault.kind == "freeze":
            command.freeze()
        else:
            self.up = False
            self.place.away_until = self.world.now + fault.seconds
            if fault.kind == "one-way":
                self.world.strays.append(play)
            else:
                play.tear()
            return
        self.world.turns.pause()
        command.hear_interrupt(task)


@dataclass
class Shape:
    """Say how a world begins."""

    sizes: tuple[int, ...] = (3,)
    balanced: tuple[bool, ...] = (True, True)
    widths: tuple[str, ...] = ("1",)
    on_failure: str = "rollback_all"
    fresh: bool = False
    migrate: bool = True


@dataclass
class Quality:
    """Say where the code of one commit is refused at the gate, and where it falls over soon after."""

    refused: frozenset[str] = frozenset()
    falls_over: frozenset[str] = frozenset()


class World:
    """Hold hosts, balancers, commands and the time; `check` is called after every turn."""

    def __init__(self, shape: Shape, statistics: Counter[str] | None = None) -> None:
        self.shape = shape
        self.now = 1_000_000.0
        self.statistics = statistics if statistics is not None else Counter()
        self.turns = Turns(lambda: self.now, self.advance)
        self.commands: list[Command] = []
        self.acting: Command | None = None
        self.strays: list[Play] = []
        self.quality: dict[str, Quality] = {}
        self.hooks: tuple[Hook, ...] = ()
        self.loose = False                         # a clock jumped, or a person took a lock away: none of ours can know
        self.story: list[str] = []
        self.promise = ""                          # the first one that was broken
        self.groups = self._groups()
        self.hosts = {host.name: ModelHost(self, host.name) for group in self.groups for host in group.hosts}
        self.fronts = {
            f"balancer {group.balancer.host}": Front(self, group.balancer.host, [self.hosts[host.name] for host in group.hosts])
            for group in self.groups if group.balancer
        }
        if not shape.fresh:
            for host in self.hosts.values():
                host.releases["0001-aaaaaaa"] = Release(complete=True, stable=True)
                host.current = "0001-aaaaaaa"
                host.workers = [Worker("0001-aaaaaaa"), Worker("0001-aaaaaaa")]
        Pool.turns, Line.world = self.turns, self

    # ------------------------------------------------------------------ what there is

    def _groups(self) -> tuple[Group, ...]:
        app = App("shop", "git@example.com:shop.git", ROOT, (Process("shop", "main.js", instances=2, port=3000),), build=("npm ci",),
                  migrate="migrate" if self.shape.migrate else None)
        update = Update(max_parallel=self.shape.widths, min_healthy_time=2, healthy_deadline=20, drain_timeout=10, kill_timeout=5,
                        on_failure=self.shape.on_failure)
        groups = []
        for name, size, balanced in zip("ab", self.shape.sizes, self.shape.balanced, strict=False):
            hosts = tuple(Host(f"{name}{number}", Ssh(f"{name}{number}"), app, f"{name}{number}") for number in range(1, size + 1))
            front = Balancer("haproxy", f"lb-{name}", "/run/haproxy.sock", name, url=f"http://{name}.example.com") if balanced else None
            groups.append(Group(name, hosts, update, front))
        return tuple(groups)

    def targets(self, selector: str) -> Targets:
        chosen = tuple(group for group in self.groups if selector in ("all", group.name))
        return Targets(selector, chosen, chosen, around=Around(hooks=self.hooks))

    def place(self, name: str) -> ModelHost | Front:
        return self.fronts[name] if name in self.fronts else self.hosts[name]

    def front(self, host: str) -> Front | None:
        return next((front for front in self.fronts.values() if host in front.hosts), None)

    def out(self, host: str) -> bool:
        """Say whether the balancer sends this host nothing because of what a run has set."""
        front = self.front(host)
        return front is not None and front.servers[host].state == "drain" and front.servers[host].drained_by is not None

    def states(self) -> dict[str, tuple[str | None, frozenset[str], bool, bool]]:
        """Give each host's link, what runs there, whether all of it is well, and whether it is out of rotation."""
        return {name: (host.current, frozenset(host.runs()), self.well(name), self.out(name)) for name, host in self.hosts.items()}

    def well(self, name: str) -> bool:
        host = self.hosts[name]
        return all(worker.status == "online" for worker in host.workers) and not host.at_work()

    def refused(self, release: str, host: str) -> str:
        quality = self.quality.get(release[5:], Quality())
        return "exception: Error: it throws at boot" if host in quality.refused else ""

    def falls_over(self, release: str, host: str) -> str:
        quality = self.quality.get(release[5:], Quality())
        return "worker 0 died after it had become healthy" if host in quality.falls_over else ""

    # ------------------------------------------------------------------ time

    def advance(self, seconds: float) -> None:
        """Let time pass for hosts, balancers, heartbeats, and scripts that nobody hears any more."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 2.0)
            for place in (*self.hosts.values(), *self.fronts.values()):
                place.pass_time()
            self._let_strays_go_on()
            for command in self.living:
                if command.beat and not command.frozen and self.now - command.beaten >= BEAT:
                    command.beaten = self.now
                    command.beat()
        self.check()

    def _let_strays_go_on(self) -> None:
        frozen = [play for command in self.commands if command.frozen and not command.dead for play in command.plays]
        for play in [*self.strays, *frozen]:
            if play.wake <= self.now:
                play.move()
        self.strays = [play for play in self.strays if not play.done]

    # ------------------------------------------------------------------ commands

    @property
    def living(self) -> list[Command]:
        return [command for command in self.commands if not command.over and not command.dead]

    def type(self, verb: str, work: Callable[[], None], machine: str = "desk", faults: Sequence[Fault] = ()) -> Command:
        """Start a command, and give turns until it is over or stands still."""
        self.tell(f"{machine}: {verb}", *map(repr, faults))
        command = Command(self, verb, work, machine, faults)
        self.commands.append(command)
        self.go_on()
        return command

    def go_on(self) -> None:
        """Give turns until every command is over or frozen."""
        self.turns.run(lambda: all(command.over or (command.frozen and not command.dead) for command in self.commands))

    def owner_of(self, run: str) -> Command | None:
        return next((command for command in self.commands if run in command.runs), None)

    # ------------------------------------------------------------------ what must hold

    def count(self, what: str) -> None:
        self.statistics[what] += 1

    def tell(self, *words: str) -> None:
        self.story.append(" ".join(words))

    def broken(self, text: str) -> None:
        self.promise = self.promise or "\n".join([text, "after:", *self.story])
        raise Broken(self.promise)

    def writes(self, host: ModelHost, what: str) -> None:
        """Let only the owner of a host's lock write there."""
        owner = host.lock.owner["run"] if host.lock and host.lock.owner else None
        if self.acting and owner not in self.acting.runs and not (self.loose and what.startswith("drain")):
            self.broken(f"{what} on {host.name} by {self.acting.runs}, but the lock is {owner}'s")

    def locked(self, host: ModelHost, previous: Any) -> None:
        """Have nobody take over a lock whose owner is alive and was heard of."""
        if previous is None:
            return
        run = previous.owner["run"]
        owner = self.owner_of(run)
        self.count("lock: taken over")
        if owner in self.living and not self.loose and not (owner.frozen and host.age(previous.beat) > LEASE):
            self.broken(f"the lock of {host.name} was taken from run {run}, which is alive")

    def unlocked(self, host: ModelHost, run: str) -> None:
        if self.acting and run not in self.acting.runs and not self.acting.verb.startswith("unlock"):
            self.broken(f"run {self.acting.runs} removed the lock of {run} on {host.name}")

    def migration_begins(self, work: Work) -> None:
        """Have no migration begun again by a run that could know of it: one that names the host where it was begun."""
        release, owner = work.plan["release"], self.owner_of(work.run)
        assert owner is not None and owner.rollout is not None
        self.count("migration: begun")
        begun = [each for name in owner.rollout.hosts for each in self.hosts[name].works
                 if each.kind == "migrate" and each.journal and each is not work and each.plan["release"] == release]
        if begun:
            self.broken(f"the migration of {release} was begun by {[each.run for each in begun]} before")
        if sum(each.kind == "migrate" and each.alive for host in self.hosts.values() for each in host.works) > 1:
            self.broken("two migrations at once")

    def restores(self, host: ModelHost) -> None:
        """Have nobody put a host back into rotation while it is broken, or while its driver is at work."""
        if any(work.kind == "driver" and work.alive for work in host.works):
            self.broken(f"{host.name} was put back while its driver is at work")
        if host.workers and (host.runs() != {host.current} or not self.well(host.name)):
            self.broken(f"{host.name} was put back while it runs {host.runs()} under {host.current}, well: {self.well(host.name)}")

    def check(self) -> None:
        if self.promise:
            raise Broken(self.promise)
        for host in self.hosts.values():
            if host.link_state() not in ("ok", "absent"):
                self.broken(f"{host.name}: current is {host.link_state()}")
            for worker in host.workers:
                if worker.status == "online" and self.refused(worker.release, host.name):
                    self.broken(f"{host.name} serves the refused {worker.release}")
        for group in self.groups:
            self._check_capacity(group)

    def _check_capacity(self, group: Group) -> None:
        out = [host.name for host in group.hosts if self.out(host.name)]
        if len(out) > max(1, self._width(group)):
            self.broken(f"{', '.join(out)} are out of rotation together; {self._width(group)} may be")

    def _width(self, group: Group) -> int:
        front = self.fronts.get(f"balancer {group.balancer.host}") if group.balancer else None
        runs = [server.drained_by[0] for server in front.servers.values() if server.drained_by] if front else []
        rollouts = [command.rollout for run in runs if (command := self.owner_of(run)) and command.rollout]
        widths = [width for rollout in rollouts for width in rollout.options.max_parallel or group.update.max_parallel]
        return max((plan._count(width, len(group.hosts)) for width in widths), default=0)
