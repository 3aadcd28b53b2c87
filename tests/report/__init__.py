"""Faces of the event stream, shown two recorded runs of the lab: a good deploy, and one whose second wave failed."""

import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RUNS = {"good": HERE / "good.jsonl", "taken back": HERE / "taken_back.jsonl"}


def records(run: str) -> list[dict[str, Any]]:
    """Give all that a recorded run kept: events, and texts that were said."""
    return [json.loads(line) for line in RUNS[run].read_text().splitlines()]


def events(run: str) -> list[dict[str, Any]]:
    return [record for record in records(run) if "event" in record]


def documented() -> dict[str, set[str]]:
    """Give each kind of event in docs/events.md with the fields that its row names."""
    text = (HERE.parent.parent / "docs/events.md").read_text()
    return {kind: set(re.findall(r"`(\w+)`", fields)) for kind, fields in re.findall(r"^\| `(\w+)` \|(.*?)\|", text, re.MULTILINE)}
