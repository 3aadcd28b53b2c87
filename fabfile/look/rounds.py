"""Look again and again over the same connections; who is slow holds up nobody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..report.terminal import is_read
from . import reading, status
from .reading import Heard
from .view import Look

EVERY = 2.0  # seconds between two looks


class Rounds:
    """Keep every job asked, each in a thread of its own and never twice at once, and remember its last answer."""

    def __init__(self, jobs: Mapping[str, Callable[[], Any]]) -> None:
        self.jobs = jobs
        self.answers: dict[str, Any] = dict.fromkeys(jobs)
        self._asked: dict[str, float] = {}  # when each job that is under way began
        self._news = threading.Condition()

    def go(self, limit: float) -> dict[str, Heard]:
        """Ask all that are not being asked, wait for the answers, `limit` seconds at most, and give what is known by then."""
        with self._news:
            for name in self.jobs:
                if name not in self._asked:
                    self._asked[name] = time.monotonic()
                    threading.Thread(target=self._do, args=(name,), daemon=True).start()
            self._news.wait_for(lambda: not self._asked, limit)
            now = time.monotonic()
            return {name: (self.answers[name], now - self._asked[name] if name in self._asked else 0.0) for name in self.jobs}

    def _do(self, name: str) -> None:
        answer = self.jobs[name]()
        with self._news:
            self.answers[name] = answer
            del self._asked[name]
            self._news.notify_all()


PATIENCE = 6.0  # seconds until what a slow host said before is shown as that; a worker's health alone may take 5


def watch(look: Look, workers: bool = False) -> None:
    """Print a reading every 2 seconds until Ctrl-C, and end as the last one would have."""
    rounds = Rounds(reading.jobs(look, again=True))
    limit = 30.0  # the first time there is nothing else to show
    whole = None
    try:
        while is_read():
            due = time.monotonic() + EVERY
            heard = rounds.go(limit)
            whole = reading.whole(look, {name: (answer, late if late > PATIENCE else 0.0) for name, (answer, late) in heard.items()})
            with look.page.again(f"{time.strftime('%H:%M:%S')}  every {EVERY:.0f} s, Ctrl-C ends it"):
                status.tell(look, whole, workers)
            limit = EVERY
            time.sleep(max(0.0, due - time.monotonic()))
    except KeyboardInterrupt:
        if whole is None:
            raise
    if whole:
        status.judge(whole)
