"""Take up a run that died: finish it, or take it back."""

from __future__ import annotations

from typing import Any

from . import cli
from .how import How


@cli.writes()
def resume(c: Any, how: How) -> None:
    """
    Finish a run whose deployer died, from this machine or another.

    What it had done is read back from the hosts, and not done again; a migration that may have run is never run twice.
    """
    with cli.take_up(c, how, "resume") as found:
        if found:
            from .run import recovery

            recovery.resume(*found)


@cli.writes()
def abort(c: Any, how: How) -> None:
    """
    Take back a run whose deployer died.

    Every host serves what it served before it. The database is not touched.
    """
    with cli.take_up(c, how, "abort") as found:
        if found:
            from .run import recovery

            recovery.abort(*found)
