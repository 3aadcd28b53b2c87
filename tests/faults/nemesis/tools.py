"""Take away the tools that a host is expected to have, or give it others."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.faults.nemesis.host import revive
from tests.faults.nemesis.sshd import environment
from tests.lab import cache, making, system
from tests.lab.fleet import Lab

NVM = "/srv/.nvm/versions/node/v20.99.0"  # newer than what a person may have there besides


@contextlib.contextmanager
def busybox(lab: Lab, host: str, program: str) -> Iterator[None]:
    """Have a host be like Alpine: busybox is its sh, and all small programs are busybox's."""
    shell = Path("/bin/sh").resolve()
    lab.run(host, f"mkdir ~/applets && {program} --install -s ~/applets && mount --bind {program} {shell}")
    try:
        with environment(lab, host, PATH=f"/srv/applets:{path_of(lab, host)}"):
            yield
    finally:
        lab.run(host, f"umount {shell}; rm -r ~/applets")


@contextlib.contextmanager
def node_by_nvm(lab: Lab, host: str, place: str = NVM) -> Iterator[None]:
    """Have node, npm and pm2 nowhere but in a directory of nvm's, and PM2 run from there; a session's PATH knows nothing of it."""
    there, node = f"{place}/bin", Path(system.path_of("node")).resolve()
    pm2 = cache.pm2_bin()
    lab.pm2(host, "kill")
    lab.run(host, f"""set -e
        mkdir -p {there} && : >{there}/node && mount --bind {node} {there}/node
        ln -s {Path(system.path_of("npm")).resolve()} {there}/npm && ln -s {(pm2 / "pm2").resolve()} {there}/pm2
        {without(node.parent, "node", "nodejs", "npm", "npx")}""")
    path = path_of(lab, host, less=pm2)
    revive(lab, host, there)
    try:
        with environment(lab, host, PATH=path):
            yield
    finally:
        # Lazily: what PM2 has ended may still be on its way out.
        lab.run(host, f"export PATH={there}:$PATH; pm2 kill; umount -l {node.parent} {there}/node ~/.less; rm -r ~/.less {shlex.quote(place)}")
        revive(lab, host)


@contextlib.contextmanager
def hidden(lab: Lab, host: str, file: str) -> Iterator[None]:
    """Take a file out of the home directory of a host."""
    there = lab.path(host, lab.host(host).home) / file
    away = there.rename(there.with_name(f"{there.name}.away"))
    try:
        yield
    finally:
        away.rename(there)


def without(directory: Path, *programs: str) -> str:
    """Write a script that makes a directory of programs appear without some of them."""
    layers = f"lowerdir={directory},upperdir=$HOME/.less/upper,workdir=$HOME/.less/work"
    return f"""mkdir ~/.less && mount -t tmpfs lab ~/.less && mkdir ~/.less/upper ~/.less/work
        mount -t overlay -o {layers} overlay {directory} && cd {directory} && rm -f {" ".join(programs)}"""


def path_of(lab: Lab, host: str, less: Path | None = None) -> str:
    """Give the PATH of a host's sessions, less one directory."""
    return os.pathsep.join(part for part in making.host_env(lab.host(host))["PATH"].split(os.pathsep) if part != str(less))
