"""The first half of a deploy, by hand."""

from __future__ import annotations

from typing import Any

from . import cli
from .how import How
from .plan import Options


@cli.writes(ref=cli.REF)
def build(c: Any, how: How, ref: str = "") -> None:
    """Build a release on every host, and switch none to it."""
    with cli.run(c, how, Options("build", ref=ref), source=True) as rollout:
        if rollout:
            rollout.build()
