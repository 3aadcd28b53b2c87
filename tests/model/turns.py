"""
Threads that take turns: one runs at a time, and a seed says whose turn it is.

What the code under test starts as threads runs here in an order that can be repeated; time is a number that passes when somebody
has had a turn, or when everybody waits for it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from typing import Any

TICK = 0.25  # seconds that one turn takes

threading.stack_size(512 * 1024)


class Killed(BaseException):
    """End a command as kill -9 does: nothing of it runs any more."""


class Task:
    """Hold one thread of one command; `ready` says whether it may have the next turn."""

    def __init__(self, turns: Turns, command: Any, work: Callable[[], Any]) -> None:
        self.turns = turns
        self.command = command
        self.work = work
        self.phase = ""
        self.wake = 0.0
        self.until: Callable[[], bool] | None = None
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None
        self._go = threading.Lock()
        self._go.acquire()
        threading.Thread(target=self._body, daemon=True).start()

    def _body(self) -> None:
        self._go.acquire()
        try:
            if self.command.dead:
                raise Killed
            self.value = self.work()
        except BaseException as err:
            self.error = err
        self.done = True
        self.turns.back.release()

    @property
    def ready(self) -> bool:
        if self.command.dead or (self.command.interrupted and self is self.command.main):
            return True
        if self.command.frozen or self.wake > self.turns.now():
            return False
        return self.until is None or self.until()

    def turn(self) -> None:
        """Run until the next pause."""
        self._go.release()
        self.turns.back.acquire()

    def hand_over(self) -> None:
        """Let others have their turns; die here if the command was killed meanwhile."""
        self.turns.back.release()
        self._go.acquire()
        if self.command.dead:
            raise Killed

    def result(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value


class Turns:
    """Give out the turns; `advance` lets time pass for everything that is no thread."""

    def __init__(self, now: Callable[[], float], advance: Callable[[float], None]) -> None:
        self.now = now
        self.advance = advance
        self.back = threading.Lock()
        self.back.acquire()
        self.tasks: list[Task] = []
        self.current: Task | None = None
        self.order = random.Random(0)
        self.in_order = True

    def shuffle(self, seed: int) -> None:
        """Choose the order from now on; 0 is the plain one, first come first served."""
        self.order, self.in_order = random.Random(seed), seed == 0

    def add(self, command: Any, work: Callable[[], Any], phase: str = "") -> Task:
        task = Task(self, command, work)
        task.phase = phase
        self.tasks.append(task)
        return task

    def pause(self, until: Callable[[], bool] | None = None, wake: float = 0.0) -> None:
        """Give the turn back, from inside a task; have the next one when `until` holds and it is `wake`."""
        task = self.current
        assert task is not None
        task.until, task.wake = until, wake
        task.hand_over()

    def run(self, over: Callable[[], bool]) -> None:
        """Give turns until it is over."""
        while not over():
            ready = [task for task in self.tasks if task.ready]
            if not ready:
                self._wait()
                continue
            self.current = ready[0] if self.in_order else self.order.choice(ready)
            self.current.turn()
            self.current = None
            self.tasks = [task for task in self.tasks if not task.done]
            self.advance(TICK)

    def _wait(self) -> None:
        wakes = [task.wake for task in self.tasks if not task.command.frozen and task.wake > self.now()]
        if not wakes:
            raise AssertionError("everybody waits for somebody else")
        self.advance(min(wakes) - self.now())


class Pool:
    """Stand in for ThreadPoolExecutor: what is submitted begins when somebody waits for it."""

    turns: Turns

    def __init__(self, max_workers: int = 0) -> None:
        self.submitted: list[Future] = []

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future:
        self.submitted.append(Future(lambda: work(*arguments)))
        return self.submitted[-1]

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        """Leave what runs to its turns."""

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for future in self.submitted:
            future.work()


class Future:
    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.task: Task | None = None

    def result(self) -> Any:
        assert self.task is not None
        return self.task.result()


def wait(futures: Iterable[Future]) -> None:
    """Stand in for concurrent.futures.wait; a Ctrl-C reaches the main thread of its command here."""
    turns, futures = Pool.turns, list(futures)
    me = turns.current
    assert me is not None
    for future in futures:
        future.task = future.task or turns.add(me.command, future.work, me.phase)
    while not all(future.task.done for future in futures if future.task):
        turns.pause(lambda: all(future.task.done for future in futures if future.task))
        me.command.hear_interrupt(me)


class Turnstile:
    """Stand in for threading.Lock among tasks."""

    def __init__(self) -> None:
        self.taken = False

    def __enter__(self) -> None:
        if self.taken:
            Pool.turns.pause(lambda: not self.taken)
        self.taken = True

    def __exit__(self, *_: object) -> None:
        self.taken = False


class Signal:
    """Stand in for threading.Event among tasks."""

    def __init__(self) -> None:
        self.given = False

    def set(self) -> None:
        self.given = True

    def wait(self) -> None:
        if not self.given:
            Pool.turns.pause(lambda: self.given)
