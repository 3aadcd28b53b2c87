"""
The one event stream of a run: stamped, kept in full, and shown by one face.

An event is a flat mapping with `at` (seconds since the run began), `phase`, `host` ("" for the run itself) and `event`, its
kind; docs/events.md lists the kinds. The first is `run`, the last `summary`; both carry `schema`.

In the run's folder stand `run.jsonl`, all events, and a log for each host, with all that it printed on our connection.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

from ..errors import safe
from .telling import clock, is_bad, told

SCHEMA = 1
KEPT_RUNS = 200            # folders of finished runs on this machine
MOST_LOGGED = 64 << 20     # bytes in the log of one host

Event = Mapping[str, Any]


class Face(Protocol):
    """Show a run to somebody: called by one thread at a time, and never to raise."""

    def show(self, event: Event) -> None: ...

    def say(self, text: str) -> None: ...

    def close(self) -> None: ...


class Stream:
    """Take events from whichever thread, keep them, and hand them to the face, one after another."""

    def __init__(self, folder: Path, face: Face) -> None:
        self.folder = folder
        self.face = face
        self.began = time.monotonic()
        self.failed: list[str] = []  # hosts of which something went wrong, the first one first
        self._lock = threading.RLock()  # a signal's last words may come in the middle of others
        self._logs: dict[str, tuple[FileIO, int]] = {}
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = _private(folder / "run.jsonl")

    def __call__(self, phase: str, host: str, data: Mapping[str, Any]) -> None:
        at = time.monotonic() - self.began
        there = {"at_host": data["at"]} if "at" in data else {}  # by that host's clock
        event = {**data, **there, "at": round(at, 3), "phase": phase, "host": host}
        with self._lock:
            if is_bad(event) and host not in self.failed:
                self.failed.append(host)
            if event["event"] != "line":
                self._keep(event)
            if host:
                self._log(host, event)
            self.face.show(event)

    def say(self, text: str) -> None:
        """Show a text of the run itself, and keep it."""
        with self._lock:
            self._keep({"at": round(time.monotonic() - self.began, 3), "text": text})
            self.face.say(text)

    def close(self, error: BaseException | None = None) -> None:
        """Keep the error that is to be the last word, for fab prints it past us, and close everything."""
        with self._lock:
            if error:
                text = str(getattr(error, "message", error)) or type(error).__name__
                self._keep({"at": round(time.monotonic() - self.began, 3), "text": text})
            self.face.close()
            for file in (self._file, *(file for file, _ in self._logs.values())):
                with suppress(OSError):
                    file.close()

    def logs(self) -> list[Path]:
        """Name the files that tell what went wrong: those of the hosts where something did, else the whole."""
        return [self.folder / f"{_filename(host)}.log" for host in self.failed] or [self.folder / "run.jsonl"]

    def _keep(self, record: Mapping[str, Any]) -> None:
        # A full disk on this machine must not end a deploy on the others.
        with suppress(OSError, ValueError):
            self._file.write(f"{json.dumps(record)}\n".encode())

    def _log(self, host: str, event: Event) -> None:
        """Write an event into its host's own log, for reading."""
        with suppress(OSError, ValueError):
            file, written = self._logs.get(host) or (_private(self.folder / f"{_filename(host)}.log"), 0)
            if written < MOST_LOGGED:
                written += file.write(_logged(event).encode(errors="replace"))
            self._logs[host] = file, written


def _logged(event: Event) -> str:
    """Put an event into a line of a host's log; unlike on the screen, each one has some."""
    if event["event"] == "line":
        return f"{clock(event['at'])}   | {safe(event['text'])}\n"
    if event["event"] == "step":
        return f"{clock(event['at'])} [{event['phase']}] {safe(event['name'])}\n"
    with suppress(KeyError, TypeError):
        if text := told(event["phase"], "", event, verbose=False).strip():
            return f"{clock(event['at'])} [{event['phase']}] {safe(text)}\n"
    kept = {key: value for key, value in event.items() if key not in ("at", "phase", "host", "tail")}
    return f"{clock(event['at'])} [{event['phase']}] {json.dumps(kept)}\n"


def _filename(host: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", host)


def _private(path: Path) -> FileIO:
    """Open a file for its owner alone; without a buffer: it would be flushed at each line, and for hundreds of hosts be megabytes."""
    return FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb")


def state_dir() -> Path:
    """Give the directory for logs and reports on this machine."""
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "gapless"


def forget_old_runs(place: Path) -> None:
    """Keep the folders of the newest runs; the names of runs are in order of time."""
    with suppress(OSError):
        runs = sorted(folder for folder in place.iterdir() if re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", folder.name))
        for folder in runs[:-KEPT_RUNS]:
            shutil.rmtree(folder, ignore_errors=True)
