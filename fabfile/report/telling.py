"""Events in words: one line for one event, the same whichever face shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

HELD = 3  # exit code of a script that found the lock held
# For the log, for programs and for a table; what of it concerns a person is said in words.
SILENT = ("run", "line", "waiting", "probe", "probed", "requests", "summary")


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def is_bad(event: Mapping[str, Any]) -> bool:
    """Tell an event after which somebody will want to read its host's log."""
    if event["phase"] == "hook":
        return False  # what it means is said by whoever asked for it
    return bool(event["host"]) and (event["event"] in ("failed", "broken", "lost") or event.get("code", 0) not in (0, HELD))


def told(phase: str, host: str, data: Mapping[str, Any], verbose: bool) -> str:
    """Put one event into words; empty for what only the log needs."""
    kind = data["event"]
    if kind in SILENT:
        return ""
    if kind == "phase":
        return f"── {phase}: {data['what']}"
    if host.startswith("balancer ") and not verbose:
        return ""  # the server's own host tells it
    if phase == "reload" and kind == "end" and data["code"] == 0:
        return ""  # the driver's own last word says how it ended
    if phase == "hook" and kind == "end":
        return ""  # what became of it is told by what follows
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


def _size(bytes: int) -> str:
    return f"{bytes / 1e6:.1f} MB" if bytes >= 100_000 else f"{bytes / 1e3:.1f} kB"


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
    "packed": lambda data: f"packed {_size(data['bytes'])}, artifact {data['sha256'][:7]}",
    "shipped": lambda data: f"has {_size(data['bytes'])} from {data['source']}, in {data['seconds']:.1f} s",
    "drain": _drain,
    "restore": lambda data: "back in rotation" if data["ok"] else "NOT back in rotation",
    "mend": _mend,
    "held": lambda data: "is locked",
    "hook": lambda data: f"hook {data['moment']}: {data['run']}",
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
