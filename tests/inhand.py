"""How many workers of a host were being replaced at the same time, from what its driver told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def in_hand(told: Iterable[Mapping[str, Any]]) -> list[int]:
    """Say how many were in hand after each event that told of a worker, of one host's events in their order."""
    booting: set[int] = set()
    counts = []
    for event in told:
        if event.get("event") == "worker":
            (booting.discard if event["state"] == "open" else booting.add)(event["id"])
            counts.append(len(booting))
    return counts
