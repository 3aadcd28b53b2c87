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
"""


def append(root: str, record: Mapping[str, object]) -> Shell:
    """Append a run to the host's history."""
    return call("append_history", path(root), cmd(json.dumps(dict(record))))
