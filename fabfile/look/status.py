"""What really runs: a line for each host, its workers where something is wrong with them, and how the last run ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from .. import ownership
from ..drift import NOTHING, ailing, healthy, linked, notes, running
from ..errors import Unsettled
from ..ownership import span
from ..report.page import Page
from ..run.claim import held_by
from . import reading, records
from .past import in_words
from .reading import Event, Front, Reading, Whole
from .view import Look

HEAD = ["host", "current", "running", "healthy", "rotation", "state"]
WORKERS = ["worker", "pid", "release", "health", "up", "restarts", "memory", "cpu", "state"]


def show(look: Look, workers: bool = False) -> None:
    """Print one reading; raise when a host is not what its link says, so that scripts can ask too."""
    whole = reading.take(look)
    tell(look, whole, workers)
    judge(whole)


def judge(whole: Whole) -> None:
    """Raise Unsettled if anything is not as it should be."""
    wrong = [*whole.findings(), *(each.host.name for each in whole.hosts if each.held and ownership.gone(each.held))]
    if wrong:
        raise Unsettled(f"{', '.join(sorted(set(wrong)))}: not as it should be, see above")


def tell(look: Look, whole: Whole, workers: bool) -> None:
    """Print all of one reading."""
    page = look.page
    page.table("host", HEAD, [row(each) for each in whole.hosts], [records.of(each) for each in whole.hosts])
    for each in whole.hosts:
        if workers or any(ailing(item) for item in (each.facts or NOTHING)["processes"]):
            tell_workers(page, each)
    for front in whole.fronts:
        tell_front(page, front, whole.front_findings(front))
    for name, event in whole.servers:
        page.tell("server", balancer=name, **records.plain(event))
    for text in told_notes(whole):
        page.say(f"note: {text}")
    for text in told_runs(whole):
        page.say(f"last run: {text}")
    held = held_by({each.host.name: each.outcome for each in whole.hosts})
    if held:
        page.say(ownership.told(held, look.targets.selector))


def row(each: Reading) -> list[str]:
    """Give a host's line; its last column says all that is wrong."""
    facts, state = each.facts, "; ".join(each.findings())
    if facts is None:
        return [each.host.name, "?", "?", "?", each.rotation, state]
    return [each.host.name, linked(facts), running(facts), healthy(each.host, facts), each.rotation, state or "ok"]


# ------------------------------------------------------------------ workers


def tell_workers(page: Page, each: Reading) -> None:
    """Print the workers of a host under its name, for people; programs have them in the host's own object."""
    facts = each.facts
    if page.json or facts is None:
        return
    page.say(f"\n{each.host.name}" + "".join(f"  {told_port(answer)}" for answer in each.answers))
    many = len(each.host.app.processes) > 1
    rows = [worker_row(item, many) for item in facts["processes"]]
    unlisted = "PM2 can't be asked" if facts["trouble"] else "unknown to PM2"
    rows += [["-", f"{stray['pid']}", stray["release"] or "-", *["-"] * 5, unlisted] for stray in facts["strays"]]
    if rows:
        page.table("worker", WORKERS, rows)


def worker_row(item: Mapping[str, Any], many: bool) -> list[str]:
    health = item["health"]
    said = "not asked" if health is None else f"{health['status'] or 'none'} {health['ms']} ms"
    used = [f"{(item['memory'] or 0) >> 20} MB", f"{item['cpu'] or 0:.0f}%"]
    living = [f"{item['pid']}", item["release"] or "-", said, span(item["up_ms"] / 1000)] if item["pid"] else ["-"] * 4
    name = f"{item['name']} {item['id']}" if many else f"{item['id']}"
    return [name, *living, f"{item['restarts']}", *used, ailing(item) or "open"]


def told_port(answer: Event) -> str:
    """Say in a few words what a port answers."""
    if not answer["listening"]:
        return f"port {answer['port']}: nobody listens"
    said = Counter(each["release"] or f"{each['status'] or 'no answer'}" for each in answer["asked"])
    return f"port {answer['port']} answers: {', '.join(f'{release} x{count}' for release, count in sorted(said.items()))}"


# ------------------------------------------------------------------ what stands below


def tell_front(page: Page, front: Front, findings: list[str]) -> None:
    releases = ", ".join(f"{release} x{count}" for release, count in front.releases.items())
    page.say(f"through {front.balancer}: {'; '.join([releases or 'no answer', *findings])}")
    page.tell(
        "front", balancer=front.balancer, group=front.group, url=front.url, releases=front.releases, asked=len(front.answers),
        statuses=dict(Counter(f"{each.status}" for each in front.answers)), drift=findings,
    )


def told_notes(whole: Whole) -> list[str]:
    """List what is no drift: what will be one some day, and hosts that are not of one commit."""
    found = [f"{each.host.name}: {text}" for each in whole.hosts for text in notes(each.facts or NOTHING)]
    apart = commits(whole)
    if len(apart) > 1:
        found.append("hosts are on different commits: " + "; ".join(f"{', '.join(names)} on {commit}" for commit, names in apart.items()))
    return found


def commits(whole: Whole) -> dict[str, list[str]]:
    """Give the hosts by the commit that each one's link leads to."""
    found: dict[str, list[str]] = {}
    for each in whole.hosts:
        if each.facts and each.facts["current"]["state"] == "ok":
            found.setdefault(each.facts["current"]["release"].split("-", 1)[1], []).append(each.host.name)
    return found


def told_runs(whole: Whole) -> list[str]:
    """Tell the last run of each host, those of one run together."""
    alike: dict[str, tuple[Event, list[str]]] = {}
    for each in whole.hosts:
        if each.past:
            alike.setdefault(each.past[-1]["run"], (each.past[-1], []))[1].append(each.host.name)
    everywhere = len(alike) == 1
    return [in_words(run) + ("" if everywhere else f" ({', '.join(names)})") for run, names in alike.values()]
