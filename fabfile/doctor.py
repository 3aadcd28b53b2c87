"""Look for what would stop a deploy or lose requests, before it does."""

from __future__ import annotations

from typing import Any

from . import cli
from .how import Seen


@cli.looks(fix="mend what is safe to mend: modes, PM2's saved list, missing shared dirs, leftovers and locks of dead runs",
           origins="show where each ssh setting comes from: hosts.yaml or ssh config")
def doctor(c: Any, seen: Seen, fix: bool = False, origins: bool = False) -> None:
    """
    Name what is wrong with each host, and how to mend it.

    Exit code 4 if something would stop a deploy or lose requests. Restarts nothing and ends nothing, with --fix neither.
    """
    with cli.look(c, seen) as fleet:
        if fleet:
            from .look.doctor import Doctor

            Doctor(fleet).examine(fix, origins)
