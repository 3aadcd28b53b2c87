"""The migration, by hand."""

from __future__ import annotations

from typing import Any

from . import cli
from .cli import task
from .plan import Options


@task(help={"hosts": cli.HOSTS, "release": "which release's migration; default: the newest that is built", "yes": cli.YES,
            "verbose": cli.VERBOSE})
def migrate(c: Any, hosts: str = "", release: str = "", yes: bool = False, verbose: bool = False) -> None:
    """Run the migration of a built release, once."""
    with cli.run(c, hosts, Options("migrate", to=release), yes=yes, verbose=verbose) as rollout:
        if rollout:
            rollout.release = rollout.newest(release)
            rollout.migrate()
