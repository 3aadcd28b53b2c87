"""Take up what a dead run left: find out how far it came, then finish it, or take it back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from .. import ownership
from ..commands import lock, node
from ..commands.shell import Step
from ..drift import drifted, sound
from ..errors import LockHeld, RunFailed, Unsettled, UsageError
from ..fleet import Fleet
from ..inventory.values import Targets
from ..plan import Facts, Options
from ..transport import Outcome
from .claim import held_by
from .moment import MOMENTS
from .rollout import Rollout
from .waves import Reloaded

Past = Mapping[str, Any]  # event `past`: began and ended (events of the driver, or None), working


class Left(NamedTuple):
    """Hold what a dead run left: its record, and per host the phase it was in and how far its driver came."""

    owner: Mapping[str, Any]
    phases: Mapping[str, str]
    past: Mapping[str, Past]

    @property
    def run(self) -> str:
        return str(self.owner["run"])

    @property
    def release(self) -> str:
        """Give the release that the run was about, or "" if it had not come to name one."""
        return next((phase.split(" ")[1] for phase in self.phases.values() if " " in phase), "")

    def target(self, host: str) -> str | None:
        """Give the release that this host was to be reloaded to, if its turn had come."""
        phase, _, release = self.phases.get(host, "").partition(" ")
        return release if phase == "reload" else None

    def was(self, host: str) -> str | None:
        """Give the release that this host ran before the run touched it, if it did."""
        began = self.past[host]["began"] if host in self.past else None
        return began["from"] if began else None

    @property
    def reverting(self) -> bool:
        """Say whether the run had failed, and was taking back what it had done."""
        return any(phase.startswith("revert ") for phase in self.phases.values())

    def begun(self, host: str) -> bool:
        return host in self.past and self.past[host]["began"] is not None

    @property
    def aim(self) -> str:
        """Give the verb whose work this is: an abort that died is still an abort, a resumed deploy still a deploy."""
        return "abort" if self.owner["verb"] == "abort" else str(self.owner.get("aim") or self.owner["verb"])

    def options(self, verb: str) -> Options:
        """Give the dead run's own flags, under the verb that takes it up."""
        flags = ("ref", "to", "one_group_at_a_time", "allow_downtime", "process", "instances", "artifact", "sha256")
        known = {key: self.owner[key] for key in flags if key in self.owner}
        return Options(verb, aim=self.aim, max_parallel=tuple(self.owner.get("max_parallel", ())), **known)

    def same(self, options: Options, commit: str, hosts: Collection[str]) -> bool:
        """Say whether a command wants just what the dead run was about: the same work, the same code, the same hosts."""
        mine = (options.verb, options.to, options.process, options.instances, options.sha256, commit, sorted(hosts))
        its = [self.owner.get(key, "") for key in ("to", "process", "instances", "sha256", "commit")]
        return mine == (self.aim, *its, self.owner["hosts"])

    @property
    def runs(self) -> list[str]:
        """List the runs that this work went through, the first one first."""
        return _chain(self.owner)


def _chain(owner: Mapping[str, Any]) -> list[str]:
    """List a run and those whose work it had taken up, the first one first."""
    return [*owner.get("resumes", ()), str(owner["run"])]


def find(targets: Targets, say: Callable[[str], None]) -> Left:
    """Find the one dead run that holds these hosts; wait for what of it still works there. Raise if there is none, or no such."""
    fleet = Fleet({host.name: host.ssh for host in targets.hosts}, lambda *_: None)
    fleet.open()
    try:
        roots = {host.name: host.app.root for host in targets.hosts}
        held = held_by(fleet.each("lock", {name: [Step("lock", lock.show(root))] for name, root in roots.items()}))
        owner = _dead_owner(held, targets)
        runs = _chain(owner)
        past = _past(fleet, roots, runs)
        for host in targets.hosts:
            if past[host.name]["working"]:
                say(f"{host.name}: what run {runs[-1]} began there is still at work; waiting for its end")
                tools = Step("tools", node.tools(host.node_bin, host.pm2_home))
                for script, run in (("migrate", runs[-1]), ("driver", runs[-1]), ("driver", f"{runs[-1]}-back")):
                    fleet.follow("wait", host.name, [tools], host.app.root, script, run)
        return Left(owner, {name: str(each["phase"]) for name, each in held.items()}, _past(fleet, roots, runs))
    finally:
        fleet.close()


def _past(fleet: Fleet, roots: Mapping[str, str], runs: list[str]) -> dict[str, Past]:
    outcomes: dict[str, Outcome] = fleet.each("past", {name: [Step("past", lock.past(root, runs))] for name, root in roots.items()})
    if lost := [name for name, outcome in outcomes.items() if outcome.last("past") is None]:
        raise Unsettled(f"{', '.join(lost)}: what was done there can't be read ({outcomes[lost[0]].last_words})")
    return {name: dict(outcome.last("past") or {}) for name, outcome in outcomes.items()}


