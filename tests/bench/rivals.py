"""Have the tools that are no part of this project: in a cache of their own, installed once where the machine lets us."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.lab import cache

PYINFRA = "pyinfra==3.10"
SLOW_SECONDS = 300


def pyinfra() -> Path | None:
    """Give the program, None where it is not installed."""
    program = cache.cache_dir() / PYINFRA.replace("==", "-") / "bin/pyinfra"
    return program if program.exists() else None


def left_out() -> dict[str, str]:
    """Say who does not take part, and why."""
    found = {"Capistrano": "it needs Ruby, which the bench does not install"}
    return found if pyinfra() else found | {"pyinfra": "it could not be installed"}


def install() -> None:
    """Install who is missing."""
    if pyinfra() is None and (why := install_pyinfra()):
        print(f"bench: pyinfra is left out: {why}", flush=True)


def install_pyinfra() -> str:
    """Make a virtual environment with pyinfra; return why that failed, or nothing."""
    home = cache.cache_dir() / PYINFRA.replace("==", "-")
    pip = [home / "bin/python", "-m", "pip", "install", "-qq", "--disable-pip-version-check", PYINFRA]
    for command in ([sys.executable, "-m", "venv", home], pip):
        done = subprocess.run(command, capture_output=True, text=True, timeout=SLOW_SECONDS, check=False)
        if done.returncode:
            return (done.stderr.strip() or "pip failed").splitlines()[-1]
    return ""
