"""The first half of a deploy, by hand."""

from __future__ import annotations

from typing import Any

from . import cli
from .cli import task
from .plan import Options


@task(help={"hosts": cli.HOSTS, "ref": cli.REF, "yes": cli.YES, "wait": cli.WAIT, "verbose": cli.VERBOSE})
def build(c: Any, hosts: str = "", ref: str = "", yes: bool = False, wait: str = "", verbose: bool = False) -> None:
    """Build a release on every host, and switch none to it."""
    with cli.run(c, hosts, Options("build", ref=ref), yes=yes, wait=wait, verbose=verbose, source=True) as rollout:
        if rollout:
            rollout.build()
