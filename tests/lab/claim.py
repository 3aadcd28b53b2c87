"""Let one lab of a name live at a time: a lock that the hosts themselves hold until the last has ended."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from pathlib import Path

from .hosts import LabError


def lock_path(name: str) -> Path:
    """Return the lock file; it lies beside the lab's directory, since that comes and goes."""
    return Path(f"/tmp/gapless-{name}.lock")


def take(name: str) -> int:
    """Take the name and return the descriptor that holds it; refuse with who has it."""
    while True:
        fd = open_lock(name)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(fd, 4096, 0).decode(errors="replace")
            os.close(fd)
            raise LabError(refusal(name, text)) from None
        if still_there(fd, name):
            sign(fd)
            return fd
        os.close(fd)


def open_lock(name: str) -> int:
    """Open the lock file; another user's is out of reach, also for root, in a sticky directory."""
    path = lock_path(name)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}; another user has a lab '{name}', so use another --name") from None


def still_there(fd: int, name: str) -> bool:
    """Tell whether the locked file is the one that the name leads to; `drop` removes it under its lock."""
    try:
        return os.fstat(fd).st_ino == lock_path(name).stat().st_ino
    except FileNotFoundError:
        return False


def sign(fd: int) -> None:
    """Write into the lock who took it."""
    who = {"pid": os.getpid(), "uid": os.getuid(), "since": time.strftime("%F %T"), "command": " ".join(sys.argv)}
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(who).encode(), 0)


def refusal(name: str, text: str) -> str:
    """Say who holds the name and how to end that lab."""
    try:
        who = json.loads(text)
        holder = f"started {who['since']} by pid {who['pid']} (uid {who['uid']}): {who['command']}"
    except (ValueError, KeyError):
        holder = "its owner left no note"
    return f"lab '{name}' is up; {holder}\nEnd it with: python -m tests.lab down --name {name}"


def drop(fd: int, name: str) -> None:
    """Give the name back and leave no file."""
    lock_path(name).unlink(missing_ok=True)
    os.close(fd)


def wait_for(name: str, seconds: float) -> int:
    """Take the name once the last host has let go of it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return take(name)
        except LabError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
