"""The way back: whatever was done is undone, and nobody's request is lost meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.driver.host import HERE, Host, alive, eventually


@contextlib.contextmanager
def lossless(host: Host, *releases: str) -> Iterator[None]:
    """Load the host meanwhile; every request is answered, and only by these releases."""
    with host.load() as tally:
        yield
    assert tally.lost == 0, f"{tally.summary()}\n{tally.failures[:3]}\n{host.story()}"
    assert set(tally.versions) <= set(releases), tally.summary()


# ------------------------------------------------------------------------------------------------ two processes


def test_the_only_worker_of_one_process_survives_while_another_that_is_new_goes(host: Host) -> None:
    """PM2 hides the worker that is parked for its successor; it was once taken for a stray and killed."""
    old = host.up(host.release(1))
    host.processes = (host.process("b"), host.process())
    bad = host.release(2)
    host.turn(bad, "throws", host.name)
    with lossless(host, old):
        run = host.start(bad)
        assert run.final()["event"] == "reverted", host.story()
    assert run.all("start"), "b was started before a failed"
    assert not run.all("stray"), host.story()
    assert host.workers("b") == []
    host.serves(old)


def test_a_worker_that_is_held_for_ever_is_ended(host: Host) -> None:
    """Its own gate would give up much later than the driver does."""
    old, bad = host.up(host.release(1)), host.release(2, "sick")
    host.patch("driver.cjs", "deadline(host) + LATE_MS", "deadline(host)")
    marker = host.root / "releases" / bad / ".gapless.json"
    marker.write_text(marker.read_text().replace('"healthy_deadline_ms": 2000', '"healthy_deadline_ms": 60000'))
    with lossless(host, old):
        run = host.start(bad)
        word = run.final()
    assert (word["event"], "was not ready within 2.3 s: it listens, but is not healthy: GET /health" in word["why"]) == ("reverted", True), host.story()
    assert [cull["state"] for cull in run.all("cull")] == ["held"]
    host.serves(old)


def test_the_old_release_has_longer_to_boot_than_the_new_one_had(host: Host) -> None:
    """It booted before, so a host that is too busy now is no reason to be left without it."""
    old, bad = host.up(host.release(1)), host.release(2, "sick")
    host.turn(old, "slower")
    with lossless(host, old):
        run = host.start(bad)
        assert run.final(60)["event"] == "reverted", host.story()
    host.serves(old)


def test_a_first_boot_that_hangs_on_the_way_back_is_not_the_last(host: Host) -> None:
    """What it waits for may be held by the worker that was just ended."""
    old, bad = host.up(host.release(1)), host.release(2, "sick")
    host.turn(old, "hangs-once", host.name)
    with lossless(host, old):
        run = host.start(bad)
        assert run.final(60)["event"] == "reverted", host.story()
    host.serves(old)


def refused_for_a_new_process(host: Host, old: str) -> dict[str, Any]:
    """Deploy a release with a second process, which dies at its start; give the last word."""
    host.processes = (host.process(), host.process("b"))
    bad = host.release(2)
    host.turn(bad, "throws", f"{host.name}b")
    with lossless(host, old, bad):
        word = host.deploy(bad)
    assert word["event"] == "reverted", host.story()
    return word


def test_a_process_that_was_replaced_goes_back_when_a_new_one_fails(host: Host) -> None:
    old = host.up(host.release(1))
    word = refused_for_a_new_process(host, old)
    assert "the release is bad" in word["why"]
    assert host.workers("b") == []
    host.serves(old)


def test_a_new_process_that_goes_on_crashing_costs_no_other_worker_its_way_back(host: Host) -> None:
    """PM2 respawns the new one from the old release, which knows no such process, while the old one comes back."""
    old = host.up(host.release(1))
    wait = "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);"  # for the driver to look in between
    words = "put(files.crash, [headline, detail, '--- last output ---', lastLines(outputTail), ''].join('\\n'));"
    host.patch("gate.cjs", words, words + wait)
    host.turn(old, "slow", host.name)
    refused_for_a_new_process(host, old)
    host.serves(old)


def test_the_parked_worker_lives_on_when_even_the_old_release_cannot_start(host: Host) -> None:
    """The database is away: no release gets healthy, and the worker of before is all there is."""
    old = host.up(host.release(1))
    [pid] = host.pids()
    host.patch("driver.cjs", "SLACK_MS = 30000", "SLACK_MS = 1000")
    host.processes = (host.process("b"), host.process())
    bad = host.release(2)
    host.turn(bad, "throws", host.name)
    run = host.start(bad, kill_timeout_ms=1000)
    run.wait("start")
    host.turn(old, "throws", host.name)
    with lossless(host, old):
        assert run.final()["event"] == "broken", host.story()
        assert alive(pid), "the only worker that served was killed"
    assert host.workers("b") == []
    os.kill(pid, signal.SIGKILL)


# ----------------------------------------------------------------------------------------------- another mode


def test_what_was_removed_for_another_mode_is_started_again(host: Host) -> None:
    old = host.up(host.release(1))
    host.pm2.ask("start", name=f"{host.name}-other", script=str(HERE / "app.cjs"), env={"PORT": str(host.port + 1)})
    [other] = host.pids("-other")
    host.processes = (host.process(exec_mode="fork"),)
    word = host.deploy(host.release(2, "throws"), downtime=True)
    assert word["event"] == "reverted", host.story()
    assert "the release is bad" in word["why"]
    host.serves(old)
    assert host.pids("-other") == [other]


def test_an_app_that_was_not_ours_cannot_be_brought_back_and_that_is_said(host: Host) -> None:
    host.pm2.ask("start", name=host.name, script=str(HERE / "app.cjs"), env={"PORT": str(host.port)}, exec_mode="cluster")
    bad = host.release(1, "throws")
    refused = host.deploy(bad)
    assert (refused["event"], "--allow-downtime" in refused["why"]) == ("reverted", True)
    assert host.get()[0] is None, "it serves on, without the gate"
    word = host.deploy(bad, downtime=True)
    assert word["event"] == "broken", host.story()
    assert "did not run through the gate" in word["back"] and "the release is bad" in word["why"]


def test_fork_mode_is_not_restarted_under_traffic(host: Host) -> None:
    host.processes = (host.process(exec_mode="fork"),)
    old = host.up(host.release(1))
    pids = host.pids()
    with lossless(host, old):
        word = host.deploy(host.release(2))
    assert word["event"] == "reverted", host.story()
    assert "fork mode" in word["why"] and "--allow-downtime" in word["why"]
    assert host.pids() == pids
    host.serves(old)


# ---------------------------------------------------------------------------------------------------- scaling


@pytest.mark.parametrize("before, after", [(2, 3), (3, 2)])
def test_scaling_is_undone_to_the_worker(host: Host, before: int, after: int) -> None:
    host.processes = (host.process(instances=before),)
    old = host.up(host.release(1))
    host.processes = (host.process(instances=after),)
    new, bad = host.release(2), host.release(3)
    with lossless(host, old, bad):
        run = host.start(bad, min_healthy_ms=1000)
        assert len(run.wait("settle")["workers"]) == after
        host.turn(bad, "sick")
        word = run.final()
    assert (word["event"], "turned unhealthy" in word["why"]) == ("reverted", True), host.story()
    assert set(host.living().values()) == {old}
    host.serves(old, before)
    assert host.deploy(new, drained=True)["event"] == "done", host.story()
    host.serves(new, after)


def test_what_pm2_goes_on_adding_after_the_failure_goes_too(host: Host) -> None:
    """PM2 adds workers one after another and does not stop when the first of them dies."""
    old = host.up(host.release(1))
    host.processes = (host.process(instances=4),)
    with lossless(host, old, bad := host.release(2, "clones-throw")):
        assert host.deploy(bad)["event"] == "reverted", host.story()
    host.serves(old, 1)


# ------------------------------------------------------------------------------------------------- first start


@pytest.mark.parametrize("exec_mode, instances, mode", [("cluster", 3, "sick"), ("fork", 1, "throws")])
def test_a_first_release_that_is_bad_leaves_nothing(host: Host, exec_mode: str, instances: int, mode: str) -> None:
    """PM2 starts the third worker when the second is deleted."""
    host.processes = (host.process(exec_mode=exec_mode, instances=instances),)
    word = host.deploy(host.release(1, mode), downtime=True)
    assert (word["event"], word["release"]) == ("reverted", None), host.story()
    assert host.current is None
    until = time.monotonic() + 3
    while time.monotonic() < until:
        assert (host.workers(), host.living()) == ([], {}), host.story()
        time.sleep(0.1)


# ----------------------------------------------------------------------------------------- the env file changed


def test_the_same_release_with_a_broken_env_file_goes_back_to_the_good_one(host: Host) -> None:
    release = host.up(host.release(1, env="COLOUR=blue\n"))
    env = host.root / "releases" / release / ".env"
    [pid] = host.pids()
    env.write_text("COLOUR=broken\n")
    with lossless(host, release):
        word = host.deploy(release)
    assert (word["event"], "COLOUR is broken" in word["why"]) == ("reverted", True), host.story()
    host.serves(release)
    assert host.get()[1]["colour"] == "blue"
    [pid] = host.pids()
    os.kill(pid, signal.SIGKILL)  # what crashes now comes up with the pinned file too
    eventually(lambda: host.pids() not in ([pid], [0]))
    host.state(release, "open")
    assert host.get()[1]["colour"] == "blue"
    env.write_text("COLOUR=green\n")
    with lossless(host, release):
        assert host.deploy(release)["event"] == "done", host.story()
    assert host.get()[1]["colour"] == "green"
    assert not (host.run / "reload.json").exists()


# ------------------------------------------------------------------------------------------- killed from outside


@pytest.mark.parametrize("state", ["held", "settling"])
def test_a_worker_killed_before_it_is_open_is_the_end_of_the_release(host: Host, state: str) -> None:
    old = host.up(host.release(1))
    bad = host.release(2, "sick" if state == "held" else "")
    with lossless(host, old):
        run = host.start(bad, min_healthy_ms=3000)
        os.kill(run.wait("worker", state=state)["pid"], signal.SIGKILL)
        word = run.final()
    assert word["event"] == "reverted", host.story()
    assert f"was killed from outside while {state}" in word["why"]
    host.serves(old)


def test_a_worker_killed_while_all_settle_is_the_end_of_the_release(host: Host) -> None:
    host.processes = (host.process(instances=2),)  # the other one serves when this one is gone
    old = host.up(host.release(1))
    run = host.start(host.release(2), drained=True, min_healthy_ms=3000)
    pid = run.wait("settle")["workers"][1]["pid"]
    os.kill(pid, signal.SIGKILL)
    word = run.final()
    assert (word["event"], f"(pid {pid}) died" in word["why"]) == ("reverted", True), host.story()
    host.serves(old, 2)


# ------------------------------------------------------------------------------------------------ not our host


def test_a_lock_that_is_lost_between_two_workers_stops_the_run(host: Host) -> None:
    host.processes = (host.process(instances=2),)
    old = host.up(host.release(1))
    new = host.release(2)
    with lossless(host, old, new):
        run = host.start(new, min_healthy_ms=1000)
        host.state(new, "settling")
        host.own("20260101-000001-them")
        word = run.final()
    assert word["event"] == "reverted", host.story()
    assert "held by 20260101-000001-them" in word["why"]
    host.serves(old, 2)
    untouched = host.deploy(new)
    assert (untouched["event"], untouched["untouched"]) == ("reverted", True)


def test_a_port_held_by_a_stranger_is_named_and_left_alone(host: Host) -> None:
    first = host.release(1)
    with host.stranger() as stranger:
        word = host.deploy(first)
        assert (word["event"], word["release"]) == ("reverted", None), host.story()
        assert f"port {host.port} is held by pid {stranger.pid} " in word["why"] and "http.server" in word["why"]
        assert stranger.poll() is None
    assert (host.workers(), host.current) == ([], None)
    host.up(first)
