"""Make a large run of a small one: its first lane copied for many hosts, one wave after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

WAVE = 6  # hosts reloaded together
ROLLING = ("drain", "reload", "restore")


def crowd(events: list[dict[str, Any]], hosts: int) -> list[dict[str, Any]]:
    """Give the events of a run over so many hosts in two groups; lane and counts are those of the small run."""
    names = [f"{'web' if number < hosts * 2 // 3 else 'api'}{number + 1:02}.eu-central.example.com" for number in range(hosts)]
    waves = (hosts + WAVE - 1) // WAVE
    mine = [event for event in events if event.get("host") == "lab1"]
    turns = [event["at"] for event in mine if event["phase"] in ROLLING]
    turn = max(turns) - min(turns) + 3
    late = turn * (waves - 1)
    found: list[dict[str, Any]] = []
    for event in events:
        if event.get("host"):
            continue
        found.append(_later(event, late if event.get("phase") in ("finish", "roll back") else 0))
        if event["event"] == "run":
            found[-1]["groups"] = {"web": names[: hosts * 2 // 3], "api": names[hosts * 2 // 3:]}
            found[-1]["floor"] = hosts - WAVE
        if event["event"] == "requests":
            found[-1] = _longer(event, late)
        if event["event"] == "summary":
            found[-1]["hosts"] = dict.fromkeys(names, event["hosts"]["lab1"])
    for number, name in enumerate(names):
        found += _lane(mine, name, turn * (number // WAVE) + number % WAVE * 0.3, late)
    return sorted(found, key=lambda event: (event["event"] == "summary", event["at"]))


def _lane(mine: list[dict[str, Any]], name: str, shift: float, late: float) -> Iterator[dict[str, Any]]:
    for event in mine:
        if event["phase"] != "migrate":
            by = shift if event["phase"] in ROLLING else late if event["phase"] == "finish" else 0
            yield _later({**event, "host": name}, by)


def _later(event: dict[str, Any], by: float) -> dict[str, Any]:
    return {**event, "at": event["at"] + by}


def _longer(event: dict[str, Any], by: float) -> dict[str, Any]:
    """Repeat the series until it fills the longer run."""
    longer = event["seconds"] + by
    tallies = []
    for tally in event["tallies"]:
        cells = int(longer / tally["series"]["step"]) + 1
        series = {key: (tally["series"][key] * cells)[:cells] for key in ("sent", "failed", "p99")}
        tallies.append({**tally, "series": {**series, "step": tally["series"]["step"]}})
    return {**event, "at": event["at"] + by, "seconds": longer, "tallies": tallies}
