"""What stdout can bear, and the one way to print a line: whoever read along may leave at any moment."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress

from ..errors import safe

NARROWEST = 20  # columns; a terminal that says less has not been asked right


def put(line: str) -> bool:
    """Print one whole line, flushed; say whether anybody reads it. Never raise: a reader that leaves must not end a deploy."""
    return _print(safe(line))


def put_painted(head: str, line: str, colour: int) -> bool:
    """Print one line as `put` does, its head in a colour (of ANSI's: 30 to 37, 90 to 97) where colours are wanted."""
    head = safe(head)
    return _print((f"\x1b[{colour}m{head}\x1b[0m" if colourful() else head) + safe(line))


def _print(line: str) -> bool:
    try:
        print(_printable(line), flush=True)
        return getattr(sys.stdout, "name", "") != os.devnull  # put there below, once nobody read any more
    except (BrokenPipeError, ValueError, OSError):
        # Whoever read along has left. The deploy goes on; python would complain once more at exit, and so would fab, which
        # tells errors on stderr: the same pipe or terminal often enough.
        if _lead_to_one_place():
            sys.stderr = open(os.devnull, "w")
        sys.stdout = open(os.devnull, "w")
        return False


def _lead_to_one_place() -> bool:
    with suppress(OSError, ValueError):
        return os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
    return False


def _printable(line: str) -> str:
    """Put question marks for what stdout can't show: an arrow is no reason to fall silent."""
    encoding = sys.stdout.encoding or "utf-8"
    return line.encode(encoding, "replace").decode(encoding)


def is_terminal() -> bool:
    """Say whether a person may be watching: not in CI, and not on a terminal that can't move its cursor."""
    with suppress(OSError, ValueError):
        return sys.stdout.isatty() and not os.environ.get("CI") and os.environ.get("TERM", "dumb") != "dumb"
    return False


def colourful() -> bool:
    """Say whether colours are wanted; NO_COLOR and FORCE_COLOR come before what the terminal is (no-color.org)."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or is_terminal()


def width() -> int:
    """Give the columns of the terminal; COLUMNS comes first."""
    return max(NARROWEST, shutil.get_terminal_size((100, 24)).columns)
