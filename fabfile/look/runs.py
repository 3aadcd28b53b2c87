"""Look back at a run: each one that began on this machine has left a folder here."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageError
from ..report import document
from ..report.page import Page
from ..report.stream import SCHEMA, state_dir

NAMED = 10  # runs that an error names


def report(run: str, page: Page) -> None:
    """Draw a run anew from its events, the last one if none is named, and say where the picture is."""
    folder = find(run)
    try:
        file, drawn = document.write(folder)
    except OSError as err:
        raise UsageError(f"{folder}: {err.strerror}") from None
    if drawn.foreign is not None:
        page.say(f"note: that run was written by another version (schema {drawn.foreign}, here {SCHEMA}); what is drawn may lack something")
    page.say(f"{drawn.verb} {drawn.selector}: {drawn.headline}")
    page.say(f"report: {document.short(file)}")
    page.tell("report", run=folder.name, file=str(file), schema_of_run=drawn.foreign or SCHEMA)


def find(run: str) -> Path:
    """Give the folder of a run, the last one if none is named; raise UsageError with those that are known."""
    known = sorted(file.parent for file in state_dir().glob("*/run.jsonl"))
    found = [folder for folder in known if folder.name == run or not run]
    if found:
        return found[-1]
    if not known:
        raise UsageError(f"{document.short(state_dir())}: no run has begun on this machine (XDG_STATE_HOME leads there)")
    newest = "\n".join(f"  {folder.name}" for folder in reversed(known[-NAMED:]))
    raise UsageError(f"--run {run}: no such run on this machine; the newest are:\n{newest}")
