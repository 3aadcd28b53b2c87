"""The history of one host: a line per finished run."""

from __future__ import annotations

import json
from collections.abc import Mapping

from .shell import Shell, call, cmd, path

LIBRARY = r"""
append_history() { # root line
    mkdir -p -m 700 "$1/.gapless"
    printf '%s\n' "$2" >>"$1/.gapless/history.jsonl"
}
settle_migration() { # root run line
    printf '\n%s\n' "$3" >>"$1/.gapless/runs/$2/migrate.jsonl"
}
"""


def append(root: str, record: Mapping[str, object]) -> Shell:
    """Append a run to the host's history."""
    return call("append_history", path(root), cmd(json.dumps(dict(record))))


def settle_migration(root: str, run: str, event: Mapping[str, object]) -> Shell:
    """Write the outcome of a migration that ended without telling it."""
    return call("settle_migration", path(root), cmd(run, json.dumps(dict(event))))
