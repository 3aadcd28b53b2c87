"""Choose the face of a run by what was asked for, and by who is watching."""

from __future__ import annotations

from ..errors import UsageError
from .jsonlines import JsonLines
from .plain import Plain
from .stream import Face

FORMATS = ("plain", "live", "json")


def chosen(format: str) -> str:
    """Give the format to use: the one that was asked for, else live for a person at a terminal, else plain; raise UsageError."""
    if format and format not in FORMATS:
        raise UsageError(f"--format {format}: there is {', '.join(FORMATS)}")
    return format or "plain"


def face(format: str, verbose: bool = False) -> Face:
    """Make the face of this format."""
    return JsonLines() if chosen(format) == "json" else Plain(verbose)
