"""Watch the app: what it says, and how it does."""

from __future__ import annotations

from typing import Any

from . import cli
from .how import Seen


@cli.looks(
    follow="go on until Ctrl-C", f="the same", lines="the last N lines of each host; default 50, or with --since all",
    since="deploy (the last reload there), 10m, 2h, 2026-11-24 or 2026-11-24T09:30",
    errors="only stderr, crashes and lines that look like errors",
    release="only what this release wrote", grep="only lines that match a regular expression",
)
def logs(c: Any, seen: Seen, follow: bool = False, f: bool = False, lines: str = "0", since: str = "", errors: bool = False,
         release: str = "", grep: str = "") -> None:
    """
    Show the app's own logs, all hosts merged by time.

    A line is HH:MM:SS.mmm HOST WORKER| TEXT, with ! for | where it went to stderr or tells of a crash. A line without a time of its own
    has that of its neighbour. Secrets of the app are hidden on the host, as everywhere.
    """
    from .look.logs import Logs, wanted

    asked = wanted(cli.number("--lines", lines), since, errors, release, grep, follow or f)
    with cli.look(c, seen) as look:
        if look:
            Logs(look, asked).show()


@cli.looks(once="one table and no repainting, as without a terminal")
def monit(c: Any, seen: Seen, once: bool = False) -> None:
    """
    Show CPU, memory, lag and requests of each worker.

    lag is how late the event loop was (p95 of the last minutes), req/s an average over about a minute, p95 the time of a request: all three
    are PM2's own. Repaints every 2 s on a terminal.
    """
    with cli.look(c, seen) as look:
        if look:
            from .look.monit import Monit

            view = Monit(look)
            if once or not look.page.repaints:
                view.once()
            else:
                view.live()


verbs = (logs, monit)
