"""The releases on the hosts: what they are of, which one is live, and what the next deploy would remove."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ..commands import node, pm2
from ..commands.shell import Step
from ..inventory.values import Host
from ..plan import Facts, doomed, number
from .view import Look, refuse_unread, unheard

HEAD = ["release", "commit", "ref", "built", "state", "hosts"]

Found = Mapping[str, Any]  # one release on one host


def show(look: Look) -> None:
    """Print each release once, with the hosts that have it so; raise where a host can't be read."""
    outcomes = look.each("releases", steps)
    facts = {name: its for name, outcome in outcomes.items() if (its := outcome.last("facts"))}
    found = [each for name, its in facts.items() for each in on_host(look.hosts[name], its)]
    if look.page.json:
        for each in found:
            look.page.tell("release", **each)
    else:
        look.page.table("release", HEAD, [row(alike, len(facts)) for alike in together(found)])
    if none := [name for name, its in facts.items() if not its["releases"]]:
        look.page.say(f"note: {', '.join(none)}: no release is there")
    refuse_unread(unheard(outcomes, "facts"))


def steps(host: Host) -> list[Step]:
    return [Step("tools", node.tools(host.node_bin, host.pm2_home)), Step("facts", pm2.facts(host.app.root, host.app.processes))]


def on_host(host: Host, facts: Facts) -> Iterator[dict[str, Any]]:
    """Describe each release of a host, oldest first."""
    runs = Counter(item["release"] for item in facts["processes"])
    pruned = doomed(facts, host.app.keep_releases, [])
    for each in facts["releases"]:
        yield {
            "host": host.name, "id": each["id"], "commit": each["commit"], "ref": each["ref"], "built": each["built"],
            "artifact": each.get("artifact"),
            "current": each["id"] == facts["current"]["release"], "workers": runs[each["id"]], "complete": each["complete"],
            "stable": each["stable"], "bad": each["bad"], "pruned": each["id"] in pruned,
        }


def state(each: Found) -> str:
    """Say in words what a release is on its host."""
    words = [
        "current" if each["current"] else "", f"runs x{each['workers']}" if each["workers"] else "",
        "" if each["complete"] else "incomplete", "bad" if each["bad"] else "stable" if each["stable"] else "never healthy yet",
        "would be pruned" if each["pruned"] else "",
    ]
    return ", ".join(word for word in words if word)


def together(found: list[dict[str, Any]]) -> list[list[Found]]:
    """Put releases together that are the same on several hosts, by number."""
    alike: dict[tuple[Any, ...], list[Found]] = {}
    for each in sorted(found, key=lambda each: number(each["id"])):
        alike.setdefault((each["id"], each["ref"], each["commit"], each["artifact"], state(each)), []).append(each)
    return list(alike.values())


def row(alike: list[Found], hosts: int) -> list[str]:
    """Give a line for a release that is the same on these hosts; `hosts` is how many there are."""
    first = alike[0]
    where = "all" if len(alike) == hosts else ", ".join(each["host"] for each in alike)
    built = time.strftime("%Y-%m-%d %H:%M", time.localtime(min(each["built"] or 0 for each in alike) / 1000))
    artifact = f"artifact {first['artifact'][:7]}" if first["artifact"] else "?"
    ref = first["ref"] or ("-" if first["artifact"] else "?")
    return [first["id"], (first["commit"] or "")[:7] or artifact, ref, built, state(first), where]
