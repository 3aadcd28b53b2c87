"""Type one command, and follow it: every line that it prints and every event of its own log goes into the history."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.faults.history import History
from tests.lab.making import CHECKOUT

PATIENCE = 180.0  # seconds after which a command is held for stuck and killed
LOOK_AGAIN = 0.02


def own_terminal() -> None:
    """Make the terminal on stdin the one that controls this session."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Typed:
    """A command that runs, in a session of its own as under CI, so that signals reach it and nobody else."""

    def __init__(self, history: History, words: list[str], environment: Mapping[str, str], number: int,
                 program: Sequence[str] = (str(Path(sys.executable).parent / "fab"),), terminal: bool = False) -> None:
        self.history = history
        self.number = number
        self.logs = Path(environment["XDG_STATE_HOME"]) / "gapless"
        old = set(self.logs.glob("*/run.jsonl"))
        self.since = len(history.records)
        self.begun = time.monotonic()
        history.write("command", words=words, number=number)
        self.reader_gone = threading.Event()
        self.out, written = pty.openpty() if terminal else os.pipe()
        self.process = subprocess.Popen(
            [*program, *words], cwd=CHECKOUT, stdin=written if terminal else subprocess.DEVNULL, stdout=written, stderr=written,
            env=environment, start_new_session=True, preexec_fn=own_terminal if terminal else None,
        )
        os.close(written)
        self.readers = [threading.Thread(target=self._listen, daemon=True), threading.Thread(target=self._follow, args=(old,), daemon=True)]
        for reader in self.readers:
            reader.start()

    def _listen(self) -> None:
        rest = b""
        while not self.reader_gone.is_set():
            if select.select([self.out], [], [], LOOK_AGAIN)[0]:
                if not (data := self._read()):
                    break
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    self.history.write("said", line=line.decode(errors="replace").rstrip("\r"), number=self.number)
        os.close(self.out)

    def _read(self) -> bytes:
        with contextlib.suppress(OSError):  # a terminal without a program says so
            return os.read(self.out, 65_536)
        return b""

    def leave(self) -> None:
        """Read no further: close the pipe, or the terminal, in which case the kernel sends SIGHUP. What is said from now on is in the log."""
        self.history.write("unheard", number=self.number)
        self.reader_gone.set()
        self.readers[0].join()

    def _follow(self, old: set[Path]) -> None:
        """Read the run's own log as it grows; a command without one, such as `status`, has no events."""
        while not (found := set(self.logs.glob("*/run.jsonl")) - old):
            if self.process.poll() is not None:
                return
            time.sleep(LOOK_AGAIN)
        with found.pop().open(encoding="utf-8") as log:
            rest = ""
            while True:
                over = self.process.poll() is not None
                *whole, rest = (rest + log.read()).split("\n")
                for line in whole:
                    self._keep(json.loads(line))
                if over:
                    return
                time.sleep(LOOK_AGAIN)

    def _keep(self, event: dict[str, object]) -> None:
        if event.get("event") != "facts":  # the whole truth of a host, thousands of characters long
            self.history.write("event", number=self.number, **{key: value for key, value in event.items() if key not in ("at", "kind", "number")})

    def send(self, number: signal.Signals) -> None:
        """Send the command a signal, as a person or CI would."""
        os.kill(self.process.pid, number)

    @property
    def over(self) -> bool:
        return self.process.poll() is not None

    def end(self) -> int:
        """Wait for its end and write it down; one that is stuck is killed, and the checker sees how long it took."""
        try:
            self.process.wait(max(1.0, PATIENCE - (time.monotonic() - self.begun)))
        except subprocess.TimeoutExpired:
            self.process.kill()
        code = self.process.wait()
        ended = time.monotonic()
        for reader in self.readers:
            reader.join()
        self.history.write("exit", at=ended, code=code, number=self.number, seconds=round(ended - self.begun, 3))
        return code
