"""What a user wrote reaches the host as one word, whatever is in it; and nothing reaches a host by another way."""

from __future__ import annotations

import ast
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile.commands.shell import Step, call, cmd, path, script

ROOMS = Path(__file__).parent.parent / "fabfile"

nasty = st.one_of(
    st.text(alphabet="'\"\\`$!*?[]{}()<>|&;#~=%^ \t\n\r-+@:/.aäß→\u2028\x1b\x7f", max_size=30),
    st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
    st.sampled_from(["", "~", "~/x", "~root/x", "-n", "--", "$(id)", "`id`", "${HOME}", "'; id; '", "a\nb", "\\n", "%s", "!!", "'@END@'", "\n@END@\n"]),
)
SHELLS = [name for name in ("sh", "dash", "bash", "busybox") if shutil.which(name)]


def printed(text: str, shell: str, home: str = "/home/d'or $x") -> list[str]:
    """Give the words that a real shell makes of the text; it is read from stdin as on a host."""
    words = ["busybox", "sh", "-s"] if shell == "busybox" else [shell, "-s"]
    environment = {"HOME": home, "PATH": "/usr/bin:/bin"}
    # Where quoting fails, words are commands: let them write into a directory of their own.
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(words, input=text.encode(), capture_output=True, check=False, env=environment, cwd=place)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().split("\0")[:-1]


def each(shell: str) -> str:
    return 'each() { for word; do printf "%s\\0" "$word"; done; }\n'


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=60, deadline=None)
@given(batch=st.lists(st.lists(nasty, max_size=4), min_size=8, max_size=8))
def test_every_word_arrives_as_it_was(shell, batch):
    text = each(shell) + "\n".join(cmd("each", "", *words) for words in batch)
    expected = [word for words in batch for word in ("", *words)]
    assert printed(text + "\n", shell) == expected


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=40, deadline=None)
@given(texts=st.lists(nasty, min_size=8, max_size=8))
def test_a_path_arrives_as_it_was_but_for_the_hosts_home(shell, texts):
    text = each(shell) + "\n".join(call("each", path(name), path(f"~/{name}")) for name in texts)
    home = "/home/d'or $x"
    expected = []
    for name in texts:
        expected += [f"{home}/{name[2:]}" if name.startswith("~/") else name, f"{home}/{name}"]
    assert printed(text + "\n", shell, home) == expected


