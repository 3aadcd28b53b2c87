"""Touch the hosts by hand: a command on many, a shell on one."""

from __future__ import annotations

from typing import Any

from . import cli
from .how import Seen


@cli.looks(
    "exec", command="what to run, for the host's sh, in the app's root", limit="hosts at once",
    timeout="end it on a host after this: 30s, 5m", policy="fail when any host fails, when all do, or none",
    stream="print lines as they come instead of grouping answers", yes=cli.HELP["yes"],
)
def execute(c: Any, seen: Seen, command: str = "", limit: str = "10", timeout: str = "60s", policy: str = "any", stream: bool = False,
            yes: bool = False) -> None:
    """
    Run a command on every host; same answers are grouped.

    node and pm2 are in PATH, stdin is empty, and what is known to be secret is hidden in what is printed. On Ctrl-C and after the timeout
    the command and all that it started is ended on the hosts too.
    """
    from .look.execute import Execution, order

    given = order(command, timeout, cli.number("--limit", limit), policy, stream)
    with cli.look(c, seen, first=lambda chosen: cli.confirm(chosen, seen, yes)) as look:
        if look:
            Execution(look, given).carry_out()


@cli.looks()
def ssh(c: Any, seen: Seen) -> None:
    """
    Open a shell on one host, where the app is.

    It is the real ssh, with what hosts.yaml and ssh config say; node and pm2 are where the login's own shell has them.
    """
    named = cli.selector(c, seen.hosts)
    if named:
        from .look import ssh as shell

        shell.enter(shell.only(cli.targets(named)))


verbs = (execute, ssh)
