"""The main job."""

from __future__ import annotations

from typing import Any

from . import cli
from .cli import task
from .plan import Options


@task(help={
    "hosts": cli.HOSTS, "ref": cli.REF, "max-parallel": "hosts of a group reloaded together: N or N%",
    "allow-downtime": cli.DOWNTIME, "yes": cli.YES, "wait": cli.WAIT, "verbose": cli.VERBOSE,
})
def deploy(c: Any, hosts: str = "", ref: str = "", max_parallel: str = "", allow_downtime: bool = False, yes: bool = False,
           wait: str = "", verbose: bool = False) -> None:
    """
    Build a release, migrate once, reload; lose no request.

    A build that fails anywhere switches no host. A host whose new workers do not prove healthy goes back by itself, the
    waves after it do not start, and the hosts already done go back too (on_failure).
    """
    options = Options("deploy", ref=ref, max_parallel=cli.widths(max_parallel), allow_downtime=allow_downtime)
    with cli.run(c, hosts, options, yes=yes, wait=wait, verbose=verbose, source=True) as rollout:
        if rollout:
            rollout.build()
            rollout.migrate()
            rollout.reload(dict.fromkeys(rollout.hosts, rollout.release))
