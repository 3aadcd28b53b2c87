"""Put the model in the place of what the code reaches the world by, and type verbs into it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fabfile import cli, fleet, ownership, probe
from fabfile.report import page
from fabfile.run import claim, lease, runner, signals, waves
from fabfile.run.rollout import Rollout
from fabfile.run.signals import Stop
from tests.model import turns
from tests.model.turns import Killed, Pool, Turnstile
from tests.model.world import Command, Line, World

COMMIT = "{:07x}" + "0" * 33


def world() -> World:
    return Line.world


def command() -> Command:
    """Give the command whose turn it is."""
    task = world().turns.current
    assert task is not None
    made: Command = task.command
    return made


class Stream:
    """Stand in for the event stream: keep what is said, print nothing."""

    def __init__(self, folder: Path, face: Any) -> None:
        self.folder = folder

    def __call__(self, phase: str, host: str, data: Any) -> None:
        if data["event"] == "phase":
            world().count(f"phase: {phase}")

    def say(self, text: str) -> None:
        world().tell(*("  " + line for line in text.splitlines()))

    def logs(self) -> list[Path]:
        return [self.folder]

    def close(self, error: BaseException | None = None) -> None:
        """Keep nothing open."""


class Prober:
    """Stand in for the prober: what it would count is no part of the model."""

    def start(self, baseline: float) -> None:
        """Send nothing."""

    def mark(self, label: str) -> None:
        """Note nothing."""

    def stop(self, grace: float | None) -> SimpleNamespace:
        return SimpleNamespace(seconds=0.0, sent=0, lost=0, judged=(), longest_gap=None, proven=False, to_dict=dict)


def measured(made: Rollout) -> Prober:
    return Prober()


class Thread:
    """Stand in for the lease's thread: its loop runs once at each beat."""

    def __init__(self, target: Callable[[], None], name: str, daemon: bool) -> None:
        self.target = target

    def start(self) -> None:
        command().beat = self.target

    def is_alive(self) -> bool:
        return False


class Bell:
    """Stand in for the lease's event: let one beat through each time, until it is set."""

    def __init__(self) -> None:
        self.through = self.over = False

    def wait(self, seconds: float) -> bool:
        self.through = not self.through
        return self.over or not self.through

    def set(self) -> None:
        self.over = True


def read(file: str) -> str:
    """Answer for the files of /proc by which an owner's process is looked up, on the machine of who asks."""
    me = command()
    if file.endswith("boot_id"):
        return me.machine
    pid = int(file.split("/")[2])
    there = any(each.pid == pid and each.machine == me.machine for each in (*world().living, me))
    return f"{pid} (fab) S " + " ".join(["0"] * 18) + f" {pid}" if there else ""


def sleep(seconds: float) -> None:
    world().turns.pause(wake=world().now + seconds)
    command().hear_interrupt(world().turns.current)  # type: ignore[arg-type]


def answers(url: str, host: str | None, header: str | None, release: str, limit: float) -> str:
    """Ask through the balancer of this url: a server in rotation must run the release."""
    front = next(front for front in world().fronts.values() if f"//{front.name.removeprefix('lb-')}." in url)
    seen = [name for name in front.servers if front.up(name) and release in front.hosts[name].runs()]
    return "" if seen else f"{release} never answered"


def noting(run: Any) -> Any:
    """Note the phase of a script for the line that will carry it."""
    def noted(self: Any, phase: str, host: str, steps: Any, *more: Any) -> Any:
        task = world().turns.current
        assert task is not None
        task.phase = phase
        return run(self, phase, host, steps, *more)
    return noted


def made(rollout_class: Any) -> Any:
    """Tell the world of each run that is made; a command that puts right what a dead one left makes several."""
    def make(run: str, *arguments: Any) -> Any:
        run = f"r{len(world().commands)}{'abc'[len(command().runs)]}"
        command().runs.append(run)
        command().before = world().states()
        command().rollout = rollout_class(run, *arguments)
        return command().rollout
    return make


@contextmanager
def stopped_by(leave: Callable[[int], None]) -> Iterator[Stop]:
    """Have the Ctrl-C of this command, which no signal carries here, go the way of a signal."""
    command().stop = Stop(leave)
    yield command().stop
    command().stop = None


def killed(code: int) -> None:
    """Stand in for os._exit, which a second Ctrl-C leads to."""
    command().kill()
    raise Killed


@contextmanager
def installed() -> Iterator[None]:
    """Put the model in place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fleet, "Line", Line)
        patch.setattr(fleet, "script", lambda library, steps, mark, beat="": list(steps))
        patch.setattr(fleet, "ThreadPoolExecutor", Pool)
        patch.setattr(fleet, "wait", turns.wait)
        patch.setattr(fleet, "time", SimpleNamespace(monotonic=lambda: world().now, sleep=sleep))
        patch.setattr(fleet.Fleet, "run", noting(fleet.Fleet.run))
        patch.setattr(lease, "threading", SimpleNamespace(Event=Bell, Thread=Thread))
        patch.setattr(lease, "_clock", lambda: world().now)
        patch.setattr(claim, "threading", SimpleNamespace(Event=turns.Signal, Lock=Turnstile))
        patch.setattr(waves, "threading", SimpleNamespace(Lock=Turnstile))
        patch.setattr(ownership, "_read", read)
        patch.setattr(ownership, "os", SimpleNamespace(getpid=lambda: command().pid, environ={}))
        patch.setattr(probe, "answers", answers)
        patch.setattr(probe, "ask", lambda *_: [])  # what clients see is counted by the world itself
        patch.setattr(runner, "Rollout", made(runner.Rollout))
        patch.setattr(runner, "Stream", Stream)
        patch.setattr(runner, "forget_old_runs", lambda place: None)
        patch.setattr(cli, "targets", lambda hosts: world().targets(hosts))
        patch.setattr(page, "put", lambda line: None)
        patch.setattr(runner, "stopped_by", stopped_by)
        patch.setattr(signals, "stopped_by", stopped_by)
        patch.setattr(runner, "_prober", measured)
        patch.setattr(runner, "preload", lambda *_, **__: None)
        patch.setattr(runner, "AFTERMATH", 0)
        patch.setattr(runner, "os", SimpleNamespace(_exit=killed, environ={}))
        patch.setattr(cli, "_commit", lambda chosen, options: options.ref)
        yield


ROOMS = {"deploy": "deploy", "build": "build", "migrate": "migrate", "reload": "reload", "rolling": "reload", "rollback": "rollback",
         "resume": "resume", "abort": "resume", "unlock": "ops", "status": "ops"}


def verb(name: str, hosts: str, **flags: Any) -> Callable[[], None]:
    """Give the call of a verb, as fab would make it."""
    task = getattr(importlib.import_module(f"fabfile.{ROOMS[name]}"), name)
    return lambda: task.body(SimpleNamespace(), hosts=hosts, **flags)


def type_in(there: World, name: str, hosts: str = "all", machine: str = "desk", faults: Sequence[Any] = (), **flags: Any) -> Command:
    """Type a verb into a world, and give turns until it is over or frozen."""
    told = " ".join([name, "--hosts", hosts, *(f"--{key} {value}" for key, value in flags.items())])
    return there.type(told, verb(name, hosts, **flags), machine, faults)
