"""Judge this machine: what it reads, writes and needs, before any host comes into it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from ..inventory.values import Ssh
from . import repo
from .verdict import Verdict, bad, ok, warn

PINS = {"fabric": ((3, 2, 3), (4,)), "invoke": ((2, 2, 1), (3,)), "paramiko": ((4,), (6,))}  # at least, and below; as in pyproject.toml


def versions() -> list[Verdict]:
    found = {name: metadata.version(name) for name in PINS}
    wrong = [name for name, version in found.items() if not PINS[name][0] <= _numbers(version) < PINS[name][1]]
    told = ", ".join(f"{name} {version}" for name, version in found.items())
    if wrong:
        wanted = " ".join(f"'{name}>={_dotted(PINS[name][0])},<{_dotted(PINS[name][1])}'" for name in wrong)
        return [bad(told, f"{', '.join(wrong)}: not a version that works with the others.", f"{sys.executable} -m pip install {wanted}")]
    return ok(f"{told}, python {sys.version.split()[0]}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def git() -> list[Verdict]:
    found = shutil.which("git")
    return (
        ok(found) if found
        else [bad("no git on this machine", "It turns a ref into a commit, once for all hosts.", "sudo apt-get install -y git")]
    )


def state(place: Path) -> list[Verdict]:
    """Judge the directory for logs; what is not there yet is made."""
    above = next(each for each in (place, *place.parents) if each.exists())
    if above.is_dir() and os.access(above, os.W_OK):
        return ok(str(place))
    return [bad(f"{place} can't be written", "No run begins without its log.", "export XDG_STATE_HOME=$HOME/state   or any place of yours")]


def ssh_config(files: Iterable[Ssh]) -> list[Verdict]:
    named = sorted({str(ssh.ssh_config) for ssh in files if ssh.ssh_config})
    if named:
        return ok(", ".join(named))
    usual = Path("~/.ssh/config").expanduser()
    return ok(str(usual) if usual.exists() else "none; hosts.yaml alone says where hosts are")


def known_hosts(files: Iterable[tuple[Ssh, list[str]]]) -> list[Verdict]:
    """Judge the files in which host keys are looked up; a host whose key is pinned in hosts.yaml needs none."""
    needed = {file for ssh, looked in files if not ssh.host_key for file in looked}
    paths = [Path(file).expanduser() for file in sorted(needed)]
    there = [path for path in paths if path.is_file()]
    if unreadable := [path for path in there if not os.access(path, os.R_OK)]:
        return [bad(f"{unreadable[0]} can't be read", "No host key can be checked against it.", f"sudo chown $(id -un) {unreadable[0]}")]
    if loose := [path for path in there if path.stat().st_mode & 0o022]:
        return [warn(
            f"{loose[0]} can be written by others", "Whoever may write it decides which hosts are trusted.", f"chmod go-w {loose[0]}"
        )]
    if paths and not there:
        return [bad(
            f"no known_hosts: {', '.join(map(str, paths))}", "Every host is a stranger, and strangers are refused.",
            "ssh HOST  once, comparing its key; or host_key: in hosts.yaml",
        )]
    return ok(", ".join(map(str, there)) or "each key is pinned in hosts.yaml")


def source(said: str, commit: str, url: str, ref: str) -> list[Verdict]:
    """Judge what asking the repository from here gave: a commit, or why not."""
    if commit:
        return ok(f"{ref} is {commit[:7]} of {repo.shown(url)}")
    if "can't be read: " in said or "no answer within" in said:
        return [repo.here(url, said.partition("can't be read: ")[2] or said)]
    return [bad(said, "A deploy is refused before it contacts a host.", "correct app.ref in hosts.yaml, or: --ref")]
