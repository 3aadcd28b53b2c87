"""What PM2 runs on the hosts already: asked over ssh, and nothing is changed there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..commands import ask, node
from ..commands.shell import Step
from ..errors import safe
from ..fleet import Fleet
from ..inventory.values import Ssh
from .found import Found

App = Mapping[str, Any]  # see runtime/running.cjs


def found_on(hosts: Iterable[str], found: Found) -> dict[str, list[App]]:
    """Ask each host what PM2 runs there; note those that can't be asked."""
    fleet = Fleet({host: Ssh(host) for host in hosts}, lambda phase, host, event: None)
    try:
        for host, why in fleet.open_what_can_be().items():
            found.note(f"{host} was not asked what runs there: {safe(why).splitlines()[0]}")
        steps = [Step("tools", node.tools(None)), Step("running", ask.running())]
        outcomes = fleet.each("init", {host: steps for host, line in fleet.lines.items() if line.alive})
    finally:
        fleet.close()
    for host, outcome in outcomes.items():
        if not outcome.ok:
            found.note(f"{host} could not say what runs there: {safe(outcome.last_words)}")
    events = {host: outcome.last("running") for host, outcome in outcomes.items()}
    return {host: event["apps"] for host, event in events.items() if event}


def read(running: Mapping[str, list[App]], called: str, found: Found) -> None:
    """Find the app in what runs: by its name (`called` is what package.json says), or the only one there is."""
    for host, apps in running.items():
        mine = [app for app in apps if app.get("name") == (found.get("name") or called)]
        if not mine and len({app.get("name") for app in apps}) == 1:
            mine = apps
        if mine:
            _take(mine[0], host, found)
        elif apps:
            others = ", ".join(sorted({safe(app.get("name"))[:40] for app in apps})[:5])
            found.note(f"{host}: PM2 runs {others} there; is the app one of them? Then say so: --name")


def _take(app: App, host: str, found: Found) -> None:
    why = f"PM2 on {host}"
    found.offer("name", app.get("name"), why)
    found.offer("port", app.get("port") or "", why)
    cwd = str(app.get("cwd") or "")
    if app.get("script", "").endswith("/.gapless/gate.cjs"):
        found.offer("root", app["script"].removesuffix("/.gapless/gate.cjs"), why)
        return
    found.offer("root", re.sub(r"/(current|releases/[^/]+|source)(/.*)?$", "", cwd), f"{why}, its directory")
    how = "through npm" if app.get("wrapped") else "in fork mode" if app.get("mode") == "fork" else "without the gate"
    if not found.traps:
        found.traps.append(f"PM2 runs it {how} on {host}: the first deploy must replace it once, with --allow-downtime.")
    if re.search(r"/releases/[^/]+", cwd):
        found.note(f"{host}: PM2 started it from inside {safe(cwd)}, so no reload there ever sees another release")
