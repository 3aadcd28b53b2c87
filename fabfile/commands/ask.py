"""Programs that run on a host for one look: they are sent along, and leave nothing there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from .pm2 import source
from .shell import Shell, call, cmd, here, path

LOGS = ("logs.cjs", "lines.cjs", "tails.cjs", "writers.cjs", "passed.cjs", "secrets.cjs", "mask.cjs", "truth.cjs")
EXECUTE = ("execute.cjs", "tails.cjs", "passed.cjs", "secrets.cjs", "mask.cjs", "truth.cjs")
MONIT = ("monit.cjs", "truth.cjs")
RUNNING = ("running.cjs", "truth.cjs")


def logs(root: str, wanted: Mapping[str, object]) -> Shell:
    """Report the app's own words as events `entries`, and `told` when all that there was is told; logs.cjs says what `wanted` holds."""
    order = call("clean_node", cmd("-e", source("loader.cjs")), path(root), Shell('"$pm2_dir"'), cmd(json.dumps(dict(wanted))))
    return Shell(f"{order} {here(json.dumps(program(LOGS)))}")


def execute(root: str, wanted: Mapping[str, object]) -> Shell:
    """Run a person's command as the login's own environment has it; events `output` as it comes, and `ended`."""
    order = call("node", cmd("-e", source("loader.cjs")), path(root), Shell('"$pm2_dir"'), cmd(json.dumps(dict(wanted))))
    return Shell(f"{order} {here(json.dumps(program(EXECUTE)))}")


def monit(root: str, wanted: Mapping[str, object]) -> Shell:
    """Report what the workers use and do, as an event `sample`, once or again and again."""
    order = call("clean_node", cmd("-e", source("loader.cjs")), path(root), Shell('"$pm2_dir"'), cmd(json.dumps(dict(wanted))))
    return Shell(f"{order} {here(json.dumps(program(MONIT)))}")


def running() -> Shell:
    """Report all that PM2 runs for this user as one event `running`; writes nothing, needs nothing installed."""
    order = call("clean_node", cmd("-e", source("loader.cjs")), Shell('"$pm2_dir"'))
    return Shell(f"{order} {here(json.dumps(program(RUNNING)))}")


def login(root: str) -> Shell:
    """Open the login's own shell where the app is; the app may not be there yet."""
    there = Shell(f'cd {path(root)}/current 2>/dev/null || cd {path(root)} 2>/dev/null; exec "${{SHELL:-/bin/sh}}" -l')
    return cmd("exec", "sh", "-c", there)


def program(scripts: Iterable[str]) -> dict[str, object]:
    """Give what loader.cjs reads: the program, which is the first, and what it requires."""
    names = list(scripts)
    return {"program": names[0], "scripts": {name: source(name) for name in names}}
