"""What a plan wants to know of one host beside its facts."""

from __future__ import annotations

from collections.abc import Mapping

from .pm2 import source
from .shell import Shell, call, cmd, here, path


def look(root: str, env_files: Mapping[str, str]) -> Shell:
    """
    Tell history and what changed in the env files as one event `outlook`; writes nothing, needs nothing installed.

    `env_files` has, for each process, the file that its next workers will read, relative to the root.
    """
    order = call("clean_node", cmd("-"), path(root), cmd(*(f"{name}={file}" for name, file in env_files.items())))
    return Shell(f"{order} {here(source('outlook.cjs'))}")
