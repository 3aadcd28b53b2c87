"""Shell text, and the one function through which every argument goes into it."""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class Shell(str):
    """Hold shell text whose every argument went through `cmd`, so that it is safe to run."""

    __slots__ = ()


def cmd(*words: object) -> Shell:
    """Join words to one command, each quoted for POSIX sh."""
    return Shell(shlex.join(str(word) for word in words))


def path(text: str) -> Shell:
    """Quote a path, leaving a leading ~/ to the host's shell, which alone knows its home."""
    if text.startswith("~/"):
        return Shell('"$HOME"/' + shlex.quote(text[2:]))
    return Shell(shlex.quote(text))


def call(function: str, *arguments: Shell) -> Shell:
    """Call a function of the library with arguments that are quoted already."""
    return Shell(" ".join((function, *arguments)))


def softly(command: Shell) -> Shell:
    """Let a command fail without ending the script: what comes after matters more."""
    return Shell(f"{{ {command}\n}} || true")  # on a line of its own: the command may end in a here-document


_BEGIN, _END = "<<'@END@'\n", "\n@END@"


def here(text: str) -> Shell:
    """Wrap a program of ours or a line of JSON as a here-document; its end mark can't stand in either."""
    return Shell(f"{_BEGIN}{text.rstrip()}{_END}")


class Step(NamedTuple):
    """
    Name one step of a script: the last name that a host reported is where it stands or failed.

    A `quick` one is done at once, and is named together with what is said next: each line by itself is a packet of its own,
    which the host, its sshd and this machine have to look after; of hundreds of hosts that is a good part of a deploy.
    """

    name: str
    command: Shell
    quick: bool = False


# Stdin stays open as long as we are there; each line of it is a heartbeat. When it ends, the deployer is gone, and the step
# in hand goes with it: sshd kills nothing by itself. What must not be torn in half (reload, migrate) runs detached.
_DEADMAN = """\
exec 3<&0
( while read -r _; do {beat}; done; kill -TERM 0 ) <&3 3<&- >/dev/null 2>&1 &
watch=$!
work </dev/null 3<&-
rc=$?
exec 3<&-
{{ kill $watch; wait $watch; }} 2>/dev/null
"""

# One stream from the start: put together from packets, a warning could fall into the middle of a long event.
_PRELUDE = """\
exec 2>&1
mark={mark}
export GAPLESS_MARK="$mark"

untold=''
say() {{ printf '\\n%s%s %s\\n' "$untold" "$mark" "$1"; untold=''; }}
say_soon() {{ untold="$untold$mark $1
"; }} # together with what is said next
say_now() {{ [ -z "$untold" ] || printf '\\n%s' "$untold"; untold=''; }}
fail() {{ say_now; printf '%s\\n' "$@" >&2; exit 1; }}
ended() {{ say "{{\\"event\\":\\"exit\\",\\"code\\":$1}}"; return "$1"; }}
"""


SILENT = Step("beat", Shell(":"))


def script(library: str, steps: Sequence[Step], mark: str, beat: Shell = SILENT.command) -> list[Shell]:
    """
    Fuse steps into one text for `sh -s`, run under `set -eu`; stop at the first that fails.

    It comes in pieces, for a command may be long and the same for hundreds of hosts: nobody should hold it once for each.
    The shell that reads it outlives it, and tells its exit code as event `exit`: the next script may be sent then.
    Of the library only what the steps call is sent. `beat` is run for each line that arrives on stdin meanwhile. `mark` begins every
    line that is meant for us: what a login shell or a build prints can't be mistaken for it.
    """
    called = _called(library, [*(step.command for step in steps), beat])
    head = Shell(f"{_PRELUDE.format(mark=shlex.quote(mark))}{called}\nwork() (\nset -eu\ntrap say_now EXIT")
    body = [text for step in steps for text in (Shell(f"\n{_announce(step)}\n"), step.command)]
    # In braces, so that the shell has read the last line before it runs the first: whatever reads stdin in between would eat the
    # rest of the script.
    return [head, *body, Shell(f"\n)\n{{\n{_DEADMAN.format(beat=beat)}ended $rc\n}}\n")]


_FUNCTION = re.compile(r"^(\w+)\(\) [{(](?:.*[})](?: *#.*)?$|(?s:.*?)^[})]$)", re.MULTILINE)
_WORD = re.compile(r"\w+")


def _called(library: str, commands: Iterable[str]) -> str:
    """Leave out of a library the functions that no command leads to: a script pays for its size on the wire and in the shell."""
    names = _functions(library)[0].keys()
    return _with(library, frozenset(word for text in commands for word in _WORD.findall(_without_programs(text)) if word in names))


@functools.cache  # hosts differ in what the functions are given, seldom in which are called
def _with(library: str, called: frozenset[str]) -> str:
    """Take from a library these functions, and all that they lead to."""
    functions, rest = _functions(library)
    needed: set[str] = set()
    found = called.union(_WORD.findall(rest))
    while new := found & functions.keys() - needed:
        needed |= new
        found = frozenset(word for name in new for word in _WORD.findall(functions[name]))
    return "\n".join([rest, *(body for name, body in functions.items() if name in needed)])


def _without_programs(text: str) -> str:
    """Leave out here-documents: they may be long, and call none of our functions."""
    first, *others = text.split(_BEGIN)
    return first + "".join(each.partition(_END)[2] for each in others)


@functools.cache
def _functions(library: str) -> tuple[Mapping[str, str], str]:
    """Take a library apart: its functions by name, and what else stands in it."""
    functions = {found[1]: found[0] for found in _FUNCTION.finditer(library)}
    return functions, re.sub(r"\n+", "\n", _FUNCTION.sub("", library)).strip()


def _announce(step: Step) -> Shell:
    """Report that a step begins; its name may be a whole build command, quotes and all."""
    return call("say_soon" if step.quick else "say", cmd(json.dumps({"event": "step", "name": step.name})))
