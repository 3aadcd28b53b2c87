"""Reload what is there: all groups side by side, or one host at a time."""

from __future__ import annotations

from typing import Any

from . import cli
from .how import How
from .plan import Options

TO = "a release that is built, or `newest`; default: the one that runs"


@cli.writes(to=TO, max_parallel=cli.WIDTH, allow_downtime=cli.DOWNTIME)
def reload(c: Any, how: How, to: str = "", max_parallel: str = "", allow_downtime: bool = False) -> None:
    """
    Reload every host behind the gate, groups side by side.

    Worker by worker, two at once on a drained host; each new one reads its env file afresh. One that does not prove
    healthy never gets a request.
    """
    _reload(c, how, Options("reload", to=to, max_parallel=cli.widths(max_parallel), allow_downtime=allow_downtime))


@cli.writes(to=TO, allow_downtime=cli.DOWNTIME)
def rolling(c: Any, how: How, to: str = "", allow_downtime: bool = False) -> None:
    """Reload one host at a time; all others keep serving."""
    _reload(c, how, Options("rolling", to=to, max_parallel=("1",), one_group_at_a_time=True, allow_downtime=allow_downtime))


def _reload(c: Any, how: How, options: Options) -> None:
    with cli.run(c, how, options) as rollout:
        if rollout:
            rollout.reload(rollout.existing(rollout.options.to))
