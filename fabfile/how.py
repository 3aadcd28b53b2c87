"""What every command of a kind may be told, whatever it does."""

from __future__ import annotations

from typing import NamedTuple


class How(NamedTuple):
    """Hold the flags of every command that writes."""

    hosts: str = ""
    yes: bool = False
    wait: str = ""
    verbose: bool = False
    format: str = ""
    plan: bool = False
    plan_id: str = ""


class Seen(NamedTuple):
    """Hold the flags of every command that only looks."""

    hosts: str = ""
    format: str = ""
