"""Plans that were made on this machine: kept by their id, read back, and held against what is typed with them."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path

from ..basis import Forecast, identity
from ..errors import UsageError
from ..forecast import SCHEMA, options_of
from ..plan import Options
from ..report.stream import state_dir

KEPT = 100  # plans on this machine
SHOWN = 5


def _place() -> Path:
    return state_dir() / "plans"


def save(made: Forecast) -> None:
    """Keep a plan under its id, for this user alone; raise UsageError where that can't be done."""
    place = _place()
    file = place / f"{made['plan_id']}.json"
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        written = os.open(file.with_suffix(".new"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(written, "w", encoding="utf-8") as out:
            json.dump(dict(made), out)
        file.with_suffix(".new").replace(file)
    except OSError as err:
        raise UsageError(f"{place}: the plan can't be kept there ({err.strerror}); set XDG_STATE_HOME to a place of yours") from None
    for old in _known()[KEPT:]:
        with suppress(OSError):
            old.unlink()


def _known() -> list[Path]:
    """List the plans that are kept, the newest first."""
    with suppress(OSError):
        return sorted(_place().glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    return []


def load(id: str) -> Forecast:
    """Read a plan back; raise UsageError if there is none, or if it is not what its id says."""
    file = _place() / f"{id}.json"
    if not re.fullmatch(r"[0-9a-f]{12}", id) or not file.is_file():
        there = ", ".join(file.stem for file in _known()[:SHOWN]) or "none"
        raise UsageError(f"--plan-id {id}: no such plan was made on this machine; there is: {there}. The command with --plan makes one")
    try:
        made: Forecast = json.loads(file.read_text(encoding="utf-8"))
        whole = made["schema"] == SCHEMA and made["plan_id"] == id == identity(made)
        options_of(made)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise UsageError(f"--plan-id {id}: {file} is not the plan that was kept there, or of another version; make it anew with --plan")
    return made


def agreed(made: Forecast, typed: Options) -> Options:
    """Give the flags of a plan; raise UsageError where another verb or other flags were typed with its id."""
    if made["verb"] != typed.verb:
        raise UsageError(f"plan {made['plan_id']} is one of {made['verb']}, not of {typed.verb}; nothing was done")
    kept, usual = options_of(made), Options(typed.verb)
    for name, said in typed._asdict().items():
        planned = getattr(kept, name)
        if said not in (getattr(usual, name), planned):
            flag, says = name.replace("_", "-"), _shown(planned) or "nothing"
            raise UsageError(f"--{flag} {_shown(said)} is not what plan {made['plan_id']} says ({says}); leave it out, or plan anew")
    return kept


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
