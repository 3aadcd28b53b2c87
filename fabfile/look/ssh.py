"""The real ssh to one host, with what hosts.yaml says of it, in the place of this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..commands import ask
from ..errors import UsageError
from ..inventory.values import Host, Ssh, Targets
from ..report.stream import state_dir

USUAL = ("~/.ssh/config", "/etc/ssh/ssh_config")


def only(targets: Targets) -> Host:
    """Give the one host that is named; raise UsageError where there are more."""
    names = [host.name for host in targets.hosts]
    if len(names) > 1:
        raise UsageError(f"--hosts {targets.selector} names {len(names)} hosts, and a shell is on one: {', '.join(names)}")
    return targets.hosts[0]


def enter(host: Host) -> None:
    """Become ssh; the shell starts where the app is. Does not return."""
    words = [*arguments(host, state_dir() / "ssh"), *(["-t"] if sys.stdin.isatty() else []), "--", host.ssh.host, ask.login(host.app.root)]
    sys.stdout.flush()
    try:
        os.execvp("ssh", ["ssh", *words])  # noqa: S606 (no shell is wanted)
    except FileNotFoundError:
        raise UsageError("there is no ssh in PATH here") from None


def arguments(host: Host, folder: Path) -> list[str]:
    """Say to ssh what hosts.yaml says; an unknown key is refused as we refuse it. What ssh wants as a file is kept in `folder`."""
    ssh = host.ssh
    options = ["StrictHostKeyChecking=yes"]
    config = _config(ssh, folder / f"{host.name}.config") if ssh.known_hosts else ssh.ssh_config
    words = ["-F", str(config)] if config else []
    if ssh.port:
        words += ["-p", str(ssh.port)]
    if ssh.user:
        words += ["-l", ssh.user]
    if ssh.key:
        words += ["-i", os.path.expanduser(ssh.key)]
        options.append("IdentitiesOnly=yes")  # each key that is offered counts against MaxAuthTries
    if ssh.host_key:
        file = _pinned(ssh.host_key, folder / f"{host.name}.known_hosts")
        options += [f'UserKnownHostsFile="{file}"', "GlobalKnownHostsFile=/dev/null", f"HostKeyAlias={ALIAS}"]
    return [*words, *(word for option in options for word in ("-o", option))]


ALIAS = "gapless-pinned"  # the name of the one key in a file of its own


def _pinned(key: str, file: Path) -> Path:
    """Keep the pinned key as ssh reads it."""
    return _written(file, f"{ALIAS} {' '.join(key.split()[:2])}\n")


def _config(ssh: Ssh, file: Path) -> Path:
    """Keep a config in which one file of host keys alone counts: what stands on ssh's command line is not said to its jump hosts."""
    files = [ssh.ssh_config] if ssh.ssh_config else USUAL
    included = "".join(f'Include "{os.path.abspath(os.path.expanduser(each))}"\n' for each in files)
    alone = f'UserKnownHostsFile "{ssh.known_hosts}"\nGlobalKnownHostsFile /dev/null\nStrictHostKeyChecking yes\n'
    return _written(file, f"Host *\n{alone}{included}")


def _written(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.write_text(text, encoding="utf-8")
    return file
