"""Let the contestants deploy in turn, each right after the floor, at each size of the fleet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import figures, measure
from .contestants import EVERYBODY, Contestant, Job
from .fleet import Fleet, share

Told = Callable[[str], None]


class Contest:
    """Hold a fleet and who takes part; `cells` has the figures by size and name."""

    def __init__(self, fleet: Fleet, folder: Path, names: Sequence[str], told: Told) -> None:
        self.fleet = fleet
        self.folder = folder
        self.everybody = [EVERYBODY[name] for name in names if name != "floor"]
        self.floor = EVERYBODY["floor"]
        self.told = told
        self.number = 0
        self.migrated: dict[str, int] = {}
        self.cells: dict[int, dict[str, dict[str, Any]]] = {}
        for each in [self.floor, *self.everybody]:
            share(fleet, each.root)

    def at(self, size: int, runs: int) -> None:
        """Let everybody deploy to `size` hosts, `runs` times after one that warms up."""
        memory = {each.name: self.warm(each, size) for each in [self.floor, *self.everybody]}
        pairs: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {each.name: [] for each in self.everybody}
        for turn in range(runs):
            for each in self.everybody:
                floor = self.run(self.floor, size)
                mine = self.run(each, size)
                pairs[each.name].append((asdict(mine), asdict(floor)))
                self.told(f"{size} hosts, run {turn + 1} of {runs}: {each.name} {mine.wall:.2f} s, floor {floor.wall:.2f} s")
        floors = [floor for each in pairs.values() for _, floor in each] or [asdict(self.run(self.floor, size)) for _ in range(runs)]
        self.cells[size] = {"floor": figures.cell(floors, floors, memory["floor"])}
        for name, found in pairs.items():
            self.cells[size][name] = figures.cell([mine for mine, _ in found], [floor for _, floor in found], memory[name])

    def warm(self, one: Contestant, size: int) -> float | None:
        """Run once beside the count: memory is watched here, where that costs nobody time, and what was done is checked."""
        reading = self.run(one, size, memory=True, checked=True)
        self.told(f"{size} hosts, warm-up: {one.name} {reading.wall:.2f} s")
        return reading.memory

    def run(self, one: Contestant, size: int, memory: bool = False, checked: bool = False) -> measure.Reading:
        self.number += 1
        folder = self.folder / f"{one.name}-{size}"
        folder.mkdir(exist_ok=True)
        job = Job(self.fleet, self.fleet.hosts[:size], self.fleet.advance(), self.number, folder)
        before = self.migrations(one)
        command = one.command(job)
        reading = measure.run(command, self.fleet, job.hosts, job.env, folder, memory)
        if checked:
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
