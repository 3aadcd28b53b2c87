"""
What a command would do, as one value that can be kept, named and compared. Pure: facts and options in, plain values out.

A forecast is a mapping that JSON can hold; its `plan_id` names what it rests on (basis.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from . import choice, plan
from .basis import Forecast, digest, identity
from .drift import drifted, linked, notes, pinned, running
from .errors import GaplessError
from .inventory.values import App, Group, Host, Process, Targets
from .plan import Facts, Options

SCHEMA = 1

PHASES = {"deploy": ("claim", "build", "migrate", "reload"), "build": ("claim", "build"), "migrate": ("claim", "migrate")}
RELOADS = ("claim", "reload")  # of every other verb


@dataclass(frozen=True)
class Survey:
    """Hold what was read of the hosts; each mapping has those that told it."""

    facts: Mapping[str, Facts]
    unfit: Mapping[str, list[str]] = field(default_factory=dict)
    locks: Mapping[str, str] = field(default_factory=dict)        # the run that holds a host
    rotation: Mapping[str, str] = field(default_factory=dict)     # of every host of the groups: "in" or "OUT (why)"
    outlook: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # event `outlook`


@dataclass(frozen=True)
class Code:
    """Hold what the repository says: `spans` of commits, names of migrations that are new, or why it can't be read."""

    spans: list[dict[str, Any]] = field(default_factory=list)
    new_migrations: list[str] = field(default_factory=list)
    note: str = ""


def phases(options: Options) -> tuple[str, ...]:
    return PHASES.get(options.verb, RELOADS)


def spans(facts: Mapping[str, Facts], aims: Mapping[str, str | None], commit: str) -> list[dict[str, Any]]:
    """List the ways from a live commit to the one meant, with the hosts that go each; `commit` is that of a release not built yet."""
    ways: dict[tuple[str, str, str, str], list[str]] = {}
    for name, one in facts.items():
        known = {each["id"]: each.get("commit") or "" for each in one["releases"]}
        was, aim = one["current"]["release"] or "", aims.get(name) or ""
        ways.setdefault((was, aim, known.get(was, ""), known.get(aim) or commit), []).append(name)
    return [{"was": was, "aim": aim, "old": old, "new": new, "hosts": names} for (was, aim, old, new), names in ways.items() if new]


def migrated_commits(facts: Mapping[str, Facts]) -> list[str]:
    """List the commits whose migration is recorded as done, or that serve: what they bring is no news to the database."""
    done = {each["release"] for one in facts.values() for each in one["migrations"] if each["outcome"] == "done"}
    live = {one["current"]["release"] for one in facts.values()}
    known = {each["id"]: each.get("commit") for one in facts.values() for each in one["releases"]}
    return sorted({commit for release in done | live if release and (commit := known.get(release))})


def env_file(app: App, process: Process, aim: str | None, built: bool) -> str | None:
    """Give the env file that the next workers will read, relative to the root; None where it comes with a commit not built yet."""
    file = process.env_file
    if not file:
        return None
    if file in app.shared_files or any(file.startswith(f"{place}/") for place in app.shared_dirs):
        return f"shared/{file}"
    return f"releases/{aim}/{file}" if built and aim else None


def forecast(targets: Targets, options: Options, commit: str, survey: Survey, code: Code, error: GaplessError | None) -> dict[str, Any]:
    """Say all that a command would do, as far as the hosts told; `error` is what the command would end with at once."""
    try:
        aims = choice.aims(options, survey.facts, commit) if survey.facts else {}
    except GaplessError as err:
        aims, error = {}, error or err
    reloads = "reload" in phases(options)
    switched = [host.name for host in targets.hosts] if reloads else []
    told = {
        "schema": SCHEMA, "verb": options.verb, "selector": targets.selector, "options": _told_options(options), "commit": commit,
        "ref": (options.ref or targets.hosts[0].app.ref) if commit else "",
        "settings": {group.name: digest(group) for group in targets.fleet},
        "hosts": {
            host.name: _host(host, group, options, survey, aims.get(host.name)) for group in targets.groups for host in group.hosts
        },
        "build": _build(targets, options) if "build" in phases(options) else [],
        "migrate": _migrate(targets, options, survey, aims, code),
        "waves": {group.name: _waves(targets, group, options, survey, switched) for group in targets.groups} if reloads else {},
        "side_by_side": not options.one_group_at_a_time,
        "commits": code.spans, "commits_note": code.note,
        "time": _estimate(targets, options, survey, switched),
    }
    error = error or _stopped(options, targets.hosts, survey.facts, aims, targets.selector)
    told |= {"exit": int(error.code) if error else 0, "message": str(error.message) if error else ""}
    return {"event": "plan", "plan_id": identity(told), **told}


def _told_options(options: Options) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in options._asdict().items() if value and key != "verb"}


def options_of(made: Forecast) -> Options:
    """Give the flags that a forecast was made for."""
    known: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in made["options"].items()}
    return Options(made["verb"], **known)


def _stopped(options: Options, hosts: Iterable[Host], facts: Mapping[str, Facts], aims: Mapping[str, str | None],
             selector: str) -> GaplessError | None:
    """Give what would end the command before it has done anything, beside locks and unfit hosts."""
    if "migrate" not in phases(options) and "build" not in phases(options):
        return None
    try:
        choice.refuse_unknown_migration(facts)
        if "build" in phases(options):
            choice.refuse_unlike(hosts, facts, options)
        release = next(iter(aims.values()), None)
        known = plan.migrated(facts, release) if release else ""
        if options.verb == "migrate" and known != "done" and not options.again:
            choice.refuse_begun_migration(known, str(release), selector)
    except GaplessError as err:
        return err
    return None


