"""The site that all fault cases share: tiny apps, so that a deploy takes seconds."""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.lab.conftest import Site
from tests.lab.fleet import Lab

REFS = ("plain-cjs", "plain-v2")


class Ground(Site):
    """A site of tiny apps: no dependencies, no migration, a disk of its own for each host."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.turns = itertools.count()
        super().__init__(lab, folder)

    def configure(self, **settings: object) -> Path:
        return super().configure(**{"migrate": "", "app": "min_free_mb: 4", **settings})  # type: ignore[arg-type]

    def other_ref(self) -> str:
        """Name a ref that is not what runs now: a deploy must have something to do."""
        return REFS[next(self.turns) % len(REFS)]
