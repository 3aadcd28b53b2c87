"""What a user wrote reaches the host as one word, whatever is in it; and nothing reaches a host by another way."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile.commands.shell import Step, call, cmd, path, script

ROOMS = Path(__file__).parent.parent / "fabfile"

nasty = st.one_of(
    st.text(alphabet="'\"\\`$!*?[]{}()<>|&;#~=%^ \t\n\r-+@:/.aäß→\u2028\x1b\x7f", max_size=30),
    st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
    st.sampled_from(["", "~", "~/x", "~root/x", "-n", "--", "$(id)", "`id`", "${HOME}", "'; id; '", "a\nb", "\n", "%s", "!!", "'@END@'", "\n@END@\n"]),
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
    text = "".join(script("", [Step(name, cmd("printf", "%s", word)), Step("last", cmd("true"))], mark))
    where = tmp_path_factory.getbasetemp()
    with subprocess.Popen(["sh", "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, cwd=where) as process:
        process.stdin.write(f"{{\n{text}exit\n}}\n".encode())
        process.stdin.flush()
        said = process.stdout.read().decode()
    assert process.returncode == 0
    assert said.startswith(f"\n{mark} ")
    assert said.endswith(f'\n{word}\n{mark} {{"event": "step", "name": "last"}}\n\n{mark} {{"event":"exit","code":0}}\n')


# ---------------------------------------------------------------------- the rule, read from the source
#
# Shell text is made in fabfile/commands/ only, where each file is short enough to be read as text:
#   1. outside of commands/ nobody makes a Shell, quotes, or touches the LIBRARY texts; only fleet.py calls script();
#   2. outside of commands/ a Step's command is a call of a function there (or softly() around one), written on the spot;
#   3. nobody but transport.py has Fabric or Paramiko (sshconfig.py reads with them, program.py is fab itself), nobody but LOCAL starts programs here, nobody but
#      look/ssh.py becomes one (`fab ssh`: the person's own ssh, with words and no shell between), and every .run() is one of RUNS;
#   4. inside commands/, what goes into shell text is itself a call of QUOTED, or a local name that was given nothing else;
#      what a function returns as Shell is such a call too, and a LIBRARY is one literal without holes;
#   5. nobody talks the type checker out of it: no cast, no `type: ignore`, no other name for what is watched here.
# mypy does the rest: Step.command, Line.run's text and call()'s arguments are of type Shell, which no plain str is.

QUOTED = {"cmd", "call", "path", "here"}
WATCHED = {"Shell", "Step", "script", "cmd", "call", "path", "softly"}
# local.py runs what needs nobody (git, hooks); programs.py a secret manager, which may talk to the person, in words that no shell reads.
LOCAL = {"local.py", "programs.py"}
ONLY = {"fabric": {"transport.py", "sshconfig.py", "program.py"}, "paramiko": {"transport.py", "sshconfig.py"}, "subprocess": LOCAL,
        # sshconfig.py, package.py and programs.py take words apart, and quote none; completion.py quotes for the user's own shell
        "shlex": {"commands/shell.py", "sshconfig.py", "begin/package.py", "programs.py", "completion.py"}}
RUNS = {
    "local.run": None, "cli.run": None, "self.fleet.run": None, "fleet.run": None, "self.run": {"fleet.py"}, "self.lines[host].run": {"fleet.py"},
    "subprocess.run": LOCAL, "super().run": {"transport.py"}, "program.run": {"program.py"},
}
WIRES = {"exec_command", "open_session", "invoke_shell", "invoke_subsystem", "sendall", "_send_user_message", "open_sftp", "sudo", "local", "system", "popen",
         "execv", "execve", "execvp", "execvpe", "execl", "execle", "execlp", "execlpe", "posix_spawn", "posix_spawnp", "spawnv", "spawnvp"}
WIRE = ("._send_user_message(_request_for_shell(channel))", "._send_user_message(_pulse())", ".sendall(packet)", ".sendall(HEARTBEAT)", ".open_session(timeout=self.timeout)",
        ".exec_command(order)", ".sendall(chunk)")  # a stream's one command, and its bytes
BECOMES = ("look/ssh.py", "os.execvp('ssh', ['ssh', *words])")
ROOM = {file.stem for file in (ROOMS / "commands").glob("*.py")}


def trees() -> dict[str, ast.Module]:
    return {str(file.relative_to(ROOMS)): ast.parse(file.read_text()) for file in sorted(ROOMS.rglob("*.py"))}


def called(node: ast.AST) -> str:
    """Name what a call calls, by its last word."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def annotations(tree: ast.Module) -> set[ast.AST]:
    """Give every node that stands in an annotation: naming the type makes no text."""
    roots = [getattr(node, where, None) for node in ast.walk(tree) for where in ("annotation", "returns")]
    return {node for root in roots if root for node in ast.walk(root)}


