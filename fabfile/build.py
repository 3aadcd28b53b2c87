"""The first half of a deploy, by hand."""

from __future__ import annotations

from typing import Any

from . import cli
from .how import How
from .plan import Options


@cli.writes(ref=cli.REF, artifact=cli.ARTIFACT, sha256=cli.SHA256)
def build(c: Any, how: How, ref: str = "", artifact: str = "", sha256: str = "") -> None:
    """Build a release on every host, and switch none to it."""
    parcel = cli.packed(artifact, sha256)
    with cli.run(c, how, Options("build", ref=ref), source=True, parcel=parcel) as rollout:
        if rollout:
            rollout.build()
