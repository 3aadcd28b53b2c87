"""Who counts as gone: proved by this machine, or silent for longer than the lease; never by guessing."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from fabfile import ownership


def held(quiet: float = 1, phase: str = "build 0002-abc", **owner: object) -> dict[str, object]:
    record = {"run": "r1", "verb": "deploy", "who": "ana", "from": "ci7", "boot": "another", "pid": 1, "start": "1", "at": time.time() - 62, **owner}
    return {"event": "held", "owner": record, "phase": phase, "quiet": quiet}


def test_this_very_process_is_alive():
    assert ownership.gone(held(**ownership.here())) == ""


def test_a_process_of_this_machine_that_ended_is_dead_at_once():
    process = subprocess.Popen(["sleep", "9"])
    fields = open(f"/proc/{process.pid}/stat").read().rpartition(")")[2].split()
    record = {**ownership.here(), "pid": process.pid, "start": fields[19]}
    assert ownership.gone(held(**record)) == ""
    process.kill()
    time.sleep(0.1)
    assert "is dead" in ownership.gone(held(**record))  # a zombie, too
    process.wait()
    assert f"process {process.pid} on this machine is dead" in ownership.gone(held(**record))


def test_a_pid_that_was_given_away_again_is_another_process():
    assert "is dead" in ownership.gone(held(**{**ownership.here(), "start": "12"}))


def test_of_another_machine_only_silence_tells():
    assert ownership.gone(held(quiet=ownership.LEASE - 1, pid=os.getpid())) == ""
    assert ownership.gone(held(quiet=240)) == "it was not heard of for 4 min"


def test_an_owner_without_a_record_never_counts_as_gone():
    assert ownership.gone({"event": "held", "owner": None, "phase": "", "quiet": 10**9}) == ""


@pytest.mark.parametrize(("phase", "harmless"), [
    ("", True), ("claim", True), ("build 0002-abc", True), ("finish", True), ("migrate 0002-abc", False), ("reload 0002-abc", False),
    ("something newer", False),
])
def test_only_what_serves_nobody_may_be_taken_over_unasked(phase, harmless):
    assert ownership.harmless(held(phase=phase)) is harmless


def test_who_waits_is_told_whom_for():
    assert ownership.told({"web1": held(), "web2": held()}, "web") == (
        "web1, web2: ana@ci7 has been at deploy for 62 s, in build 0002-abc (run r1, pid 1)\n"
        "Wait for it (--wait 10m); if you know that it is dead: fab unlock --hosts web --id r1"
    )


def test_who_finds_a_dead_run_is_told_the_two_ways_out():
    text = ownership.told({"web1": held(quiet=240, ci="https://ci.example/7")}, "web")
    assert "began a deploy, in build 0002-abc, and left it: it was not heard of for 4 min (run r1) https://ci.example/7" in text
    assert text.endswith("Next:  fab resume --hosts web  finishes it   or   fab abort --hosts web  takes it back")
