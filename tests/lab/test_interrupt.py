"""Ctrl-C and SIGTERM in the middle: what is in hand is finished, nothing new begins, no lock and no drained host stays."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.lab.conftest import Done, Site

pytestmark = pytest.mark.lab


def interrupted(site: Site, words: list[str], until: str, number: signal.Signals) -> Done:
    """Run fab until it prints `until`, send it the signal; return how it ended, in seconds from then on."""
    running = site.begin(*words)
    running.until(until)
    time.sleep(0.3)
    running.process.send_signal(number)
    return running.done()


def test_sigterm_in_build_ends_it_on_the_hosts_too(site: Site) -> None:
    before = {host: site.link(host) for host in site.lab.names}
    done = interrupted(site, ["deploy", "--ref", "v2"], "── build", signal.SIGTERM)
    assert done.code == 143, done.out
    assert done.seconds < 7
    assert "Traceback" not in done.out
    assert {host: site.link(host) for host in site.lab.names} == before
    end = time.monotonic() + 10
    while any(b"npm" in line for host in site.lab.names for line in commands(site, host)):
        assert time.monotonic() < end, "a build step outlived its deployer"
        time.sleep(0.5)


def commands(site: Site, host: str) -> list[bytes]:
    return [path.read_bytes() for pid in site.lab.pids(host) if (path := Path(f"/proc/{pid}/cmdline")).exists()]


def test_ctrl_c_in_reload_finishes_the_host_in_hand_and_begins_no_other(site: Site) -> None:
    before = {host: site.link(host) for host in site.lab.names}
    pids = {host: set(site.lab.pids(host)) for host in site.lab.names}
    with site.load() as tally:
        done = interrupted(site, ["rolling"], "lab1     drained", signal.SIGINT)
    assert done.code == 130, done.out
    assert tally.lost == 0, tally.summary()
    assert "lab2  was not touched" in done.out
    assert "lab3  was not touched" in done.out
    assert f"lab1  runs {before['lab1']}, healthy" in done.out
    assert pids["lab2"] <= set(site.lab.pids("lab2"))
    assert site.fab("status").code == 0


@pytest.mark.long
@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGINT, signal.SIGINT]], ids=["term", "twice"])
def test_who_can_not_wait_leaves_and_the_host_goes_on_by_itself(site: Site, numbers: list[signal.Signals]) -> None:
    site.configure(settle="9s", deadline="30s")
    before = {host: site.link(host) for host in site.lab.names}
    with site.load() as tally:
        running = site.begin("rolling")
        running.until("lab1     must stay healthy")
        for number in numbers:
            running.process.send_signal(number)
            time.sleep(0.5)
        left = running.done()
        site.configure()
        resumed = site.fab("resume")
    assert (left.code, left.seconds < 7) == (128 + numbers[0], True), left.out
    assert "Next:  fab resume --hosts lab   or   fab abort --hosts lab" in left.out
    assert "lab1: what run" in resumed.out
    assert resumed.code == 0, resumed.out
    assert tally.lost == 0, tally.summary()
    assert {host: site.link(host) for host in site.lab.names} == before
    assert site.fab("status").code == 0
