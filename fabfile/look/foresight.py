"""Foresee a command: read the hosts as its run would, without their locks, and write nothing there; hold a run to what was foreseen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath

from .. import choice, ownership
from ..basis import Forecast, differences
from ..commands import balancer, node, outlook
from ..commands.shell import Step
from ..drift import in_rotation
from ..errors import GaplessError, LockHeld, PreflightFailed
from ..fleet import Fleet
from ..forecast import Code, Survey, env_file, forecast, migrated_commits, phases, spans
from ..inventory.values import Balancer, Host, Targets
from ..plan import Facts, Options
from ..report.stream import state_dir
from ..run.claim import Claim, held_by, taken_over
from ..run.rollout import Rollout
from ..source import Clone, Unreadable


def foresee(targets: Targets, options: Options, commit: str) -> Forecast:
    """Say what a command would do now, and what it would end with if something stands in its way; raise where a host is out of reach."""
    fleet = Fleet(targets.places, lambda *_: None)
    fleet.open()
    try:
        claim = Claim(targets, options, {"resumes": []}, fleet)
        outcomes = claim.look()
        held = held_by(outcomes)
        facts, unfit = claim.weigh(outcomes)
        for name, texts in _busy(facts, held).items():
            unfit.setdefault(name, []).extend(texts)
        error = _refusal(claim, held, unfit)
        locks = {name: str(ownership.run_of(each) or "unknown") for name, each in held.items()}
        survey = _survey(fleet, targets, options, commit, Survey(facts, unfit, locks))
    finally:
        fleet.close()
    return forecast(targets, options, commit, survey, _code(targets, options, commit, facts), error)


def hold_to(plan: Forecast, commit: str) -> Callable[[Rollout], None]:
    """Make the check of a run that is to apply a plan: raise PreflightFailed, line by line, if anything has moved since."""
    def check(rollout: Rollout) -> None:
        rollout.begin("plan", f"{plan['plan_id']}: is everything as it was?")
        seen = Survey(rollout.facts, {}, rollout.held.abandoned)
        survey = _survey(rollout.fleet, rollout.targets, rollout.options, rollout.commit, seen)
        now = forecast(rollout.targets, rollout.options, rollout.commit, survey, Code(), None)
        if moved := differences(plan, {**now, "commit": commit}):
            raise PreflightFailed("\n".join([
                f"plan {plan['plan_id']} does not hold any more; nothing was touched.", *(f"  {line}" for line in moved),
                f"Next:  fab {plan['verb']} --hosts {plan['selector']} --plan",
            ]))
    return check


def _busy(facts: Mapping[str, Facts], held: Mapping[str, ownership.Held]) -> dict[str, list[str]]:
    """Name the hosts on which an earlier run is at work without holding the lock: claim refuses them."""
    at_work = {
        name: [*one["driving"], *(each["run"] for each in one["migrations"] if each["outcome"] == "at work")]
        for name, one in facts.items() if name not in held
    }
    return {
        name: [f"run {run} is still at work on this host; it ends by itself, then try again" for run in runs]
        for name, runs in at_work.items() if runs
    }


def _refusal(claim: Claim, held: Mapping[str, ownership.Held], unfit: Mapping[str, list[str]]) -> GaplessError | None:
    """Give what the claim of a run would end with now."""
    passed = taken_over(held)
    try:
        claim.refuse({name: each for name, each in held.items() if name not in passed}, unfit)
    except LockHeld as err:
        if err.gone and claim.options.verb == "deploy":
            then = "A deploy does one of both by itself, and begins after it: what it would do then can be planned then."
            return LockHeld(f"{err.message}\n{then}", gone=True)
        return err
    except GaplessError as err:
        return err
    return None


def _survey(fleet: Fleet, targets: Targets, options: Options, commit: str, seen: Survey) -> Survey:
    """Ask the hosts for what their facts leave out, and the balancers for who is in rotation."""
    try:
        aims = choice.aims(options, seen.facts, commit) if seen.facts else {}
    except PreflightFailed:
        aims = {}
    hosts = {host.name: host for host in targets.hosts if host.name in seen.facts}
    outcomes = fleet.each("plan", {name: _outlook_steps(host, options, seen.facts[name], aims.get(name)) for name, host in hosts.items()})
    rotation: dict[str, str] = {}
    for group in targets.fleet:
        rotation |= _rotation(fleet, group.balancer, group.hosts) if group.balancer else {}
    told = {name: event for name, outcome in outcomes.items() if (event := outcome.last("outlook"))}
    return Survey(seen.facts, seen.unfit, seen.locks, rotation, told)


def _rotation(fleet: Fleet, front: Balancer, hosts: Iterable[Host]) -> dict[str, str]:
    """Ask a balancer how it sees these hosts."""
    outcome = fleet.run("plan", f"balancer {front.host}", [Step("rotation", balancer.rotation(front))])
    servers = {event["name"]: event for event in outcome.events if event["event"] == "server"}
    return {host.name: in_rotation(servers.get(host.server)) for host in hosts}


def _outlook_steps(host: Host, options: Options, facts: Facts, aim: str | None) -> list[Step]:
    app, built = host.app, not options.makes_release
    files = {each.name: file for each in app.processes if (file := env_file(app, each, aim, built))} if "reload" in phases(options) else {}
    return [Step("tools", node.tools(facts["path"], host.pm2_home)), Step("outlook", outlook.look(app.root, files))]


# ---------------------------------------------------------------------- what the repository says


def _code(targets: Targets, options: Options, commit: str, facts: Mapping[str, Facts]) -> Code:
    """Read the commits between what serves and what is meant, and the migrations that are new; where that fails, say so."""
    try:
        aims = choice.aims(options, facts, commit) if facts else {}
    except GaplessError:
        return Code()
    repos = dict.fromkeys(host.app.repo for host in targets.hosts)
    each = [_code_of(repo, [host for host in targets.hosts if host.app.repo == repo], options, commit, facts, aims) for repo in repos]
    notes = dict.fromkeys(code.note for code in each if code.note)
    return Code([way for code in each for way in code.spans], [name for code in each for name in code.new_migrations], "; ".join(notes))


def _code_of(repo: str, hosts: list[Host], options: Options, commit: str, facts: Mapping[str, Facts],
             aims: Mapping[str, str | None]) -> Code:
    """Read one repository for the hosts that are deployed from it."""
    mine = {host.name: facts[host.name] for host in hosts if host.name in facts}
    if not (ways := spans(mine, aims, commit)):
        return Code()
    clone = Clone(state_dir() / "git", repo)
    known = migrated_commits(mine)
    try:
        clone.fetch([*(way[end] for way in ways for end in ("old", "new") if way[end]), *known])
        ways = [{**way, **_read(clone, way["old"], way["new"])} for way in ways]
        return Code(ways, _new_migrations(clone, ways[0]["new"], known) if "migrate" in phases(options) else [])
    except Unreadable as err:
        return Code(ways, note=str(err))


def _read(clone: Clone, old: str, new: str) -> dict[str, object]:
    what = clone.named(new)[0]
    if not old or old == new:
        return {"what": what, "ahead": 0, "commits": [], "behind": 0, "taken_back": []}
    (ahead, commits), (behind, taken_back) = clone.commits(old, new), clone.commits(new, old)
    return {"what": what, "ahead": ahead, "commits": commits, "behind": behind, "taken_back": taken_back}


def _new_migrations(clone: Clone, new: str, known: list[str]) -> list[str]:
    """Name the migrations of a commit that none of the `known` ones has; one of Prisma's is a directory."""
    had = {name for commit in known for name in clone.migrations(commit)}
    files = [PurePosixPath(name) for name in clone.migrations(new) if name not in had]
    return list(dict.fromkeys(file.parent.name if file.name == "migration.sql" else file.name for file in files))
