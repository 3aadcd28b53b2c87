"""Reload what is there: all groups side by side, or one host at a time."""

from __future__ import annotations

from typing import Any

from . import cli
from .cli import task
from .plan import Options


@task(help={
    "hosts": cli.HOSTS, "to": "a release that is built, or `newest`; default: the one that runs",
    "max-parallel": "hosts of a group reloaded together: N or N%", "allow-downtime": cli.DOWNTIME, "yes": cli.YES,
    "wait": cli.WAIT, "verbose": cli.VERBOSE,
})
def reload(c: Any, hosts: str = "", to: str = "", max_parallel: str = "", allow_downtime: bool = False, yes: bool = False,
           wait: str = "", verbose: bool = False) -> None:
    """
    Reload every host behind the gate, groups side by side.

    Worker by worker; each new one reads its env file afresh. One that does not prove healthy never gets a request.
    """
    _reload(c, hosts, Options("reload", to=to, max_parallel=cli.widths(max_parallel), allow_downtime=allow_downtime), yes, wait, verbose)


@task(help={"hosts": cli.HOSTS, "to": "a release that is built, or `newest`; default: the one that runs", "yes": cli.YES,
            "wait": cli.WAIT, "verbose": cli.VERBOSE})
def rolling(c: Any, hosts: str = "", to: str = "", yes: bool = False, wait: str = "", verbose: bool = False) -> None:
    """Reload one host at a time; all others keep serving."""
    _reload(c, hosts, Options("rolling", to=to, max_parallel=("1",), one_group_at_a_time=True), yes, wait, verbose)


def _reload(c: Any, hosts: str, options: Options, yes: bool, wait: str, verbose: bool) -> None:
    with cli.run(c, hosts, options, yes=yes, wait=wait, verbose=verbose) as rollout:
        if rollout:
            rollout.reload(rollout.existing(options.to))
