"""The way back, by hand."""

from __future__ import annotations

from typing import Any

from . import cli
from .how import How
from .plan import Options


@cli.writes(to="the release to go back to; default: each host's last good one before this", allow_downtime=cli.DOWNTIME)
def rollback(c: Any, how: How, to: str = "", allow_downtime: bool = False) -> None:
    """
    Go back to the last good release, without a build.

    It is a reload like any other, gates and all. The database is not touched: code goes back, the schema does not.
    """
    with cli.run(c, how, Options("rollback", to=to, allow_downtime=allow_downtime)) as rollout:
        if rollout:
            rollout.reload(rollout.earlier(rollout.options.to, rollout.hosts))
