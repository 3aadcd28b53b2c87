"""A plan in words: what would be done where, in which order, what serves meanwhile, and what stands against it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..basis import Forecast

MARGIN = 9  # columns of the words that begin a paragraph
SUBJECT = 72  # characters of a commit's subject
MOST = 12     # waves of a group that are shown


def told(made: Forecast) -> str:
    """Tell the whole plan."""
    parts = [
        ("now", _now(made)), ("what", _what(made)), ("commits", _commits(made)), ("build", _build(made)), ("migrate", _migrate(made)),
        ("reload", _reload(made)), ("env", _env(made)), ("prune", _prune(made)), ("time", [_time(made)]), ("warning", _warnings(made)),
    ]
    hosts = len(made["hosts"])
    where = f"{made['selector']}, {hosts} host{'s' if hosts > 1 else ''}"
    head = f"plan {made['plan_id']}: {made['verb']} on {where}; nothing was written there"
    return "\n".join([head, *_paragraphs(parts)])


def told_shortly(made: Forecast) -> str:
    """Tell what somebody must know who is asked whether to go on: commits, migrations, warnings."""
    parts = [("what", _what(made)), ("commits", _commits(made)), ("migrate", _migrate(made)), ("warning", _warnings(made))]
    return "\n".join([f"{made['verb']} on {made['selector']}: {', '.join(made['hosts'])}", *_paragraphs(parts)])


def following(made: Forecast) -> str:
    """Say what to type next; nothing where the plan can't be applied as it is."""
    again = f" --artifact {made['options']['artifact']}" if "artifact" in made["options"] else ""
    return "" if made["exit"] else f"Next:  fab {made['verb']} --hosts {made['selector']} --plan-id {made['plan_id']}{again}"


