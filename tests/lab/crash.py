"""Run fab and kill it with -9 at a chosen boundary: python -m tests.lab.crash PHASE WHEN HOST VERB...

WHEN is before, mid or after the script of that phase on that host; mid is the first word of the script that is not a step.
HOST#2 is the second such script: the balancer has one for each server.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from fabric.main import program

from fabfile.fleet import Fleet

KILLED = -signal.SIGKILL


def dying(phase: str, when: str, where: str) -> list[str]:
    """Name the program that is fab until it comes there."""
    return [sys.executable, "-m", "tests.lab.crash", phase, when, where]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(phase: str, when: str, where: str, *words: str) -> None:
    run = Fleet.run
    host, _, turn = where.partition("#")
    turns = itertools.count(1)

    def dies(self: Fleet, at: str, name: str, steps: Any, *more: Any) -> Any:
        if (at, name) != (phase, host) or next(turns) != int(turn or 1):
            return run(self, at, name, steps, *more)
        if when == "before":
            die()
        if when == "mid":
            self.emit = heard(self.emit)
        outcome = run(self, at, name, steps, *more)
        die()
        return outcome

    def heard(emit: Any) -> Any:
        def listen(at: str, name: str, event: Mapping[str, Any]) -> None:
            emit(at, name, event)
            if (at, name) == (phase, host) and event["event"] not in ("step", "locked", "begin"):
                die()
        return listen

    Fleet.run = dies  # type: ignore[method-assign]
    program.run(["fab", *words])


if __name__ == "__main__":
    main(*sys.argv[1:])
