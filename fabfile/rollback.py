"""The way back, by hand."""

from __future__ import annotations

from typing import Any

from . import cli
from .cli import task
from .plan import Options


@task(help={"hosts": cli.HOSTS, "to": "the release to go back to; default: each host's last good one before this", "yes": cli.YES,
            "wait": cli.WAIT, "verbose": cli.VERBOSE})
def rollback(c: Any, hosts: str = "", to: str = "", yes: bool = False, wait: str = "", verbose: bool = False) -> None:
    """
    Go back to the last good release, without a build.

    It is a reload like any other, gates and all. The database is not touched: code goes back, the schema does not.
    """
    with cli.run(c, hosts, Options("rollback", to=to), yes=yes, wait=wait, verbose=verbose) as rollout:
        if rollout:
            rollout.reload(rollout.earlier(to, rollout.hosts))
