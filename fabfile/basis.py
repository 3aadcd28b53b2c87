"""
What a plan rests on: all that another run, or a person, could move. A digest over it is the plan's name. Pure.

Two forecasts of the same basis are the same plan; of two others it can be said, line by line, what has moved between them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

Forecast = Mapping[str, Any]  # see forecast.py

RESTS = ("group", "current", "running", "release", "rotation", "lock", "unfit", "env", "prune")  # of each host


def basis(made: Forecast) -> dict[str, Any]:
    """Give what a forecast rests on: whoever applies it must find just this."""
    migrate = made["migrate"]
    return {
        **{key: made[key] for key in ("verb", "selector", "options", "commit", "settings")},
        "hosts": {name: {key: _steady(key, each[key]) for key in RESTS} for name, each in made["hosts"].items()},
        "migrate": migrate and {key: migrate[key] for key in ("host", "command", "state", "unknown")},
        "waves": {name: [wave["hosts"] for wave in waves] for name, waves in made["waves"].items()},
    }


def _steady(key: str, value: Any) -> Any:
    return value.split(" ")[0] if key == "rotation" else value  # HAProxy counts its checks behind the word


def identity(made: Forecast) -> str:
    return digest(basis(made))[:12]


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=list).encode()).hexdigest()


def differences(was: Forecast, now: Forecast) -> list[str]:
    """Name all that has moved between two forecasts, a line each."""
    old, new = basis(was), basis(now)
    found = []
    if old["commit"] != new["commit"]:
        found.append(f"{was['ref']} moved from {old['commit'][:7]} to {new['commit'][:7]}")
    found += [f"hosts.yaml says something else of {name} than it did" for name in _moved(old["settings"], new["settings"])]
    alike: dict[str, list[str]] = {}
    for name in {**old["hosts"], **new["hosts"]}:
        for text in _host_differences(old["hosts"].get(name), new["hosts"].get(name)):
            alike.setdefault(text, []).append(name)
    found += [f"{', '.join(names)}: {text}" for text, names in alike.items()]
    before, after = old["migrate"] or {}, new["migrate"] or {}
    found += [f"migration: {key} was {_said(before.get(key))}, is {_said(after.get(key))}" for key in _moved(before, after)]
    before, after = old["waves"], new["waves"]
    found += [f"{name}: the waves were {_cut(before.get(name))}, are {_cut(after.get(name))}" for name in _moved(before, after)]
    if not found and old != new:
        found.append("it is another command")
    return found


def _moved(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [key for key in {**old, **new} if old.get(key) != new.get(key)]


WORDS = {
    "current": "current", "running": "what runs", "release": "its release", "rotation": "its rotation", "lock": "its lock",
    "unfit": "unfit", "env": "what changed in its env files", "prune": "what is pruned", "group": "its group",
}


def _host_differences(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> list[str]:
    if old is None or new is None:
        return ["was no part of it" if old is None else "is no part of it any more"]
    return [f"{WORDS[key]} was {_said(old[key])}, is {_said(new[key])}" for key in _moved(old, new)]


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        parts = [f"{key} {_said(each)}" for key, each in value.items() if each or each is None]
        return "; ".join(parts) or "nothing"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value) if value else "none"


def _cut(waves: list[list[str]] | None) -> str:
    return " then ".join("+".join(wave) for wave in waves or []) or "none"
