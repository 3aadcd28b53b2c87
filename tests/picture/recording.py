"""
Keep a real run as a fixture: its events without what is this machine's, or nobody's to know.

    python -m tests.picture.recording <state>/gapless/<run>/run.jsonl >tests/picture/good.jsonl
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
RECORDED = ("good", "throws", "second", "interrupted", "cut")
FACTS = ("event", "at", "phase", "host")
PLAIN = {"who": "lena", "from": "desk", "boot": "", "pid": 0, "start": ""}


def recorded(name: str) -> list[dict[str, Any]]:
    """Give the events of a recorded run, fresh each time."""
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]


def plain(events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Take out paths, users and the like; what a report reads stays."""
    for event in events:
        if event.get("event") == "facts":
            kept = {key: event[key] for key in FACTS}
            yield {**kept, "current": event["current"], "processes": [{"name": each["name"]} for each in event["processes"]]}
        elif event.get("event") == "run":
            yield {**event, **PLAIN}
        elif event.get("event") == "summary":
            yield {**event, "log": f"~/.local/state/gapless/{event['run']}"}
        elif "text" not in event or "event" in event:
            yield event


def main() -> None:
    for line in Path(sys.argv[1]).read_text().splitlines():
        for event in plain([json.loads(line)]):
            print(json.dumps(event))


if __name__ == "__main__":
    main()
