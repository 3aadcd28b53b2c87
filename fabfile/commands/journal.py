"""The history of one host: a line per finished run, and for what a person did by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping

from .shell import Shell, call, cmd, path

LIBRARY = r"""
append_history() { # root line
    [ -d "$1/.gapless" ] || mkdir -p -m 700 "$1/.gapless"
    printf '%s\n' "$2" >>"$1/.gapless/history.jsonl"
}
tell_lines() { while IFS= read -r line; do say "{\"event\":\"past_run\",\"record\":$line}"; done; }
tell_history() { # root lines
    [ ! -f "$1/.gapless/history.jsonl" ] || tail -n "$2" "$1/.gapless/history.jsonl" | tell_lines
}
tell_runs() { # root lines; what was done by hand between them says nothing of what runs
    [ ! -f "$1/.gapless/history.jsonl" ] || tail -n 500 "$1/.gapless/history.jsonl" | sed '/"by_hand": true/d' | tail -n "$2" | tell_lines
}
settle_migration() { # root run line
    printf '\n%s\n' "$3" >>"$1/.gapless/runs/$2/migrate.jsonl"
}
"""


def append(root: str, record: Mapping[str, object]) -> Shell:
    """Append a run to the host's history."""
    return call("append_history", path(root), cmd(json.dumps(dict(record))))


def history(root: str, lines: int) -> Shell:
    """Report the last lines of the host's history, oldest first, as an event `past_run` each."""
    return call("tell_history", path(root), cmd(lines))


def runs(root: str, lines: int) -> Shell:
    """Report the last runs in the host's history, and nothing that was done by hand (record: by_hand)."""
    return call("tell_runs", path(root), cmd(lines))


def settle_migration(root: str, run: str, event: Mapping[str, object]) -> Shell:
    """Write the outcome of a migration that ended without telling it."""
    return call("settle_migration", path(root), cmd(run, json.dumps(dict(event))))
