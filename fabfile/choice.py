"""Which release a command is about on each host, and whether a migration stands in its way. Pure: facts in, names or a refusal out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from . import plan
from .errors import PreflightFailed, RunFailed, Unsettled
from .inventory.values import Host
from .plan import Facts, Options


def aims(options: Options, facts: Mapping[str, Facts], commit: str) -> dict[str, str | None]:
    """Name the release that a command is about on each host; raise PreflightFailed where there is none."""
    if options.makes_release:
        return dict.fromkeys(facts, plan.next_release(facts.values(), commit or options.sha256))
    if options.verb == "migrate":
        return dict.fromkeys(facts, newest(facts, options.to))
    return earlier(facts, options.to) if options.verb == "rollback" else existing(facts, options.to)


def existing(facts: Mapping[str, Facts], to: str) -> dict[str, str | None]:
    """Name each host's release to reload: the one that runs, a named one, or the newest."""
    if to:
        return dict.fromkeys(facts, newest(facts, "" if to == "newest" else to))
    return each_has("current release", {name: one["current"]["release"] for name, one in facts.items()})


def earlier(facts: Mapping[str, Facts], to: str, hosts: Iterable[str] | None = None) -> dict[str, str | None]:
    """Name the release to which each host goes back, or those of them that are named: a named one, or its last good one."""
    hosts = facts if hosts is None else hosts
    if to:
        return dict.fromkeys(hosts, newest(facts, to))
    return each_has("earlier release that was ever healthy", {name: plan.earlier(facts[name]) for name in hosts})


def each_has(what: str, found: dict[str, str | None]) -> dict[str, str | None]:
    if none := [name for name, release in found.items() if release is None]:
        raise PreflightFailed(f"{', '.join(none)}: no {what}; nothing was touched.")
    return found


def newest(facts: Mapping[str, Facts], name: str) -> str:
    """Return the release of this name, or the newest, that is complete on every host."""
    whole = [{each["id"] for each in one["releases"] if each["complete"] and not each["bad"]} for one in facts.values()]
    common = sorted(set.intersection(*whole), key=plan.number)
    if name and name not in common:
        there = ", ".join(common) or "none"
        raise PreflightFailed(f"{name} is not a complete release on every host; there are: {there}. Nothing was touched.")
    if not common:
        raise PreflightFailed("no release is complete on every host; nothing was touched. Next:  fab build")
    return name or common[-1]


def builders(hosts: Iterable[Host]) -> dict[str, list[Host]]:
    """Name each host that builds, with those that are sent what it built: none, unless hosts.yaml says `on: first`."""
    first: dict[tuple[str, ...], str] = {}
    found: dict[str, list[Host]] = {}
    for host in hosts:
        builder = first.setdefault(host.app.build, host.name) if host.app.build_on == "first" else host.name
        found.setdefault(builder, []).extend([host] if host.name != builder else [])
    return found


def refuse_unlike(hosts: Iterable[Host], facts: Mapping[str, Facts], options: Options) -> None:
    """Refuse to send what one host built to a host of another kind: compiled modules would not load there."""
    if options.sha256:
        return  # who made it knows what for
    told = [
        f"  {host.name}: {facts[host.name]['machine']}, and {builder}, which builds: {facts[builder]['machine']}"
        for builder, others in builders(hosts).items() for host in others
        if {host.name, builder} <= {*facts} and facts[host.name]["machine"] != facts[builder]["machine"]
    ]
    if told:
        raise PreflightFailed("\n".join([
            "build: on: first wants hosts of one kind, for what is built on one runs on all; nothing was touched.", *told,
            "Give them the same node, or put hosts of another kind into a group of their own, whose app has build: on: each",
        ]))


def migrates(hosts: Iterable[Host]) -> Host | None:
    """Choose the one host that runs the migration: the first that has one."""
    return next((host for host in hosts if host.app.migrate), None)


def refuse_unknown_migration(facts: Mapping[str, Facts]) -> None:
    """Go no further while nobody knows whether an earlier migration was applied."""
    if not (unknown := plan.unknown_migrations(facts)):
        return
    lines = [
        f"{name}: whether the migration of {release} (run {run}) was applied is UNKNOWN: it ended without a word"
        for name, runs in unknown.items() for run, release in runs.items()
    ]
    hosts = ",".join(unknown)
    raise Unsettled("\n".join([
        *lines, "No host was switched. Look at the database, and say what you found:",
        f"Next:  fab migrate --resolved done --hosts {hosts}   or   fab migrate --resolved failed --hosts {hosts}",
    ]))


def refuse_begun_migration(known: str, release: str, selector: str) -> None:
    """Refuse to begin a migration once more by itself; `known` says how it ended, "" that it was never begun."""
    if known:
        raise RunFailed(
            f"the migration of {release} {known} before, and is not begun again by itself. No host was switched.\n"
            f"Mend the database, then:  fab migrate --again --release {release} --hosts {selector}"
        )
