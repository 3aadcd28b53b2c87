"""What one check says of one host, and what it may look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..commands import doctor
from ..inventory.values import Group, Host

STATES = ("ok", "fixed", "unknown", "warn", "bad")  # the last one is the worst


class Verdict(NamedTuple):
    """
    Say how a check ended: `words` what is so, `means` what follows, `fix` what to type or to write.

    bad: it would stop a deploy or lose requests. `mend` names the mending that `--fix` may do by itself.
    """

    state: str
    words: str
    means: str = ""
    fix: str = ""
    mend: str = ""


@dataclass(frozen=True)
class Known:
    """Hold what was read of one host; what could not be read is None."""

    host: Host
    group: Group
    events: Sequence[Mapping[str, Any]] = ()
    facts: Mapping[str, Any] | None = None  # truth.cjs
    more: Mapping[str, Any] | None = None  # doctor.cjs
    offset: float | None = None  # seconds that the host's clock is ahead of ours
    rows: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # server to row of the balancer's `show stat`
    client: str = ""  # what its balancer's host talks to HAProxy with
    last_words: str = ""  # of the script

    def said(self, event: str, **wanted: str) -> Mapping[str, Any] | None:
        """Give the first event of this kind."""
        return next((each for each in self.all(event) if all(each[key] == value for key, value in wanted.items())), None)

    def all(self, event: str) -> list[Mapping[str, Any]]:
        return [each for each in self.events if each["event"] == event]

    def elsewhere(self) -> list[Mapping[str, Any]]:
        """List the PM2 daemons that have the app and are not the one that we would talk to."""
        assert self.facts is not None and self.more is not None
        return [god for god in self.more["gods"] if god["pid"] != self.facts["daemon"]["pid"] and god["runs"]]

    def there(self, command: str) -> str:
        """Spell out how to run a command on this host."""
        return doctor.typed(self.host.ssh, command)

    def asking(self, command: str) -> str:
        """Spell out how to run a command on this host that asks for something, or draws on the terminal."""
        return self.there(command).replace("ssh", "ssh -t", 1)

    def fab(self, verb: str) -> str:
        return f"fab {verb} --hosts {self.host.name}"

    def pm2(self, *words: str) -> str:
        """Spell out a command of PM2's own, found where we found it and for the home that we use."""
        tool = self.said("tool", name="pm2")
        command = doctor.words(tool["path"] if tool and tool["path"] else "pm2", *words)
        return f"PM2_HOME={doctor.word(self.host.pm2_home)} {command}" if self.host.pm2_home else command

    def drained(self, command: str) -> str:
        """Spell out a command that takes the app down on this host for a moment, with what keeps clients away from it meanwhile."""
        if not self.group.balancer:
            return f"at a quiet time, for the app is down meanwhile: {command}"
        return f"{self.fab('drain')} && {command} && {self.fab('restore')}"

    def yaml(self, text: str) -> str:
        """Spell out this host's entry in hosts.yaml with something added."""
        return f"{{host: {self.host.ssh.host}, {text}}}  in hosts.yaml"

    @property
    def root(self) -> str:
        return str(self.facts["root"]) if self.facts else self.host.app.root

    @property
    def deployed(self) -> bool:
        """Say whether anything of ours was ever switched on there."""
        return bool(self.facts) and self.facts["current"]["state"] != "absent"  # type: ignore[index]


def worst(verdicts: Iterable[Verdict]) -> str:
    return max((each.state for each in verdicts), key=STATES.index, default="ok")


def ok(words: str) -> list[Verdict]:
    return [Verdict("ok", words)]


def bad(words: str, means: str, fix: str, mend: str = "") -> Verdict:
    return Verdict("bad", words, means, fix, mend)


def warn(words: str, means: str, fix: str, mend: str = "") -> Verdict:
    return Verdict("warn", words, means, fix, mend)


def unread() -> list[Verdict]:
    """Say that the facts are missing; another check says why."""
    return unknown("could not be read")


def unknown(words: str) -> list[Verdict]:
    return [Verdict("unknown", words)]
