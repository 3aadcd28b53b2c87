"""Take up a run that died: finish it, or take it back."""

from __future__ import annotations

from typing import Any

from . import cli
from .cli import task


@task(help={"hosts": cli.HOSTS, "yes": cli.YES, "verbose": cli.VERBOSE})
def resume(c: Any, hosts: str = "", yes: bool = False, verbose: bool = False) -> None:
    """
    Finish a run whose deployer died, from this machine or another.

    What it had done is read back from the hosts, and not done again; a migration that may have run is never run twice.
    """
    with cli.take_up(c, hosts, "resume", yes=yes, verbose=verbose) as found:
        if found:
            from .run import recovery

            recovery.resume(*found)


@task(help={"hosts": cli.HOSTS, "yes": cli.YES, "verbose": cli.VERBOSE})
def abort(c: Any, hosts: str = "", yes: bool = False, verbose: bool = False) -> None:
    """Take back a run whose deployer died: every host serves what it served before. The database is not touched."""
    with cli.take_up(c, hosts, "abort", yes=yes, verbose=verbose) as found:
        if found:
            from .run import recovery

            recovery.abort(*found)
