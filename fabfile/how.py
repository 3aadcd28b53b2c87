"""What every command of a kind may be told, whatever it does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class How:
    """Hold the flags of every command that writes."""

    hosts: str = ""
    yes: bool = False
    wait: str = ""
    verbose: bool = False
    format: str = ""
    plan: bool = False
    plan_id: str = ""


@dataclass(frozen=True)
class Seen:
    """Hold the flags of every command that only looks."""

    hosts: str = ""
    format: str = ""
