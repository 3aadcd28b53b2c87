"""
Carry a plan out: claim, build, migrate, reload in waves, finish.

Each phase is one script per host. Between phases stand barriers: nothing migrates before all have built, and no host is
switched before the migration is done.
"""

from __future__ import annotations

import getpass
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from .. import choice, ownership, plan
from ..commands import journal, lock, pm2, releases
from ..commands.shell import Step, softly
from ..drift import drifted
from ..errors import GaplessError, HookFailed, PreflightFailed, RunFailed, Unsettled, UsageError
from ..fleet import NOT_SENT, Emit, Fleet
from ..inventory.values import Host, Targets
from ..plan import Facts, Options
from ..transport import Outcome
from .building import Building
from .claim import Claim, found_tools
from .hooks import Hooks
from .lease import Lease
from .waves import Waves

FINISH_PATIENCE = 10.0  # seconds in which a host that refuses us may let us in again: what is not unlocked stays locked


def new_id() -> str:
    """Name a run: when it began here, and chance, for two may begin in the same second."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


class Rollout:
    """Hold one run over the targets; the verbs call its phases in order."""

    def __init__(self, run: str, targets: Targets, options: Options, commit: str, emit: Emit, mark: Callable[[str], None],
                 resumes: Sequence[str] = ()) -> None:
        self.id = run
        self.targets = targets = plan.scaled(targets, options)
        self.options = options
        self.commit = commit
        self.resumes = resumes                # runs whose work this one takes up, the first one first
        self.emit = emit
        self.mark = mark                      # tells the prober what is going on now
        self.release = ""
        self.begun: list[tuple[str, float]] = []  # phases, and when each began
        self.facts: dict[str, Facts] = {}
        self.groups = {host.name: group for group in targets.groups for host in group.hosts}
        self.hosts = {host.name: host for host in targets.hosts}
        self.fleet = Fleet(targets.places, emit)
        self.held = Claim(targets, options, self.owner(), self.fleet)
        self.lease = Lease(run, targets.hosts, self.fleet)
        self.hooks = Hooks(run, targets, self.fleet, self.about)
        self.building = Building(run, targets, options, commit, self.fleet, self.facts)
        self.waves = Waves(run, targets, options, self.fleet, self.facts, self.lease, self.hooks, self.begin, mark)

    # ------------------------------------------------------------------ claim

    @property
    def mends(self) -> bool:
        """Say whether this run goes back, or puts right what a dead one left: no hook may stop it from doing that."""
        return self.options.leads_back or bool(self.resumes)

    def prepare(self) -> None:
        """Run what the user wants before anything else; raise PreflightFailed."""
        with self.refusing("Nothing was touched.", PreflightFailed):
            self.hooks.fire("before", "claim", self.hosts, lenient=self.mends)

    def claim(self, check: Callable[[Rollout], None]) -> None:
        """Lock every host, read its truth, and let `check` look at it; from then on show that we are alive."""
        self.begin("claim", "lock, facts")
        self.facts.update(self.held.take(self.resumes))
        self.lease.start()
        check(self)
        with self.refusing("Nothing was touched.", PreflightFailed):
            self.hooks.fire("after", "claim", self.hosts, lenient=self.mends)

    def leave(self) -> None:
        """Hang up, and touch nothing any more."""
        self.lease.stop()
        self.fleet.close()

    def give_back(self) -> None:
        """Drop the locks after a claim that led to nothing."""
        if self.facts:
            self.lease.stop()
            self.held.give_back()

    def owner(self) -> dict[str, Any]:
        """Describe this run, so that another person on another machine can see what it was about, and finish it."""
        options = {key: value for key, value in self.options._asdict().items() if value}
        return ownership.record(self.id, self.hosts, self.commit, self.resumes, **options)

    def about(self) -> dict[str, Any]:
        """Say to the user's hooks what this run is about."""
        told = ("run", "verb", "who", "from", "commit", "ref", "artifact", "sha256", "ci")
        known = {key: value for key, value in self.owner().items() if key in told}
        return {**known, "selector": self.targets.selector, "release": self.release}

    @contextmanager
    def refusing(self, now: str, kind: type[GaplessError] = RunFailed) -> Iterator[None]:
        """Let a hook that failed end the run, and say what is true `now`."""
        try:
            yield
        except HookFailed as err:
            raise kind(f"{err.message}\n{now}\nNext:  fab status --hosts {self.targets.selector}") from None

    def moves(self) -> dict[str, dict[str, str | None]]:
        """Say for each host which release it was on before this run, and which one its reload left it on: None is none, ? is unknown."""
        was = {name: facts["current"]["release"] for name, facts in self.facts.items()}
        left = {name: "?" if end.state == "unknown" else end.now for name, end in self.waves.reloaded.items() if end.state != "untouched"}
        return {"was": was, "now": was | left}

    # ------------------------------------------------------------------ build

    def build(self, only: Collection[str] | None = None) -> None:
        """Make one release on every host, or on those named: build it, or bring it there; no host is switched if one of them fails."""
        choice.refuse_unknown_migration(self.facts)
        choice.refuse_unlike(self.hosts.values(), self.facts, self.options)
        names = self.hosts if only is None else only
        self.release = self.release or plan.next_release(self.facts.values(), self.commit or self.options.sha256)
        if not names:
            return
        self.begin("build", self.release)
        with self.refusing("No host was switched."), self.hooks.around("build"):
            bad = self.building.make(self.release, names)
            if bad:
                raise RunFailed(self.told("build", bad, "No host was switched: all serve what they served before."))

    # ------------------------------------------------------------------ migrate

    def migrate(self, again: bool = False) -> None:
        """Run the migration of the release once, on the first host that has one; what was begun before is begun again only if told."""
        choice.refuse_unknown_migration(self.facts)
        host = choice.migrates(self.hosts.values())
        if host is None:
            return
        known = plan.migrated(self.facts, self.release)
        if known == "done" and not again:
            self.begin("migrate", f"{self.release} is migrated already; not done again")
            return
        if not again:
            choice.refuse_begun_migration(known, self.release, self.targets.selector)
        self.begin("migrate", f"{host.app.migrate} on {host.name}")
        with self.refusing("It was not begun. No host was switched."):
            self.hooks.fire("before", "migrate", self.hosts)
        self.migrate_on(host)
        with self.refusing("The migration is done, and stays. No host was switched."):
            self.hooks.fire("after", "migrate", self.hosts)

    def migrate_on(self, host: Host) -> None:
        work = {"release": self.release, "command": host.app.migrate, "env_file": host.app.processes[0].env_file}
        own = Step("own", lock.enter(host.app.root, self.id, f"migrate {self.release}"), quick=True)
        before = [own, found_tools(host, self.facts[host.name])]
        outcome = self.fleet.detached("migrate", host.name, before, host.app.root, "migrate", self.id, work)
        end = outcome.last("done", "broken")
        if outcome.code == NOT_SENT:
            raise RunFailed(self.told("migrate", {host.name: outcome}, "It was not begun. No host was switched."))
        if end is None:
            unknown = "Whether the migration ran is UNKNOWN. No host was switched."
            raise Unsettled(self.told("migrate", {host.name: outcome}, unknown))
        if end["event"] == "broken":
            outcome.tail = [end["why"], *end["lines"]]
            stays = "No host was switched. What the migration changed before it failed stays."
            raise RunFailed(self.told("migrate", {host.name: outcome}, stays))

    def resolve_migration(self, outcome: str) -> None:
        """Write down what a person found out about migrations whose outcome was unknown."""
        unknown = plan.unknown_migrations(self.facts)
        if not unknown:
            raise UsageError(f"{self.targets.selector}: no migration has an unknown outcome; nothing was changed")
        event = {"event": {"done": "done", "failed": "broken"}[outcome], "at": int(time.time() * 1000), "resolved_by": getpass.getuser()}
        outcomes = self.fleet.each("migrate", {
            name: [Step("resolve", journal.settle_migration(self.hosts[name].app.root, run, event)) for run in runs]
            for name, runs in unknown.items()
        })
        if bad := {name: outcome for name, outcome in outcomes.items() if not outcome.ok}:
            raise RunFailed(self.told("migrate", bad, "It could not be written down."))

    # ------------------------------------------------------------------ which release

    def existing(self, to: str) -> dict[str, str | None]:
        """Name each host's release to reload: the one that runs, a named one, or the newest."""
        return choice.existing(self.facts, to)

    def earlier(self, to: str, hosts: Iterable[str]) -> dict[str, str | None]:
        """Name the release to which each of these hosts goes back: a named one, or its last good one."""
        return choice.earlier(self.facts, to, hosts)

    def newest(self, name: str) -> str:
        """Return the release of this name, or the newest, that is complete on every host."""
        return choice.newest(self.facts, name)

    # ------------------------------------------------------------------ reload and finish

    def reload(self, release: Mapping[str, str | None]) -> None:
        """Reload every host to its release, in waves."""
        self.waves.reload(release)

    def finish(self, record: Mapping[str, Any]) -> None:
        """
        Read the hosts once more, append to the history, unlock, prune; always, whatever came before.

        Raise Unsettled where a lock may have stayed, or where a host is no longer what its reload left.
        """
        self.begin("finish", "look again, history, unlock, prune")
        self.lease.stop()
        self.fleet.open_what_can_be(patience=FINISH_PATIENCE)
        reached = [name for name in self.facts if self.fleet.lines[name].alive]
        ended = {key: record[key] for key in ("outcome", "seconds", "sent", "lost")}
        self.hooks.fire("before", "finish", reached, lenient=True, **ended)
        outcomes = self.fleet.each("finish", {name: self.finish_steps(self.hosts[name], record) for name in reached})
        changed = self.changed(outcomes)
        amended = {**record, "outcome": str(Unsettled.exit_code), "why": changed}
        self.fleet.each("finish", {name: [Step("history", softly(journal.append(self.hosts[name].app.root, amended)))] for name in changed})
        self.hooks.fire("after", "finish", reached, lenient=True, **ended)
        self.fleet.close()
        told = [f"{name}: {text}" for name, texts in changed.items() for text in texts]
        if changed:
            told.append(f"Next:  fab status --hosts {self.targets.selector}")
        lost = [name for name, outcome in outcomes.items() if outcome.last("fenced")]
        if lost:
            told.append(f"{', '.join(lost)}: another run has taken over meanwhile; this one left everything to it")
        if stayed := [name for name in self.facts if name not in lost and (name not in outcomes or not outcomes[name].ok)]:
            told.append(f"{', '.join(stayed)}: could not be unlocked.\nNext:  fab unlock --hosts {','.join(stayed)} --id {self.id}")
        if told:
            raise Unsettled("\n".join(told))

    def changed(self, outcomes: Mapping[str, Outcome]) -> dict[str, list[str]]:
        """Say what is no longer as its reload left it: a host that was healthy when its turn ended may have fallen over since."""
        left = {name for name, end in self.waves.reloaded.items() if end.state in ("new", "old") and end.now}
        seen = {name: outcome.last("facts") for name, outcome in outcomes.items() if name in left}
        found = {name: drifted(self.meant(name), facts) for name, facts in seen.items() if facts}
        return {name: texts for name, texts in found.items() if texts}

    def meant(self, name: str) -> Host:
        """Give a host as it should be now: where `scale` went back, with the workers that it had."""
        went_back = self.options.scales and self.waves.reloaded[name].state == "old"
        return plan.as_found(self.hosts[name], self.facts[name]) if went_back else self.hosts[name]

    def finish_steps(self, host: Host, record: Mapping[str, Any]) -> list[Step]:
        app, facts = host.app, self.facts[host.name]
        gone = plan.doomed(facts, app.keep_releases, [self.release])
        look = [found_tools(host, self.facts[host.name]), Step("look again", softly(pm2.facts_again(app.root, app.processes)))]
        return [
            Step("own", lock.enter(app.root, self.id, "finish"), quick=True),
            *(look if host.name in self.waves.reloaded else []),  # who was reloaded has our scripts
            Step("history", softly(journal.append(app.root, record)), quick=True),
            Step("unlock", lock.drop(app.root, self.id), quick=True),
            Step("prune", softly(releases.prune(app.root, gone))),
        ]

    # ------------------------------------------------------------------ measuring

    def probe_targets(self) -> list[tuple[str, str, bool, str | None]]:
        """List what the prober asks: name, url, whether a failure is a lost request, Host header."""
        found: list[tuple[str, str, bool, str | None]] = []
        for group in self.targets.groups:
            if group.balancer and group.balancer.url:
                url, header = self.fleet.url(group.balancer, group.hosts[0].app.route)
                found.append((f"balancer {group.name}", url, True, header))
            for host in group.hosts:
                found += self.direct(host, counted=not (group.balancer and group.balancer.url))
        return found

    def direct(self, host: Host, counted: bool) -> Iterator[tuple[str, str, bool, str | None]]:
        """Give the host's own address, on the ports where its workers were found listening."""
        for port in sorted({port for item in self.facts[host.name]["processes"] for port in item["ports"]}):
            yield host.name, f"http://{self.fleet.lines[host.name].address()}:{port}{host.app.route}", counted, None

    # ------------------------------------------------------------------ telling

    def begin(self, phase: str, what: str) -> None:
        self.begun.append((phase, time.monotonic()))
        self.mark(phase)
        self.emit(phase, "", {"event": "phase", "what": what})

    def spent(self) -> dict[str, float]:
        """Give the seconds that each phase took, the last one until now."""
        ends = [at for _, at in self.begun[1:]] + [time.monotonic()]
        seconds: dict[str, float] = {}
        for (phase, at), end in zip(self.begun, ends, strict=True):
            seconds[phase] = round(seconds.get(phase, 0.0) + end - at, 1)
        return seconds

    def told(self, phase: str, bad: Mapping[str, Outcome], after: str) -> str:
        """Tell a failed phase: hosts, step, last lines, state now, next command; hosts that said the same stand together."""
        alike: dict[tuple[str, ...], list[str]] = {}
        for name, outcome in bad.items():
            how = "lost: outcome unknown" if outcome.code is None else "failed"
            said = (f"{how} in {phase}, step: {outcome.step or 'start'}", *(f"  | {line}" for line in outcome.tail[-20:]))
            alike.setdefault(said, []).append(name)
        lines = [line for (head, *tail), names in alike.items() for line in (f"{', '.join(names)} {head}", *tail)]
        return "\n".join([*lines, after, f"Next:  fab status --hosts {self.targets.selector}"])