def _dead_owner(held: Mapping[str, ownership.Held], targets: Targets) -> Mapping[str, Any]:
    if not held:
        raise UsageError(f"no run was left unfinished on {targets.selector}: no host is locked")
    if alive := {name: each for name, each in held.items() if not ownership.gone(each)}:
        raise LockHeld(ownership.told(alive, targets.selector))
    owner: Mapping[str, Any] = max((each["owner"] for each in held.values()), key=lambda each: len(each.get("resumes", ())))
    runs = sorted({str(ownership.run_of(each)) for each in held.values()})
    if set(runs) - set(_chain(owner)):
        raise UsageError(f"{targets.selector}: {len(runs)} runs were left unfinished ({', '.join(runs)}); name the hosts of one of them")
    if missing := sorted(set(owner["hosts"]) - {host.name for host in targets.hosts}):
        raise UsageError(f"run {owner['run']} was about {', '.join(missing)} too; name all its hosts: --hosts {','.join(owner['hosts'])}")
    return owner


# ---------------------------------------------------------------- finish it


def resume(rollout: Rollout, left: Left) -> None:
    """Carry the dead run to its end; if it had failed and was going back, that is its end."""
    if left.aim == "abort":
        abort(rollout, left)
        return
    if left.aim in MOMENTS:
        rollout.begin("resume", f"what this {left.aim} had not done yet died with it; the lock is free again, so type it once more")
        return
    rollout.release = left.release
    bad = [name for name, facts in rollout.facts.items() if left.release and _release(facts, left.release).get("bad")]
    if bad or left.reverting:
        abort(rollout, left)
        why = f": {left.release} proved bad on {', '.join(bad)}" if bad else ", and was going back"
        raise RunFailed(f"run {left.run} had failed{why}. All hosts serve what they served.")
    if left.aim in ("build", "deploy"):
        _build(rollout)
    if left.aim == "migrate" and not left.release:
        rollout.release = rollout.newest(left.owner.get("to", ""))
    if left.aim in ("migrate", "deploy"):
        rollout.migrate()
    if left.aim in ("build", "migrate"):
        return
    targets = _targets(rollout, left)
    done = {name for name, release in targets.items() if _is_on(rollout, name, release) and left.begun(name)}
    for name in done:
        rollout.waves.reloaded[name] = Reloaded("new", was=left.was(name), now=targets[name])
    rollout.waves.mend(done)
    for name in sorted(done):  # the dead run may not have come to ask about them
        rollout.waves.approve(rollout.groups[name], rollout.hosts[name], rollout.waves.reloaded[name], rollout.options.leads_back)
    rollout.reload({name: release for name, release in targets.items() if name not in done})


def _build(rollout: Rollout) -> None:
    whole = {name for name, facts in rollout.facts.items() if _release(facts, rollout.release).get("complete")}
    rollout.build(set(rollout.hosts) - whole)


def _targets(rollout: Rollout, left: Left) -> dict[str, str | None]:
    """Name each host's release: what its turn was about, or what the run's verb would have chosen."""
    to = left.owner.get("to", "")
    if left.aim == "deploy":
        return dict.fromkeys(rollout.hosts, rollout.release)
    known = {name: release for name in rollout.hosts if (release := left.target(name))}
    rest = [name for name in rollout.hosts if name not in known]
    if not rest:
        return dict(known)
    # What has gone back already may have nothing earlier left.
    chosen = rollout.earlier(to, rest) if left.aim == "rollback" else rollout.existing(to)
    return {**chosen, **known}


def _release(facts: Facts, release: str) -> Mapping[str, Any]:
    return next((each for each in facts["releases"] if each["id"] == release), {})


def _is_on(rollout: Rollout, name: str, release: str | None) -> bool:
    facts = rollout.facts[name]
    return facts["current"]["release"] == release and not drifted(rollout.hosts[name], facts)


# ---------------------------------------------------------------- take it back


def abort(rollout: Rollout, left: Left) -> None:
    """Take the dead run back: every host serves what it served before it; raise where there was nothing before."""
    take_back(rollout, left)
    first = [name for name in rollout.hosts if left.begun(name) and left.was(name) is None]
    if first := [name for name in first if rollout.facts[name]["current"]["release"]]:
        raise Unsettled(f"{', '.join(first)}: it was the first release there; nothing to go back to, so it was left as it is")
    if unfit := [name for name, facts in rollout.facts.items() if name not in rollout.waves.reloaded and not sound(facts)]:
        told = f"{', '.join(unfit)}: not fit for traffic, and not by the doing of run {left.run}: left as it is"
        raise Unsettled(f"{told}\nNext:  fab status --hosts {rollout.targets.selector}")


def take_back(rollout: Rollout, left: Left) -> None:
    """Reload each host that the run had touched to what it ran before, and put back into rotation what it had drained."""
    before = {name: was for name in rollout.hosts if left.begun(name) and (was := left.was(name)) is not None}
    wrong = {name: was for name, was in before.items() if not _is_on(rollout, name, was)}
    rollout.waves.mend(set(rollout.hosts) - set(wrong))
    rollout.release = ""
    rollout.waves.leaving, rollout.waves.returning = left.release, True
    rollout.reload(wrong)
