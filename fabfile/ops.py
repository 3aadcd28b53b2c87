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
def health(c: Any, seen: Seen) -> None:
    """Ask every worker for its health, now."""
    with cli.look(c, seen) as look:
        if look:
            from .look import health as looked

            looked.show(look)


@cli.looks()
def releases(c: Any, seen: Seen) -> None:
    """Show the releases on each host."""
    with cli.look(c, seen) as look:
        if look:
            from .look import releases as looked

            looked.show(look)


@cli.looks(lines="how many runs to show, the newest ones")
def history(c: Any, seen: Seen, lines: str = "20") -> None:
    """Show who did what here, and how it ended."""
    from .look import history as looked

    count = cli.number("--lines", lines)
    with cli.look(c, seen, lambda chosen: looked.check(count)) as look:
        if look:
            looked.show(look, count)


@cli.looks(ref=cli.REF, to="a release that is built on the hosts, instead of a ref")
def diff(c: Any, seen: Seen, ref: str = "", to: str = "") -> None:
    """Show the commits between what runs and a ref."""
    from .look import diff as looked

    with cli.look(c, seen, looked.meant(ref, to)) as look:
        if look:
            looked.show(look, ref, to)


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


verbs = (status, health, releases, history, diff, lock, unlock)
