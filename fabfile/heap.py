"""Keep the memory of hundreds of threads together."""

from __future__ import annotations

import ctypes
from contextlib import suppress

M_ARENA_MAX = -8  # of glibc's mallopt(3)


def share() -> None:
    """
    Have all threads take memory from one heap; do nothing where the C library is not glibc.

    By itself glibc gives threads heaps of their own, each of which keeps what it once took. They would save waiting for each other,
    but in Python only one thread runs at a time. Measured with 30 hosts: 45 MiB instead of 50.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
