"""Many connections: opened together, each script where it belongs, outcomes by host, one event stream."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from . import heap
from .commands import artifact, balancer, byhand, doctor, hooks, journal, lock, node, pm2, releases
from .commands.shell import SILENT, Shell, Step, script
from .errors import PreflightFailed, UsageError
from .inventory.values import Balancer, Ssh
from .sshconfig import Unreachable
from .transport import Broken, Gateways, Line, Outcome, Pipe

LIBRARY = "\n".join(part.LIBRARY for part in (lock, releases, artifact, node, pm2, journal, balancer, byhand, hooks, doctor))
INSTALL = "install"
BEATING = 8  # threads that show signs of life: a host that takes none must not hold up the others
NOT_SENT = 255  # what ssh itself exits with
THREADS = 10_000   # at most; only as many begin as have work at once, and they serve all phases. Fewer, and a wave could wait for its hosts
REOPEN_FOR = 60.0  # seconds in which a lost host may come back before its state is called unknown


Emit = Callable[[str, str, Mapping[str, Any]], None]  # phase, host, data


def _mark() -> str:
    """Make up what begins each line that is meant for us; nobody can guess it."""
    return f"@gapless-{secrets.token_hex(6)}"


def _behind(mark: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what comes after a mark; before it a login shell may have words of its own."""
    before = b""
    for chunk in chunks:
        _, found, rest = (before + chunk).partition(mark)
        if found:
            yield rest
            break
        before = (before + chunk)[-len(mark):]
    yield from chunks


@contextmanager
def _dropping(name: str, failed: dict[str, str]) -> Iterator[None]:
    """Note a stream that breaks, and go on."""
    try:
        yield
    except Broken as err:
        failed[name] = str(err)


