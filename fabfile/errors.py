"""Every way a run can end badly, and the exit code that says so.

GaplessError             exit code
├── UsageError           2   wrong selector, flag or ref; no host was contacted
│   └── InventoryError   2   hosts.yaml is wrong; carries file, line, column
├── PlanRefused          2   the plan would have caused downtime; no host was contacted
├── LockHeld             3   someone else deploys
├── PreflightFailed      4   a host is not fit for it; nothing was touched
├── RunFailed            1   it failed, and the fleet is safely on the old release
│   └── HookFailed       1   a hook of the user's did
├── Unsettled            5   mixed or unknown; a human must look
│   └── LockLost         5   another run took over while this one was frozen; it stopped
└── Interrupted          130 stopped by Ctrl-C, and tidied; 143 by SIGTERM, 129 by SIGHUP
"""

import os
import re

from invoke import Exit

_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)?")
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")  # GitHub's runner compares as if these were not there
_CONTROL = {code: None for code in (*range(32), 127, *range(128, 160)) if chr(code) not in "\n\t"}


def safe(text: object) -> str:
    """
    Take out escape sequences and control characters: what an app or a host says must not drive a terminal.

    Nor GitHub's runner, which obeys any line of a log that begins with `::`, and `##[` wherever it stands.
    """
    plain = str(text)
    if not plain.isprintable():
        plain = _ESCAPES.sub("", plain).translate(_CONTROL)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        return re.sub(r"^(\s*):(?=:)", r"\1: ", _UNSEEN.sub("", plain), flags=re.MULTILINE).replace("##[", "## [")
    return plain


class GaplessError(Exit):
    """End the run with one message on stderr and this class's exit code."""

    exit_code = 1
    told = False  # to programs, in a summary; fab tells people

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(safe(message), code=code or self.exit_code)


class UsageError(GaplessError):
    exit_code = 2


class InventoryError(UsageError):
    """Say what is wrong in hosts.yaml, and where: one block of text per finding, all of them at once."""


class PlanRefused(GaplessError):
    exit_code = 2


class LockHeld(GaplessError):
    """Say who holds the lock; `gone` if that is nobody any more, and what was left is all that there is."""

    exit_code = 3

    def __init__(self, message: str, gone: bool = False) -> None:
        super().__init__(message)
        self.gone = gone


class PreflightFailed(GaplessError):
    exit_code = 4


class RunFailed(GaplessError):
    exit_code = 1


class HookFailed(RunFailed):
    """Say that a hook which must not fail did."""


class Unsettled(GaplessError):
    exit_code = 5


class LockLost(Unsettled):
    """Say that this run no longer owns its hosts; it must not touch anything from here on."""


class Interrupted(GaplessError):
    exit_code = 130
