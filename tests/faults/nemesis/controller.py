"""Break the machine that deploys, or nothing at all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator

from tests.faults.typed import Typed


@contextlib.contextmanager
def nothing() -> Iterator[None]:
    """Break nothing now: what is wrong was wrong from the start."""
    yield


@contextlib.contextmanager
def paused(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stop the controller as a closed lid does, and let it go on."""
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # woken by the case itself, and gone
            os.kill(process.pid, signal.SIGCONT)


@contextlib.contextmanager
def signalled(process: subprocess.Popen[bytes], number: signal.Signals, *, times: int = 1, apart: float = 0.0) -> Iterator[None]:
    """Send the controller a signal, or several, as long as it is there; there is nothing to mend."""
    process.send_signal(number)
    for _ in range(times - 1):
        time.sleep(apart)
        process.send_signal(number)
    yield


@contextlib.contextmanager
def reader_gone(typed: Typed) -> Iterator[None]:
    """Close what the command writes to: the pipe, as `| head -1` does, or the terminal; there is nothing to mend."""
    typed.leave()
    yield
