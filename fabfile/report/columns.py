"""Tables for a screen of a given width: the last column is folded, and a screen that is too narrow for columns gets blocks."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from .summary import table

LEAST = 24  # columns in which folded words can still be read
INDENT = 4
BELOW = "below:"


def fitted(head: Sequence[str], rows: Iterable[Sequence[str]], width: int) -> str:
    """Align columns within `width`; what the last one says in several parts ("a; b") gets a line for each, where it must be folded."""
    rows = [list(row) for row in rows]
    whole = table(head, rows)
    if all(len(line) <= width for line in whole.splitlines()):
        return whole
    *first, _ = (max(len(cell) for cell in column) for column in zip(head, *rows, strict=True))
    offset = sum(first) + 2 * len(first)
    if offset + max(len(head[-1]), len(BELOW)) > width:
        return "\n".join(_block(head, row, width) for row in rows)
    lines = table(head, [[*row[:-1], ""] for row in rows]).splitlines()
    folded = [line for text, row in zip(lines[1:], rows, strict=True) for line in _row(text, row[-1], offset, width)]
    return "\n".join([lines[0], *folded])


def _row(text: str, last: str, offset: int, width: int) -> list[str]:
    """Put the last cell behind its row, or, where there is no room to read it, below."""
    if len(last) <= width - offset:
        return [text.ljust(offset) + last]
    if width - offset >= LEAST:
        first, *rest = _parts(last, width - offset)
        return [text.ljust(offset) + first, *(" " * offset + line for line in rest)]
    return [text.ljust(offset) + BELOW, *(" " * INDENT + line for line in _parts(last, width - INDENT))]


def _parts(text: str, width: int) -> list[str]:
    return [line for part in text.split("; ") for line in folded(part, max(LEAST, width)) or [""]]


def folded(text: str, width: int) -> list[str]:
    """Fold a line between its words; not at hyphens, for releases and flags have some."""
    return textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)


def _block(head: Sequence[str], row: Sequence[str], width: int) -> str:
    """Give a row of many columns as a few lines: its name, and below it the others."""
    margin = 2 + max(map(len, head)) + 2
    lines = [f"{head[0]} {row[0]}"]
    for name, cell in zip(head[1:], row[1:], strict=True):
        first, *rest = _parts(cell, width - margin)
        lines += [f"  {name}".ljust(margin) + first, *(" " * margin + line for line in rest)]
    return "\n".join(lines)
