"""Look back at a run, as a picture."""

from __future__ import annotations

from functools import partial
from typing import Any

from . import cli


@partial(cli.task, help={"run": "the run, as its folder is called; default: the last on this machine", "format": cli.HELP["format"]})
def report(c: Any, run: str = "", format: str = "") -> None:
    """Draw a run as one HTML page, and say where it is."""
    from .look import runs
    from .report.page import Page

    page = Page(format)
    with page.ended():
        runs.report(run, page)
