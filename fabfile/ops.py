"""Look and touch: one phase, no release."""

from __future__ import annotations

from typing import Any

from . import cli
from .cli import task


@task(help={"hosts": cli.HOSTS})
def status(c: Any, hosts: str = "") -> None:
    """Show what really runs on each host."""
    with cli.look(c, hosts) as fleet:
        if fleet:
            fleet.status()


@task(help={"hosts": cli.HOSTS})
def lock(c: Any, hosts: str = "") -> None:
    """Show who holds the deploy lock."""
    with cli.look(c, hosts) as fleet:
        if fleet:
            fleet.locks()


@task(help={"hosts": cli.HOSTS, "id": "the run whose lock to remove, as `fab lock` shows it"})
def unlock(c: Any, hosts: str = "", id: str = "") -> None:
    """Remove the lock of the one run that you looked at."""
    with cli.look(c, hosts) as fleet:
        if fleet:
            fleet.unlock(id)


verbs = (status, lock, unlock)