def offences(name: str, tree: ast.Module) -> list[str]:
    written = annotations(tree)
    inside = name.startswith("commands/")
    found = [(node, what) for node in ast.walk(tree) for what in everywhere(name, node)]
    if inside:
        found += [(node, what) for scope in functions(tree) for node in own(scope) for what in in_commands(name, node, scope)]
    else:
        found += [(node, what) for node in ast.walk(tree) if node not in written for what in outside(name, node)]
    return [f"{name}:{getattr(node, 'lineno', 0)}: {what}" for node, what in found]


def everywhere(name: str, node: ast.AST) -> Iterator[str]:
    imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    imported += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
    for module in (each.split(".")[0] for each in imported):
        if name not in ONLY.get(module, {name}):
            yield f"only {', '.join(ONLY[module])} has {module}"
    if isinstance(node, ast.ImportFrom) and any(alias.name in WATCHED and alias.asname for alias in node.names):
        yield "another name for what is watched"
    if called(node) == "cast" and "Shell" in ast.unparse(node.args[0]):
        yield "a cast"
    if isinstance(node, ast.Attribute) and node.attr in ("quote", "join") and ast.unparse(node.value) == "shlex" and name not in ("commands/shell.py", "completion.py"):
        yield "quoting is done in one place, commands/shell.py"
    if called(node) == "run":
        receiver = ast.unparse(node.func)
        if receiver not in RUNS or not (RUNS[receiver] is None or name in RUNS[receiver]):
            yield f"{receiver}() is not the way to a host"
    if called(node) in WIRES and (name, ast.unparse(node)) != BECOMES and (name != "transport.py" or not ast.unparse(node).endswith(WIRE)):
        yield f"{called(node)}() is not the way to a host"


def outside(name: str, node: ast.AST) -> Iterator[str]:
    word = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    if word == "Shell":
        yield "Shell is more than a type outside of commands/"
    if word in ("LIBRARY", "script", "cmd", "call") and name != "fleet.py" and of_commands(node):
        yield f"{word} outside of commands/"
    if called(node) in ("Step", "replace"):
        commands = (node.args[1:2] if called(node) == "Step" else []) + [
            each.value for each in node.keywords if each.arg == "command" or (each.arg is None and called(node) == "Step")
        ]
        starred = [each for each in node.args if isinstance(each, ast.Starred)] if called(node) == "Step" else []
        yield from ("a Step of raw text" for each in [*starred, *commands] if not from_a_room(each))


def of_commands(node: ast.AST) -> bool:
    """Tell commands' own from a variable or an attribute of that name, which plain words may be."""
    if isinstance(node, ast.Attribute):
        return ast.unparse(node.value).split(".")[-1] in ROOM
    return node.id == "LIBRARY"


def from_a_room(value: ast.AST) -> bool:
    if called(value) == "softly":
        return all(from_a_room(each) for each in value.args)
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and ast.unparse(value.func.value) in ROOM - {"shell"}


def functions(tree: ast.Module) -> list[ast.AST]:
    return [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda))]


def own(scope: ast.AST) -> Iterator[ast.AST]:
    """Walk a scope without the functions in it."""
    ahead = list(ast.iter_child_nodes(scope))
    while ahead:
        node = ahead.pop()
        yield node
        ahead += [] if isinstance(node, ast.FunctionDef | ast.Lambda) else ast.iter_child_nodes(node)


def in_commands(name: str, node: ast.AST, scope: ast.AST) -> Iterator[str]:
    if name == "commands/shell.py":
        return
    if called(node) == "Shell":
        yield from unsafe(node.args[0], scope)
    if called(node) in ("call", "softly"):
        if called(node) == "call" and not isinstance(node.args[0], ast.Constant):
            yield "a function of the library is named in full"
        yield from (what for each in node.args[called(node) == "call":] for what in unsafe(each, scope, bare=False))
    if called(node) == "here" and called(node.args[0]) not in ("source", "dumps"):
        yield "what can hold a line of its own stands in no here-document"
    if isinstance(node, ast.Return) and getattr(scope, "returns", None) and ast.unparse(scope.returns) == "Shell":
        yield from unsafe(node.value, scope, bare=False)
    if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Shell") for base in node.bases):
        yield "a Shell of another kind"
    if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(ast.unparse(target) == "LIBRARY" for target in targets) and not isinstance(node.value, ast.Constant):
            yield "a LIBRARY is one literal"
        yield from ("another name for what is watched" for each in [node.value] if isinstance(each, ast.Name) and each.id in WATCHED)


