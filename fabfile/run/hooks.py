"""The user's hooks: commands of theirs beside the phases of a run, here or on the hosts."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .. import local
from ..commands import hooks, node
from ..commands.shell import Step
from ..errors import HookFailed
from ..fleet import Fleet
from ..inventory.values import Hook, Host, Targets
from ..report.stream import SCHEMA
from ..transport import Outcome

HERE = "local"  # what stands for this machine where a host would be named
TAIL = 20       # lines of what a local hook said last


class Hooks:
    """Run the hooks of one run; `about` gives what every hook is told of it on stdin."""

    def __init__(self, run: str, targets: Targets, fleet: Fleet, about: Callable[[], Mapping[str, Any]]) -> None:
        self.id = run
        self.targets = targets
        self.fleet = fleet
        self.about = about
        self.hosts = {host.name: host for host in targets.hosts}

    @contextmanager
    def around(self, phase: str) -> Iterator[None]:
        """Run the hooks before a phase, and after it if it succeeded; raise HookFailed where one that must not fail did."""
        self.fire("before", phase, self.hosts)
        yield
        self.fire("after", phase, self.hosts)

    def fire(self, when: str, phase: str, names: Iterable[str], each: Collection[str] = ("once", "host"), lenient: bool = False,
            **more: Any) -> None:
        """
        Run the hooks of one moment on behalf of these hosts: those that are due `each` once, per wave or per host.

        `lenient`: what fails is only told, for nothing may stop a way back or an end. `more` is told to the hooks.
        """
        names = list(names)
        for hook in self.targets.around.hooks:
            if names and (hook.when, hook.phase) == (when, phase) and hook.each in each:
                self._fire(hook, names, lenient, more)

    def _fire(self, hook: Hook, names: list[str], lenient: bool, more: Mapping[str, Any]) -> None:
        if hook.each == "host":
            # In a reload the connections are other hosts' too: what is in hand there is waited for.
            leave = None if hook.phase == "reload" else self.fleet.hang_up
            said = self.fleet.together(lambda name: self._carry_out(hook, name, {**more, "hosts": [name]}), names, leave)
        else:
            said = {names[0]: self._carry_out(hook, names[0], {**more, "hosts": names})}
        bad = {name: lines for name, lines in said.items() if lines is not None}
        if not bad:
            return
        lines = dict.fromkeys(line for lines in bad.values() for line in lines)
        told = f"{', '.join(self._place(hook, name) for name in bad)}: the hook {_moment(hook)} failed: {hook.run}"
        if hook.on_failure == "stop" and not lenient:
            raise HookFailed("\n".join([told, *(f"  | {line}" for line in lines)]))
        self.fleet.emit("hook", self._place(hook, next(iter(bad))), {"event": "note", "text": "; ".join([*told.splitlines(), *lines])})

    def _place(self, hook: Hook, name: str) -> str:
        return HERE if hook.where == "local" and hook.each != "host" else name

    def _carry_out(self, hook: Hook, name: str, more: Mapping[str, Any]) -> list[str] | None:
        """Run a hook once; return its last words if it failed."""
        place = self._place(hook, name)
        self.fleet.emit("hook", place, {"event": "hook", "moment": _moment(hook), "run": hook.run, "where": hook.where})
        told = {"schema": SCHEMA, "at": _moment(hook), **self.about(), **more}
        if hook.where == "local":
            return self._here(hook, place, told)
        outcome = self._there(hook, self.hosts[name], told)
        return None if outcome.ok else outcome.tail or [outcome.last_words]

    def _here(self, hook: Hook, place: str, told: Mapping[str, Any]) -> list[str] | None:
        done = local.run(["sh", "-c", hook.run], hook.timeout, stdin=f"{json.dumps(told)}\n", directory=self.targets.around.directory)
        for line in done.lines:
            self.fleet.emit("hook", place, {"event": "line", "text": line})
        why = f"it took longer than {hook.timeout:g} s and was ended" if done.code == local.LATE else f"exit code {done.code}"
        return None if done.ok else [*done.lines[-TAIL:], why]

    def _there(self, hook: Hook, host: Host, told: Mapping[str, Any]) -> Outcome:
        env_files = dict.fromkeys(process.env_file for process in host.app.processes if process.env_file)
        return self.fleet.run("hook", host.name, [
            Step("tools", node.tools(host.node_bin, host.pm2_home)),
            *self.fleet.runtime(host.name, host.app.root),  # what hides secrets in a hook's words is in it
            Step(hook.run, hooks.hook(host.app.root, self.id, hook.timeout, hook.run, told, env_files)),
        ])


def _moment(hook: Hook) -> str:
    return f"{hook.when} {hook.phase}"
