"""Let the contestants deploy in turn, each right after the floor, at each size of the fleet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import figures, measure, work
from .contestants import EVERYBODY, Contestant, Job
from .fleet import Fleet, share

Told = Callable[[str], None]
CLOSE = ("fused", "guarded", "gapless")  # ours, what its targets name beside the floor, and that with the barriers that ours keeps
OURS = ("floor", "gapless", "probed", "rolling")  # a bench where one of these fails has failed
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
        self.failed: dict[str, str] = {}
        for each in [self.floor, *self.everybody]:
            share(fleet, each.root)

    def at(self, size: int, runs: int, fewer: int) -> dict[str, Any]:
        """Let everybody deploy to `size` hosts after a run that warms up: those of CLOSE so many times, the others fewer."""
        everybody = [each for each in self.everybody if each.size in (None, size)]
        taking_part = [self.floor, *everybody]
        self.sizes[str(size)] = found = {each.name: each_found for each in taking_part if (each_found := self.warm(each, size))}
        for turn in range(runs):
            for each in [each for each in everybody if each.name in found and (turn < fewer or each.name in CLOSE)] or [self.floor]:
                self.pair(each, size, found)
                wall = found[each.name]["runs"][-1]["wall"]
                self.told(f"{size} hosts, run {turn + 1} of {runs}: {each.name} {wall:.2f} s, floor {found['floor']['runs'][-1]['wall']:.2f} s")
        return found

    def warm(self, one: Contestant, size: int) -> dict[str, Any] | None:
        """Run once beside the count: memory is watched here, where that costs nobody time. None if a peer can't do this size."""
        try:
            reading = self.run(one, size, memory=True)
        except measure.Failed as err:
            if one.name in OURS:
                raise
            self.failed[f"{one.name} at {size} hosts"] = "it failed"
            self.told(str(err))
            return None
        self.told(f"{size} hosts, warm-up: {one.name} {reading.wall:.2f} s")
        return {"memory": reading.memory, "runs": [], "floors": []}

    def pair(self, one: Contestant, size: int, found: dict[str, Any]) -> None:
        """Run the floor, and right after it one contestant."""
        floor = self.run(self.floor, size).told()
        found["floor"]["runs"].append(floor)
        if one is not self.floor:
            found[one.name]["runs"].append(self.run(one, size).told())
            found[one.name]["floors"].append(floor)

    def with_many(self, size: int, name: str = "gapless") -> None:
        """Let one deploy to a fleet that is larger than any other could wait for, and once more with a build that takes its time."""
        one = EVERYBODY[name]
        short = self.run(one, size, memory=True)
        long = self.run(one, size, build=LONG_BUILD, watched=True)
        self.many = {"hosts": size, "name": name, "short": short.told(), "long": long.told(), "build": LONG_BUILD}
        log = max((self.folder / f"{name}-{size}").glob("state/gapless/*/run.jsonl"), key=lambda file: file.stat().st_mtime)
        building = figures.while_building(log.read_text(), long.curve) if long.curve else {}
        self.many |= {name: round(value, 4) for name, value in building.items()}
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
            root = self.fleet.home(host) / one.root
            live = root / "current"
            # Not every link that is good on the host leads to the same place from here.
            found = root / "releases" / live.readlink().name if live.is_symlink() else root
            if not runs(found, job.commit) or not all((found / name).is_symlink() for name in (".env", "uploads")):
                raise measure.Failed(f"{one.name} left {found.name} on {host}, not {job.commit[:7]} with its links")


def runs(release: Path, commit: str) -> bool:
    """Say whether a release is of this commit: its name tells, or a file REVISION in it, as Capistrano leaves it."""
    told = release / "REVISION"
    return commit[:7] in (told.read_text() if told.exists() else release.name)
