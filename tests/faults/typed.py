"""Type one command, and follow it: every line that it prints and every event of its own log goes into the history."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.faults.history import History
from tests.lab.making import CHECKOUT

PATIENCE = 180.0  # seconds after which a command is held for stuck and killed
LOOK_AGAIN = 0.02


class Typed:
    """A command that runs, in a session of its own as under CI, so that signals reach it and nobody else."""

    def __init__(self, history: History, words: list[str], environment: Mapping[str, str], number: int,
                 program: Sequence[str] = (str(Path(sys.executable).parent / "fab"),)) -> None:
        self.history = history
        self.number = number
        self.logs = Path(environment["XDG_STATE_HOME"]) / "gapless"
        old = set(self.logs.glob("*.log"))
        self.since = len(history.records)
        self.begun = time.monotonic()
        history.write("command", words=words, number=number)
        self.process = subprocess.Popen(
            [*program, *words], cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", env=environment, start_new_session=True,
        )
        self.readers = [threading.Thread(target=self._listen, daemon=True), threading.Thread(target=self._follow, args=(old,), daemon=True)]
        for reader in self.readers:
            reader.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.history.write("said", line=line.rstrip("\n"), number=self.number)

    def _follow(self, old: set[Path]) -> None:
        """Read the run's own log as it grows; a command without one, such as `status`, has no events."""
        while not (found := set(self.logs.glob("*.log")) - old):
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
