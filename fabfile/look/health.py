"""Ask for health now: each worker on its own socket, each host on its port, and the app through the balancer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ..drift import ailing, answered, miscounted
from ..errors import Unsettled
from . import reading
from .reading import Event, Front, Reading, Whole
from .view import Look

HEAD = ["host", "asked", "status", "ms", "release", "says"]

Row = tuple[list[str], dict[str, Any]]  # what a person reads, and what a program does


def show(look: Look) -> None:
    """Print who answered what; raise with the names of all that are not healthy."""
    whole = reading.take(look)
    rows = [row for each in whole.hosts for row in of_host(each)] + [of_front(whole, front) for front in whole.fronts]
    look.page.table("health", HEAD, [row for row, _ in rows], [record for _, record in rows])
    if sick := [f"{row[0]} ({row[1]})" for row, record in rows if not record["healthy"]]:
        raise Unsettled(f"not healthy: {', '.join(sick)}")


def of_host(each: Reading) -> Iterator[Row]:
    """Give a row for each worker and each port of a host, and one for what is missing."""
    facts = each.facts
    if facts is None:
        yield _row(each.host.name, "host", "-", "-", "-", each.findings()[0], healthy=False)
        return
    for item in facts["processes"]:
        yield of_worker(each.host.name, item)
    for answer in each.answers:
        yield of_port(each, facts["current"]["release"], answer, answered(each.host, facts, [answer]))
    missing = [text for process in each.host.app.processes if (text := miscounted(process, facts))]
    if missing and facts["current"]["state"] == "ok":
        yield _row(each.host.name, "PM2", "-", "-", "-", "; ".join(missing), healthy=False)


def of_worker(host: str, item: Mapping[str, Any]) -> Row:
    why, health = ailing(item), item["health"]
    status, ms = (f"{health['status'] or '-'}", f"{health['ms']}") if health else ("-", "-")
    says = why or ("ok" if health else "open; it has no health route")
    return _row(host, f"worker {item['id']}", status, ms, item["release"] or "-", says, healthy=not why, pid=item["pid"], name=item["name"])


def of_port(each: Reading, current: str | None, answer: Event, findings: list[str]) -> Row:
    asked = answer["asked"]
    statuses, releases = _most(one["status"] or "-" for one in asked), _most(one["release"] or "-" for one in asked)
    slowest = f"{max((one['ms'] for one in asked), default='-')}"
    says = "; ".join(findings) or ("ok" if asked or current else "nothing is deployed")
    return _row(each.host.name, f"port {answer['port']}", statuses, slowest, releases, says, healthy=not findings, name=answer["name"])


def of_front(whole: Whole, front: Front) -> Row:
    asked, findings = front.answers, whole.front_findings(front)
    statuses, releases = _most(one.status or "-" for one in asked), _most(one.release or "-" for one in asked)
    slowest = f"{max(one.seconds for one in asked) * 1000:.0f}"
    return _row(front.balancer, "balancer", statuses, slowest, releases, "; ".join(findings) or "ok", healthy=not findings, url=front.url)


def _row(*cells: str, healthy: bool, **more: Any) -> Row:
    return list(cells), {"healthy": healthy, **more}


def _most(values: Iterator[object]) -> str:
    """Name each value once, with its number where there is more than one."""
    count = Counter(map(str, values))
    return ", ".join(f"{value} x{number}" if len(count) > 1 else value for value, number in sorted(count.items())) or "-"
