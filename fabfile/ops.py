"""Look: what runs, who holds the lock; and take away the lock of what is dead."""

from __future__ import annotations

from typing import Any

from . import cli
from .how import Seen


@cli.looks()
def status(c: Any, seen: Seen) -> None:
    """Show what really runs on each host."""
    with cli.look(c, seen) as fleet:
        if fleet:
            fleet.status()


@cli.looks()
def lock(c: Any, seen: Seen) -> None:
    """Show who holds the deploy lock."""
    with cli.look(c, seen) as fleet:
        if fleet:
            fleet.locks()


@cli.looks(id="the run whose lock to remove, as `fab lock` shows it")
def unlock(c: Any, seen: Seen, id: str = "") -> None:
    """Remove the lock of the one run that you looked at."""
    with cli.look(c, seen) as fleet:
        if fleet:
            fleet.unlock(id)


verbs = (status, lock, unlock)
