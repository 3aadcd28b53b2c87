"""Get in: the first hosts.yaml of an app, and what editors need to know of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from . import cli
from .errors import UsageError

HELP = {
    "hosts": "ssh hosts of the group web, comma separated", "name": "the PM2 process name", "root": "the app's directory on the hosts",
    "port": "what the app listens on", "repo": "the git repository that the hosts fetch from", "script": "the file that node runs",
    "health": "the route that answers 200", "yes": "ask nothing", "force": "overwrite hosts.yaml",
    "look": "ask the hosts what PM2 runs there already (the default)",
}


@partial(cli.task, help=HELP)
def init(
    c: Any, hosts: str = "", name: str = "", root: str = "", port: str = "", repo: str = "", script: str = "", health: str = "",
    yes: bool = False, force: bool = False, look: bool = True,
) -> None:
    """Write a first hosts.yaml for the app in this directory."""
    if getattr(c, "original_host", ""):
        raise UsageError("-H names hosts of a hosts.yaml; say which are to be in it: fab init --hosts web1,web2")
    from .begin.beginning import begin
    from .report.page import Page

    given = {"name": name, "root": root, "port": port, "repo": repo, "script": script, "health": health}
    begin(Path.cwd(), given, hosts, Page(), yes=yes, force=force, look=look)


@partial(cli.task, help={"out": "write it to this file, such as .gapless/hosts.schema.json"})
def schema(c: Any, out: str = "") -> None:
    """Print the JSON Schema of hosts.yaml, for editors."""
    from .begin.beginning import write_schema
    from .inventory.schema import text
    from .report.page import Page

    if not out:
        Page().say(text())
        return
    try:
        write_schema(Path(out).expanduser())
    except OSError as err:
        raise UsageError(f"--out: {err.filename}: {err.strerror}") from None
