"""Many connections: opened together, each script where it belongs, outcomes by host, one event stream."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .commands import balancer, journal, lock, node, releases
from .commands.shell import Shell, Step, script
from .errors import PreflightFailed, UsageError
from .transport import Gateways, Line, Outcome, Unreachable
from .values import Ssh

LIBRARY = "\n".join(part.LIBRARY for part in (lock, releases, node, journal, balancer))
REOPEN_FOR = 60.0  # seconds in which a lost host may come back before its state is called unknown


@dataclass(frozen=True, slots=True)
class Event:
    """Tell one thing that happened: `host` is empty for the run itself; `data["event"]` names it."""

    at: float
    phase: str
    host: str
    data: Mapping[str, Any] = field(default_factory=dict)


Emit = Callable[[str, str, Mapping[str, Any]], None]  # phase, host, data


class Fleet:
    """Hold one line per host for the whole run."""

    def __init__(self, hosts: Mapping[str, Ssh], emit: Emit) -> None:
        for name, ssh in hosts.items():
            if ssh.ssh_config and not Path(ssh.ssh_config).exists():
                raise UsageError(f"{name}: there is no {ssh.ssh_config} (ssh_config: in hosts.yaml); for the lab: make lab")
        self.gateways = Gateways()
        self.lines = {name: Line(name, ssh, self.gateways) for name, ssh in hosts.items()}
        self.emit = emit

    def open(self) -> None:
        """Log in everywhere at once; raise one PreflightFailed that names every host out of reach."""
        reasons = self.together(self._try_open, self.lines)
        failed = [f"  {name}: {why}" for name, why in reasons.items() if why]
        if failed:
            self.close()
            told = "\n".join(failed)
            raise PreflightFailed(f"{len(failed)} of {len(self.lines)} hosts can't be worked on; nothing was touched.\n{told}")

    def _try_open(self, name: str) -> str:
        try:
            self.lines[name].open()
        except Unreachable as err:
            return str(err)
        return ""

    def run(self, phase: str, host: str, steps: Iterable[Step]) -> Outcome:
        """Send one script to one host, and wait for its end."""
        mark = f"@gapless-{secrets.token_hex(6)}"
        text: Shell = script(LIBRARY, steps, mark)
        outcome = self.lines[host].run(text, mark, lambda event: self.emit(phase, host, event))
        self.emit(phase, host, {
            "event": "end", "code": outcome.code, "step": outcome.step, "seconds": outcome.seconds, "tail": outcome.tail,
        })
        return outcome

    def each(self, phase: str, scripts: Mapping[str, Iterable[Step]]) -> dict[str, Outcome]:
        """Send each host its script, all at once; return their outcomes."""
        return self.together(lambda name: self.run(phase, name, scripts[name]), scripts)

    def reopen(self, host: str) -> bool:
        """Try for a while to get back to a host whose link was lost."""
        end = time.monotonic() + REOPEN_FOR
        while time.monotonic() < end:
            self.lines[host].close()
            if not self._try_open(host):
                return True
            time.sleep(2)
        return False

    def together(self, work: Callable[[str], Any], names: Iterable[str]) -> dict[str, Any]:
        """Do the work for all names at once, one thread each; return results in the order of names."""
        names = list(names)
        if not names:
            return {}
        with ThreadPoolExecutor(max_workers=len(names)) as pool:
            return dict(zip(names, pool.map(work, names), strict=True))

    def close(self) -> None:
        for line in self.lines.values():
            line.close()
        self.gateways.close()
