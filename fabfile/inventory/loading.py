"""hosts.yaml to frozen values, and a selector to targets. Pure: opens one file, no connection."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import InventoryError, UsageError
from .reading import Reader
from .values import App, Around, Balancer, Composed, Group, Health, Host, Process, Ssh, Targets, Update
from .words import shown, suggestion
from .yamltext import MOST_BYTES, compose

__all__ = [
    "App",
    "Balancer",
    "Composed",
    "Group",
    "Health",
    "Host",
    "Inventory",
    "Process",
    "Ssh",
    "Targets",
    "Update",
    "find",
    "load",
    "parse",
]

NAME = "hosts.yaml"
VARIABLE = "GAPLESS_INVENTORY"
MOST_SHOWN = 30


class Inventory(NamedTuple):
    """Hold all that hosts.yaml says, in the order of the file."""

    path: Path
    groups: tuple[Group, ...]
    composed: tuple[Composed, ...] = ()
    around: Around = Around()

    def select(self, selector: str) -> Targets:
        """Choose hosts by the names of groups and hosts, comma separated; !x leaves out."""
        words = [word.strip() for word in selector.split(",")]
        _refuse_empty(selector, words)
        known = self._members()
        left_out = self._hosts_of([word[1:].strip() for word in words if word.startswith("!")], known)
        chosen = self._hosts_of([word for word in words if not word.startswith("!")], known) - left_out
        if not chosen:
            raise UsageError(f"--hosts {shown(selector)}: leaves no host; nothing was done.\n{self._known()}")
        return self._targets(selector, chosen)

    def _members(self) -> dict[str, frozenset[str]]:
        """Give the hosts behind every name that a selector may use."""
        leaves = {group.name: frozenset(host.name for host in group.hosts) for group in self.groups}
        families = {
            family.name: frozenset(host for leaf in family.leaves for host in leaves[leaf]) for family in self.composed
        }
        return {**{host: frozenset([host]) for hosts in leaves.values() for host in hosts}, **leaves, **families}

    def _hosts_of(self, names: Iterable[str], known: dict[str, frozenset[str]]) -> set[str]:
        hosts: set[str] = set()
        for name in names:
            if name not in known:
                advice = suggestion(name, known)
                raise UsageError(f"--hosts: no group or host is called {shown(name)}{advice or '.'}\n{self._known()}")
            hosts |= known[name]
        return hosts

    def _known(self) -> str:
        groups = [group.name for group in self.groups] + [family.name for family in self.composed]
        hosts = [host.name for group in self.groups for host in group.hosts]
        return f"Groups: {_listed(groups)}. Hosts: {_listed(hosts)}."

    def _targets(self, selector: str, chosen: set[str]) -> Targets:
        fleet = tuple(group for group in self.groups if any(host.name in chosen for host in group.hosts))
        touched = {group.name for group in fleet}
        protected = [group.name for group in fleet if group.protected]
        protected += [family.name for family in self.composed if family.protected and touched & set(family.leaves)]
        narrowed = (group._replace(hosts=tuple(host for host in group.hosts if host.name in chosen)) for group in fleet)
        return Targets(selector, tuple(narrowed), fleet, tuple(protected), self.around)


def _refuse_empty(selector: str, words: list[str]) -> None:
    """Refuse a gap too: `--hosts "$A,$B"` with an empty $B was meant to say more."""
    if any(word in ("", "!") for word in words):
        raise UsageError(f"--hosts {shown(selector)}: an empty name; write groups or hosts, such as --hosts web,job1.")


def _listed(names: list[str]) -> str:
    rest = len(names) - MOST_SHOWN
    return ", ".join(names[:MOST_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def find(start: Path) -> Path:
    """Find hosts.yaml in `start` or the nearest directory above it; GAPLESS_INVENTORY wins."""
    named = os.environ.get(VARIABLE)
    if named:
        return _named(start / Path(named).expanduser())
    start = start.absolute()
    looked = [directory / NAME for directory in (start, *start.parents)]
    for path in looked:
        if os.path.isfile(path):
            return path
    raise InventoryError(
        f"{NAME}: not found in {start} or a directory above it; there is nothing to deploy to.\n"
        f"Run `gapless init` to write one, or set {VARIABLE}=/path/to/{NAME}."
    )


def _named(path: Path) -> Path:
    if not os.path.isfile(path):
        raise InventoryError(
            f"{VARIABLE}: there is no file {path}; there is nothing to deploy to.\n"
            f"Set it to the path of a {NAME}, or unset it to search from here upward."
        )
    return path


def load(path: Path) -> Inventory:
    """Read an inventory from a file; all that is wrong with it is said at once."""
    try:
        with open(path, "rb") as file:
            # One byte more than may be: enough to refuse a file of any size.
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InventoryError(f"{path}: {error.strerror}; there is nothing to deploy to.") from None
    return parse(data, path)


def parse(data: bytes, path: Path) -> Inventory:
    """Read an inventory from bytes; `path` names it, and its directory is where relative paths begin."""
    root, findings = compose(data, path.name)
    reader = Reader(findings, path.absolute().parent)
    return Inventory(path, *reader.read(root), reader.around)
