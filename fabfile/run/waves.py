"""
Reload hosts in waves: drain, reload, restore, probe; stop at the first failure, and take back what was done.

A host's own driver does the reload and knows how it ended; what is not heard is asked again, and unknown is never taken for
failed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .. import plan, probe
from ..commands import balancer, lock
from ..commands.shell import Step
from ..drift import sound
from ..errors import HookFailed, LockLost, RunFailed, Unsettled
from ..fleet import Fleet
from ..inventory.values import Balancer, Group, Host, Targets
from ..plan import Facts, Options
from ..report.summary import told_state
from ..transport import Outcome
from .claim import found_tools
from .hooks import Hooks
from .lease import Lease

PROBE_LIMIT = 15.0  # seconds until the new release must have answered through the balancer


@dataclass
class Reloaded:
    """
    Say how the reload of one host ended, and why if it failed.

    `state` is new, old, untouched, unknown; or unseen: the host runs the new release, but no client can be seen to reach it; or
    doubted: it runs the new release, but a hook of the user's says no.
    """

    state: str
    was: str | None = None
    now: str | None = None
    why: str = ""
    lines: list[str] = field(default_factory=list)
    out_of_rotation: str = ""


class Waves:
    """Carry the reload of one run over its hosts; `reloaded` says at any moment how each one ended."""

    def __init__(self, run: str, targets: Targets, options: Options, fleet: Fleet, facts: Mapping[str, Facts], lease: Lease,
                 hooks: Hooks, begin: Callable[[str, str], None], mark: Callable[[str], None]) -> None:
        self.id = run
        self.targets = targets
        self.options = options
        self.fleet = fleet
        self.facts = facts
        self.lease = lease
        self.hooks = hooks
        self.begin = begin
        self.mark = mark
        self.reloaded: dict[str, Reloaded] = {}
        self.rounds = 0    # waves that come one after another
        self.returning = False  # a dead run is taken back: that is a way back too, whatever its verb
        self.leaving = ""  # the release of a dead run that is taken back: each host's lock must go on to say so
        self.groups = {host.name: group for group in targets.groups for host in group.hosts}
        self.hosts = {host.name: host for host in targets.hosts}
        # One drain at a time: two that both see the other up would empty the pool together.
        self.turns = {group.balancer.host: threading.Lock() for group in targets.groups if group.balancer}

    @property
    def leads_back(self) -> bool:
        return self.options.leads_back or self.returning

    def reload(self, release: Mapping[str, str | None]) -> None:
        """Reload these hosts, each to its release, in waves; groups side by side unless told otherwise. Raise if one failed."""
        self.begin("reload", ", ".join(sorted({each or "" for each in release.values()})))
        groups = {group.name: group for group in self.targets.groups}
        self.rounds = plan.rounds(groups.values(), self.options, release)
        with self.doubting(release):
            self.hooks.fire("before", "reload", release, ("once",), self.leads_back)

        def in_waves(name: str) -> None:
            group = groups[name]
            for number, wave in enumerate(plan.in_waves(group, self.options, release), 1):
                self.wave(group, wave, release, number)

        if self.options.one_group_at_a_time:
            for name in groups:
                in_waves(name)
        else:
            self.fleet.together(in_waves, groups)
        if not self.fleet.stopping.is_set():
            with self.doubting(release):
                self.hooks.fire("after", "reload", self.reloaded, ("once",), self.leads_back)
        failed = {name: end for name, end in self.reloaded.items() if end.state != "new"}
        if failed:
            self.after_failure(failed)

    @contextmanager
    def doubting(self, names: Iterable[str]) -> Iterator[None]:
        """Let a hook that failed stop the reload: these hosts stay untouched, or are doubted where they have had their turn."""
        try:
            yield
        except HookFailed as err:
            for name in names:
                end = self.reloaded.setdefault(name, Reloaded("untouched", was=self.facts[name]["current"]["release"]))
                end.state = "doubted" if end.state == "new" else end.state
                end.why = end.why or str(err.message)
            self.fleet.stopping.set()

    def wave(self, group: Group, hosts: Iterable[Host], release: Mapping[str, str | None], number: int) -> None:
        """Reload some hosts of a group together, if nothing has failed or been interrupted yet."""
        by_name = {host.name: host for host in hosts}

        def one(name: str) -> None:
            self.reloaded[name] = Reloaded("unknown", why="its reload goes on by itself on the host")
            end = self.reload_host(group, by_name[name], str(release[name]), self.id)
            if end:
                self.reloaded[name] = end
            else:
                del self.reloaded[name]

        if self.fleet.stopping.is_set():
            return
        about: Any = {"group": group.name, "wave": number}
        with self.doubting(by_name):
            self.hooks.fire("before", "reload", by_name, ("wave",), self.leads_back, **about)
        if self.fleet.stopping.is_set():
            return
        self.fleet.together(one, by_name)
        if all(name in self.reloaded and self.reloaded[name].state == "new" for name in by_name):
            with self.doubting(by_name):
                self.hooks.fire("after", "reload", by_name, ("wave",), self.leads_back, **about)
        if any(name not in self.reloaded or self.reloaded[name].state != "new" for name in by_name):
            self.fleet.stopping.set()

    def reload_host(self, group: Group, host: Host, release: str, run: str, bad: str | None = None) -> Reloaded | None:
        """Take one host through its turn, with the user's hooks around it. None if the run was stopped before its reload began."""
        lenient = self.leads_back or bad is not None
        try:
            self.hooks.fire("before", "reload", [host.name], ("host",), lenient, group=group.name, to=release)
        except HookFailed as err:
            return Reloaded("untouched", was=self.facts[host.name]["current"]["release"], why=str(err.message))
        if self.fleet.stopping.is_set() and bad is None:
            return None
        end = self.turn(group, host, release, run, bad)
        if end is not None and end.state == "new":
            self.approve(group, host, end, lenient)
        return end

    def approve(self, group: Group, host: Host, end: Reloaded, lenient: bool = False) -> None:
        """Ask the user's hooks about a host that has had its turn; one that says no doubts it."""
        try:
            self.hooks.fire("after", "reload", [host.name], ("host",), lenient, group=group.name, to=end.now)
        except HookFailed as err:
            end.state, end.why = "doubted", str(err.message)
            self.fleet.stopping.set()

    def turn(self, group: Group, host: Host, release: str, run: str, bad: str | None) -> Reloaded | None:
        """Drain, reload, restore, probe: one host's turn in a wave."""
        self.mark(f"reload {host.name}")
        if group.balancer is None or self.options.scales:  # what serves goes on serving, so there is nothing to drain
            return self.drive(group, host, release, run, drained=False, bad=bad)
        drain = Step("drain", balancer.drain(
            group.balancer, host.server, group.update.drain_timeout, self.id, plan.hold(group, host, self.facts[host.name]),
            plan.widest(group, plan.widths(group, self.options))))
        self.waiting("drain", host, "its turn at the balancer")
        with self.turns[group.balancer.host]:
            self.waiting("drain", host, "sessions to end", group.update.drain_timeout, "drain_timeout")
            outcome = self.balance(group.balancer, host, drain)
        if not outcome.ok and self.leads_back:
            # What hangs may hang because of the release that has to go: the gate alone must do. The script has put it back.
            return self.drive(group, host, release, run, drained=False, bad=bad)
        if not outcome.ok:
            end = Reloaded("untouched", why=f"could not be drained: {outcome.last_words}")
            if sound(self.facts[host.name]):
                return self.mended(group.balancer, host, end)
            end.out_of_rotation = "it was not fit for it before, and was left as it is"
            return end
        if self.fleet.stopping.is_set() and bad is None:
            return self.stepped_back(group.balancer, host, outcome)
        try:
            end = self.drive(group, host, release, run, drained=outcome.last("alone", "crowded") is None, bad=bad)
        except LockLost:
            if outcome.last("drained"):
                why = "drained before that was known; the timer on the balancer's host puts it back"
                self.reloaded[host.name] = Reloaded("unknown", why="another run has taken over", out_of_rotation=why)
            raise
        if outcome.last("maintenance"):
            end.out_of_rotation = "it was so before, by somebody's hand, and stays so"
        if outcome.last("drained") is None:
            return end
        if end.state == "unknown":
            end.out_of_rotation = "its state is not known to be good, so it was left drained"
            return end
        return self.probed(group.balancer, host, self.put_back(group.balancer, host, end))

    def drive(self, group: Group, host: Host, release: str, run: str, drained: bool, bad: str | None) -> Reloaded:
        """Have the host's driver reload it, and read how that ended."""
        left = bad or self.leaving
        scales = self.options.scales
        wanted = plan.as_found(host, self.facts[host.name]) if scales and bad else host
        work = plan.driver(wanted, group, self.facts[host.name], release, self.id, drained, self.options.allow_downtime, bad, scales)
        before = [
            Step("own", lock.enter(host.app.root, self.id, f"revert {left}" if left else f"reload {release}"), quick=True),
            found_tools(host, self.facts[host.name]),
        ]
        self.waiting("reload", host, "its driver to begin", group.update.healthy_deadline, "healthy_deadline")
        outcome = self.fleet.detached("reload", host.name, before, host.app.root, "driver", run, work)
        if outcome.last("fenced"):
            raise LockLost(
                f"{host.name}: another run has taken over ({outcome.last_words}). This one stopped in reload.\n"
                f"Next:  fab status --hosts {self.targets.selector}"
            )
        end = ended(outcome)
        end.now = release if end.state == "new" else end.was
        return end

    def stepped_back(self, front: Balancer, host: Host, drained: Outcome) -> Reloaded | None:
        """Put a host back that was drained in vain; None if it is as it was."""
        end = Reloaded("untouched", was=self.facts[host.name]["current"]["release"])
        if drained.last("drained"):
            self.put_back(front, host, end)
        return end if end.why else None

    def put_back(self, front: Balancer, host: Host, end: Reloaded) -> Reloaded:
        """Put a host back into rotation, or say that it is out."""
        runs = end.state == "new" or end.was is not None
        self.waiting("restore", host, "the balancer to call it up", balancer.RESTORE_LIMIT)
        return self.told_back(self.balance(front, host, Step("restore", balancer.restore(front, host.server, self.id, runs))), end)

    def mended(self, front: Balancer, host: Host, end: Reloaded) -> Reloaded:
        """Put a host back whose drain failed, if it came so far as to drain it."""
        return self.told_back(self.balance(front, host, Step("mend", balancer.mend(front, host.server))), end)

    def told_back(self, outcome: Outcome, end: Reloaded) -> Reloaded:
        if not outcome.ok:
            end.out_of_rotation = outcome.last_words
            end.why = end.why or f"could not be put back into rotation: {outcome.last_words}"
            end.state = "unseen" if end.state == "new" else "unknown"
        return end

    def mend(self, names: Container[str]) -> None:
        """Put back into rotation what a dead run had drained of these hosts; leave what is not fit for it as it is, and say so."""
        for group in self.targets.groups:
            for host in group.hosts:
                if group.balancer is None or host.name not in names:
                    continue
                if not sound(self.facts[host.name]):
                    self.fleet.emit("mend", host.name, {"event": "mend", "ok": False, "said": "unfit"})
                    continue
                runs = bool(self.facts[host.name]["processes"])
                outcome = self.balance(group.balancer, host, Step("mend", balancer.mend(group.balancer, host.server, runs)))
                if not outcome.ok:
                    raise Unsettled(f"{host.name} could not be put back into rotation: {outcome.last_words}")

    def probed(self, front: Balancer, host: Host, end: Reloaded) -> Reloaded:
        """See the new release answer through the balancer, as a client would."""
        if end.state != "new" or not front.url:
            return end
        url, name = self.fleet.url(front, host.app.route)
        self.waiting("probe", host, "an answer through the balancer", PROBE_LIMIT)
        why = probe.answers(url, name, host.app.header, str(end.now), PROBE_LIMIT)
        self.fleet.emit("probe", host.name, {"event": "probed", "ok": not why, "why": why})
        if why:
            end.state, end.why = "unseen", why
        return end

    def balance(self, front: Balancer, host: Host, step: Step) -> Outcome:
        """Speak to the balancer's host about one server; events carry the server's host as their own."""
        name = f"balancer {front.host}"
        self.lease.check()
        outcome = self.fleet.run(step.name, name, [step])
        if outcome.code is None and self.fleet.reopen(name):  # both orders may be given twice
            outcome = self.fleet.run(step.name, name, [step])
        said = outcome.last("drained", "alone", "crowded", "maintenance", "restored") or {"event": "nothing"}
        self.fleet.emit(step.name, host.name, {"event": step.name, "ok": outcome.ok, "said": said["event"], "seconds": outcome.seconds})
        return outcome

    def waiting(self, phase: str, host: Host, what: str, limit: float | None = None, setting: str = "") -> None:
        """Tell what this host is waited for from now on, for how many seconds at most, and which setting says so."""
        self.fleet.emit(phase, host.name, {"event": "waiting", "what": what, "limit": limit, "setting": setting})

    def after_failure(self, failed: Mapping[str, Reloaded]) -> None:
        """Take the hosts already done back, as on_failure says, and tell the whole of it."""
        done = [name for name, end in self.reloaded.items() if end.state in ("new", "unseen", "doubted")]
        back = [name for name in done if self.goes_back(name)]
        if back:
            self.begin("roll back", ", ".join(back))
            self.take_back(back)
        raise self.verdict(failed)

    def goes_back(self, name: str) -> bool:
        update = self.groups[name].update
        if self.leads_back:
            return False  # the way back from it would lead to what had to be left
        # What a hook doubts has itself failed; the others go back with it only where that is wanted.
        wanted = ("rollback_all", "rollback_failed") if self.reloaded[name].state == "doubted" else ("rollback_all",)
        return update.auto_revert and update.on_failure in wanted and self.reloaded[name].was is not None

    def take_back(self, names: Iterable[str]) -> None:
        """Return these hosts to what they ran before, in the same waves as forward."""
        back = set(names)
        self.fleet.stopping.clear()

        def one(name: str) -> None:
            group, host = self.groups[name], self.hosts[name]
            was, failed = str(self.reloaded[host.name].was), self.reloaded[host.name].now
            end = self.reload_host(group, host, was, f"{self.id}-back", bad=failed)
            assert end, "what goes back is not stopped"
            end.state, end.was = "old" if end.state == "new" else "unknown", was
            self.reloaded[host.name] = end

        def in_waves(name: str) -> None:
            group = next(each for each in self.targets.groups if each.name == name)
            for wave in plan.in_waves(group, self.options, back):
                self.fleet.together(one, [host.name for host in wave])

        self.fleet.together(in_waves, [group.name for group in self.targets.groups])

    def verdict(self, failed: Mapping[str, Reloaded]) -> RunFailed | Unsettled:
        states = {end.state for end in self.reloaded.values()}
        alike: dict[tuple[str, ...], list[str]] = {}  # a hook of the whole reload fails for all hosts at once
        for name, end in failed.items():
            alike.setdefault((end.why, *app_lines(end.lines)[:20]), []).append(name)
        lines = []
        for (why, *said), names in alike.items():
            lines += [f"{', '.join(names)} failed in reload: {why}", *(f"  | {line}" for line in said)]
        lines += [f"  {name}: {text}" for name, text in self.told_states(explained=failed).items()]
        lines += [f"Next:  {text}" for text in self.advice()]
        safe = states <= {"old", "untouched"}
        return (RunFailed if safe else Unsettled)("\n".join(lines))

    def advice(self) -> list[str]:
        """Say what to type next."""
        out = [name for name, end in self.reloaded.items() if end.out_of_rotation]
        back = [f"fab reload --hosts {','.join(out)}  puts what proves healthy back into rotation"] if out else []
        return [f"fab status --hosts {self.targets.selector}", *back]

    def told_states(self, explained: Container[str] = ()) -> dict[str, str]:
        """Say for each host what it runs now; why it is not known only where that was not `explained` before."""
        return {
            name: told_state(self.reloaded[name], name in explained) if name in self.reloaded else "was not touched" for name in self.hosts
        }