def unsafe(value: ast.AST, scope: ast.AST, bare: bool = True) -> list[str]:
    """Name what goes into shell text without having been quoted; `bare` text of our own may stand there."""
    if isinstance(value, ast.Constant) and bare:
        return []
    if isinstance(value, ast.JoinedStr) and bare:
        return [problem for part in value.values if isinstance(part, ast.FormattedValue) for problem in unsafe(part.value, scope, bare=False)]
    if isinstance(value, ast.Starred):
        return unsafe(value.value, scope, bare=False)
    if called(value) in QUOTED | {"Shell", "softly"} and isinstance(value.func, ast.Name):
        return []
    if called(value) == "join" and isinstance(value.func.value, ast.Constant):
        return [problem for each in value.args for problem in unsafe(each, scope, bare=False)]
    if isinstance(value, ast.List):
        return [problem for each in value.elts for problem in unsafe(each, scope, bare=False)]
    if isinstance(value, ast.Name) and (given := assigned(scope, value.id)):
        return [problem for each in given for problem in unsafe(each, scope, bare=False)]
    return [f"{ast.unparse(value)} is not quoted"]


def assigned(scope: ast.AST, name: str) -> list[ast.AST]:
    """List what a local name was given, appended things too; nothing for what came from without, however it is called."""
    given: list[ast.AST] = []
    for node in own(scope):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign | ast.For) else []
        if any(isinstance(each, ast.Name) and each.id == name for target in targets for each in ast.walk(target)):
            given.append(node.value if isinstance(node, ast.Assign) else node)
        if called(node) in ("append", "extend", "insert") and ast.unparse(node.func.value) == name:
            given += node.args
    arguments = {each.arg for each in ast.walk(scope.args) if isinstance(each, ast.arg)} if hasattr(scope, "args") else set()
    return [] if name in arguments else given


def test_no_raw_text_reaches_a_host():
    assert [offence for name, tree in trees().items() for offence in offences(name, tree)] == []


def test_nobody_talks_the_type_checker_out_of_it():
    """The rule leans on the type Shell; what a comment switches off, no reader of the tree sees."""
    for name in (*(f"commands/{room}.py" for room in ROOM), "fleet.py", "transport.py", "run/rollout.py", "run/waves.py", "look/view.py"):
        assert not re.search(r"type: ignore(?!\[no-any-return\])", (ROOMS / name).read_text()), name


def test_only_the_fleet_speaks_to_a_line_and_only_with_a_fused_script():
    tree = trees()["fleet.py"]
    given = {node.target.id: (called(node.value), ast.unparse(node.value.args[0])) for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and called(node.value) == "partial"}
    runs = [node for node in ast.walk(tree) if called(node) == "run" and isinstance(node.func.value, ast.Subscript)]
    assert [given[node.args[0].id] for node in runs] == [("partial", "script")]


