"""Lay verdicts out: checks down, hosts across; below it each finding once, with the hosts that share it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from .verdict import STATES, Verdict, worst

CELLS = {"ok": "ok", "fixed": "fixed", "unknown": "?", "warn": "warn", "bad": "BAD"}
FIXES = 3  # spelled out per finding; programs get them all

Verdicts = Mapping[str, Mapping[str, Sequence[Verdict]]]  # host, check


def grid(verdicts: Verdicts, width: int) -> list[str]:
    """Draw the matrix within `width` columns; hosts that fare alike share one as soon as all of them don't fit."""
    checks = list(dict.fromkeys(check for found in verdicts.values() for check in found))
    columns = {host: [CELLS[worst(found[check])] if check in found else "" for check in checks] for host, found in verdicts.items()}
    lines: list[str] = []
    first = max(map(len, checks), default=0)
    if first + sum(2 + max(5, len(host)) for host in columns) > width:
        columns, lines = _alike(columns)
    for some in _chunks(columns, width - first):
        lines += ["  ".join([" " * first, *(head.ljust(5) for head in some)]).rstrip()]
        lines += [
            "  ".join([check.ljust(first), *(cells[row].ljust(max(5, len(head))) for head, cells in some.items())]).rstrip()
            for row, check in enumerate(checks)
        ]
    return lines


def _alike(columns: Mapping[str, list[str]]) -> tuple[dict[str, list[str]], list[str]]:
    """Put hosts with the same cells together; say who stands for whom."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for host, cells in columns.items():
        groups.setdefault(tuple(cells), []).append(host)
    heads = {hosts[0] if len(hosts) == 1 else f"{hosts[0]} +{len(hosts) - 1}": (hosts, cells) for cells, hosts in groups.items()}
    legend = [f"{head}: {', '.join(hosts)}" for head, (hosts, _) in heads.items() if len(hosts) > 1]
    return {head: list(cells) for head, (_, cells) in heads.items()}, legend


def _chunks(columns: Mapping[str, list[str]], room: int) -> Iterable[dict[str, list[str]]]:
    some: dict[str, list[str]] = {}
    left = room
    for head, cells in columns.items():
        need = 2 + max(5, len(head))
        if some and need > left:
            yield some
            some, left = {}, room
        some[head] = cells
        left -= need
    if some:
        yield some


def findings(verdicts: Verdicts, width: int) -> list[str]:
    """List what is not well, the worst first: where, what, what it means, and what to type."""
    shared: dict[tuple[str, str, str, str], list[tuple[str, Verdict]]] = {}
    unread: dict[str, dict[str, list[str]]] = {}
    for host, found in verdicts.items():
        for check, each in ((check, one) for check, some in found.items() for one in some if one.state != "ok"):
            if each.state == "unknown":
                unread.setdefault(each.words, {}).setdefault(host, []).append(check)
                continue
            shared.setdefault((each.state, check, each.words, each.means), []).append((host, each))
    lines: list[str] = []
    for (state, check, words, means), where in sorted(shared.items(), key=lambda item: -STATES.index(item[0][0])):
        hosts = ", ".join(dict.fromkeys(host for host, _ in where))
        lines += ["", *_wrapped(f"{CELLS[state]}  ", f"{hosts}: {check}: {words}", width)]
        lines += _wrapped("      ", means, width) if means else []
        # Never wrapped: it is meant to be copied.
        lines += [f"  {'fix:' if number == 0 else '':4} {fix}" for number, fix in enumerate(fixes(where))]
    for words, places in unread.items():
        alike: dict[tuple[str, ...], list[str]] = {}
        for host, checks in places.items():
            alike.setdefault(tuple(checks), []).append(host)
        for some, hosts_ in alike.items():
            lines += ["", *_wrapped("?  ", f"{', '.join(hosts_)}: {', '.join(some)}: {words}", width)]
    return lines


def _wrapped(before: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, max(40, width), initial_indent=before.ljust(6), subsequent_indent="      ", break_long_words=False, break_on_hyphens=False
    )


def fixes(where: Sequence[tuple[str, Verdict]]) -> list[str]:
    """Give the fixes of one finding: in one line where only the names of hosts differ for fab."""
    told = {host: each.fix for host, each in where if each.fix}
    if len(told) > 1 and len({fix.replace(f"--hosts {host}", "--hosts") for host, fix in told.items()}) == 1:
        host, fix = next(iter(told.items()))
        return [fix.replace(f"--hosts {host}", f"--hosts {','.join(told)}")]
    lines = list(dict.fromkeys(told.values()))
    more = [f"and {len(lines) - FIXES} more alike; --format json has each"] if len(lines) > FIXES else []
    mended = [host for host, each in where if each.mend]
    itself = [f"or: fab doctor --hosts {','.join(dict.fromkeys(mended))} --fix"] if mended else []
    return [*lines[:FIXES], *more, *itself]