def app_lines(lines: Iterable[str]) -> list[str]:
    """Leave out what does not help at 2 a.m.: frames of node itself and of the gate, and a heading over nothing."""
    kept = [line for line in lines if line.strip() and "(node:internal" not in line and "/.gapless/gate.cjs:" not in line]
    return kept[:-1] if kept and kept[-1].startswith("--- ") else kept


def ended(outcome: Outcome) -> Reloaded:
    """Read a driver's final event; none means unknown."""
    begin = outcome.last("begin")
    was = begin["from"] if begin else None
    end = outcome.last("done", "reverted", "broken", "lost")
    if end is None and outcome.code is not None and outcome.step not in ("driver", ""):
        return Reloaded("untouched", was, why=f"its driver was not started: {outcome.last_words}")
    if end is None or end["event"] == "lost":
        return Reloaded("unknown", was, why=f"its driver: {end['why']}" if end else f"no answer: {outcome.last_words}")
    if end["event"] == "done":
        return Reloaded("new", was)
    was = was or end.get("release")
    state = {"reverted": "untouched" if end.get("untouched") else "old", "broken": "unknown"}[end["event"]]
    why = end["why"] + (f"; and going back failed: {end['back']}" if "back" in end else "")
    return Reloaded(state, was, why=why, lines=end.get("lines") or [])
