"""The env files of one host: what they name, whether they agree, and a new one in the place of an old one."""

from __future__ import annotations

import json
from collections.abc import Mapping

from .pm2 import source
from .shell import Shell, call, cmd, here, path


def order(root: str, wanted: Mapping[str, object]) -> Shell:
    """
    Have runtime/envfile.cjs carry out an order, which may hold secrets: by a file descriptor, never in a command line.

    Reports one event `env`; installs nothing, and writes only where the order says `write`.
    """
    run = call("clean_node", cmd("-"), path(root))
    return Shell(f"{{ {run} {here(source('envfile.cjs'))}\n}} 3{here(json.dumps(dict(wanted)))}")
