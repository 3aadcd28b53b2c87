"""What a person gives for an env file: a whole one, or single names. It stays in memory, and in no argument of any program."""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import programs
from .errors import UsageError
from .inventory.values import Host, Targets

MOST = 256 * 1024  # bytes of an env file


@dataclass(frozen=True)
class Change:
    """Hold a new text, or else the names to set and to unset; never shown by accident."""

    text: str | None = field(default=None, repr=False)
    set: Mapping[str, str] = field(default_factory=dict, repr=False)
    unset: tuple[str, ...] = ()

    def of(self, file: str) -> dict[str, Any]:
        """Describe it to runtime/envfile.cjs."""
        return {"file": file, "text": self.text, "set": dict(self.set), "unset": list(self.unset)}


def change(file: str = "", command: str = "", set: str = "", unset: str = "", from_env: bool = False) -> Change:
    """Read what was given by flags; raise UsageError where that is nothing, or two things at once."""
    ways = [name for name, given in (("--file", file), ("--command", command), ("--set or --unset", set or unset)) if given]
    if len(ways) != 1:
        raise UsageError(f"{' and '.join(ways)} at once; say one" if ways else "say what: --file FILE, --command 'CMD', or --set NAME")
    if file or command:
        return Change(text=whole(file, command))
    both = sorted({*_names(set, "--set")} & {*_names(unset, "--unset")})
    if both:
        raise UsageError(f"{both[0]} is to be set and unset; say which")
    return Change(set=_values(_names(set, "--set"), from_env), unset=_names(unset, "--unset"))


def whole(file: str, command: str) -> str:
    """Read an env file from here, or from what a program prints."""
    if command:
        return text(programs.output(command), "--command")
    try:
        with Path(file).open("rb") as opened:
            return text(opened.read(MOST + 1), file)
    except OSError as err:
        raise UsageError(f"{file} can't be read: {err.strerror}") from None


def text(data: bytes, where: str) -> str:
    """Decode an env file as node would read it; say by line number, never by its words, what can't be sent."""
    if len(data) > MOST:
        raise UsageError(f"{where} is larger than {MOST >> 10} KiB; an env file is not")
    try:
        found = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as err:
        raise UsageError(f"{where}:{_line(data[:err.start])}: it is not UTF-8") from None
    for sign, name in (("\0", "a NUL"), ("\r", "a carriage return")):
        if sign in found:
            raise UsageError(f"{where}:{_line(found[:found.index(sign)].encode())}: {name} stands there, which no variable can hold")
    if not found.strip():
        raise UsageError(f"{where} is empty; that would take every name away")
    return found if found.endswith("\n") else found + "\n"


def _line(before: bytes) -> int:
    return before.count(b"\n") + 1


def _names(listed: str, flag: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in listed.split(",") if name.strip())
    if any("=" in name for name in names):
        raise UsageError(f"{flag} takes names alone; a value there would stand in every process table. It is read from stdin")
    if bad := [name for name in names if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", name)]:
        raise UsageError(f"{flag}: {bad[0]!r} is no name of a variable")
    return names


def _values(names: tuple[str, ...], from_env: bool) -> dict[str, str]:
    if from_env:
        if missing := [name for name in names if name not in os.environ]:
            raise UsageError(f"{', '.join(missing)}: not in this environment (--from-env)")
        return {name: _value(os.environ[name], name) for name in names}
    if names and sys.stdin.isatty():
        try:
            return {name: _value(getpass.getpass(f"{name}: "), name) for name in names}
        except EOFError:
            raise UsageError("no value was typed; nothing was sent to any host") from None
    if len(names) > 1:
        raise UsageError("stdin holds one value; give several by --from-env, or a whole file by --file")
    return {name: _value(_stdin(), name) for name in names}


def _stdin() -> str:
    data = sys.stdin.buffer.read(MOST + 1)
    if not data:
        raise UsageError("there is nothing on stdin; the value of --set is read from there")
    return text(data, "stdin").removesuffix("\n")


def _value(value: str, name: str) -> str:
    if not value or set(value) & {"\0", "\r"}:
        raise UsageError(f"the value of {name} {'holds a NUL or a carriage return' if value else 'is empty; --unset takes a name away'}")
    return value


def shared_files(targets: Targets, process: str, file: str) -> dict[str, str]:
    """Name the env file in shared/ that is meant, for each host."""
    return {host.name: _shared_file(host, process, file) for host in targets.hosts}


def _shared_file(host: Host, process: str, file: str) -> str:
    """Find it by its process or by its own name; refuse what no release links."""
    shared = ", ".join(host.app.shared_files) or "none"
    if file:
        if file not in host.app.shared_files:
            raise UsageError(f"{host.name}: {file} is no shared file; hosts.yaml names {shared} (shared: files:)")
        return file
    meant = [each for each in host.app.processes if not process or each.name == process]
    files = sorted({each.env_file for each in meant if each.env_file})
    if len(files) != 1:
        told = f"its processes read {', '.join(files)}" if files else f"no process{f' {process}' if process else ''} reads one"
        raise UsageError(f"{host.name}: {told}; say which: --process NAME or --file-name FILE")
    if files[0] not in host.app.shared_files:
        raise UsageError(f"{host.name}: {files[0]} is no shared file, each release has its own; hosts.yaml names {shared} (shared: files:)")
    return files[0]
