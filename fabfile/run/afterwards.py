"""What is done once the hosts are free again: pictures of the run, and news of it. It may fail, and changes no outcome."""

from __future__ import annotations

from collections.abc import Callable

from ..report import document
from ..report.github import tell_github
from ..report.summary import Ended
from .metrics import metrics
from .notify import notify


def report(ended: Ended) -> str:
    """Draw the run, and say where the picture is."""
    file, _ = document.write(ended.folder, ended.summary)
    return f"report: {document.short(file)}"


# Each is called once with the ended run, and returns what to say of it to a person, or "".
TELLERS: tuple[Callable[[Ended], str], ...] = (report, tell_github, metrics, notify)


def tell(ended: Ended, say: Callable[[str], None]) -> None:
    """Call every teller; what goes wrong with one is said, and the next has its turn."""
    for teller in TELLERS:
        try:
            text = teller(ended)
        except Exception as err:
            text = f"note: {teller.__name__}: {err}"
        if text:
            say(text)
