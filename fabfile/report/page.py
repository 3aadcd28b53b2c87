"""What a look found: tables and words for people, or one JSON object a line for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import GaplessError
from .faces import chosen
from .stream import SCHEMA
from .summary import table
from .terminal import put


class Page:
    """Print to stdout; `json` says that programs read, and that words are left out."""

    def __init__(self, format: str = "") -> None:
        self.json = chosen(format) == "json"

    def table(self, kind: str, head: Sequence[str], rows: Iterable[Sequence[str]], records: Iterable[Mapping[str, Any]] = ()) -> None:
        """Show rows under their heads; as JSON an event `kind` each, with all that its record knows beside what the row shows."""
        rows = list(rows)
        if not self.json:
            self.say(table(head, rows))
            return
        more = list(records) or [{}] * len(rows)
        for row, record in zip(rows, more, strict=True):
            self.tell(kind, **{**dict(zip(head, row, strict=True)), **record})

    def say(self, text: str) -> None:
        """Say something to a person."""
        if not self.json:
            for line in text.splitlines():
                put(line)

    def tell(self, event: str, **fields: Any) -> None:
        """Say something to a program."""
        if self.json:
            put(json.dumps({"event": event, **fields}))

    @contextmanager
    def ended(self) -> Iterator[None]:
        """End a look with the line `summary` for programs: exit code and message."""
        with self.refused():
            yield
        self.tell("summary", schema=SCHEMA, exit=0, message="")

    @contextmanager
    def refused(self) -> Iterator[None]:
        """Tell programs of an error that no run has told them of in its own summary."""
        try:
            yield
        except GaplessError as err:
            if not err.told:
                self.tell("summary", schema=SCHEMA, exit=err.code, message=err.message)
            raise
