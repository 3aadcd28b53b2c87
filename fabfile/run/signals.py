"""Ctrl-C, and what CI and a closed terminal send: the first asks for an orderly end, the second leaves at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Seconds that an orderly end may take when it was not a person who asked: CI sends KILL soon after TERM.
GRACE = 5.0
FIRST = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Hold which signal came first; `leave(exit code)` must not return."""

    def __init__(self, leave: Callable[[int], None]) -> None:
        self.leave = leave
        self.code = 0
        self.over = False    # the hosts are free again, and nothing is in hand: what is left to tell takes seconds
        self.ending = False  # the orderly end is under way already: the first signal has nothing to ask for

    def end(self) -> None:
        """Take no further signal for impatience: to leave now would end a finished run with the words of a broken one."""
        self.over = True
        signal.setitimer(signal.ITIMER_REAL, 0)

    def __call__(self, number: int, _: object) -> None:
        if self.over:
            return
        if number != signal.SIGINT and not signal.getitimer(signal.ITIMER_REAL)[0]:
            signal.setitimer(signal.ITIMER_REAL, GRACE)
        if self.code and number == signal.SIGHUP:
            return  # of a terminal that closes the shell tells, and the kernel again: that is not impatience
        if self.code:
            self.leave(self.code)
        self.code = 128 + number
        if not self.ending:
            raise KeyboardInterrupt


@contextmanager
def stopped_by(leave: Callable[[int], None]) -> Iterator[Stop]:
    """Watch for signals while the block runs; what was ignored before (nohup, a job in the background) stays ignored."""
    stop = Stop(leave)
    wanted = [number for number in FIRST if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in (*wanted, signal.SIGALRM)}
    try:
        yield stop
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