@settings(max_examples=40, deadline=None)
@given(name=nasty, word=nasty, mark=st.sampled_from(["@m", "@it's $HOME"]))
def test_names_and_marks_are_quoted_too(name, word, mark, tmp_path_factory):
    text = script("", [Step(name, cmd("printf", "%s", word)), Step("last", cmd("true"))], mark)
    where = tmp_path_factory.getbasetemp()
    with subprocess.Popen(["sh", "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, cwd=where) as process:
        process.stdin.write(text.encode())
        process.stdin.flush()
        said = process.stdout.read().decode()
    assert process.returncode == 0
    assert said.startswith(f"\n{mark} ")
    assert said.endswith(f'\n{word}\n{mark} {{"event": "step", "name": "last"}}\n')


# ---------------------------------------------------------------------- the rule, read from the source
#
# Shell text is made in fabfile/commands/ only, where each file is short enough to be read as text:
#   1. nobody outside of commands/ may call Shell(...), nor use commands' LIBRARY texts, but for fleet.py;
#   2. a Step's command is never text made on the spot: no literal, f-string, +, %, .format, .join, str(...);
#   3. only fleet.py calls script(), only fleet.py hands a text to Line.run, and that text is script()'s own;
#   4. inside commands/, what an f-string puts into a Shell is itself a call of cmd, call, path or _here, or a name that
#      was given such a value.
# mypy does the rest: Step.command and call()'s arguments are of type Shell, which no plain str is.


def trees() -> dict[str, ast.Module]:
    return {str(file.relative_to(ROOMS)): ast.parse(file.read_text()) for file in sorted(ROOMS.rglob("*.py"))}


def called(node: ast.AST) -> str:
    """Name what a call calls, by its last word."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


RAW = (ast.Constant, ast.JoinedStr, ast.BinOp)
TEXT_MAKERS = {"format", "join", "str", "replace", "format_map", "Shell", "strip", "quote"}


def annotations(tree: ast.Module) -> set[ast.AST]:
    """Give every node that stands in an annotation: naming the type makes no text."""
    roots = [getattr(node, where, None) for node in ast.walk(tree) for where in ("annotation", "returns")]
    return {node for root in roots if root for node in ast.walk(root)}


def offences(name: str, tree: ast.Module) -> list[str]:
    found = []
    inside = name.startswith("commands/")
    written = annotations(tree)
    for node in ast.walk(tree):
        place = f"{name}:{getattr(node, 'lineno', 0)}"
        if called(node) == "Shell" and not inside:
            found.append(f"{place}: Shell() outside of commands/")
        if isinstance(node, ast.Name) and node.id == "Shell" and not inside and node not in written:
            found.append(f"{place}: Shell is more than a type outside of commands/")
        if called(node) == "Step":
            commands = node.args[1:2] + [word.value for word in node.keywords if word.arg == "command"]
            found += [f"{place}: a Step of raw text" for each in commands if isinstance(each, RAW) or called(each) in TEXT_MAKERS]
        if called(node) == "script" and name != "fleet.py" and name != "commands/shell.py":
            found.append(f"{place}: script() outside of fleet.py")
        if called(node) in ("exec_command", "sudo", "local", "system", "popen"):
            words = [arg for arg in node.args if not isinstance(arg, ast.Constant)]
            if words or name != "transport.py":
                found.append(f"{place}: {called(node)}() is not the way to a host")
        if inside and called(node) == "Shell" and name != "commands/shell.py":
            found += [f"{place}: {what}" for what in unsafe(node.args[0], tree)]
    return found


SAFE = {"cmd", "call", "path", "_here", "Shell", "join"}


def unsafe(value: ast.AST, tree: ast.Module) -> list[str]:
    """Name what goes into a Shell without having been quoted."""
    if isinstance(value, ast.Constant):
        return []
    if isinstance(value, ast.JoinedStr):
        return [problem for part in value.values if isinstance(part, ast.FormattedValue) for problem in unsafe(part.value, tree)]
    if isinstance(value, ast.Call) and called(value) in SAFE:
        if called(value) != "join":
            return []
        return [problem for arg in value.args for problem in unsafe(arg, tree)]
    if isinstance(value, ast.Name):
        given = [node.value for node in ast.walk(tree) if isinstance(node, ast.Assign) and names(node, value.id)]
        if given and all((isinstance(each, ast.Call) and called(each) in SAFE) or shells(each) for each in given):
            return []
    return [f"{ast.unparse(value)} is not quoted"]


def names(node: ast.Assign, wanted: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == wanted for target in node.targets)


def shells(value: ast.AST) -> bool:
    return isinstance(value, ast.List) and all(called(each) in SAFE for each in value.elts)


def test_no_raw_text_reaches_a_host():
    assert [offence for name, tree in trees().items() for offence in offences(name, tree)] == []


def test_only_the_fleet_speaks_to_a_line_and_only_with_a_fused_script():
    tree = trees()["fleet.py"]
    assigned = {target.id: called(node.value) for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) for target in [node.target]
                if isinstance(target, ast.Name) and node.value is not None}
    runs = [node for node in ast.walk(tree) if called(node) == "run" and isinstance(node.func.value, ast.Subscript)]
    assert [assigned[node.args[0].id] for node in runs] == ["script"]
    for name, other in trees().items():
        if name not in ("fleet.py", "transport.py"):
            spoken = [ast.unparse(node.func) for node in ast.walk(other) if called(node) == "run"]
            assert not [text for text in spoken if ".lines[" in text or ".connection" in text], name


@pytest.mark.parametrize(
    "name, text",
    [
        ("rollout.py", 'Step("x", f"rm {name}")'), ("rollout.py", 'Step("x", "rm " + name)'), ("rollout.py", 'Step("x", Shell(name))'),
        ("rollout.py", 'Step("x", command="rm -rf /")'), ("rollout.py", 'Step("x", "rm {}".format(name))'), ("rollout.py", "Shell(name)"),
        ("look.py", "script(LIBRARY, steps, mark)"), ("look.py", "channel.exec_command(text)"), ("transport.py", "channel.exec_command(text)"),
        ("commands/new.py", 'Shell(f"rm {name}")'), ("commands/new.py", "Shell(name)"), ("commands/new.py", 'Shell("rm " + name)'),
        ("commands/new.py", 'Shell(f"rm {str(name)}")'), ("commands/new.py", 'name = input()\nShell(f"rm {name}")'),
        ("ops.py", "make = Shell"),
    ],
)
def test_the_rule_finds_what_it_is_for(name, text):
    assert offences(name, ast.parse(text))


def test_a_step_asks_for_shell_text():
    """The rule leans on the type: without this annotation mypy would let any string through."""
    tree = trees()["commands/shell.py"]
    step = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Step")
    assert {node.target.id: ast.unparse(node.annotation) for node in step.body if isinstance(node, ast.AnnAssign)}["command"] == "Shell"
