"""A hook on a host ends in time, with timeout(1) and without."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from fabfile.commands.hooks import LIBRARY


@pytest.fixture(params=["sh", "dash", "bash"])
def bare(request, tmp_path: Path) -> tuple[str, dict[str, str]]:
    """Give a shell, and a PATH that has no timeout(1)."""
    if not (shell := shutil.which(request.param)):
        pytest.skip(f"{request.param} is not installed")
    for program in ("sh", "sleep", "cat"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    return shell, {"PATH": str(tmp_path)}


def ran(shell: str, env: dict[str, str], command: str, seconds: int, stdin: str = "") -> tuple[int, str]:
    text = f"set -eu\n{LIBRARY}\nif within {seconds} '{command}'; then echo 0; else echo $?; fi"
    done = subprocess.run([shell, "-c", text], env=env, input=stdin, capture_output=True, text=True, timeout=30, check=False)
    *said, code = done.stdout.splitlines()
    return int(code), "\n".join(said)


@pytest.mark.parametrize("known", [True, False], ids=["with timeout", "without"])
def test_it_hears_ends_with_its_own_code_and_not_too_late(bare, known):
    shell, env = bare
    env = {"PATH": os.environ["PATH"]} if known else env
    assert ran(shell, env, "cat; exit 3", 20, "told\n") == (3, "told")
    assert ran(shell, env, "exit 0", 20) == (0, "")
    begun = time.monotonic()
    code, _ = ran(shell, env, "sleep 25", 1)
    assert (code, time.monotonic() - begun < 20) == (124, True)
