"""What stdout can bear, and the one way to print a line: whoever read along may leave at any moment."""

from __future__ import annotations

import os
import shutil
import sys
import zlib
from collections.abc import Sequence
from contextlib import suppress

from ..errors import safe

NARROWEST = 20  # columns; a terminal that says less has not been asked right
COLOURS = (32, 33, 34, 35, 36, 92, 94, 95, 96)  # of ANSI's; red is for what is wrong
PLAIN_SIGNS = str.maketrans({"─": "-", "·": "-", "→": ">", "…": "~"})  # one column each, like what they stand for


def put(line: str) -> None:
    """Print one whole line, flushed; never raise, for a reader that leaves must not end a deploy."""
    write(f"{safe(line)}\n")


def put_headed(whose: str, head: str, line: str) -> None:
    """Print one whole line as `put` does; its head has the colour of `whose`, the same each time, where colours are wanted."""
    colour = COLOURS[zlib.crc32(whose.encode()) % len(COLOURS)]
    head = f"\x1b[{colour}m{safe(head)}\x1b[0m" if colourful() else safe(head)
    write(f"{head}{safe(line)}\n")


def write(text: str) -> None:
    """Write text that is ours, escape sequences and all; never raise."""
    if sys.stdout is None:
        return  # closed before we began
    try:
        sys.stdout.write(printable(text))
        sys.stdout.flush()
    except (ValueError, OSError):
        # Whoever read along has left. The deploy goes on; python would complain once more at exit, and so would fab, which
        # tells errors on stderr: the same pipe or terminal often enough.
        if _lead_to_one_place():
            sys.stderr = open(os.devnull, "w")
        sys.stdout = open(os.devnull, "w")


def is_read() -> bool:
    """Say whether somebody may still be reading along; what has no end by itself ends with its reader."""
    return getattr(sys.stdout, "name", "") != os.devnull


def paint(lines: Sequence[str]) -> None:
    """Show these lines in place of the whole screen; what the screen can't hold is said in its last line."""
    columns, rows = shutil.get_terminal_size((100, 24))
    shown = list(lines)
    if len(shown) > rows - 1:
        shown = [*shown[:rows - 2], f"... {len(shown) - rows + 2} more lines; a higher window shows them"]
    # Home, each line and what was right of it, and what was below: nothing is cleared before its successor is there.
    text = "\x1b[H" + "".join(f"{printable(safe(line))[:columns]}\x1b[K\n" for line in shown) + "\x1b[J"
    write(text)


def _lead_to_one_place() -> bool:
    with suppress(OSError, ValueError, AttributeError):
        return os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
    return False


def printable(text: str) -> str:
    """Put plain signs, or question marks, for what stdout can't show: an arrow is no reason to fall silent."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(PLAIN_SIGNS)
    return text.encode(encoding, "replace").decode(encoding)


def is_terminal() -> bool:
    """Say whether a person may be watching: not in CI, and not on a terminal that can't move its cursor."""
    return can_repaint() and not os.environ.get("CI")


def can_repaint() -> bool:
    """Say whether stdout is a terminal that can move its cursor."""
    with suppress(OSError, ValueError, AttributeError):
        return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return False


def colourful() -> bool:
    """Say whether colours are wanted; NO_COLOR and FORCE_COLOR come before what the terminal is (no-color.org)."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or is_terminal()


def size() -> os.terminal_size:
    """Give the columns and rows that the terminal really has now, whatever COLUMNS says: a repaint must not miss its own lines."""
    with suppress(OSError, ValueError, AttributeError):
        found = os.get_terminal_size(sys.stdout.fileno())
        if found.columns and found.lines:
            return found
    return os.terminal_size((80, 24))


def width() -> int:
    """Give the columns of the terminal; COLUMNS comes first."""
    return max(NARROWEST, shutil.get_terminal_size((100, 24)).columns)
