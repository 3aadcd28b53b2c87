"""PM2 on one host, through our own scripts on its module: never through its CLI, whose exit code proves nothing."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..inventory.values import Process
from .shell import Shell, call, cmd, path

RUNTIME = Path(__file__).parent.parent / "runtime"
INSTALLED = ("gate.cjs", "truth.cjs", "journal.cjs", "saved.cjs", "driver.cjs", "migrate.cjs", "mask.cjs", "secrets.cjs")


@functools.cache
def _source(name: str) -> str:
    return (RUNTIME / name).read_text(encoding="utf-8")


def _here(text: str) -> str:
    """Wrap text as a here-document; its end mark can't stand in JavaScript or JSON."""
    return f"<<'@END@'\n{text.rstrip()}\n@END@"


def facts(root: str, processes: Iterable[Process]) -> Shell:
    """Report the truth of the host as one event `facts`; writes nothing, needs nothing installed."""
    named = [f"{each.name}={each.port}" if each.port else each.name for each in processes]
    order = call("clean_node", cmd("-"), path(root), Shell('"$pm2_dir"'), cmd(*named))
    return Shell(f"{order} {_here(_source('truth.cjs'))}")


def install(root: str) -> Shell:
    """Write our scripts into the host's .gapless/, each by rename: PM2 may start the gate at any moment."""
    writes = [Shell(f"mkdir -p -m 700 {path(root)}/.gapless/run")]
    for name in INSTALLED:
        file = path(f"{root}/.gapless/{name}")
        writes.append(Shell(f"cat >{file}.next {_here(_source(name))}\nmv {file}.next {file}"))
    return Shell("\n".join(writes))


def start(root: str, run: str, script: str, plan: Mapping[str, object]) -> Shell:
    """Start detached work (driver or migrate) with its plan on stdin, and follow it to its final event."""
    order = call("clean_node", path(f"{root}/.gapless/{script}.cjs"), cmd("start"), path(root), cmd(run))
    return Shell(f"{order} {_here(json.dumps(dict(plan)))}")


def follow(root: str, run: str, script: str) -> Shell:
    """Follow work that was started before, to its final event."""
    return call("clean_node", path(f"{root}/.gapless/{script}.cjs"), cmd("follow"), path(root), cmd(run))
