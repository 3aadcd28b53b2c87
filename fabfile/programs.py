"""Run a program on this machine whose output nobody is to see: a secret manager."""

from __future__ import annotations

import shlex
import subprocess

from .errors import UsageError

LIMIT = 120  # seconds; somebody may have to confirm on another device


def output(command: str) -> bytes:
    """Return what a program prints; no shell reads the command, its errors are shown, and it hears nothing on stdin."""
    try:
        words = shlex.split(command)
    except ValueError as err:
        raise UsageError(f"--command can't be read: {err}") from None
    if not words:
        raise UsageError("--command names no program")
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise UsageError(f"{words[0]} gave no answer within {LIMIT} s") from None
    except OSError as err:
        raise UsageError(f"{words[0]} can't be started: {err.strerror}") from None
    if done.returncode != 0:
        raise UsageError(f"{words[0]} failed with exit code {done.returncode}; nothing was sent to any host")
    return done.stdout
