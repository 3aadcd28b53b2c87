"""Who holds the locks; and take away the lock of what is dead."""

from __future__ import annotations

import time
from collections.abc import Mapping

from .. import ownership
from ..commands import lock
from ..commands.shell import Step
from ..errors import RunFailed, UsageError
from ..run.claim import held_by
from ..transport import Outcome
from .view import Look, refuse_unread, unheard


def show(look: Look) -> None:
    """Print who holds the lock of each host; raise Unsettled where nobody could be asked."""
    asked = owners(look)
    look.page.table("host", ["host", "lock", "who", "doing", "since", "run"], [row(*item) for item in asked.items()])
    refuse_unknown(look, asked)


def owners(look: Look) -> dict[str, Outcome]:
    """Ask every host who holds its lock: event `held` or `free`, or neither where it can't be read."""
    return look.each("lock", lambda host: [Step("lock", lock.show(host.app.root))])


def row(name: str, outcome: Outcome) -> list[str]:
    held = outcome.last("held")
    if held is None:
        return [name, "free" if outcome.last("free") else f"? ({outcome.last_words})", "-", "-", "-", "-"]
    owner = held["owner"]
    if not isinstance(owner, Mapping):
        return [name, "held", "unknown owner", "-", "-", "-"]
    age = f"{int(time.time() - owner['at'])} s ago"
    doing = f"{owner['verb']}, {held['phase']}" if held["phase"] else owner["verb"]
    why = ownership.gone(held)
    return [name, f"held; {why}" if why else "held", f"{owner['who']}@{owner['from']}", doing, age, owner["run"]]


def unlock(look: Look, run: str) -> None:
    """Remove the locks of exactly this run; raise Unsettled where nobody could be asked."""
    if not run:
        raise UsageError("say which run's lock: --id RUN; `fab lock` shows it")
    asked = owners(look)
    mine = {name for name, each in held_by(asked).items() if ownership.run_of(each) == run}
    outcomes = look.fleet.each("unlock", {name: [Step("unlock", lock.drop(look.hosts[name].app.root, run))] for name in mine})
    if bad := [name for name, outcome in outcomes.items() if not outcome.ok]:
        raise RunFailed(f"{', '.join(bad)}: the lock could not be removed")
    if mine:
        look.page.say(f"unlocked: {', '.join(sorted(mine))}")
    refuse_unknown(look, asked)
    if not mine:
        raise UsageError(f"no host named here is locked by run {run}; see: fab lock --hosts {look.targets.selector}")


def refuse_unknown(look: Look, asked: Mapping[str, Outcome]) -> None:
    """Raise Unsettled that names the hosts whose lock nobody knows."""
    refuse_unread(unheard(asked, "held", "free"), ", and may be locked", f"fab doctor --hosts {look.targets.selector}")
