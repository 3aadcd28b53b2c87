"""Put an env file on every host, or on none: checked on all first, then written by rename."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..commands import lock
from ..commands.shell import Step
from ..errors import PreflightFailed, Unsettled
from ..given import Change
from ..run.moment import moment, remembered
from .envfiles import Envs, named, tell_changes, unread
from .view import Look


def push(look: Look, change: Change, files: Mapping[str, str]) -> None:
    """Change these files (host to name in shared/); nothing that runs reads them before its next reload."""
    if look.unreachable:
        told = "\n".join(f"  {name}: {why}" for name, why in look.unreachable.items() if name in look.hosts)
        if told:
            raise PreflightFailed(f"not every host can be reached; nothing was written.\n{told}")
    with remembered(look.fleet, look.hosts, "env.push") as deed, moment(look.fleet, look.hosts, look.targets.selector, deed.owner):
        envs = Envs(look, show=False)
        changes = envs.compare(change, files)
        _refuse(envs, changes)
        wanted = [name for name, each in changes.items() if not each["same"]]
        deed.did |= {name: f"{files[name]}: {', '.join(_names(changes[name]))}" for name in wanted}
        if wanted:
            _write(look, envs, change, {name: files[name] for name in wanted}, str(deed.owner["run"]))
    tell_changes(look, changes, values=False)
    if same := [name for name in changes if name not in wanted]:
        look.page.say(f"{named(same)}: has it already")
    if any(_names(changes[name]) for name in wanted):
        look.page.say(f"What runs keeps what it has until then.\nNext:  fab reload --hosts {','.join(wanted)}")


def _names(change: Mapping[str, Any]) -> list[str]:
    """List the names that a change is about; what they stand for is nobody's concern."""
    return sorted({*change["added"], *change["changed"], *change["removed"]})


def _refuse(envs: Envs, changes: Mapping[str, Mapping[str, object]]) -> None:
    if envs.silent:
        told = "\n".join(f"  {name}: {why}" for name, why in envs.silent.items())
        raise PreflightFailed(f"{named(envs.silent)}: it can't be done there; nothing was written.\n{told}")
    if told_lines := unread(changes):
        raise PreflightFailed("\n".join(["not every line would be read as it is meant; nothing was written.", *told_lines]))


def _write(look: Look, envs: Envs, change: Change, files: Mapping[str, str], run: str) -> None:
    outcomes = look.fleet.each("write", {
        name: [Step("own", lock.own(look.hosts[name].app.root, run)), *envs.steps(look.hosts[name], change=change.of(file), write=True)]
        for name, file in files.items()
    })
    bad = {name: outcome for name, outcome in outcomes.items() if outcome.last("env") is None or not outcome.ok}
    if not bad:
        return
    done = [name for name in outcomes if name not in bad]
    raise Unsettled("\n".join([
        *(f"{name}: {'the link was lost: it may have the new file' if each.code is None else f'was not written: {each.last_words}'}"
          for name, each in bad.items()),
        f"{named(done) or 'no host'}: has the new file. Nothing that runs has read it.",
        f"Next:  the same again, once that is mended; or look: fab env.diff --hosts {look.targets.selector}",
    ]))
