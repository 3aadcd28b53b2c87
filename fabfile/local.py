"""Programs on this machine: git, hooks, whatever a user has us run. Bounded in time, ended with all that they began."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, NamedTuple

LATE = 124         # what timeout(1) says of a program that it ended
MOST = 64 << 20    # bytes that are read of what it said, the last ones


class Done(NamedTuple):
    """Hold how a program ended; `code` is 124 where it was ended for being late, below 0 for a signal."""

    code: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def lines(self) -> list[str]:
        """Give all that it said, complaints last."""
        return [line for line in f"{self.out}\n{self.err}".splitlines() if line.strip()]


def run(words: Sequence[str], limit: float, *, stdin: str = "", directory: str | None = None, env: Mapping[str, str] | None = None) -> Done:
    """
    Run a program for `limit` seconds at most; raise FileNotFoundError if there is none.

    It has a session of its own: Ctrl-C is for us to handle, and what is late is ended with all that it started.
    """
    # Files, not pipes: a daemon that it leaves behind would hold a pipe open, and a gigabyte of words would be ours to keep.
    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write(stdin.encode())
        given.seek(0)
        process = subprocess.Popen(
            list(words), stdin=given, stdout=out, stderr=err, cwd=directory, env={**os.environ, **(env or {})}, start_new_session=True,
        )
        try:
            code = _wait(process, limit)
        except subprocess.TimeoutExpired:
            code = LATE
            _end(process)
        except BaseException:
            _end(process)
            raise
        return Done(code, _read(out), _read(err))


def _wait(process: subprocess.Popen[bytes], limit: float) -> int:
    """Wait for an end without polling where the system tells of it: Popen.wait looks ever more seldom, up to 50 ms apart."""
    with suppress(AttributeError, OSError):  # no Linux, or an old one
        told = os.pidfd_open(process.pid)
        try:
            end = select.poll()  # select() itself knows no more than 1024 files, and each connection is one
            end.register(told, select.POLLIN)
            end.poll(1000 * limit)
        finally:
            os.close(told)
        limit = 0.0
    return process.wait(limit)


def _read(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - MOST))
    return file.read().decode(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
