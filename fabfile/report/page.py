"""What a look found: tables and words for people, or one JSON object a line for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import GaplessError
from .columns import fitted, folded
from .faces import checked
from .stream import SCHEMA
from .summary import table
from .terminal import is_terminal, paint, put, width


class Page:
    """Print to stdout; `json` says that programs read, and that words are left out."""

    def __init__(self, format: str = "") -> None:
        self.json = checked(format) == "json"
        self.repaints = checked(format) in ("", "live") and is_terminal()
        self._picture: list[str] | None = None  # lines of a look that is to take the place of the one before

    def table(self, kind: str, head: Sequence[str], rows: Iterable[Sequence[str]], records: Iterable[Mapping[str, Any]] = ()) -> None:
        """Show rows under their heads; as JSON an event `kind` each, with all that its record knows beside what the row shows."""
        rows = list(rows)
        if not self.json:
            # A log keeps each row in one line, whatever its length: there it is looked for by other means than eyes.
            self.say(fitted(head, rows, width()) if is_terminal() else table(head, rows))
            return
        more = list(records) or [{}] * len(rows)
        for row, record in zip(rows, more, strict=True):
            self.tell(kind, **{**dict(zip(head, row, strict=True)), **record})

    def say(self, text: str) -> None:
        """Say something to a person."""
        if not self.json:
            for line in text.split("\n"):
                if self._picture is None:
                    put(line)
                else:
                    self._picture.append(line)

    def tell(self, event: str, **fields: Any) -> None:
        """Say something to a program."""
        if self.json:
            put(json.dumps({"event": event, **fields}))

    @contextmanager
    def again(self, head: str) -> Iterator[None]:
        """Have what is said inside take the place of what was said before, on a terminal; elsewhere it stands below, under `head`."""
        if not self.repaints:
            self.say(head)
            self.tell("look", at=round(time.time(), 1))
            yield
            return
        self._picture = [head]
        try:
            yield
            paint([part for line in self._picture for part in (folded(line, width()) if len(line) > width() else [line])])
        finally:
            self._picture = None

    @contextmanager
    def ended(self) -> Iterator[None]:
        """End a look with the line `summary` for programs: exit code and message."""
        with self.refused():
            yield
        self.tell("summary", schema=SCHEMA, exit=0, message="")

    @contextmanager
    def refused(self) -> Iterator[None]:
        """Tell programs of an error that nobody has told them of before: a run does so in its own summary."""
        try:
            yield
        except GaplessError as err:
            if not err.told:
                self.tell("summary", schema=SCHEMA, exit=err.code, message=err.message)
            err.told = True
            raise
