"""Ctrl-C and SIGTERM in the middle: what is in hand is finished, nothing new begins, no lock and no drained host stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.conftest import Site

pytestmark = pytest.mark.lab


def interrupted(site: Site, words: list[str], until: str, number: signal.Signals) -> tuple[int, str, float]:
    """Run fab until it prints `until`, send it the signal; return exit code, output and the seconds from then on."""
    environment = {**os.environ, "GAPLESS_INVENTORY": str(site.inventory), "XDG_STATE_HOME": str(site.folder / "state")}
    command = [str(Path(sys.executable).parent / "fab"), *words, "--hosts", "lab"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if until in line:
            break
    time.sleep(0.3)
    begun = time.monotonic()
    process.send_signal(number)
    rest, _ = process.communicate(timeout=120)
    took = time.monotonic() - begun
    print("".join(seen) + rest)
    return process.returncode, "".join(seen) + rest, took


def test_sigterm_in_build_ends_it_on_the_hosts_too(site: Site) -> None:
    before = {host: site.link(host) for host in site.lab.names}
    code, out, took = interrupted(site, ["deploy", "--ref", "v2"], "── build", signal.SIGTERM)
    assert code == 130, out
    assert took < 7
    assert "Traceback" not in out
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
        code, out, _ = interrupted(site, ["rolling"], "lab1     drained", signal.SIGINT)
    assert code == 130, out
    assert tally.lost == 0, tally.summary()
    assert "lab2  was not touched" in out
    assert "lab3  was not touched" in out
    assert f"lab1  runs {before['lab1']}, healthy" in out
    assert pids["lab2"] <= set(site.lab.pids("lab2"))
    assert site.fab("status").code == 0
