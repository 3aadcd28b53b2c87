"""A namespace of which `--list` shows one line, that of its default task: the others are called, explained and completed as usual."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

from invoke import Collection


class Folded(Collection):
    """
    Hold tasks behind the default one, which is called like the namespace.

    A listing goes through `tasks`, which is left empty unless it is asked for by name (`--list env`); parsing, help and completion ask
    the methods below.
    """

    def __init__(self, default: Any, *others: Any) -> None:
        super().__init__(default.name)
        self.first = default
        self.others = {task.name: task for task in others}
        for task in others if _is_listed(self.name) else ():
            self.add_task(task)

    def unfold(self, into: Collection) -> None:
        """Put the default task into a namespace, and the others behind its name; Invoke takes a name for one of both only."""
        into.add_task(self.first)
        into.collections[self.name] = self

    def tuck(self, into: Collection) -> None:
        """Put the default task behind its own name, into no listing at all."""
        self.others, self.default = {self.first.name: self.first, **self.others}, self.first.name
        into.collections[self.name] = self

    @property
    def task_names(self) -> dict[str, list[str]]:
        return {name: [] for name in self.others}

    def task_with_config(self, name: str | None) -> tuple[Any, dict[str, Any]]:
        return (self.others[self.transform(name)] if name else self.first), self.configuration()

    def serialized(self) -> dict[str, Any]:
        """Describe all of it for `--list --list-format json`."""
        return {**Collection(self.name, **self.others).serialized(), "help": None}


def _is_listed(name: str | None) -> bool:
    return f"--list={name}" in sys.argv or any(flag in ("-l", "--list") and word == name for flag, word in pairwise(sys.argv))
