"""The migration: it runs once, to its end, and its outcome lies on the host whatever becomes of whoever asked for it."""

from __future__ import annotations

import os
import time
from typing import Any

from tests.driver.host import Host, Run


def migrate(host: Host, command: str, verb: str = "start", run: str = "r") -> Run:
    plan: dict[str, Any] = {"release": "0001-356a192", "command": command, "env_file": ".env"}
    one = Run(host, run, verb, plan, "migrate")
    host.runs.append(one)
    return one


def test_it_runs_in_the_release_with_the_apps_environment(host: Host) -> None:
    release = host.release(1, env="DATABASE_URL='postgres://u:p a$s@db/x'\n")
    run = migrate(host, 'printf "%s\\n" "$DATABASE_URL" "$(pwd)" >seen')
    assert run.final() == {**run.events[-1], "event": "done", "release": release}
    home = host.root / "releases" / release
    assert (home / "seen").read_text().splitlines() == ["postgres://u:p a$s@db/x", str(home)]
    assert "postgres" not in str(run.events)


def test_a_failure_ends_with_its_code_and_the_last_lines(host: Host) -> None:
    host.release(1)
    word = migrate(host, "seq 1 50; echo 'P1001: no database' >&2; exit 7").final()
    assert (word["event"], "exit code 7" in word["why"]) == ("broken", True)
    assert len(word["lines"]) == 30 and word["lines"][-2:] == ["50", "P1001: no database"]
    killed = migrate(host, "kill -9 $$", run="killed").final()
    assert (killed["event"], "SIGKILL" in killed["why"]) == ("broken", True)


def test_what_cannot_even_begin_is_a_failure_too(host: Host) -> None:
    word = migrate(host, "true").final()  # there is no such release
    assert (word["event"], bool(word["why"])) == ("broken", True)


def test_it_outlives_whoever_started_it_and_can_be_read_again(host: Host) -> None:
    release = host.release(1)
    run = migrate(host, "sleep 1; echo x >>count")
    run.wait("begin")
    run.cut()
    second = migrate(host, "", "follow")
    assert second.final()["event"] == "done"
    assert [event["event"] for event in second.events] == ["begin", "done"]
    assert (host.root / "releases" / release / "count").read_text() == "x\n"
    third = migrate(host, "", "follow")
    began = time.monotonic()
    assert third.final()["event"] == "done" and time.monotonic() - began < 1


def test_a_migration_that_was_killed_is_lost(host: Host) -> None:
    host.release(1)
    run = migrate(host, "sleep 2")
    run.wait("begin")
    os.kill(run.pid, 9)
    assert run.final(5)["event"] == "lost"
