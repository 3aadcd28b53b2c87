"""What a reload costs beside what it has to wait for; `python -m tests.bench.reload` tells more, on a machine that is left alone."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.reload import CASES, DEADLINE_MS, WORKERS, Bench
from tests.driver import host as driver
from tests.gate.conftest import Pm2

MOST = 1.3  # of what the workers take by themselves, from spawn to open, and of the waits that were asked for
SOON = 0.04  # seconds from a worker's opening to the driver's noting it
TRIES = 3


@pytest.fixture(params=[False, True], ids=["serving", "drained"])
def timed(pm2: Pm2, node_modules: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    case = next(each for each in CASES if each.boot_ms == 500 and each.drained == request.param)
    number = sum(1 for _ in pm2.home.parent.iterdir())
    host = Bench(pm2.home.parent / f"timed{number}", pm2, node_modules, replace(case, min_healthy=0.3), driver.RUNTIME)
    try:
        yield host
    finally:
        host.remove()


def test_a_reload_takes_little_longer_than_its_workers_boot(timed: Bench) -> None:
    """Take the best of a few: what else runs here comes and goes, a wait of ours stays."""
    releases = [timed.release(1), timed.release(2)]
    timed.up(releases[0])
    tried: list[tuple[float, float]] = []
    while not any(ratio <= MOST and lag <= SOON for ratio, lag in tried):
        assert len(tried) < TRIES, tried
        timed.time(releases[1 - len(tried) % 2])
        at = {event["event"]: event["at"] / 1000 for event in timed.runs[-1].events}
        records = [record for record in timed.records() if record["pid"] in timed.pids()]
        tried.append(((at["done"] - at["begin"]) / (booting(records, timed.case.drained) + timed.case.declared), noticed(timed, records)))
    timed.serves(releases[len(tried) % 2], WORKERS)


def booting(records: list[dict[str, int]], drained: bool) -> float:
    """Sum up the boots that had to be waited for: where two were at once, the longer one."""
    size = min(2, len(os.sched_getaffinity(0))) if drained else 1
    first, *others = sorted((born(record["pid"]), record["since"] / 1000 - born(record["pid"])) for record in records)
    turns = [[first], *(others[at:at + size] for at in range(0, len(others), size))]
    return sum(max(seconds for _, seconds in turn) for turn in turns)


def born(pid: int) -> float:
    """Tell when a process was started, on the wall's clock."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19])
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")


def noticed(host: Bench, records: list[dict[str, int]]) -> float:
    """Say how long after their opening the driver has noted the workers, on average; both read the same clock."""
    opened = {event["pid"]: event["at"] for event in host.runs[-1].all("worker") if event["state"] == "open"}
    return statistics.mean(opened[record["pid"]] - record["since"] for record in records) / 1000


def test_where_no_change_is_told_it_is_looked_for(timed: Bench) -> None:
    """Have inotify used up: a reload takes longer and goes well all the same."""
    timed.patch("driver.cjs", "fs.watch(dir, tell)", "fs.watch('/nowhere', tell)")
    first, second = timed.release(1), timed.release(2)
    timed.up(first)
    word = timed.deploy(second, drained=timed.case.drained, healthy_deadline_ms=DEADLINE_MS)
    assert word["event"] == "done", timed.story()
    timed.serves(second, WORKERS)
