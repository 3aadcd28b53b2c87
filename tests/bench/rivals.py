"""Have the tools that are no part of this project: in a cache of their own, installed once where the machine lets us."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.lab import cache, system

PYINFRA = "pyinfra==3.10"
SLOW_SECONDS = 300


def pyinfra() -> Path | None:
    """Give the program, None where it is not installed."""
    program = cache.cache_dir() / PYINFRA.replace("==", "-") / "bin/pyinfra"
    return program if program.exists() else None


def capistrano() -> str | None:
    """Give the program, None where it is not installed."""
    return system.find("cap")


RIVALS = {"pyinfra": pyinfra, "capistrano": capistrano}


def left_out(wanted: Iterable[str]) -> dict[str, str]:
    """Say who of these does not take part, and why."""
    return {name: "it could not be installed" for name, found in RIVALS.items() if name in wanted and not found()}


def install(wanted: Iterable[str]) -> None:
    """Install who of these is missing."""
    for name in wanted:
        why = INSTALLS[name]() if name in RIVALS and RIVALS[name]() is None else ""
        if why:
            print(f"bench: {name} is left out: {why}", flush=True)


def install_capistrano() -> str:
    """Install it with Ruby, as the system has it; return why that failed, or nothing."""
    try:
        system.ensure_one("cap")
    except system.MissingPrograms as err:
        return str(err).splitlines()[0]
    return ""


def install_pyinfra() -> str:
    """Make a virtual environment with pyinfra; return why that failed, or nothing."""
    home = cache.cache_dir() / PYINFRA.replace("==", "-")
    pip = [home / "bin/python", "-m", "pip", "install", "-qq", "--disable-pip-version-check", PYINFRA]
    for command in ([sys.executable, "-m", "venv", home], pip):
        done = subprocess.run(command, capture_output=True, text=True, timeout=SLOW_SECONDS, check=False)
        if done.returncode:
            return (done.stderr.strip() or "pip failed").splitlines()[-1]
    return ""


INSTALLS = {"pyinfra": install_pyinfra, "capistrano": install_capistrano}
