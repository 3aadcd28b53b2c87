"""The json face: every event as one JSON object on a line; the first names the schema, the last is the summary."""

from __future__ import annotations

import json

from .stream import Event
from .terminal import put


class JsonLines:
    """Print each event whole; what is said to people is left to the other faces, the summary holds it."""

    def show(self, event: Event) -> None:
        put(json.dumps(dict(event)))

    def say(self, text: str) -> None:
        """Say nothing: a line of words is no JSON."""

    def close(self) -> None:
        """Nothing is open."""
