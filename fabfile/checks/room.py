"""Judge what is free: where the app lives, where PM2 does, and where builds put what is there for a moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..commands import doctor
from ..plan import LEAST_INODES
from .verdict import Known, Verdict, bad, ok, unread, warn

LEAST_ELSEWHERE_MB = 20
LEAST_ELSEWHERE_INODES = 100


def disk(known: Known) -> list[Verdict]:
    room = known.said("room")
    if room is None:
        return unread()
    least = known.host.app.min_free_mb
    words = f"{room['mb']} MB free at {room['place']}; a release wants {least} MB (min_free_mb)"
    found = [_full(known, each, f"{each['mb']} MB free") for each in known.all("place") if each["mb"] < LEAST_ELSEWHERE_MB]
    fix = f"{_spare(known, room)}   what else is large: {_large(known, room['place'], room['place'] + '/releases')}"
    if room["mb"] < least:
        found.append(bad(words, "A deploy refuses this host: disk full.", fix))
    elif room["mb"] < 2 * least:
        found.append(warn(words, "Soon a deploy will refuse this host.", fix))
    return found or ok(words)


def inodes(known: Known) -> list[Verdict]:
    room = known.said("room")
    if room is None:
        return unread()
    found = [
        _full(known, each, f"{each['inodes']} inodes free") for each in known.all("place")
        if each["inodes"] is not None and each["inodes"] < LEAST_ELSEWHERE_INODES
    ]
    if room["inodes"] is None:
        return found or ok("not counted by this file system")
    words = f"{room['inodes']} inodes free at {room['place']}; node_modules wants {LEAST_INODES}"
    if room["inodes"] < LEAST_INODES:
        many = f"find {doctor.word(room['place'])} -xdev | cut -d/ -f1-6 | sort | uniq -c | sort -n | tail"
        means = "A deploy refuses this host: out of inodes, whatever df says of megabytes."
        found.append(bad(words, means, f"{_spare(known, room)}   where many are: {known.there(many)}"))
    return found or ok(words)


def _full(known: Known, each: Mapping[str, Any], left: str) -> Verdict:
    """Judge a file system that is not the app's, but that no deploy does without."""
    what, means = {
        "pm2": ("PM2's home", "PM2 can't save its list or write a log: after a reboot it starts what ran before."),
        "tmp": ("temporary files", "npm, git and builds write there, and fail."),
    }[each["what"]]
    logs = f"the logs of PM2 can go: {_flush(known)}   what else is large: " if each["what"] == "pm2" else ""
    return bad(f"{left} at {each['path']} ({what})", means, f"{logs}{_large(known, each['path'])}")


def _spare(known: Known, room: Mapping[str, Any]) -> str:
    """Spell out how to remove what is made anew when it is needed, and what only a person may miss: PM2's logs."""
    deps = doctor.word(f"{room['root']}/.gapless/deps")
    return f"what can go at once: {known.there(f'rm -rf {deps} ~/.npm/_cacache')}   the logs of PM2: {_flush(known)}"


def _flush(known: Known) -> str:
    """Spell out how to empty PM2's logs; `pm2 flush` would start a daemon where none runs."""
    home = known.facts["daemon"]["home"] if known.facts else known.host.pm2_home
    logs = f"{doctor.word(home)}/logs" if home else "~/.pm2/logs"
    return known.there(f"truncate -s 0 {logs}/*.log")


def _large(known: Known, *places: str) -> str:
    inside = " ".join(f"{doctor.word(place)}/*" for place in places)
    return known.there(f"du -xsm {inside} /var/log 2>/dev/null | sort -n | tail")
