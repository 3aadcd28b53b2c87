"""
Complete what is typed: verbs and flags, groups and hosts of hosts.yaml, formats.

    eval "$(python -m gapless.completion bash)"       in ~/.bashrc; zsh in ~/.zshrc; fish: ... fish | source

Verbs and flags come from invoke's own --complete. Values come from here, at each TAB, so this file imports next to nothing, and it reads
hosts.yaml by itself: what is half typed or wrong must complete too.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAMS = ("fab", "inv", "invoke", "gapless")
FORMATS = ("plain", "live", "json")
HOSTS = ("--hosts", "-H")
MOST_BYTES = 1 << 20
NO_VALUE = 3  # exit code: what is typed is no value of a flag known here
SAFE = re.compile(r"[A-Za-z0-9_.:\[\]-]+")  # the file may be anybody's, and shells act on more than these

BASH = """\
_gapless() {{
    local line=${{COMP_LINE:0:COMP_POINT}} token typed=$2 all one
    token=${{line##*[[:space:]]}}
    token=${{token#[\\'\\"]}} typed=${{typed#[\\'\\"]}}
    COMPREPLY=()
    if all=$({python} values "$line" 2>/dev/null); then
        compopt -o nospace +o default
    else
        all=$("$1" --complete -- "${{1##*/}}" ${{COMP_WORDS[*]:1:COMP_CWORD}} 2>/dev/null)
    fi
    # The shell replaces only what stands behind the last = or : of a word.
    while IFS= read -r one; do
        [[ -n $one && $one == "$token"* ]] && COMPREPLY+=("${{one#"${{token%"$typed"}}"}}")
    done <<<"$all"
}}
complete -o default -F _gapless {programs}
"""
ZSH = """\
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit -u -D }}
_gapless() {{
    local all
    if all=$({python} values "$LBUFFER" 2>/dev/null); then
        [[ -n $all ]] && compadd -S '' -- "${{(@f)all}}"
    else
        all=$($words[1] --complete -- ${{words[1]:t}} ${{words[2,CURRENT]}} 2>/dev/null)
        [[ -n $all ]] && compadd -- "${{(@f)all}}" || _files
    fi
}}
compdef _gapless {programs}
"""
FISH = """\
function __gapless
    set -l line (commandline --cut-at-cursor | string collect)
    if set -l all ({python} values "$line" 2>/dev/null)
        printf '%s\\n' $all
    else
        set -l words (commandline --tokenize --cut-at-cursor) (commandline --current-token --cut-at-cursor)
        $words[1] --complete -- (path basename -- $words[1]) $words[2..] 2>/dev/null
    end
end
for program in {programs}
    complete --command $program --no-files --arguments '(__gapless)'
end
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def script(shell: str) -> str:
    """Write the script for a shell; it calls this very file, so that a TAB does not import all of Gapless."""
    python = shlex.join([sys.executable, "-P", str(Path(__file__).resolve())])
    return SCRIPTS[shell].format(python=python, programs=" ".join(PROGRAMS))


def values(line: str, start: Path) -> list[str] | None:
    """List what the last word of a line may become; None where it is no value of a flag known here."""
    words = line.split()
    last = words.pop() if words and not line[-1].isspace() else ""
    flag, prefix, typed = _parted(last, words[-1] if words else "")
    typed = typed.lstrip("'\"")
    if flag in HOSTS:
        return [prefix + one for one in _selectors(typed, names(start))]
    return [prefix + one for one in FORMATS if one.startswith(typed)] if flag == "--format" else None


def _parted(last: str, before: str) -> tuple[str, str, str]:
    """Part the last word into flag, what stays as it is, and the value that is typed: --hosts we, --hosts=we, -Hwe."""
    if last.startswith("-"):
        flag, equals, typed = last.partition("=")
        if equals:
            return flag, flag + equals, typed
        return ("-H", "-H", last[2:]) if last.startswith("-H") and last != "-H" else ("", "", last)
    return before, "", last


def _selectors(typed: str, known: list[str]) -> list[str]:
    """Complete the last of some names that are comma separated, each with or without a ! before it."""
    kept, comma, last = typed.rpartition(",")
    out = "!" if last.startswith("!") else ""
    said = {one.lstrip("!") for one in kept.split(",")}
    return [f"{kept}{comma}{out}{name}" for name in known if name.startswith(last.removeprefix("!")) and name not in said]


def names(start: Path) -> list[str]:
    """List the groups, then the hosts of the hosts.yaml that counts here."""
    import yaml

    file = _file(start)
    try:
        with open(file, "rb") as stream:
            data = stream.read(MOST_BYTES + 1)
        root = yaml.compose(data, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if len(data) <= MOST_BYTES else None
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return []
    groups = _below(root).get("groups")
    seats = [seat for group in _below(groups).values() for seat in _seats(_below(group).get("hosts"))]
    machines = Counter(host for host, _ in set(seats))
    hosts = (f"{host}:{port}" if machines[host] > 1 else host for host, port in seats)
    return [name for name in dict.fromkeys([*_below(groups), *hosts]) if SAFE.fullmatch(name)]


def _file(start: Path) -> Path:
    """Find hosts.yaml as every verb does: the one that is named, or the nearest upwards."""
    named = os.environ.get("GAPLESS_INVENTORY")
    if named:
        return start / Path(named).expanduser()
    return next((path for path in (each / "hosts.yaml" for each in (start, *start.parents)) if path.is_file()), start / "hosts.yaml")


def _below(node: Any) -> dict[str, Any]:
    """Give the entries of a mapping; nothing for what is none."""
    pairs = node.value if node is not None and node.id == "mapping" else []
    return {key.value: value for key, value in pairs if key.id == "scalar"}


def _seats(node: Any) -> Iterator[tuple[str, str]]:
    """Give host and port of each; one that is there with several ports has the port in its name."""
    for item in node.value if node is not None and node.id == "sequence" else []:
        host, port = _below(item).get("host", item), _below(item).get("port")
        if host.id == "scalar":
            yield host.value, str(port.value) if port is not None else "22"


def main(words: list[str]) -> int:
    """Print a script, or what a line may become."""
    match words:
        case [shell] if shell in SCRIPTS:
            print(script(shell), end="")
        case ["values", line]:
            found = values(line, Path.cwd())
            if found is None:
                return NO_VALUE
            print("\n".join(found))
        case _:
            print(f"usage: python -m gapless.completion {'|'.join(SCRIPTS)}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
