"""
Time the reload of one host with 4 workers against 4 x the app's own boot and the waits that hosts.yaml declares.

    python -m tests.bench.reload                              this checkout
    python -m tests.bench.reload --against OTHER/fabfile/runtime    both in turn, in pairs

The own boot is taken from `node app.cjs` alone, without PM2 and the gate, from its spawn to its first good health. What is over is told
by where in the journal it was spent.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.driver import host as driver
from tests.gate.conftest import APPS, MINIMAL_ENV, Pm2, a_pm2, cached_modules

WORKERS = 4
DEADLINE_MS = 20000
LIMIT = 1.2  # what the total may be of what has to be waited for


@dataclass(frozen=True)
class Case:
    """Name an app, how long it boots, and the host that it is reloaded on."""

    name: str
    script: Path
    boot_ms: int
    drained: bool
    min_healthy: float

    @property
    def declared(self) -> float:
        """Sum up the waits that the settings ask for: the canary's hold where nothing is drained, and all workers' at the end."""
        return self.min_healthy * (1 if self.drained else 2)


STAND_IN, NEST = driver.HERE / "app.cjs", APPS / "nest.cjs"
CASES = (
    Case("boots in 0.5 s", STAND_IN, 500, drained=False, min_healthy=1.0),
    Case("boots in 0.5 s, drained", STAND_IN, 500, drained=True, min_healthy=1.0),
    Case("boots in 2 s", STAND_IN, 2000, drained=False, min_healthy=1.0),
    Case("NestJS", NEST, 0, drained=False, min_healthy=1.0),
    Case("NestJS, drained", NEST, 0, drained=True, min_healthy=1.0),
)


@dataclass(frozen=True)
class Taken:
    """Hold one reload: its seconds, what it had to wait for, and what came beside that."""

    total: float
    boot: float
    declared: float
    parts: dict[str, float]

    @property
    def ratio(self) -> float:
        return self.total / (WORKERS * self.boot + self.declared)


class Bench(driver.Host):
    """A host that is to be timed: its driver as it is shipped, its app whatever the case names."""

    def __init__(self, root: Path, pm2: Pm2, modules: Path, case: Case, runtime: Path) -> None:
        self.case = case
        super().__init__(root, pm2, modules, root.name)
        for file in runtime.glob("*.cjs"):
            shutil.copy(file, self.base)
        env = (("APP", self.name), ("BOOT_MS", str(case.boot_ms)))
        self.processes = (self.process(instances=WORKERS, env=env)._replace(script=case.script.name),)

    def release(self, number: int, mode: str = "", env: str | None = None) -> str:
        """Lay out a release with all that its app needs."""
        release = super().release(number, mode, env)
        home = self.root / "releases" / release
        for file in self.case.script.parent.glob("*.[cm]js*"):
            shutil.copy(file, home)
        (home / "node_modules").symlink_to(self.modules)
        marker = json.loads((home / ".gapless.json").read_text())
        marker["processes"][self.name]["healthy_deadline_ms"] = DEADLINE_MS
        (home / ".gapless.json").write_text(json.dumps(marker))
        return release

    def boot(self, release: str) -> float:
        """Start the app alone, and say how long it took until its health was good."""
        env = {**MINIMAL_ENV, **dict(self.processes[0].env), "PORT": str(driver.two_ports())}
        began = time.monotonic()
        home = self.root / "releases" / release
        process = subprocess.Popen(["node", self.case.script.name], cwd=home, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not healthy(f"http://127.0.0.1:{env['PORT']}/health"):
                assert time.monotonic() < began + 30
                time.sleep(0.005)
            return time.monotonic() - began
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def time(self, release: str) -> Taken:
        """Reload all workers to a release, and take it apart."""
        boot = self.boot(release)
        run = self.start(release, drained=self.case.drained, min_healthy_ms=round(1000 * self.case.min_healthy), healthy_deadline_ms=DEADLINE_MS)
        word = run.final(90)
        total = time.monotonic() - run.began
        assert word["event"] == "done", self.story()
        # Both clocks are this machine's; the driver journals the wall's.
        return Taken(total, boot, self.case.declared, parts(run.events, time.time() - total))


def healthy(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
        return bool(answer.status == 200)
    return False


def parts(events: list[dict[str, Any]], began: float) -> dict[str, float]:
    """Say how many seconds each stretch of a reload took, those of the workers on average."""
    at = {event["event"]: event["at"] / 1000 for event in events}
    opened = [event["at"] / 1000 for event in events if event["event"] == "worker" and event["state"] == "open"]
    ends = [at["begin"], *opened]
    return {
        "until begin": at["begin"] - began,
        "canary": ends[1] - ends[0],
        "other worker": statistics.mean(late - early for early, late in pairwise(ends[1:])),
        "until settle": at["settle"] - opened[-1],
        "settle and keep": at["done"] - at["settle"],
    }


def pairs(case: Case, runtimes: list[Path], times: int) -> list[list[Taken]]:
    """Time a case so many times with each runtime in turn, each on a host of its own under one daemon."""
    modules = cached_modules(APPS)
    with a_pm2(modules) as pm2:
        hosts = [Bench(pm2.home.parent / f"b{number}", pm2, modules, case, runtime) for number, runtime in enumerate(runtimes)]
        try:
            releases = [[host.release(1), host.release(2)] for host in hosts]
            for host, (first, _) in zip(hosts, releases, strict=True):
                host.up(first, healthy_deadline_ms=DEADLINE_MS)
            return [list(row) for row in zip(*(
                [host.time(pair[1 - turn % 2]) for host, pair in zip(hosts, releases, strict=True)] for turn in range(times)
            ), strict=True)]
        finally:
            for host in hosts:
                host.remove()


def middle(values: list[float]) -> float:
    return statistics.median(values)


def row(case: Case, name: str, taken: list[Taken]) -> str:
    """Write one line of the table: medians."""
    total, boot = middle([each.total for each in taken]), middle([each.boot for each in taken])
    ratio = middle([each.ratio for each in taken])
    over = ", ".join(f"{part} {middle([each.parts[part] for each in taken]):.2f}" for part in taken[0].parts)
    return f"{case.name:<24} {name:<8} {total:6.2f} s  4 x {boot:.2f} + {case.declared:.1f}  ratio {ratio:.2f}  ({over})"


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # `timeout` sends it; the daemon has to go all the same
    parser = argparse.ArgumentParser(prog="python -m tests.bench.reload", description=__doc__)
    parser.add_argument("--against", type=Path, help="another runtime directory, timed in turn with ours")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--json", type=Path, help="write every single figure here")
    options = parser.parse_args()
    runtimes = {"here": driver.RUNTIME, **({"against": options.against} if options.against else {})}
    kept: list[dict[str, Any]] = []
    worst = 0.0
    for case in CASES:
        if options.only not in case.name:
            continue
        for name, taken in zip(runtimes, pairs(case, list(runtimes.values()), options.times), strict=True):
            print(row(case, name, taken), flush=True)
            kept += [{"case": case.name, "runtime": name, **vars(each)} for each in taken]
            worst = max(worst, middle([each.ratio for each in taken])) if name == "here" else worst
    if options.json:
        options.json.write_text(json.dumps(kept, indent=1) + os.linesep)
    print(f"worst ratio {worst:.2f}, wanted at most {LIMIT}")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    raise SystemExit(main())
