"""What `fab status` and its kin say, against a second reading of the same hosts that shares nothing with them."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.conftest import Site
from tests.lab.fleet import BALANCER
from tests.lab.walk import Walk

pytestmark = [pytest.mark.lab, pytest.mark.operate]

STEPS = 8


def objects(site: Site, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in site.fab(*words, "--format", "json").out.splitlines() if line.startswith("{")]


def hosts(site: Site) -> dict[str, dict[str, Any]]:
    return {event["host"]: event for event in objects(site, "status") if event["event"] == "host"}


@pytest.mark.timeout(600)
def test_status_says_what_a_second_reading_says_on_a_random_walk(site: Site) -> None:
    seed = int(os.environ.get("WALK_SEED", time.time()))
    print(f"WALK_SEED={seed}")
    walk = Walk(site, seed)
    assert walk.check() == []
    try:
        for _ in range(STEPS):
            did = walk.step()
            assert walk.check() == [], f"seed {seed}, after {did}"
    finally:
        walk.mend_all()
    assert walk.check() == []


def test_a_run_in_hand_is_shown_with_its_phase_and_what_it_has_drained(site: Site) -> None:
    rolling = site.begin("rolling")
    rolling.until("lab2     drained")
    seen = hosts(site)
    assert rolling.done().code == 0
    assert {(each["run"]["verb"], each["run"]["dead"]) for each in seen.values()} == {("rolling", "")}
    assert seen["lab2"]["run"]["phase"].startswith("reload ")
    run = seen["lab2"]["run"]["run"]
    assert (seen["lab2"]["rotation"], seen["lab2"]["server"]["by"]) == ("OUT (DRAIN)", run)
    assert f"drained by run {run}" in seen["lab2"]["state"]
    after = hosts(site)
    assert {(each["state"], each["last"]["run"], each["last"]["outcome"], each["run"]) for each in after.values()} == {("ok", run, "ok", None)}
    [*_, last] = [event for event in objects(site, "history") if event["event"] == "past"]
    assert (last["run"], last["verb"], last["exit"], last["hosts"]) == (run, "rolling", 0, site.lab.names)
    assert last["was"] == last["now"] == {host: site.link(host) for host in site.lab.names}
    assert last["sent"] > 0 == last["lost"]


def test_health_names_who_is_not(site: Site) -> None:
    good = site.fab("health")
    assert (good.code, good.out.count("worker "), good.out.count("port 3000")) == (0, 6, 3), good.out
    assert f"{BALANCER}  balancer   200" in good.out
    pid = Walk(site, 0).pids("lab2")[0]
    site.lab.run("lab2", f"kill -STOP {pid}")
    try:
        bad = site.fab("health")
    finally:
        site.lab.run("lab2", f"kill -CONT {pid}")
    assert (bad.code, "not healthy: lab2 (worker " in bad.out, bad.seconds < 15) == (5, True, True), bad.out


def test_releases_and_diff_read_what_is_there_and_write_nothing(site: Site) -> None:
    site.lab.run("lab1", "touch /tmp/before && sleep 0.1")
    listed = [event for event in objects(site, "releases") if event["event"] == "release"]
    assert {event["id"] for event in listed if event["current"] and event["host"] == "lab1"} == {site.link("lab1")}
    assert {event["id"] for event in listed if event["host"] == "lab1"} >= set(site.releases("lab1"))
    assert all(event["workers"] == 2 for event in listed if event["current"])
    aim = site.lab.ref("slow-boot")  # on the hosts' mirrors or not, as the tests before left it
    for event in [event for event in objects(site, "diff", "--ref", "slow-boot") if event["event"] == "diff"]:
        assert (event["to"], event["release"]) == (aim, site.link(event["host"]))
        assert event["known"] is (event["new"] is not None)
    same = site.fab("diff", "--to", site.link("lab1"), hosts="lab1")
    assert (same.code, f"{site.link('lab1')} is " in same.out, "already" in same.out) == (0, True, True), same.out
    assert site.fab("diff", "--to", "0999-nothing").code == 4
    changed = site.lab.run("lab1", "cd ~/shop && find . -path ./.gapless/run -prune -o -newer /tmp/before -print; rm /tmp/before").stdout
    assert changed == ""


# ---------------------------------------------------------------- --watch


class Screen:
    """Hold a terminal of 80 columns with a command in it."""

    def __init__(self, site: Site, *words: str) -> None:
        self.fd, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = {**site.environment(), "TERM": "xterm", "CI": ""}
        self.process = subprocess.Popen(
            site.command("fab", words, "lab"), stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self.text = ""

    def until(self, text: str, within: float = 30) -> str:
        """Read until a picture that is whole holds the text, and give that picture."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            if select.select([self.fd], [], [], 0.2)[0]:
                self.text += os.read(self.fd, 65536).decode()
            *_, last = re.findall(r"\x1b\[H([^\x1b].*?)\x1b\[J", self.text, re.DOTALL) or [""]
            if text in last:
                return last.replace("\x1b[K", "").replace("\r", "")
        raise AssertionError(f"{text!r} was never shown:\n{self.text[-3000:]}")

    @property
    def pictures(self) -> int:
        return self.text.count("\x1b[J")

    def interrupt(self) -> int:
        os.write(self.fd, b"\x03")
        return self.process.wait(20)


@contextmanager
def screen(site: Site, *words: str) -> Iterator[Screen]:
    shown = Screen(site, *words)
    try:
        yield shown
    finally:
        shown.process.kill()
        os.close(shown.fd)


def sessions(site: Site) -> list[int]:
    return [pid for pid in site.commanded("lab1", b"sshd") if b"[listener]" not in site.command_line(pid)]


def test_watch_repaints_over_the_same_connections_and_ends_as_its_last_look(site: Site) -> None:
    with screen(site, "status", "--watch") as shown:
        first = shown.until("lab3")
        assert all(len(line) <= 80 for line in first.splitlines())
        assert first.splitlines()[1].split() == ["host", "current", "running", "healthy", "rotation", "state"]
        logins, before = sessions(site), shown.pictures
        site.lab.haproxy("set server shop/lab2 state maint")
        shown.until("OUT (MAINT)")
        site.lab.haproxy("set server shop/lab2 state ready")
        while "OUT" in shown.until("lab3"):
            pass
        assert shown.pictures >= before + 2
        assert (sessions(site), len(logins) > 0) == (logins, True)
        assert shown.interrupt() == 0
    site.lab.haproxy("set server shop/lab2 state drain")
    try:
        with screen(site, "status", "--watch") as shown:
            shown.until("drained by hand")
            assert shown.interrupt() == 5
    finally:
        site.lab.haproxy("set server shop/lab2 state ready")
