"""Ask a person the few things that can't be known; without a terminal nothing is asked."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ..errors import Interrupted
from ..report.terminal import put


def is_possible() -> bool:
    """Say whether somebody sits there who can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _typed(question: str) -> str:
    try:
        return input(question).strip()
    except (KeyboardInterrupt, EOFError):
        put("")
        raise Interrupted("interrupted; nothing was written") from None


def ask(question: str, default: str, check: Callable[[str], object]) -> str:
    """Ask until the answer is one that hosts.yaml takes; nothing typed means the default."""
    while True:
        typed = _typed(f"{question} [{default}]: ") or default
        try:
            check(typed)
        except ValueError as err:
            put(f"  {err}")
        else:
            return typed
