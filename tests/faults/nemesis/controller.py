"""Break the machine that deploys, or nothing at all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator


@contextlib.contextmanager
def nothing() -> Iterator[None]:
    """Break nothing now: what is wrong was wrong from the start."""
    yield


@contextlib.contextmanager
def paused(process: subprocess.Popen[str]) -> Iterator[None]:
    """Stop the controller as a closed lid does, and let it go on."""
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # woken by the case itself, and gone
            os.kill(process.pid, signal.SIGCONT)


@contextlib.contextmanager
def signalled(process: subprocess.Popen[str], number: signal.Signals) -> Iterator[None]:
    """Send the controller a signal, if it is still there; there is nothing to mend."""
    process.send_signal(number)
    yield