def _paragraphs(parts: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    return [f"  {name if not number else '':<{MARGIN}}{line}" for name, lines in parts for number, line in enumerate(lines)]


def _now(made: Forecast) -> list[str]:
    seen = _grouped((each["current"], name) for name, each in made["hosts"].items())
    return [f"{current} on {_names(names, made)}" for current, names in seen.items()]


def _what(made: Forecast) -> list[str]:
    releases = _grouped((each["release"], name) for name, each in made["hosts"].items() if each["release"])
    shown = [f"{release} on {_names(names, made)}" for release, names in releases.items()]
    news = next((way["what"] for way in made["commits"] if "what" in way), None)
    if not made["commit"]:
        artifact = str(made["options"].get("sha256", ""))[:7]
        return [*shown, *([f"artifact {artifact}; --ref did not say of which commit"] if artifact else [])]
    ref = "" if made["ref"] == made["commit"] else f" ({made['ref']})"
    return [*shown, f"{made['commit'][:7]}{ref}" + (f" \"{news['subject'][:SUBJECT]}\", {news['author']}, {news['day']}" if news else "")]


def _commits(made: Forecast) -> list[str]:
    lines = [f"can't be read: {made['commits_note']}"] if made["commits_note"] else []
    for way in made["commits"]:
        if "ahead" not in way:
            continue
        lines += _way(way, made)
    return lines


def _way(way: Mapping[str, Any], made: Forecast) -> list[str]:
    where = _names(way["hosts"], made)
    if not way["old"]:
        return [f"all: the first release on {where}"]
    if not way["ahead"] and not way["behind"]:
        return [f"none: {way['was']} is the same commit, on {where}"]
    lines = []
    for count, commits, what in ((way["ahead"], way["commits"], "since"), (way["behind"], way["taken_back"], "taken back of")):
        if count:
            lines.append(f"{count} {what} {way['was']} ({where})")
            lines += [f"  {each['commit'][:7]} {each['subject'][:SUBJECT]}  ({each['author']})" for each in commits]
            lines += [f"  and {count - len(commits)} more"] if count > len(commits) else []
    return lines


def _build(made: Forecast) -> list[str]:
    return [line for each in made["build"] for line in (_shipped(each, made) if "artifact" in each else _built(each, made))]


def _built(each: Mapping[str, Any], made: Forecast) -> list[str]:
    commands = "; ".join(each["commands"]) or "nothing to run"
    if not each["sent"]:
        return [f"{commands} on {_names(each['hosts'], made)}, at once"]
    sent = f"packed there, and sent to {_names(each['sent'], made)}, where its sha256 is checked"
    return [f"{commands} on {_names(each['hosts'], made)}, once", sent]


def _shipped(each: Mapping[str, Any], made: Forecast) -> list[str]:
    way = "fetched by" if each["fetches"] else "sent from here to"
    return [f"nothing: {each['artifact']} is {way} {_names(each['sent'], made)}", f"where its sha256 is checked: {each['sha256']}"]


def _migrate(made: Forecast) -> list[str]:
    migrate = made["migrate"]
    if migrate is None:
        return []
    lines = [
        f"UNKNOWN: whether that of run {', '.join(runs)} on {name} was applied; this stops the {made['verb']}"
        for name, runs in migrate["unknown"].items()
    ]
    if migrate["state"] == "done":
        return [*lines, "done before for this release; not done again"]
    if migrate["state"]:
        return [*lines, f"{migrate['state']} before for this release; not begun again without --again"]
    lines.append(f"{migrate['command']} on {migrate['host']}, once")
    return [*lines, *(f"  new: {name}" for name in migrate["new"])]


def _reload(made: Forecast) -> list[str]:
    lines: list[str] = []
    several = len(made["waves"]) > 1
    for group, waves in made["waves"].items():
        lines.append(f"{group}: {len(waves)} wave{'s' if len(waves) > 1 else ''}" + (_order(made) if several and not lines else ""))
        shown = [f"  wave {number}: {', '.join(wave['hosts'])} · {_serving(wave)}" for number, wave in enumerate(waves, start=1)]
        lines += shown[:MOST] + ([f"  and {len(shown) - MOST} more"] if len(shown) > MOST else [])
    return lines


def _order(made: Forecast) -> str:
    return ", groups side by side" if made["side_by_side"] else ", one group after another"


def _serving(wave: Mapping[str, Any]) -> str:
    rest = f"{wave['serving']} of {wave['of']} keep serving"
    return {
        "started": f"started; {rest}" if wave["serving"] else "started; nothing serves yet",
        "out": f"out of rotation already; {rest}",
        "drained": f"drained; {rest}",
        "gated": f"not drained; {rest}, worker by worker",
        "restarted": f"RESTARTED, requests to it are lost; {rest}",
    }[wave["how"]]


def _env(made: Forecast) -> list[str]:
    seen = [(_changes(process, change), name) for name, each in made["hosts"].items() for process, change in each["env"].items()]
    return [f"{text} on {_names(names, made)}" for text, names in _grouped(seen).items()]


def _changes(process: str, change: Mapping[str, Sequence[str]] | None) -> str:
    if change is None:
        return f"{process}: nothing to compare with yet"
    parts = [f"{what} {', '.join(change[what])}" for what in ("added", "changed", "removed") if change[what]]
    return f"{process}: {'; '.join(parts) or 'unchanged'}"


def _prune(made: Forecast) -> list[str]:
    doomed = _grouped((", ".join(each["prune"]), name) for name, each in made["hosts"].items() if each["prune"])
    return [f"{releases} on {_names(names, made)}" for releases, names in doomed.items()]


def _time(made: Forecast) -> str:
    time = made["time"]
    if time["seconds"] is None:
        return "no history yet"
    parts = [f"{phase} {_span(seconds) if seconds is not None else 'no history yet'}" for phase, seconds in time["phases"].items()]
    runs = f"the last {time['runs']} runs" if time["runs"] > 1 else "the last run"
    return f"about {_span(time['seconds'])}, as {runs} took: {', '.join(parts)}"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def _warnings(made: Forecast) -> list[str]:
    seen = [(text, name) for name, each in made["hosts"].items() for text in each["warnings"]]
    lines = [f"{_names(names, made)}: {text}" for text, names in _grouped(seen).items()]
    held = _grouped((each["lock"], name) for name, each in made["hosts"].items() if each["lock"])
    if made["exit"] != 3:
        lines += [f"{_names(names, made)}: run {run} died with nothing in hand; its lock is taken over" for run, names in held.items()]
    return lines


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Gather the hosts of which the same is said."""
    alike: dict[str, list[str]] = {}
    for text, name in pairs:
        alike.setdefault(text, []).append(name)
    return alike


def _names(names: Sequence[str], made: Forecast) -> str:
    return f"all {len(names)} hosts" if len(names) == len(made["hosts"]) and len(names) > 2 else ", ".join(names)
