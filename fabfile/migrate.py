"""The migration, by hand."""

from __future__ import annotations

from typing import Any

from . import cli
from .errors import UsageError
from .how import How
from .plan import Options


@cli.writes(release="which release's migration; default: the newest that is built", again="begin it once more, though it was begun before",
            resolved="say how one ended whose outcome is unknown: done or failed")
def migrate(c: Any, how: How, release: str = "", again: bool = False, resolved: str = "") -> None:
    """
    Run the migration of a built release, once.

    Its outcome is written down on the host that runs it. One whose outcome is unknown stops every later deploy until
    somebody has looked: --resolved.
    """
    if resolved not in ("", "done", "failed"):
        raise UsageError(f"--resolved {resolved}: say done or failed")
    if resolved and (how.plan or how.plan_id):
        raise UsageError("--resolved writes down what you found, and nothing else: there is nothing to plan")
    with cli.run(c, how, Options("migrate", to=release, again=again, resolved=resolved)) as rollout:
        if rollout and resolved:
            rollout.resolve_migration(resolved)
        elif rollout:
            rollout.release = rollout.newest(rollout.options.to)
            rollout.migrate(rollout.options.again)
