"""What is done once the hosts are free again: pictures of the run, and news of it. It may fail, and changes no outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..inventory.values import Targets
from ..report.github import tell_github


@dataclass(frozen=True, slots=True)
class Ended:
    """Hold a run that is over: its folder (run.jsonl is complete but for the summary), its targets, its summary."""

    folder: Path
    targets: Targets
    summary: Mapping[str, Any]


# Each is called once with the ended run, and returns what to say of it to a person, or "".
TELLERS: tuple[Callable[[Ended], str], ...] = (
    tell_github,
)


def tell(ended: Ended, say: Callable[[str], None]) -> None:
    """Call every teller; what goes wrong with one is said, and the next has its turn."""
    for teller in TELLERS:
        try:
            text = teller(ended)
        except Exception as err:
            text = f"note: {teller.__name__}: {err}"
        if text:
            say(text)
