"""What a person decides by hand: how many workers, and which host is out of rotation."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from . import cli
from .how import How, Seen
from .plan import Options

if TYPE_CHECKING:
    from .inventory.values import Targets

REASON = "why, for whoever looks next"


@cli.writes(instances="workers on each host until the next reload: a number, or max for one per core",
            process="which, where a host runs several")
def scale(c: Any, how: How, instances: str = "", process: str = "") -> None:
    """
    Change the number of workers now, without a reload.

    New ones open behind the gate like every other; those that leave finish what they have.
    """
    options, text = Options("scale", instances=instances, process=process), ""
    with cli.run(c, how, options) as rollout:
        if rollout:
            rollout.reload(rollout.existing(""))
            text = cli.unlike_yaml(rollout)
    if text:
        cli.say(how, text)


@cli.looks(reason=REASON, yes=cli.HELP["yes"], allow_downtime="take out the last one in rotation, too")
def drain(c: Any, seen: Seen, reason: str = "", yes: bool = False, allow_downtime: bool = False) -> None:
    """
    Take hosts out of rotation, until somebody restores them.

    Waits for the sessions that they have, drain_timeout at most. Deploys leave them out.
    """
    with cli.look(c, seen, partial(_refuse, seen, yes)) as fleet:
        if fleet:
            from .look import hands

            hands.drain(fleet, reason, allow_downtime)


@cli.looks(yes=cli.HELP["yes"], force="put back what is not healthy, too")
def restore(c: Any, seen: Seen, yes: bool = False, force: bool = False) -> None:
    """Put hosts back into rotation, and see them answer."""
    with cli.look(c, seen, partial(_refuse, seen, yes)) as fleet:
        if fleet:
            from .look import hands

            hands.restore(fleet, force)


def _refuse(seen: Seen, yes: bool, chosen: Targets) -> None:
    from .look import hands

    hands.refuse_without_balancer(chosen)
    cli.confirm(chosen, seen, yes)


verbs = (scale, drain, restore)
