"""What a deploy would change: the commits between what is live and what is meant, as far as the hosts themselves know them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .. import source
from ..commands import releases
from ..commands.shell import Step
from ..errors import PreflightFailed, UsageError
from ..inventory.values import Targets
from ..plan import Facts
from ..transport import Outcome
from .releases import steps
from .view import Look, refuse_unread, unheard

MOST = 30  # commits that are listed by name


class Way(NamedTuple):
    """Lead from the commit that is live on a host (None: nothing is) to the one that is meant."""

    release: str | None
    was: str | None
    to: str


def meant(ref: str, to: str) -> Callable[[Targets], None]:
    """Make the check of what was typed: it resolves the refs before any host is asked."""
    def check(chosen: Targets) -> None:
        if ref and to:
            raise UsageError("--ref names a commit of the repository, --to a release on the hosts; say one of them")
        if not to:
            commits(chosen, ref)
    return check


def commits(chosen: Targets, ref: str) -> dict[tuple[str, str], str]:
    """Resolve the ref of each repository that is deployed here."""
    return {key: source.resolve(*key) for key in {(host.app.repo, ref or host.app.ref) for host in chosen.hosts}}


def show(look: Look, ref: str, to: str) -> None:
    """Print what would change, hosts that are alike together; raise where a host can't be read."""
    outcomes = look.each("releases", steps)
    facts = {name: found for name, outcome in outcomes.items() if (found := outcome.last("facts"))}
    ways = _ways(look, facts, ref, to)
    asked = {name: way for name, way in ways.items() if way.was and way.was != way.to}
    logs = look.fleet.each("log", {
        name: [Step("log", releases.log(look.hosts[name].app.root, str(way.was), way.to, MOST))] for name, way in asked.items()
    })
    for name, way in ways.items():
        look.page.tell("diff", host=name, **_record(way, logs.get(name)))
    for way, names in _alike(ways).items():
        _tell(look, way, names, next((logs[name] for name in names if name in logs and logs[name].last("between")), None), ref)
    lives = {way.was for way in ways.values() if way.was}
    if len(lives) > 1:
        look.page.say(f"note: the hosts are on {len(lives)} different commits")
    refuse_unread(unheard(outcomes, "facts"))


def _ways(look: Look, facts: Mapping[str, Facts], ref: str, to: str) -> dict[str, Way]:
    aims = {} if to else commits(look.targets, ref)
    found = {}
    for name, its in facts.items():
        app, live = look.hosts[name].app, its["current"]["release"]
        by_id = {each["id"]: each["commit"] for each in its["releases"]}
        if to and by_id.get(to) == "":
            raise PreflightFailed(f"{to} is an artifact, of which commit nobody said; there is nothing to compare with on {name}")
        if to and not by_id.get(to):
            raise PreflightFailed(f"{name} has no complete release {to}. Next:  fab releases --hosts {look.targets.selector}")
        found[name] = Way(live, by_id.get(live) or None, by_id[to] if to else aims[app.repo, ref or app.ref])
    return found


def _alike(ways: Mapping[str, Way]) -> dict[Way, list[str]]:
    alike: dict[Way, list[str]] = {}
    for name, way in ways.items():
        alike.setdefault(way, []).append(name)
    return alike


def _tell(look: Look, way: Way, names: list[str], log: Outcome | None, ref: str) -> None:
    hosts, to = ", ".join(names), way.to[:7]
    if way.was is None:
        look.page.say(f"{hosts}: {way.release or 'nothing is deployed'} → {to}")
    elif way.was == way.to:
        look.page.say(f"{hosts}: {way.release} is {to} already")
    elif log is None:
        look.page.say(f"{hosts}: {way.release} → {to}; these hosts do not know that commit yet.\n"
                      f"Next:  git fetch && git log --oneline {way.was[:7]}..{to}")
    else:
        look.page.say(f"{hosts}: {way.release} → {to}: {_counted(log)}")
        for commit in _commits(log):
            day = time.strftime("%Y-%m-%d", time.localtime(commit["at"]))
            look.page.say(f"  {'+' if commit['kind'] == 'new' else '-'} {commit['id'][:7]}  {day}  {commit['who']}: {commit['subject']}")


def _counted(log: Outcome) -> str:
    words = {"new": "more", "gone": "less"}
    told = [f"{each['count']} {words[each['kind']]}" for each in log.events if each["event"] == "between" and each["count"]]
    return f"commits: {', '.join(told)}"


def _commits(log: Outcome) -> list[Mapping[str, Any]]:
    return [event for event in log.events if event["event"] == "commit"]


def _record(way: Way, log: Outcome | None) -> dict[str, Any]:
    known = bool(log and log.last("between"))
    counts = {each["kind"]: each["count"] for each in log.events if each["event"] == "between"} if log else {}
    listed = [{key: value for key, value in each.items() if key != "event"} for each in _commits(log)] if log else []
    return {
        "release": way.release, "commit": way.was, "to": way.to, "same": way.was == way.to, "known": known, "new": counts.get("new"),
        "gone": counts.get("gone"), "commits": listed,
    }
