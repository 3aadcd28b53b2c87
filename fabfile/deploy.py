"""The main job."""

from __future__ import annotations

from typing import Any

from . import cli
from .how import How
from .plan import Options


@cli.writes(ref=cli.REF, artifact=cli.ARTIFACT, sha256=cli.SHA256, max_parallel=cli.WIDTH, allow_downtime=cli.DOWNTIME)
def deploy(c: Any, how: How, ref: str = "", artifact: str = "", sha256: str = "", max_parallel: str = "",
           allow_downtime: bool = False) -> None:
    """
    Build a release, migrate once, reload; lose no request.

    A build that fails anywhere switches no host. A host whose new workers do not prove healthy goes back by itself, the
    waves after it do not start, and the hosts already done go back too (on_failure).
    """
    parcel = cli.packed(artifact, sha256)
    options = Options("deploy", ref=ref, max_parallel=cli.widths(max_parallel), allow_downtime=allow_downtime)
    with cli.run(c, how, options, source=True, parcel=parcel) as rollout:
        if rollout:
            rollout.build()
            rollout.migrate()
            rollout.reload(dict.fromkeys(rollout.hosts, rollout.release))
