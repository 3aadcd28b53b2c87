"""Two workers at a time where nobody is served: one after another everywhere else, and back together."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.driver.host import Host, Run, eventually
from tests.gate.conftest import Pm2
from tests.inhand import in_hand

BOOT_MS = 400
PATIENT_MS = 20_000


@pytest.fixture
def host(host: Host) -> Host:
    return of_many(host)


def of_many(host: Host) -> Host:
    """Have three workers that take a while to boot, and processors enough."""
    host.patch("driver.cjs", "Math.min(2, os.availableParallelism())", "2")
    host.processes = (host.process(instances=3, env=(("APP", host.name), ("BOOT_MS", str(BOOT_MS)))),)
    return host


def patient(host: Host, release: str) -> str:
    """Give the workers of a release so much time that none is late."""
    marker = host.root / "releases" / release / ".gapless.json"
    marker.write_text(marker.read_text().replace('"healthy_deadline_ms": 2000', f'"healthy_deadline_ms": {PATIENT_MS}'))
    return release


def until_two_are_in_hand(run: Run) -> None:
    """Wait for that; a worker counts from the first that the driver notes of it."""
    while not in_hand(run.events) or in_hand(run.events)[-1] < 2:
        assert run.thread.is_alive(), run.host.story()
        time.sleep(0.02)


def of_release(run: Run, release: str) -> list[dict[str, Any]]:
    return [event for event in run.all("worker") if event["release"] == release]


def test_a_drained_host_has_one_worker_replaced_and_then_two_at_a_time(host: Host) -> None:
    host.up(host.release(1))
    new = host.release(2)
    run = host.start(new, drained=True, healthy_deadline_ms=PATIENT_MS)
    assert run.final()["event"] == "done", host.story()
    canary = in_hand(run.events).index(0)
    assert (max(in_hand(run.events)[:canary + 1]), max(in_hand(run.events))) == (1, 2), host.story()
    host.serves(new, 3)


def test_a_host_that_serves_has_one_worker_replaced_at_a_time(host: Host) -> None:
    host.up(host.release(1))
    new = host.release(2)
    with host.load() as tally:
        run = host.start(new)
        assert run.final()["event"] == "done", host.story()
    assert max(in_hand(run.events)) == 1, host.story()
    assert tally.lost == 0, tally.summary()
    host.serves(new, 3)


def test_what_may_work_on_has_one_worker_replaced_at_a_time(host: Host) -> None:
    """Without a health route nobody knows that the balancer is all that gives it work."""
    [process] = host.processes
    host.processes = (process._replace(health=None),)
    host.up(host.release(1))
    run = host.start(new := host.release(2), drained=True, healthy_deadline_ms=PATIENT_MS)
    assert run.final()["event"] == "done", host.story()
    assert max(in_hand(run.events)) == 1, host.story()
    host.serves(new, 3)


def test_a_boot_that_takes_long_is_given_the_machine_for_itself(host: Host) -> None:
    host.up(host.release(1))
    run = host.start(new := host.release(2), drained=True, healthy_deadline_ms=3 * BOOT_MS)
    assert run.final()["event"] == "done", host.story()
    assert max(in_hand(run.events)) == 1, host.story()
    host.serves(new, 3)


def test_one_that_fails_is_the_end_of_its_twin_too(host: Host) -> None:
    """The third worker dies at once, the second would take four seconds."""
    old, bad = host.up(host.release(1)), patient(host, host.release(2, "third-throws"))
    run = host.start(bad, drained=True, healthy_deadline_ms=PATIENT_MS)
    word = run.final()
    assert (word["event"], "the release is bad" in word["why"]) == ("reverted", True), host.story()
    assert len([event for event in of_release(run, bad) if event["state"] == "open"]) == 1, host.story()
    assert set(host.living().values()) == {old}
    host.serves(old, 3)
    new = host.release(3)
    assert host.deploy(new, drained=True)["event"] == "done", host.story()
    host.serves(new, 3)


def test_a_twin_that_opens_as_it_is_given_up_is_taken_back(host: Host) -> None:
    """The moment between the last look and the way back is made so long that it opens in it."""
    old, bad = host.up(host.release(1)), patient(host, host.release(2, "third-throws"))
    host.patch("driver.cjs", "if (other) throw other.failed;", "if (other) { await sleep(6000); throw other.failed; }")
    run = host.start(bad, drained=True, healthy_deadline_ms=PATIENT_MS)
    opened = eventually(lambda: len([each for each in host.records() if (each["release"], each["state"]) == (bad, "open")]) == 2)
    word = run.final()
    assert (opened, word["event"]) == (True, "reverted"), host.story()
    assert set(host.living().values()) == {old}
    host.serves(old, 3)


def test_pm2_killed_with_two_in_hand_is_the_old_release_again(own_pm2: Pm2, node_modules: Path) -> None:
    host = of_many(Host(own_pm2.home.parent / "h", own_pm2, node_modules, "app"))
    old, new = host.up(host.release(1)), host.release(2, "slow")
    run = host.start(new, drained=True, healthy_deadline_ms=PATIENT_MS)
    until_two_are_in_hand(run)
    os.kill(own_pm2.daemon, signal.SIGKILL)
    assert run.final()["event"] == "reverted", host.story()
    host.serves(old, 3)


def test_a_driver_killed_with_two_in_hand_is_followed_by_the_next(host: Host) -> None:
    """PM2 still parks the old workers of both; the next reload waits for them."""
    host.up(host.release(1))
    run = host.start(host.release(2, "slow"), drained=True, healthy_deadline_ms=PATIENT_MS)
    until_two_are_in_hand(run)
    os.kill(run.pid, signal.SIGKILL)
    newest = host.release(3)
    eventually(lambda: not run.works())
    assert host.deploy(newest, drained=True, healthy_deadline_ms=PATIENT_MS)["event"] == "done", host.story()
    host.serves(newest, 3)
