"""Let the contestants deploy in turn, each right after the floor, at each size of the fleet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import figures, measure, work
from .contestants import EVERYBODY, Contestant, Job
from .fleet import Fleet, share

Told = Callable[[str], None]
CLOSE = ("fused", "gapless")  # ours, and what its targets name beside the floor
LONG_BUILD = 10.0  # seconds; what a real build takes is what a run waits for most


class Contest:
    """Hold a fleet and who takes part; `sizes` has the readings by size and name, the floor run before each beside it."""

    def __init__(self, fleet: Fleet, folder: Path, names: Sequence[str], told: Told) -> None:
        self.fleet = fleet
        self.folder = folder
        self.everybody = [EVERYBODY[name] for name in names if name != "floor"]
        self.floor = EVERYBODY["floor"]
        self.told = told
        self.number = 0
        self.sizes: dict[str, dict[str, Any]] = {}
        self.many: dict[str, Any] = {}
        for each in [self.floor, *self.everybody]:
            share(fleet, each.root)

    def at(self, size: int, runs: int, fewer: int) -> dict[str, Any]:
        """Let everybody deploy to `size` hosts after a run that warms up: those of CLOSE so many times, the others fewer."""
        self.sizes[str(size)] = found = {each.name: {"memory": self.warm(each, size), "runs": [], "floors": []} for each in [self.floor, *self.everybody]}
        for turn in range(runs):
            for each in [each for each in self.everybody if turn < fewer or each.name in CLOSE] or [self.floor]:
                floor = self.run(self.floor, size)
                mine = floor if each is self.floor else self.run(each, size)
                found["floor"]["runs"].append(floor.told())
                found[each.name]["floors"].append(floor.told())
                if each is not self.floor:
                    found[each.name]["runs"].append(mine.told())
                self.told(f"{size} hosts, run {turn + 1} of {runs}: {each.name} {mine.wall:.2f} s, floor {floor.wall:.2f} s")
        return found

    def warm(self, one: Contestant, size: int) -> float | None:
        """Run once beside the count: memory is watched here, where that costs nobody time, and what was done is checked."""
        reading = self.run(one, size, memory=True)
        self.told(f"{size} hosts, warm-up: {one.name} {reading.wall:.2f} s")
        return reading.memory

    def with_many(self, size: int, name: str = "gapless") -> None:
        """Let one deploy to a fleet that is larger than any other could wait for, and once more with a build that takes its time."""
        one = EVERYBODY[name]
        short = self.run(one, size, memory=True)
        long = self.run(one, size, build=LONG_BUILD, watched=True)
        self.many = {"hosts": size, "name": name, "short": short.told(), "long": long.told(), "build": LONG_BUILD}
        log = max((self.folder / f"{name}-{size}").glob("state/gapless/*/run.jsonl"), key=lambda file: file.stat().st_mtime)
        self.many |= figures.while_building(log.read_text(), long.curve)
        self.told(f"{size} hosts: {short.wall:.1f} s, with a long build {long.wall:.1f} s")

    def run(self, one: Contestant, size: int, memory: bool = False, build: float = work.BUILD, watched: bool = False) -> measure.Reading:
        """Let one deploy once, and see on the hosts that it did."""
        self.number += 1
        folder = self.folder / f"{one.name}-{size}"
        folder.mkdir(exist_ok=True)
        job = Job(self.fleet, self.fleet.hosts[:size], self.fleet.advance(), self.number, folder, build)
        before = self.migrations(one)
        reading = measure.run(one.command(job), self.fleet, job.hosts, job.env, folder, memory, watched)
        self.check(one, job)
        if self.migrations(one) != before + 1:
            raise measure.Failed(f"{one.name} migrated {self.migrations(one) - before} times, not once")
        return reading

    def migrations(self, one: Contestant) -> int:
        """Count the migrations on all hosts."""
        files = [self.fleet.home(host) / one.root / "migrated" for host in self.fleet.hosts]
        return sum(len(file.read_text().splitlines()) for file in files if file.exists())

    def check(self, one: Contestant, job: Job) -> None:
        """See on every host that the commit is live, with its links."""
        for host in job.hosts:
            live = self.fleet.home(host) / one.root / "current"
            found = live.readlink().name if live.is_symlink() else "nothing"
            if job.commit[:7] not in found or not (live / ".env").exists() or not (live / "uploads").is_dir():
                raise measure.Failed(f"{one.name} left {found} on {host}, not {job.commit[:7]} with its links")
