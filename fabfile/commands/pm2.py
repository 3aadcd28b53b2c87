"""PM2 on one host, through our own scripts on its module: never through its CLI, whose exit code proves nothing."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..inventory.values import Process
from .shell import Shell, call, cmd, here, path

RUNTIME = Path(__file__).parent.parent / "runtime"
INSTALLED = ("gate.cjs", "truth.cjs", "journal.cjs", "saved.cjs", "driver.cjs", "migrate.cjs", "mask.cjs", "secrets.cjs", "deps.cjs")


@functools.cache
def source(name: str) -> str:
    return (RUNTIME / name).read_text(encoding="utf-8")


@functools.cache
def runtime() -> str:
    """Give the hash over our scripts that event `facts` has of those on the host."""
    return hashlib.sha256("".join(f"{name}\n{_written(name)}\n" for name in sorted(INSTALLED)).encode()).hexdigest()


def is_ours(facts: Mapping[str, object] | None) -> bool:
    """Say whether a host that told these facts has our very scripts."""
    return (facts or {}).get("runtime") == runtime()


def _written(name: str) -> str:
    return f"{source(name).rstrip()}\n"  # as a here-document leaves it


# Whatever goes wrong here, the script that is sent then tells it better.
LIBRARY = r"""
tell_facts() { # root runtime name...
    facts_root=$1 installed=''
    { read -r installed <"$1/.gapless/runtime"; } 2>/dev/null || true
    [ "$installed" = "$2" ] || return 0
    shift 2
    clean_node "$facts_root/.gapless/truth.cjs" "$facts_root" "$pm2_dir" "$@" 2>/dev/null || true
}
"""


def facts(root: str, processes: Iterable[Process]) -> Shell:
    """Report the truth of the host as one event `facts`; writes nothing, needs nothing installed."""
    order = call("clean_node", cmd("-"), path(root), Shell('"$pm2_dir"'), cmd(*_named(processes)))
    return Shell(f"{order} {here(source('truth.cjs'))}")


def facts_by_installed(root: str, processes: Iterable[Process]) -> Shell:
    """
    Report the same by the script that is installed, if the host's note says that it is the very one that `facts` would send.

    Else nothing is reported. What the note says is_ours() sees once more in the facts. What is sent would be most of a claim's
    bytes, and one round trip more.
    """
    return call("tell_facts", path(root), cmd(runtime(), *_named(processes)))


def facts_again(root: str, processes: Iterable[Process]) -> Shell:
    """Report the same by the script that is installed."""
    return call("clean_node", path(f"{root}/.gapless/truth.cjs"), path(root), Shell('"$pm2_dir"'), cmd(*_named(processes)))


def _named(processes: Iterable[Process]) -> list[str]:
    return [f"{each.name}={each.port or ''}={each.health.path if each.health else ''}" for each in processes]


def answers(header: str | None, processes: Iterable[Process], times: int) -> Shell:
    """Report what answers on the port of each process that has one, asked so many times, as an event `answers` each."""
    asked = [f"{each.name}={each.port}={each.health.path}={times}" for each in processes if each.port and each.health]
    order = call("clean_node", cmd("-"), cmd(header or "", *asked))
    return Shell(f"{order} {here(source('answers.cjs'))}")


@functools.cache  # the hosts share the text: many of them are sent it at once
def install(root: str) -> Shell:
    """Write our scripts into .gapless/, each by rename: PM2 may start the gate at any moment. A note of which they are comes last."""
    note = Shell(f"{path(root)}/.gapless/runtime")
    writes = [Shell(f"mkdir -p -m 700 {path(root)}/.gapless/run"), Shell(f"rm -f {note}")]
    for name in INSTALLED:
        file = path(f"{root}/.gapless/{name}")
        writes.append(Shell(f"cat >{file}.next {here(source(name))}\nmv {file}.next {file}"))
    writes.append(Shell(f"{cmd('echo', runtime())} >{note}"))
    return Shell("\n".join(writes))


def start(root: str, run: str, script: str, plan: Mapping[str, object]) -> Shell:
    """Start detached work (driver or migrate) with its plan on stdin, and follow it to its final event."""
    order = call("clean_node", path(f"{root}/.gapless/{script}.cjs"), cmd("start"), path(root), cmd(run))
    return Shell(f"{order} {here(json.dumps(dict(plan)))}")


def follow(root: str, run: str, script: str) -> Shell:
    """Follow work that was started before, to its final event."""
    return call("clean_node", path(f"{root}/.gapless/{script}.cjs"), cmd("follow"), path(root), cmd(run))
