"""Look: what runs, who holds the lock; and take away the lock of what is dead."""

from __future__ import annotations

from typing import Any

from . import cli
from .how import Seen


@cli.looks(
    workers="list the workers of every host, not only where something is wrong with them",
    watch="look again every 2 seconds until Ctrl-C; the exit code is that of the last look",
)
def status(c: Any, seen: Seen, workers: bool = False, watch: bool = False) -> None:
    """Show what really runs on each host."""
    with cli.look(c, seen) as look:
        if look:
            from .look import rounds
            from .look import status as looked

            (rounds.watch if watch else looked.show)(look, workers)


@cli.looks()
def lock(c: Any, seen: Seen) -> None:
    """Show who holds the deploy lock."""
    with cli.look(c, seen) as look:
        if look:
            from .look import locks

            locks.show(look)


@cli.looks(id="the run whose lock to remove, as `fab lock` shows it")
def unlock(c: Any, seen: Seen, id: str = "") -> None:
    """Remove the lock of the one run that you looked at."""
    with cli.look(c, seen) as look:
        if look:
            from .look import locks

            locks.unlock(look, id)


verbs = (status, lock, unlock)
