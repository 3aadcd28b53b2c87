"""The env files of the fleet: look at their names, compare, put a new one there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from . import cli
from .folded import Folded
from .how import Seen

if TYPE_CHECKING:
    from .inventory.values import Targets

SHOW = "print values too"
FILE = "an env file on this machine"
COMMAND = "a program on this machine that prints one: no shell reads it, and its output is never shown"
PROCESS = "whose env file, where a host runs several processes"
FILE_NAME = "its name in shared/, where that is not clear"
YES = cli.HELP["yes"]


@cli.looks(show=SHOW, yes=YES)
def env(c: Any, seen: Seen, show: bool = False, yes: bool = False) -> None:
    """
    Show the names in env files (env.push, env.diff).

    Hosts that agree stand together; whether values agree is told without them leaving the hosts.
    """
    with cli.look(c, seen, partial(_ask, seen, show, yes)) as fleet:
        if fleet:
            from .look import envfiles

            envfiles.show(fleet, show)


@cli.looks(file=FILE, command=COMMAND, process=PROCESS, file_name=FILE_NAME, show=SHOW, yes=YES)
def diff(c: Any, seen: Seen, file: str = "", command: str = "", process: str = "", file_name: str = "",
         show: bool = False, yes: bool = False) -> None:
    """Compare a file with the hosts', or hosts with each other."""
    from . import given

    chosen: dict[str, Any] = {"change": None, "files": {}}

    def before(targets: Targets) -> None:
        _ask(seen, show, yes, targets)
        if file or command:
            chosen["files"] = given.shared_files(targets, process, file_name)
            chosen["change"] = given.change(file, command)

    with cli.look(c, seen, before) as fleet:
        if fleet:
            from .look import envfiles

            envfiles.diff(fleet, chosen["change"], chosen["files"], show)


@cli.looks(
    file=FILE, command=COMMAND, set="names to set, comma separated; a value is read from stdin", unset="names to take away",
    from_env="take the values of --set from this environment", process=PROCESS, file_name=FILE_NAME, yes=YES,
)
def push(c: Any, seen: Seen, file: str = "", command: str = "", set: str = "", unset: str = "", from_env: bool = False,
         process: str = "", file_name: str = "", yes: bool = False) -> None:
    """
    Put an env file on every host, or on none.

    A whole one, or single names of it. Workers read it at their next reload.
    """
    from . import given

    chosen: dict[str, Any] = {}

    def before(targets: Targets) -> None:
        chosen["files"] = given.shared_files(targets, process, file_name)
        cli.confirm(targets, seen, yes)
        chosen["change"] = given.change(file, command, set, unset, from_env)

    with cli.look(c, seen, before) as fleet:
        if fleet:
            from .look import envpush

            envpush.push(fleet, chosen["change"], chosen["files"])


def _ask(seen: Seen, show: bool, yes: bool, chosen: Targets) -> None:
    if show:
        cli.confirm(chosen, seen, yes)


namespace = Folded(env, push, diff)
