"""
Keep the history of one case: a line of JSON per thing that happened, with a monotonic stamp.

What was typed and said, what broke and healed, what clients lost, what the balancer and the links looked like: all of it lands
here, whoever saw it. Faults wait for a record, never for a time, and the checker reads nothing else.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

Record = dict[str, Any]
Moment = Callable[[Record], bool]

POOL_EVERY, LINKS_EVERY = 0.2, 0.1  # seconds between two samples


class History:
    """Write records from any thread, and wait for one."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.records: list[Record] = []
        self._news = threading.Condition()
        self._out = file.open("w", encoding="utf-8")

    def write(self, kind: str, at: float | None = None, **fields: Any) -> Record:
        """Append one record; `at` stamps what was seen earlier than it is told."""
        record = {"at": round(time.monotonic() if at is None else at, 3), "kind": kind, **fields}
        with self._news:
            self._out.write(json.dumps(record) + "\n")
            self._out.flush()
            self.records.append(record)
            self._news.notify_all()
        return record

    def wait(self, moment: Moment, seconds: float, since: int = 0) -> Record | None:
        """Wait for the first record from number `since` on that is this moment; None when it does not come."""
        deadline = time.monotonic() + seconds
        looked = since
        with self._news:
            while True:
                for record in self.records[looked:]:
                    if moment(record):
                        return record
                looked = len(self.records)
                if (left := deadline - time.monotonic()) <= 0:
                    return None
                self._news.wait(left)

    def close(self) -> None:
        self._out.close()


def read(file: Path) -> list[Record]:
    """Read a history back, in the order of the stamps: a sample may have been written after what it preceded."""
    return sorted((json.loads(line) for line in file.read_text().splitlines()), key=lambda record: record["at"])


def told(records: list[Record], number: int) -> str:
    """Give what a command printed; where its reader had left, what it wrote into its log instead."""
    ours = [record for record in records if record.get("number") == number]
    unheard = any(record["kind"] == "unheard" for record in ours)
    said = [record["line"] for record in ours if record["kind"] == "said"]
    return "\n".join([*said, *(record["text"] for record in ours if unheard and record["kind"] == "event" and "text" in record)])


# ---------------------------------------------------------------- moments


def said(text: str) -> Moment:
    """Match a line that the command printed."""
    return lambda record: record["kind"] == "said" and text in record["line"]


def event(name: str, host: str | None = None, /, **fields: Any) -> Moment:
    """Match an event of the run's own log; `phase="build"` and the like narrow it."""

    def matches(record: Record) -> bool:
        if record["kind"] != "event" or record.get("event") != name or host not in (None, record.get("host")):
            return False
        return all(record.get(key) == value for key, value in fields.items())

    return matches


def begun(record: Record) -> bool:
    """Match the start of a command: the earliest moment there is."""
    return record["kind"] == "command"


# ---------------------------------------------------------------- samplers


@contextmanager
def sampled(history: History, kind: str, look: Callable[[], Any], every: float) -> Iterator[None]:
    """Look again and again while the block runs; a look that fails is a sample too."""
    over = threading.Event()

    def sample() -> None:
        while not over.is_set():
            value = None
            with suppress(OSError, ValueError):
                value = look()
            history.write(kind, value=value)
            over.wait(every)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
