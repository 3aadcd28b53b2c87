"""Programs on this machine: their words, their end, and that nothing of them is left."""

from __future__ import annotations

import os
import time

import pytest

from fabfile import local


def test_words_come_apart_and_stdin_arrives():
    done = local.run(["sh", "-c", "cat; echo bad >&2; exit 3"], 10, stdin="given")
    assert (done.code, done.ok, done.out, done.err, done.lines) == (3, False, "given", "bad\n", ["given", "bad"])


def test_what_is_late_ends_with_all_that_it_started():
    begun = time.monotonic()
    done = local.run(["sh", "-c", "sleep 60 & echo $!; wait"], 0.5)
    child = int(done.out)
    assert (done.code, time.monotonic() - begun < 30) == (local.LATE, True)
    end = time.monotonic() + 10
    while os.path.exists(f"/proc/{child}") and open(f"/proc/{child}/stat").read().split(") ")[1][0] != "Z":
        assert time.monotonic() < end, "its child outlived it"
        time.sleep(0.05)


def test_a_daemon_that_is_left_behind_holds_nobody_up():
    begun = time.monotonic()
    done = local.run(["sh", "-c", "sleep 20 & echo $!"], 60)
    os.kill(int(done.out), 9)
    assert (done.code, time.monotonic() - begun < 15) == (0, True)


def test_it_stands_where_it_is_told_and_knows_what_it_is_told(tmp_path):
    done = local.run(["sh", "-c", "pwd; echo $WORD"], 10, directory=str(tmp_path), env={"WORD": "a b"})
    assert done.out.splitlines() == [str(tmp_path), "a b"]


def test_an_end_is_heard_of_at_once(monkeypatch):
    """Popen.wait looks at last every 50 ms: a sleep of its own would be seen here."""
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    assert local.run(["sleep", "0.3"], 10).code == 0
    assert slept == [] or not hasattr(os, "pidfd_open")


def test_no_such_program():
    with pytest.raises(FileNotFoundError):
        local.run(["no-such-program"], 1)
