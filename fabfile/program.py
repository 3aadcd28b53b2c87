"""The program `gapless`: fab with our verbs, for directories without a fabfile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

from fabric import Config, Executor
from fabric.main import Fab
from invoke.exceptions import ParseError

from . import namespace
from .errors import UsageError
from .inventory.words import shown, suggestion

NAME = "gapless"


class Gapless(Fab):  # type: ignore[misc]  # Fabric has no types
    """Parse as fab does, but end with 2 where fab ends with 1: a mistyped word is no failed deploy."""

    def parse_core(self, *arguments: Any, **more: Any) -> None:
        with _refused():
            super().parse_core(*arguments, **more)

    def parse_tasks(self) -> None:
        with _refused():
            super().parse_tasks()

    def parse_cleanup(self) -> None:
        with _refused():
            super().parse_cleanup()


@contextmanager
def _refused() -> Iterator[None]:
    """Tell what the parser could not read, with what was probably meant."""
    try:
        yield
    except ParseError as err:
        raise UsageError(f"{_told(err)}\n`{NAME} --list` shows the verbs, `{NAME} --help VERB` its flags.") from None


def _told(err: ParseError) -> str:
    if unknown := re.fullmatch(r"No idea what '(.*)' is!", str(err), re.DOTALL):
        word = unknown[1]
        known = list(err.context.flags) if word.startswith("-") and err.context else list(namespace.task_names)
        return f"no {'flag' if word.startswith('-') else 'verb'} is called {shown(word)}{suggestion(word, known)}"
    if empty := re.match(r"Flag <Argument: ([\w-]+).*> needed value", str(err)):
        return f"--{empty[1]} wants a value"
    return str(err)


def _version() -> str:
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def main() -> None:
    """Do what the command line says."""
    program = Gapless(
        name="Gapless", binary=NAME, binary_names=[NAME], version=_version(), namespace=namespace,
        executor_class=Executor, config_class=Config,
    )
    program.run()
