"""Judge the limits of time against what was measured: how long the app boots, and how long its requests take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..commands import doctor
from .verdict import Known, Verdict, bad, ok, unknown, unread, warn

NEAR = 0.7  # of a deadline


def boot(known: Known) -> list[Verdict]:
    """Compare the deadlines with the longest boot that the newest runs saw on this host."""
    if known.more is None:
        return unread()
    longest = known.more["boots"]["longest"]
    if not longest:
        return (
            ok("no boot was measured yet: nothing was deployed") if not known.deployed else unknown("no run on this host measured a boot")
        )
    limit = known.group.update.healthy_deadline
    took = longest["ms"] / 1000
    words = f"the longest of {known.more['boots']['count']} boots took {took:.1f} s (release {longest['release']}, run {longest['run']})"
    advice = f"healthy_deadline: {max(2, round(3 * took))}s  in hosts.yaml"
    if took > limit:
        return [bad(f"{words}, healthy_deadline is {limit:g} s", "Such a release would be taken back.", advice)]
    if took > NEAR * limit:
        return [
            warn(f"{words}, healthy_deadline is {limit:g} s", "A busy host boots slower, and a good release would be taken back.", advice)
        ]
    short = [each for each in _gated(known) if each["listen_timeout"] < longest["ms"]]
    if short:
        return [bad(
            f"{words}, PM2's listen_timeout of {short[0]['name']} is {short[0]['listen_timeout']} ms",
            "A plain pm2 reload ends the old worker before the new one listens.", f"{known.fab('reload')}   sets it",
        )]
    return ok(f"{words}; healthy_deadline is {limit:g} s")


def drain(known: Known) -> list[Verdict]:
    """Compare kill_timeout and drain_timeout with PM2's own, and with the longest request that HAProxy saw to this server."""
    if known.more is None:
        return unread()
    early, longest = _killed_early(known), _longest(known)
    return [*early, *(each for each in longest if each.state == "warn" or not early)]


def _killed_early(known: Known) -> list[Verdict]:
    """Name processes that PM2 kills sooner than hosts.yaml says: somebody started them by hand."""
    limit = known.group.update.kill_timeout
    early = {each["name"]: each["kill_timeout"] for each in _gated(known) if each["kill_timeout"] < 1000 * limit}
    return [
        warn(
            f"PM2 kills {name} after {ms} ms (its kill_timeout), hosts.yaml says {limit:g} s", "Requests that take longer are cut.",
            f"{known.fab('reload')}   sets it",
        )
        for name, ms in early.items()
    ]


def _gated(known: Known) -> list[Mapping[str, Any]]:
    """List what PM2 was told of the workers that a reload of ours would replace; `script` speaks of the others."""
    assert known.facts is not None and known.more is not None
    ours = {item["id"] for item in known.facts["processes"] if item["gated"]}
    return [each for each in known.more["workers"] if each["id"] in ours]


def _longest(known: Known) -> list[Verdict]:
    update = known.group.update
    row = known.rows.get(known.host.server)
    if not known.group.balancer:
        return unknown("no balancer here that measures requests; kill_timeout must outlast the longest one")
    if row is None or not row.get("ttime_max"):
        return unknown("HAProxy tells no ttime_max of this server (2.0 or newer does)")
    longest = int(row["ttime_max"]) / 1000
    words = f"the longest request took {longest:.1f} s (HAProxy's ttime_max, since it started)"
    found = [
        warn(
            f"{words}; {name} is {limit:g} s", means,
            f"{name}: {max(2, round(1.5 * longest))}s  in hosts.yaml; if it was a single event: {_forget(known)}",
        )
        for name, limit, means in (
            ("drain_timeout", update.drain_timeout, "A deploy that meets such a request gives up on this host."),
            ("kill_timeout", update.kill_timeout, "Such a request is cut when its worker must leave."),
        )
        if longest > limit
    ]
    return found or ok(f"{words}; kill_timeout is {update.kill_timeout:g} s, drain_timeout {update.drain_timeout:g} s")


def _forget(known: Known) -> str:
    front = known.group.balancer
    assert front is not None
    return doctor.typed(front.ssh, doctor.order(front, "clear counters", known.client))