class Fleet:
    """Hold one line per host for the whole run."""

    def __init__(self, hosts: Mapping[str, Ssh], emit: Emit) -> None:
        for name, ssh in hosts.items():
            if ssh.ssh_config and not Path(ssh.ssh_config).exists():
                raise UsageError(f"{name}: there is no {ssh.ssh_config} (ssh_config: in hosts.yaml); for the lab: make lab")
            if ssh.known_hosts and not Path(ssh.known_hosts).is_file():
                raise UsageError(f"{name}: there is no {ssh.known_hosts} (known_hosts: in hosts.yaml)")
        heap.share(threads=len(hosts))
        self.gateways = Gateways()
        self.lines = {name: Line(name, ssh, self.gateways) for name, ssh in hosts.items()}
        self.emit = emit
        self.equipped: set[str] = set()  # hosts that have our scripts, these very ones
        self.beats: Mapping[str, Step] = {}  # what shows each host that we are alive, once it is claimed
        self._pool = ThreadPoolExecutor(max_workers=THREADS)
        self.stopping = threading.Event()  # set by an interrupt or a failure: nothing new may begin

    def open(self) -> None:
        """Log in everywhere at once; raise one PreflightFailed that names every host out of reach."""
        failed = self.open_what_can_be()
        if failed:
            self.close()
            raise self.out_of_reach(failed)

    def out_of_reach(self, failed: Mapping[str, str]) -> PreflightFailed:
        """Name hosts that can't be reached, and why."""
        # What lies behind one jump host fails for one reason.
        named = {why: ", ".join(name for name in failed if failed[name] == why) for why in failed.values()}
        told = "\n".join(f"  {names}: {why}" for why, names in named.items())
        return PreflightFailed(f"{len(failed)} of {len(self.lines)} hosts can't be worked on; nothing was touched.\n{told}\n"
                               f"Next:  mend that, or leave it out: --hosts '...,!{next(iter(failed))}'")

    def open_what_can_be(self, patience: float = 0.0) -> dict[str, str]:
        """Log in wherever there is no living connection, again and again for a while; return host to reason where that failed."""
        end = time.monotonic() + patience
        while True:
            closed = [name for name, line in self.lines.items() if not line.alive]
            failed = {name: why for name, why in self.together(self.reach, closed).items() if why}
            if not failed or time.monotonic() >= end:
                return failed
            time.sleep(1)

    def reach(self, name: str) -> str:
        """Log in to one host, unless that was done; return why it failed, or nothing."""
        try:
            if not self.lines[name].alive:
                self.lines[name].open()
        except Unreachable as err:
            return str(err)
        return ""

    def run(self, phase: str, host: str, steps: Iterable[Step], more: Callable[[Outcome], Sequence[Step]] = lambda _: ()) -> Outcome:
        """Send one script to one host, after a good end the steps that `more` wants then, and wait for the end of all."""
        steps = list(steps)
        outcome = self._send(phase, host, steps)
        if outcome.ok and (wanted := more(outcome)):
            outcome = outcome.then(self._send(phase, host, wanted))
        self.emit(phase, host, {
            "event": "end", "code": outcome.code, "step": outcome.step, "seconds": outcome.seconds, "tail": outcome.tail,
        })
        if pm2.is_ours(outcome.last("facts")) or (outcome.ok and INSTALL in {step.name for step in steps}):
            self.equipped.add(host)
        return outcome

    def _send(self, phase: str, host: str, steps: Sequence[Step]) -> Outcome:
        mark = _mark()
        text: Callable[[], list[Shell]] = partial(script, LIBRARY, steps, mark, self.beats.get(host, SILENT).command)
        return self.lines[host].run(text, mark, lambda event: self.emit(phase, host, event))

    def runtime(self, host: str, root: str) -> list[Step]:
        """Give the step that writes our scripts to a host; none if it has them."""
        return [] if host in self.equipped else [Step(INSTALL, pm2.install(root))]

    def beat(self) -> None:
        """Show every host a sign of life; one that can't be reached is told so by its silence."""
        due = iter(list(self.beats.items()))

        def show_some() -> None:
            for name, beat in due:  # each thread takes the next one
                mark = _mark()
                self.lines[name].beat(partial(script, LIBRARY, [beat], mark), mark)

        with ThreadPoolExecutor(BEATING) as pool:
            for _ in range(min(BEATING, len(self.beats))):
                pool.submit(show_some)

    def each(self, phase: str, scripts: Mapping[str, Iterable[Step]]) -> dict[str, Outcome]:
        """Send each host its script, all at once; return their outcomes. An interrupt hangs up, which ends the scripts."""
        return self.together(lambda name: self.run(phase, name, scripts[name]), scripts, self.hang_up)

    def detached(self, phase: str, host: str, before: Iterable[Step], root: str, script: str, run: str, work: Mapping[str, Any]) -> Outcome:
        """Start work that outlives our link, and follow it to its final event; if the link dies, come back and ask."""
        # A link may have died while others had their turn. What is sent over it is lost, and asked for later it would be missing.
        if not self.lines[host].alive and not self.reopen(host):
            return self.not_sent(phase, host)
        first = [*before, *self.runtime(host, root)]
        outcome = self.run(phase, host, [*first, Step(script, pm2.start(root, run, script, work))])
        while outcome.code is None and self.reopen(host):
            outcome = self.follow(phase, host, before, root, script, run)
        return outcome

    def draw(self, host: str, order: Callable[[str], Shell]) -> Iterator[bytes]:
        """Yield what a command on one host prints, as bytes, after the mark that it is given; raise Broken where it does not end well."""
        mark = _mark()
        with self.lines[host].pipe(order(mark)) as pipe:
            yield from _behind(f"{mark}\n".encode(), pipe.read())

    def pour(self, chunks: Iterable[bytes], orders: Mapping[str, Shell]) -> dict[str, str]:
        """
        Send the same bytes to several hosts at once, each into the stdin of its command; return host to what went wrong there.

        Nothing is kept but what is in hand: the slowest sets the pace. Who fails drops out, and the others go on.
        """
        failed: dict[str, str] = {}
        with ExitStack() as opened:
            pipes: dict[str, Pipe] = {}
            for name, order in orders.items():
                with _dropping(name, failed):
                    pipes[name] = opened.enter_context(self.lines[name].pipe(order))
            for chunk in chunks:
                for name, pipe in pipes.items():
                    with _dropping(name, failed):
                        pipe.send(chunk)
                pipes = {name: pipe for name, pipe in pipes.items() if name not in failed}
                if not pipes:
                    break
            for name, pipe in pipes.items():
                with _dropping(name, failed):
                    pipe.end()
        return failed

    def not_sent(self, phase: str, host: str) -> Outcome:
        """Say that a script was never sent: unlike after a link that was lost in the middle, nothing is unknown."""
        outcome = Outcome(NOT_SENT, tail=["its link was lost before, and it can't be reached"], step="link")
        self.emit(phase, host, {"event": "end", "code": outcome.code, "step": outcome.step, "seconds": 0.0, "tail": outcome.tail})
        return outcome

    def follow(self, phase: str, host: str, before: Iterable[Step], root: str, script: str, run: str) -> Outcome:
        """Follow work that was started before, to its final event."""
        return self.run(phase, host, [*before, Step(script, pm2.follow(root, run, script))])

    def url(self, front: Balancer, route: str) -> tuple[str, str | None]:
        """Give the balancer's url with a route, and its Host header if an ssh name in it was looked up where ssh looks it up."""
        parts = urlsplit(front.url or "")
        path = parts.path if parts.path not in ("", "/") else route
        if parts.hostname != front.host:
            return urlunsplit(parts._replace(path=path)), None
        address = self.lines[f"balancer {front.host}"].address()
        netloc = f"{address}:{parts.port}" if parts.port else address
        return urlunsplit(parts._replace(netloc=netloc, path=path)), parts.netloc

    def reopen(self, host: str) -> bool:
        """Try for a while to get back to a host whose link was lost."""
        self.emit("link", host, {"event": "waiting", "what": "to be reached again", "limit": REOPEN_FOR, "setting": ""})
        end = time.monotonic() + REOPEN_FOR
        while time.monotonic() < end:
            self.lines[host].close()
            if not self.reach(host):
                return True
            time.sleep(2)
        return False

    def together(self, work: Callable[[str], Any], names: Iterable[str], interrupted: Callable[[], None] | None = None) -> dict[str, Any]:
        """
        Do the work for all names at once, a thread each; return results in the order of names.

        On Ctrl-C: set `stopping`, so that nothing new begins, call `interrupted`, and wait for what is in hand.
        """
        futures = {name: self._pool.submit(work, name) for name in names}
        try:
            wait(futures.values())
        except KeyboardInterrupt:
            self.stopping.set()
            if interrupted:
                interrupted()
            wait(futures.values())
            raise
        return {name: future.result() for name, future in futures.items()}

    def hang_up(self) -> None:
        """Close every connection: scripts that carry the dead-man's stdin end on their hosts."""
        for line in self.lines.values():
            line.close()

    def close(self) -> None:
        self.hang_up()
        self.gateways.close()
