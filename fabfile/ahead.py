"""What is shown of a command before it runs: its plan, what is asked with it, and a plan that is applied."""

from __future__ import annotations

from collections.abc import Callable

from .basis import Forecast
from .errors import GaplessError, LockHeld, UsageError
from .how import How
from .inventory.values import Targets
from .look import foresight, saved
from .plan import Options
from .report import outlook
from .report.page import Page
from .run.rollout import Rollout


def kept(how: How) -> Forecast:
    """Read the plan of --plan-id, which is to be applied."""
    if how.plan:
        raise UsageError("--plan makes a plan, --plan-id applies one; say one of them")
    return saved.load(how.plan_id)


def agreed(plan: Forecast, typed: Options, named: str) -> Options:
    """Give the flags of a plan that is applied; raise UsageError where something else was typed with it."""
    if named != plan["selector"]:
        raise UsageError(f"--hosts {named} is not what plan {plan['plan_id']} says ({plan['selector']}); leave it out, or plan anew")
    return saved.agreed(plan, typed)


def holding_to(plan: Forecast, commit: str) -> Callable[[Rollout], None]:
    """Make the check of a run that applies a plan."""
    return foresight.hold_to(plan, commit)


def foretell(targets: Targets, options: Options, commit: str, page: Page) -> None:
    """Show what a command would do, keep it as a plan, and end as the command would if something stands in its way."""
    made = foresight.foresee(targets, options, commit)
    saved.save(made)
    page.tell(**made)
    page.say("\n".join(filter(None, (outlook.told(made), outlook.following(made)))))
    _end_as(made, told=page.json)


def show(targets: Targets, options: Options, commit: str, page: Page, patience: float) -> None:
    """Show shortly what is ahead to somebody who is asked whether to go on; raise at once what would be the end of it anyway."""
    made = foresight.foresee(targets, options, commit)
    page.say(outlook.told_shortly(made))
    if made["exit"] != LockHeld.exit_code or not (patience or options.verb == "deploy"):
        _end_as(made)


def _end_as(made: Forecast, told: bool = False) -> None:
    """Raise what stands against a plan; `told` says that a program has read it there."""
    if made["exit"]:
        error = GaplessError(made["message"], made["exit"])
        error.told = told
        raise error
