"""Show the hosts that a run is alive, and stop it when it was not: another may have taken its place meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from ..commands import balancer, lock
from ..commands.shell import Step
from ..errors import LockLost
from ..fleet import Fleet
from ..inventory.values import Host
from ..ownership import BEAT, LEASE


def _clock() -> float:
    """Give seconds that pass in suspend too: a laptop's lid is the usual way to be frozen."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Lease:
    """Beat for the locks of `hosts` and for what was drained at `balancers`, from `start` to `stop`."""

    def __init__(self, run: str, hosts: Iterable[Host], fleet: Fleet) -> None:
        self.run = run
        self.hosts = {host.name: host for host in hosts}
        self.fleet = fleet
        beats = {name: Step("beat", lock.beat(host.app.root, run)) for name, host in self.hosts.items()}
        self.beats = {name: beats.get(name, Step("beat", balancer.beat(run))) for name in fleet.lines}
        self._last = _clock()
        self._doubt = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def start(self) -> None:
        self.fleet.beats = self.beats
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join(LEASE)

    def _beat(self) -> None:
        while not self._done.wait(BEAT):
            self._doubt = self._doubt or self._frozen()
            self._last = _clock()
            if not self._doubt:
                self.fleet.beat()

    def _frozen(self) -> bool:
        return _clock() - self._last > LEASE

    def check(self) -> None:
        """Ask every host whose lock it is, if this process may have been frozen; raise LockLost. For what no host's fence guards."""
        if not (self._doubt or self._frozen()):
            return
        steps = {name: [Step("own", lock.own(host.app.root, self.run))] for name, host in self.hosts.items()}
        outcomes = self.fleet.each("lock", steps)
        if lost := {name: outcome for name, outcome in outcomes.items() if not outcome.ok}:
            name, outcome = next(iter(lost.items()))
            raise LockLost(
                f"{', '.join(lost)}: this run was frozen, and another run has taken over ({name}: "
                f"{outcome.last_words}). It stopped in reload.\n"
                f"Next:  fab status --hosts {','.join(self.hosts)}"
            )
        self._last, self._doubt = _clock(), False
