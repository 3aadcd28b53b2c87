"""The plain face: one whole line per event, flushed; everything, in full, goes to a log file as JSON lines."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import safe

HELD = 3  # exit code of a script that found the lock held


class Plain:
    """Print events as they come, from whichever thread; a closed stdout never ends a deploy."""

    def __init__(self, log: Path, verbose: bool = False) -> None:
        self.log = log
        self.verbose = verbose
        self.began = time.monotonic()
        self._lock = threading.RLock()  # a signal's last words may come in the middle of others
        log.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="utf-8")

    def __call__(self, phase: str, host: str, data: Mapping[str, Any]) -> None:
        at = time.monotonic() - self.began
        with self._lock:
            there = {"at_host": data["at"]} if "at" in data else {}  # by that host's clock
            self._keep({**data, **there, "at": round(at, 3), "phase": phase, "host": host})
            try:
                text = told(phase, host, data, self.verbose)
            except (KeyError, TypeError):  # a host with another version of our scripts; a face must never end a deploy
                text = f"{host:<8} {json.dumps(dict(data))}"
            if text:
                self._print(f"{_clock(at)} {text}")

    def say(self, text: str) -> None:
        """Print a text of the run itself, and keep it in the log."""
        with self._lock:
            self._keep({"at": round(time.monotonic() - self.began, 3), "text": text})
            for line in text.splitlines():
                self._print(line)

    def _keep(self, record: Mapping[str, Any]) -> None:
        # A full disk on this machine must not end a deploy on the others.
        with suppress(OSError, ValueError):
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()

    def _print(self, line: str) -> None:
        try:
            print(_printable(safe(line)), flush=True)
        except (BrokenPipeError, ValueError, OSError):
            # Whoever read along has left. The deploy goes on; python would complain once more at exit, and so would fab, which
            # tells errors on stderr: the same pipe or terminal often enough.
            if _lead_to_one_place():
                sys.stderr = open(os.devnull, "w")
            sys.stdout = open(os.devnull, "w")

    def close(self, error: BaseException | None = None) -> None:
        """Keep the error that is to be the last word, for fab prints it past us, and close the log."""
        if error:
            text = str(getattr(error, "message", error)) or type(error).__name__
            self._keep({"at": round(time.monotonic() - self.began, 3), "text": text})
        with suppress(OSError):
            self._file.close()


def _lead_to_one_place() -> bool:
    with suppress(OSError, ValueError):
        return os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
    return False


def _printable(line: str) -> str:
    """Put question marks for what stdout can't show: an arrow is no reason to fall silent."""
    encoding = sys.stdout.encoding or "utf-8"
    return line.encode(encoding, "replace").decode(encoding)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def told(phase: str, host: str, data: Mapping[str, Any], verbose: bool) -> str:
    """Put one event into words; empty for what only the log needs."""
    kind = data["event"]
    if kind == "phase":
        return f"── {phase}: {data['what']}"
    if host.startswith("balancer ") and not verbose:
        return ""  # the server's own host tells it
    if phase == "reload" and kind == "end" and data["code"] == 0:
        return ""  # the driver's own last word says how it ended
    if phase == "claim" and kind == "end" and data["code"] == HELD:
        return ""  # told by the event before it
    if phase == "finish" and kind == "end" and data["code"] == 0 and not verbose:
        return ""  # only what stayed undone is news
    if phase != "reload" and kind == "done":
        return ""
    line = _WORDS[kind](data) if kind in _WORDS else ""
    if not line and verbose:
        line = f"{kind} {data.get('name', '')}"
    return f"{host:<8} {line}" if line.strip() else ""


def _end(data: Mapping[str, Any]) -> str:
    if data["code"] == 0:
        return f"ok in {data['seconds']:.1f} s" if data["seconds"] >= 0.05 else ""
    state = "link lost, outcome unknown" if data["code"] is None else "FAILED"
    return f"{state} in step {data['step'] or 'start'}"


def _drain(data: Mapping[str, Any]) -> str:
    if data["said"] == "alone":
        return "not drained: no other server is up, so the gate alone keeps its requests"
    if data["said"] == "crowded":
        return "not drained: as many others are out already as may be, so the gate alone keeps its requests"
    if data["said"] == "maintenance":
        return "is in maintenance at the balancer, and stays so"
    return f"drained in {data['seconds']:.1f} s" if data["ok"] else "could not be drained"


def _mend(data: Mapping[str, Any]) -> str:
    if data["said"] == "unfit":
        return "is not fit for traffic: it stays as it is at the balancer"
    if not data["ok"]:
        return "NOT back in rotation"
    return "was left drained, and is back in rotation" if data["said"] == "restored" else ""


_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "end": _end,
    "drain": _drain,
    "restore": lambda data: "back in rotation" if data["ok"] else "NOT back in rotation",
    "mend": _mend,
    "held": lambda data: "is locked",
    "start": lambda data: f"starts {data['name']}, {data['instances']} workers",
    "worker": lambda data: f"worker {data['id']} open: {data['release']} (pid {data['pid']})" if data["state"] == "open" else "",
    "settle": lambda data: f"must stay healthy for {data['ms'] / 1000:.0f} s",
    "scale": lambda data: f"{data['name']}: {data['from']} → {data['to']} workers",
    "remove": lambda data: f"removes {data['name']}, which ran in {data['mode']} mode",
    "done": lambda data: f"runs {data['release']}, healthy",
    "failed": lambda data: f"REFUSED: {data['why']}",
    "revive": lambda data: f"PM2's daemon has died; a new one starts what it had saved, {data['release']} among it",
    "revert": lambda data: f"goes back to {data['to'] or 'nothing: this was its first release'}",
    "reverted": lambda data: f"was not touched: {data['why']}" if data.get("untouched") else f"is back on {data['release'] or 'nothing'}",
    "broken": lambda data: f"BROKEN: {data.get('back') or data['why']}",
    "stray": lambda data: f"ended a worker that PM2 had lost: pid {data['pid']}, {data['release']}",
    "note": lambda data: f"note: {data['text']}",
}