OUTSIDE = """
Step("x", f"rm {name}")
Step("x", "rm " + name)
Step("x", "rm %s" % name)
Step("x", "rm {}".format(name))
Step("x", command="rm -rf /")
Step("x", command)
Step("x", " ".join(["rm", name]))
Step("x", textwrap.dedent(name))
Step("x", Shell(name))
Step("x", cast(Shell, name))
Step("x", shell.Shell(name))
Step("x", softly(name))
Step("x", self.command(name))
Step(*parts)
Step("x", **{"command": name})
dataclasses.replace(step, command=name)
Shell(name)
make = Shell
make = shell.Shell
from .commands.shell import Shell as Text
from .commands.shell import Step as S, cmd
text = releases.LIBRARY + name
LIBRARY + name
shell.script(library, steps, mark)
shell.cmd("rm", name)
c.run(f"pm2 reload {name}")
c.run("pm2 reload x")
line.run(f"rm {name}", mark, print)
self.fleet.lines[name].run(text, mark, print)
line.connection.run(name)
connection.sudo(name)
connection.local(name)
c.sudo(name)
os.system(name)
os.popen(name)
os.execvp("ssh", ["ssh", *words])
os.execvp(name, [name])
subprocess.run(["ssh", host, name])
import subprocess
from subprocess import check_output
from fabric import Connection
import fabric.transfer
import paramiko
import shlex
shlex.quote(name)
channel.exec_command(name)
channel.sendall(name)
transport.open_session()
"""
INSIDE = r"""
Shell(name)
Shell(f"rm {name}")
Shell(f"rm '{name}'")
Shell(f"rm {name!r}")
Shell(f"rm {str(name)}")
Shell(f"rm {' '.join(names)}")
Shell(f"rm {shlex.quote(name)}")
Shell(f"rm {os.path(name)}")
Shell("rm " + name)
Shell("rm %s" % name)
Shell("rm {}".format(name))
Shell(" ".join(["rm", name]))
Shell(template.replace("@", name))
call(f"remove {name}", cmd())
call(name, cmd())
call("remove", name)
call("remove", *names)
call("remove", f"{path(root)}/{name}")
softly(f"rm {name}")
here(name)
LIBRARY = f"x() {{ {name}; }}"
LIBRARY += name
def f(name: str) -> Shell: return name
def f(name: str) -> Shell: return f"rm {name}"
def f(name: str) -> Shell: return cast("Shell", name)
def f(name: str) -> Shell: return Shell(f"rm {name}")
def f(file: str) -> Shell: return Shell(f"rm {file}")\ndef g() -> Shell:\n    file = path("/x")\n    return Shell(f"rm {file}")
def f(name: str) -> Shell:\n    text = f"rm {name}"\n    return Shell(text)
def f(name: str) -> Shell:\n    text = cmd("rm")\n    text += name\n    return Shell(text)
def f(names: list[str]) -> Shell:\n    parts = [cmd("x")]\n    parts.append(names[0])\n    return Shell("; ".join(parts))
def f(names: list[str]) -> Shell:\n    for name in names:\n        text = Shell(name)\n    return text
def f(name: str) -> Shell:\n    if len(name) < 9:\n        name = cmd(name)\n    return Shell(name)
Text = Shell
class Mine(Shell): pass
from .shell import Shell as S
import subprocess
import shlex
cmd("x").run(name)
"""


@pytest.mark.parametrize("text", [text.replace(r"\n", "\n") for text in OUTSIDE.strip().splitlines()])
@pytest.mark.parametrize("name", ["run/rollout.py", "new.py"])
def test_the_rule_finds_what_a_newcomer_writes(name, text):
    assert offences(name, ast.parse(text))


@pytest.mark.parametrize("text", [text.replace(r"\n", "\n") for text in INSIDE.strip().splitlines()])
def test_the_rule_finds_what_a_newcomer_writes_in_commands(text):
    assert offences("commands/new.py", ast.parse(text))


@pytest.mark.parametrize("name, text", [
    ("fleet.py", "self.lines[host].exec_command(text)"), ("transport.py", "channel.exec_command(text)"), ("transport.py", "channel.sendall(f'rm {x}')"),
    ("transport.py", "shlex.quote(x)"), ("source.py", "self.lines[host].run(text)"), ("look/ssh.py", "os.execvp('sh', ['sh', '-c', name])"), ("commands/new.py", "subprocess.run(text)"),
])
def test_the_rule_knows_each_place(name, text):
    assert offences(name, ast.parse(text))


@pytest.mark.parametrize("text", [
    'Step("x", releases.prune(root, names))', 'Step(name, softly(journal.append(root, record)))', 'self.fleet.run("x", host, [step])',
])
def test_the_rule_lets_what_is_right_pass(text):
    assert offences("run/rollout.py", ast.parse(text)) == []


def test_a_step_asks_for_shell_text():
    """The rule leans on the type: without this annotation mypy would let any string through."""
    tree = trees()["commands/shell.py"]
    step = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Step")
    assert {node.target.id: ast.unparse(node.annotation) for node in step.body if isinstance(node, ast.AnnAssign)}["command"] == "Shell"


def test_a_line_asks_for_shell_text():
    line = next(node for node in trees()["transport.py"].body if isinstance(node, ast.ClassDef) and node.name == "Line")
    given = {node.name: node.args.args[1] for node in line.body if isinstance(node, ast.FunctionDef) and node.name in ("run", "pipe")}
    assert {name: (each.arg, ast.unparse(each.annotation)) for name, each in given.items()} == {
        "run": ("text", "Callable[[], Iterable[Shell]]"), "pipe": ("order", "Shell"),
    }
