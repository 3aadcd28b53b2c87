"""Make a large run of a small one: its first lane copied for many hosts, one wave after another."""

from __future__ import annotations

from typing import Any

WAVE = 6  # hosts reloaded together
ROLLING = ("drain", "reload", "restore")


def crowd(events: list[dict[str, Any]], hosts: int) -> list[dict[str, Any]]:
    """Give the events of a run over so many hosts in two groups; lane and counts are those of the small run."""
    names = [f"{'web' if number < hosts * 2 // 3 else 'api'}{number + 1:02}.eu-central.example.com" for number in range(hosts)]
    mine = [event for event in events if event.get("host") == "lab1"]
    turned = next((event["at"] for event in events if event.get("phase") == "roll back"), float("inf"))
    turns = [event["at"] for event in mine if event["phase"] in ROLLING and event["at"] < turned]
    turn = max(turns) - min(turns) + 3
    late = turn * ((hosts - 1) // WAVE)
    end = late * (1 if turned == float("inf") else 2)

    def shift(event: dict[str, Any], wave: float) -> float:
        """Give the seconds by which this comes later than in the small run, for a host of this wave."""
        if event.get("phase") == "finish":
            return end
        if event["at"] >= turned:
            return late + wave * turn
        return wave * turn if event.get("phase") in ROLLING else 0

    found: list[dict[str, Any]] = []
    for event in events:
        if event.get("host"):
            continue
        found.append(_later(event, shift(event, 0) if event["event"] == "phase" and event["phase"] != "reload" else 0))
        if event["event"] == "run":
            found[-1].update(groups={"web": names[: hosts * 2 // 3], "api": names[hosts * 2 // 3:]}, floor=hosts - WAVE)
        if event["event"] == "requests":
            found[-1] = _longer(event, end)
        if event["event"] == "summary":
            found[-1] = {**_later(event, end), "hosts": dict.fromkeys(names, event["hosts"]["lab1"])}
    for number, name in enumerate(names):
        there = number // WAVE + number % WAVE * 0.3 / turn
        found += [_later({**event, "host": name}, shift(event, there)) for event in mine if event["phase"] != "migrate"]
    return sorted(found, key=lambda event: (event["event"] == "summary", event["at"]))


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
