"""Choose the face of a run by what was asked for, and by who is watching."""

from __future__ import annotations

import os
from importlib.util import find_spec

from ..errors import UsageError
from .github import Actions
from .jsonlines import JsonLines
from .plain import Plain
from .stream import Face
from .terminal import can_repaint, is_terminal

FORMATS = ("plain", "live", "json")


def checked(format: str) -> str:
    """Give a format that there is, or ""; raise UsageError."""
    if format and format not in FORMATS:
        raise UsageError(f"--format {format}: there is {', '.join(FORMATS)}")
    return format


def chosen(format: str) -> str:
    """
    Give the format to use: the one that was asked for, else github in a GitHub workflow, live for a person at a terminal, plain.

    Raise UsageError for one that there is not. What can't be repainted is plain, even where live was asked for.
    """
    if checked(format) == "live" and not _has_rich():
        raise UsageError("--format live needs rich, which is not installed.\nNext:  pip install 'gapless[pretty]'   or   --format plain")
    if format == "live":
        return "live" if can_repaint() else "plain"
    if format:
        return format
    if os.environ.get("GITHUB_ACTIONS") == "true":
        return "github"
    return "live" if is_terminal() and _has_rich() else "plain"


def _has_rich() -> bool:
    return find_spec("rich") is not None


def face(format: str, verbose: bool = False) -> Face:
    """Make the face of this format."""
    name = chosen(format)
    if name == "live":
        from .live import Live  # what it imports is not everybody's

        return Live(verbose)
    if name == "github":
        return Actions(verbose)
    return JsonLines() if name == "json" else Plain(verbose)
