"""A hook on a host hears what it is told, ends with its own code, and in time; and nothing that it started outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from fabfile.commands.hooks import LIBRARY


def begun(command: str, seconds: int) -> subprocess.Popen[str]:
    text = f"set -eu\n{LIBRARY}\nif within {seconds} '{command}'; then echo 0; else echo $?; fi"
    return subprocess.Popen(["sh", "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


def lives(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}") and open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"


def until_gone(pid: int) -> None:
    end = time.monotonic() + 10
    while lives(pid):
        assert time.monotonic() < end, "what the hook had started outlived it"
        time.sleep(0.05)


@pytest.mark.parametrize("command, said", [("cat; exit 3", "told\n3\n"), ("exit 0", "0\n"), ("kill -9 $$", "137\n")])
def test_it_hears_and_ends_with_its_own_code(command, said):
    assert begun(command, 20).communicate("told\n", timeout=30)[0] == said


def test_what_is_late_ends_with_all_that_it_started():
    since = time.monotonic()
    child, code = begun("sleep 60 & echo $!; wait", 1).communicate(timeout=30)[0].split()
    assert (code, time.monotonic() - since < 20) == ("124", True)
    until_gone(int(child))


def test_when_the_deployer_is_gone_so_is_the_hook():
    process = begun("sleep 60 & echo $!; wait", 50)
    assert process.stdout
    child = int(process.stdout.readline())
    os.killpg(process.pid, signal.SIGTERM)  # as the dead-man's watch does (shell.py)
    until_gone(child)
    process.communicate(timeout=20)