def _build(targets: Targets, options: Options) -> list[dict[str, Any]]:
    """
    Say which commands build the release where, for groups and hosts may have their own; and to which hosts it is sent then.

    An artifact that was given is built nowhere: it is sent to all, or `fetches` says that they fetch it.
    """
    if options.sha256:
        artifact = {"artifact": options.artifact, "sha256": options.sha256, "fetches": options.fetches}
        return [{"commands": [], "hosts": [], "sent": [host.name for host in targets.hosts], **artifact}]
    alike: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for builder, others in choice.builders(targets.hosts).items():
        commands = next(host.app.build for host in targets.hosts if host.name == builder)
        alike.setdefault((commands, tuple(host.name for host in others)), []).append(builder)
    return [{"commands": list(commands), "hosts": names, "sent": list(sent)} for (commands, sent), names in alike.items()]


# ---------------------------------------------------------------------- one host


def _host(host: Host, group: Group, options: Options, survey: Survey, aim: str | None) -> dict[str, Any]:
    facts, outlook = survey.facts.get(host.name), survey.outlook.get(host.name, {})
    rotation = survey.rotation.get(host.name, "")
    told = {
        "group": group.name, "current": "?", "running": "?", "release": aim, "rotation": rotation,
        "lock": survey.locks.get(host.name, ""), "unfit": list(survey.unfit.get(host.name, [])),
        "env": dict(outlook.get("env", {})), "prune": [], "warnings": [],
    }
    if facts is None:
        return told
    out = rotation.removeprefix("OUT (").removesuffix(")") if rotation.startswith("OUT") else ""
    warnings = [*drifted(host, facts, out), *pinned(facts), *notes(facts), *_scarce(host, facts), *_replaced(host, facts, options)]
    return {
        **told, "current": linked(facts), "running": running(facts), "prune": plan.doomed(facts, host.app.keep_releases, [aim]),
        "warnings": warnings,
    }


def _scarce(host: Host, facts: Facts) -> list[str]:
    room, wanted = facts["room"], host.app.min_free_mb
    return [f"{room['mb']} MB free; a release wants {wanted} MB (min_free_mb)"] if room and room["mb"] < 2 * wanted else []


def _replaced(host: Host, facts: Facts, options: Options) -> list[str]:
    """Name what --allow-downtime lets pass."""
    return plan.unfit(host, facts, options._replace(allow_downtime=False)) if options.allow_downtime else []


def _migrate(targets: Targets, options: Options, survey: Survey, aims: Mapping[str, str | None], code: Code) -> dict[str, Any] | None:
    host = choice.migrates(targets.hosts)
    if host is None or "migrate" not in phases(options):
        return None
    release = aims.get(host.name)
    state = plan.migrated(survey.facts, release) if release else ""
    return {
        "host": host.name, "command": host.app.migrate, "state": "" if options.again else state,
        "unknown": {name: list(runs) for name, runs in plan.unknown_migrations(survey.facts).items()}, "new": list(code.new_migrations),
    }


# ---------------------------------------------------------------------- waves and time


def _waves(targets: Targets, group: Group, options: Options, survey: Survey, names: Iterable[str]) -> list[dict[str, Any]]:
    """Say of each wave who is in it, how it goes there, and how many of the whole group serve meanwhile."""
    whole = next(each for each in targets.fleet if each.name == group.name)
    up = {host.name for host in whole.hosts if _serves(host, group, survey)}
    idle = {name for name, facts in survey.facts.items() if not facts["processes"]}
    return [_wave(group, [host.name for host in wave], up, idle, len(whole.hosts)) for wave in plan.in_waves(group, options, set(names))]


def _serves(host: Host, group: Group, survey: Survey) -> bool:
    """Say whether requests come to a host: by its balancer's word, else if anything runs there, as far as it was asked."""
    if group.balancer:
        return survey.rotation.get(host.name) == "in"
    return host.name not in survey.facts or bool(survey.facts[host.name]["processes"])


def _wave(group: Group, names: list[str], up: set[str], idle: set[str], of: int) -> dict[str, Any]:
    others = up - set(names)
    forked = any(process.exec_mode == "fork" and process.health for host in group.hosts for process in host.app.processes)
    if not up & set(names):
        how = "started" if set(names) <= idle else "out"
    else:
        how = "drained" if group.balancer and others else "restarted" if forked else "gated"
    return {"hosts": names, "how": how, "serving": len(up if how == "gated" else others), "of": of}


def _estimate(targets: Targets, options: Options, survey: Survey, names: Iterable[str]) -> dict[str, Any]:
    """Estimate seconds by the medians of the runs that ended well: per phase, and for a reload per wave."""
    runs = {str(run["run"]): run for each in survey.outlook.values() for run in each.get("history", [])}.values()
    rounds = plan.rounds(targets.groups, options, set(names))
    wanted = [phase for phase in phases(options) if phase != "migrate" or choice.migrates(targets.hosts)]
    found = {phase: _usual(phase, runs, rounds) for phase in wanted}
    known = [seconds for seconds in found.values() if seconds is not None]
    return {"seconds": round(sum(known), 1) if known else None, "phases": found, "waves": rounds, "runs": len(runs)}


def _usual(phase: str, runs: Iterable[Mapping[str, Any]], rounds: int) -> float | None:
    """Give the seconds that a phase usually takes, None where no run tells."""
    # One that took no time was not done: a migration that had been.
    told = [run for run in runs if run["phases"].get(phase) and (phase != "reload" or run.get("waves"))]
    if not told:
        return None
    if phase == "reload":
        return round(median(float(run["phases"][phase]) / int(run["waves"]) for run in told) * rounds, 1)
    return round(median(float(run["phases"][phase]) for run in told), 1)
