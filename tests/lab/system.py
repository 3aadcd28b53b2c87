"""Find the programs that a lab needs, and install what is missing where the machine lets us."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
NODE_AT_LEAST = (20, 12)
APT_PACKAGES = {
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "haproxy": "haproxy",
    "git": "git",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "busybox": "busybox",
    "dropbear": "dropbear-bin",
    "fish": "fish",
    "faketime": "faketime",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "tmux": "tmux",
    "cap": "capistrano",
}
ALWAYS = ("sshd", "ssh", "ssh-keygen", "haproxy", "git", "node", "npm")
FOR_NAMESPACES = ("ip", "unshare", "nsenter")
POLICY = Path("/usr/sbin/policy-rc.d")
FORBID_STARTS = "#!/bin/sh\nexit 101\n"


class MissingPrograms(RuntimeError):
    """The machine lacks programs, and the message holds the command that adds them."""


def find(program: str) -> str | None:
    """Look a program up, also where a plain user's PATH does not reach."""
    return shutil.which(program) or shutil.which(program, path=os.pathsep.join(SBIN))


def path_of(program: str) -> str:
    """Return the absolute path of a program that `ensure` has already seen."""
    found = find(program)
    if found is None:
        raise MissingPrograms(f"{program} is not installed")
    return found


def ensure(mode: str) -> None:
    """Have every program that this mode needs, or say the one command that would add it."""
    wanted = ALWAYS + (FOR_NAMESPACES if mode == "namespace" else ())
    absent = [program for program in wanted if find(program) is None]
    packages = sorted({APT_PACKAGES[program] for program in absent if program in APT_PACKAGES})
    if packages and can_install():
        print(f"lab: installing {' '.join(packages)} with apt-get; no service is started", flush=True)
        install(packages)
        absent = [program for program in wanted if find(program) is None]
    if absent:
        raise MissingPrograms(advice(absent))
    check_node()
    if os.geteuid() == 0:
        # The init script would have made it at boot; without it sshd does not start as root.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


def ensure_one(program: str) -> str:
    """Return the path of a program that only some case wants; install it where it is missing and the machine lets us."""
    if find(program) is None and can_install():
        print(f"lab: installing {APT_PACKAGES[program]} with apt-get; no service is started", flush=True)
        install([APT_PACKAGES[program]])
    found = find(program)
    if found is None:
        raise MissingPrograms(advice([program]))
    return found


def advice(absent: list[str]) -> str:
    """Say what is missing and what to type."""
    packages = sorted({APT_PACKAGES[program] for program in absent if program in APT_PACKAGES})
    lines = [f"missing on this machine: {', '.join(absent)}."]
    if packages:
        lines.append(f"Run: sudo apt-get install --no-install-recommends {' '.join(packages)}")
    if {"node", "npm"} & set(absent):
        lines.append("Install node 20.12 or newer with npm: https://nodejs.org/en/download")
    return "\n".join(lines)


def check_node() -> None:
    """Refuse a node that is older than what a host needs."""
    said = subprocess.run([path_of("node"), "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    version = tuple(int(part) for part in re.findall(r"\d+", said)[:2])
    if version < NODE_AT_LEAST:
        raise MissingPrograms(f"node is {said.strip()}; the lab needs 20.12 or newer: https://nodejs.org/en/download")


def can_install() -> bool:
    """Tell whether this process may add packages."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: list[str]) -> None:
    """Add packages quietly; refresh the lists only when the first try fails."""
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=180", "-o", "Dpkg::Use-Pty=0"]
    command = [*apt, "install", "--yes", "--no-install-recommends", *packages]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with no_service_starts():
        if subprocess.run(command, env=env, capture_output=True, timeout=600, check=False).returncode == 0:
            return
        subprocess.run([*apt, "update"], env=env, capture_output=True, timeout=600, check=False)
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise MissingPrograms(f"apt-get install {' '.join(packages)} failed:\n{done.stdout}{done.stderr}")


@contextlib.contextmanager
def no_service_starts() -> Iterator[None]:
    """Keep package scripts from starting daemons, then put the machine's own policy back."""
    before = POLICY.read_bytes() if POLICY.exists() else None
    mode = POLICY.stat().st_mode & 0o7777 if before is not None else 0
    POLICY.write_text(FORBID_STARTS)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        if before is None:
            POLICY.unlink()
        else:
            POLICY.write_bytes(before)
            POLICY.chmod(mode)
