"""
What ssh config says of a host: its address, the jump hosts before it, and where its host key is known.

Paramiko reads the files, and Fabric says which; each is read once for all hosts. Facts about both: docs/decisions.md.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import fabric
import paramiko

from . import knownhosts
from .inventory.values import Ssh

KNOWN_HOSTS = {           # options, and what they are where they are not set
    "userknownhostsfile": "~/.ssh/known_hosts ~/.ssh/known_hosts2",
    "globalknownhostsfile": "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2",
}


class Unreachable(Exception):
    """
    Tell why a host can't be worked on.

    `kind` says refused, timeout, no route, name, auth, key file, algorithms, jump and the kinds of host key trouble apart; `hop` is the
    jump host whose trouble it is.
    """

    def __init__(self, text: str, kind: str = "other", hop: Ssh | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.hop = hop


if TYPE_CHECKING:
    class _Paramiko(paramiko.SSHConfig):
        """Name what Paramiko has and its stubs leave out."""

        _config: list[dict[str, Any]]

        def _does_match(self, match_list: list[dict[str, Any]], *more: Any) -> bool: ...
else:
    _Paramiko = paramiko.SSHConfig


class _Files(_Paramiko):
    def _does_match(self, match_list: list[dict[str, Any]], *more: Any) -> bool:
        """
        Judge what stands after a `Match`, and nothing where no Match is.

        Paramiko looks up who we are for each `Host` of another, which asks the system: of a config of 300 hosts it took 2 s of CPU.
        """
        return bool(match_list) and super()._does_match(match_list, *more)


class _Known(paramiko.SSHConfig):
    """Answer Fabric, which looks a host up by itself, with what was looked up already."""

    def __init__(self, entry: paramiko.SSHConfigDict) -> None:
        super().__init__()
        self.entry = entry

    def lookup(self, hostname: str) -> paramiko.SSHConfigDict:
        return self.entry


class Found(NamedTuple):
    """Hold what ssh config says of one host, option to value; all options in lower case."""

    entry: paramiko.SSHConfigDict
    hostname: str

    def config(self) -> fabric.Config:
        """Give a config for one connection to it: Fabric writes into it, and a clone would copy all of ssh config for each host."""
        return fabric.Config(ssh_config=_Known(self.entry))


def found(ssh: Ssh) -> Found:
    """Look a host up."""
    return _found(ssh.ssh_config, ssh.host)


@cache  # Paramiko goes through all of a config at each look
def _found(file: str | None, host: str) -> Found:
    entry = _read(file).lookup(host)
    return Found(entry, entry.get("hostname", host))


@cache
def _read(file: str | None) -> _Files:
    """Read a config file, or those of ssh itself."""
    files = _Files()
    files._config = fabric.Config(**{"runtime_ssh_path": file} if file else {}).base_ssh_config._config
    return files


def address(ssh: Ssh) -> tuple[str, int]:
    """Give the host name and the port that ssh would connect to."""
    there = found(ssh)
    return there.hostname, int(ssh.port or there.entry.get("port") or knownhosts.SSH_PORT)


# ---------------------------------------------------------------- jump hosts


def hop(text: str, ssh: Ssh) -> Ssh:
    """Read one hop of a ProxyJump: [ssh://][user@]host[:port]."""
    parts = re.fullmatch(r"(?:ssh://)?(?:(?P<user>.+)@)?(?:\[(?P<ip>[^]]+)]|(?P<host>[^:]+))(?::(?P<port>[0-9]+))?", text.strip())
    if not parts:
        raise Unreachable(f"{ssh.host}: ProxyJump {text} can't be read; write user@host:port")
    port = parts["port"]
    return Ssh(
        host=parts["ip"] or parts["host"], user=parts["user"], port=int(port) if port else None, ssh_config=ssh.ssh_config,
        known_hosts=ssh.known_hosts,
    )


def jumps(ssh: Ssh) -> str:
    """Give the ProxyJump of a host, "" where there is none; one that leads to the host itself (under `Host *`) means none."""
    told: str = found(ssh).entry.get("proxyjump", "none")
    if told.lower() == "none" or address(hop(told.rsplit(",", maxsplit=1)[-1], ssh)) == address(ssh):
        return ""
    return told


def jump(ssh: Ssh) -> str:
    """Name the last jump host before a host, as ssh takes it; "" where there is none."""
    return jumps(ssh).rpartition(",")[2]


# ---------------------------------------------------------------- where things were said


def known_as(ssh: Ssh) -> tuple[str, list[str]]:
    """Give the name under which known_hosts has a host, and the files in which it is looked up."""
    entry = found(ssh).entry
    name = entry.get("hostkeyalias") or knownhosts.spelled(*address(ssh))
    if ssh.known_hosts:
        return name, [ssh.known_hosts]
    return name, [file for option, usual in KNOWN_HOSTS.items() for file in _listed(entry.get(option, usual))]


def _listed(files: str) -> list[str]:
    """Part the files of one option; around a single one Paramiko has taken the quotes away."""
    if os.path.exists(os.path.expanduser(files)):
        return [files]
    return [file for file in shlex.split(files) if file != "none"]


def origins(ssh: Ssh) -> dict[str, tuple[str, str]]:
    """Give what we log in to a host with, each with where it was said: hosts.yaml, ssh config, or nowhere."""
    entry = found(ssh).entry
    wanted: dict[str, object] = {
        "hostname": None, "port": ssh.port, "user": ssh.user, "identityfile": ssh.key, "proxyjump": None, "hostkeyalias": None,
    }
    usual = {"hostname": ssh.host, "port": str(knownhosts.SSH_PORT), "user": getpass.getuser()}
    told = {}
    for option, said in wanted.items():
        if said is not None:
            told[option] = (str(said), "hosts.yaml")
        elif option in entry and str(entry[option]) != usual.get(option):
            value = entry[option]
            told[option] = (" ".join(value) if isinstance(value, list) else str(value), ssh.ssh_config or "ssh config")
        elif option in usual:
            told[option] = (usual[option], "as usual")
    where = "hosts.yaml" if ssh.host_key or ssh.known_hosts else "ssh config" if "userknownhostsfile" in entry else "as usual"
    told["known_hosts"] = ("host_key" if ssh.host_key else " ".join(known_as(ssh)[1]), where)
    return told
