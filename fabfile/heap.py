"""Keep memory together: one heap for hundreds of threads, and a collector that looks at what may be garbage."""

from __future__ import annotations

import atexit
import gc
from contextlib import suppress

M_ARENA_MAX = -8   # of glibc's mallopt(3)
YOUNG = 10_000     # objects between two looks at the young ones; 700 by itself
FEW = 8            # threads whose heaps are not worth the 4 ms that it takes to keep them from having any


def collect_seldom() -> None:
    """
    Have Python look for cycles seldom, and at the end of the process not at all: it ends a moment later.

    Measured with 30 hosts: looking took 52 ms of 750 ms of CPU, most of it while modules are loaded, and at the end.
    """
    gc.set_threshold(YOUNG)
    atexit.register(gc.freeze)


def share(threads: int) -> None:
    """
    Have so many threads take memory from one heap, where the C library is glibc; and call all that was loaded so far lasting.

    By itself glibc gives threads heaps of their own, each of which keeps what it once took. They would save waiting for each other,
    but in Python only one thread runs at a time. Measured with 30 hosts: 45 MiB instead of 50.
    """
    if threads <= FEW:
        return
    import ctypes  # loaded here, for it takes most of that time

    gc.freeze()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
