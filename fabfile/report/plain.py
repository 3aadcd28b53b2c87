"""The plain face: one whole line per event, flushed, with the host in front; for pipes, files and CI."""

from __future__ import annotations

import json

from .stream import Event
from .telling import clock, told
from .terminal import put


class Plain:
    """Print events as they come."""

    def __init__(self, verbose: bool = False) -> None:
        self.verbose = verbose

    def show(self, event: Event) -> None:
        try:
            text = told(event["phase"], event["host"], event, self.verbose)
        except (KeyError, TypeError):  # a host with another version of our scripts; a face must never end a deploy
            text = f"{event['host']:<8} {json.dumps(dict(event))}"
        if text:
            put(f"{clock(event['at'])} {text}")

    def say(self, text: str) -> None:
        for line in text.splitlines():
            put(line)

    def close(self) -> None:
        """Nothing is open."""
