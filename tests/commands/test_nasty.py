"""Every function that makes shell text, run for real with arguments that want to be commands: a canary never appears."""

from __future__ import annotations

import importlib
import inspect
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile.commands.shell import Shell, Step, script
from fabfile.fleet import LIBRARY
from fabfile.inventory.values import Balancer, Process

COMMANDS = Path(__file__).parent.parent.parent / "fabfile/commands"
ROOMS = [importlib.import_module(f"fabfile.commands.{file.stem}") for file in sorted(COMMANDS.glob("*.py")) if file.stem not in ("__init__", "shell")]
SHELLS = [name for name in ("dash", "bash") if shutil.which(name)]
LIMIT = 10  # seconds for one script
SHAM = "#!/bin/sh\nexit 0\n"

# No slash and no dot: what is run for real must not be led out of the directory that it is given.
FRAGMENTS = [
    "$(touch $CANARY)", "`touch $CANARY`", "';touch $CANARY;'", '";touch $CANARY;"', ";touch $CANARY;", "\ntouch $CANARY\n", "|touch $CANARY",
    "&touch $CANARY&", "\n@END@\ntouch $CANARY\n", "-oProxyCommand=touch $CANARY", "--upload-pack=touch $CANARY", "${x:-$(touch $CANARY)}",
    "<(touch $CANARY)", ")\ntouch $CANARY\n(", "}\ntouch $CANARY\n{", "ext::sh -c touch% $CANARY", "$((a[$(touch $CANARY)]))",
    "'", '"', "\\", "\\\n", "#", "!!", "*", "?", "[a]", "{a,b}", "~", "$IFS", "%s%n", "-n", "--", " ", "\t", "\r", "a", "ä", "\u202e", "\x1b]0;x\x07", "\U0001f4a5",
]
nasty = st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=4).map("".join)


def makers() -> list[Callable[..., Shell]]:
    """List what makes shell text; a new one is taken in by itself."""
    found = [value for room in ROOMS for value in vars(room).values() if inspect.isfunction(value) and value.__module__ == room.__name__]
    return [each for each in found if not each.__name__.startswith("_") and inspect.signature(each).return_annotation == "Shell"]


def argument(data: st.DataObject, kind: str, name: str, root: str) -> object:
    """Make up an argument by its annotation; a path begins where nothing can be broken."""
    word = data.draw(nasty, label=name)
    if kind == "Balancer":
        return Balancer("haproxy", "lb", f"{root}/{word}", data.draw(nasty), None)
    if kind in ("int", "float", "bool"):
        return 0  # no time to wait, nothing that runs
    if kind == "Iterable[Process]":
        return [Process(word, word, port=data.draw(st.sampled_from([None, 3000])))]
    if kind in ("Iterable[str]", "Sequence[str]"):
        return data.draw(st.lists(nasty, min_size=1, max_size=3), label=name)
    if kind.startswith("Mapping["):
        return {word: word}
    if name == "command":
        return "true"  # a build step is a command, and is meant to be
    assert kind in ("str", "str | None"), f"{name}: {kind}: say here how to make one up"
    # node_bin, too, is a directory: in front of PATH it would hide the sham tools, and so it does not exist.
    return f"{root}/{word}" if name in ("root", "node_bin", "pm2_home") else word


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Stand in for what would be slow or reach out: no node, no PM2, no HAProxy is needed to see whether a word became a command."""
    place = tmp_path_factory.mktemp("tools")
    for name in ("node", "pm2", "npm", "socat", "perl", "python3", "curl"):
        (place / name).write_text(SHAM)
        (place / name).chmod(0o755)
    (place / "lib").mkdir()
    return str(place)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("make", makers(), ids=lambda make: f"{make.__module__.rsplit('.', 1)[1]}.{make.__name__}")
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_no_argument_becomes_a_command(make: Callable[..., Shell], shell: str, tools: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        kinds = {each.name: str(each.annotation) for each in inspect.signature(make).parameters.values()}
        arguments = {key: argument(data, kind, key, f"{name}/app") for key, kind in kinds.items()}
        prepare(arguments)
        text = "".join(script(LIBRARY, [Step(data.draw(nasty), make(**arguments))], f"@m{data.draw(nasty)}"))
        said = run(shell, text, place, tools)
        assert not (place / "canary").exists()
        assert "yntax error" not in said


def prepare(arguments: dict[str, object]) -> None:
    """Let the script find what it looks for, so that it goes on."""
    if {"root", "release"} <= arguments.keys():
        Path(f"{arguments['root']}/releases/{arguments['release']}").mkdir(parents=True, exist_ok=True)
    if "root" in arguments:
        subprocess.run(["git", "init", "-q", "--bare", f"{arguments['root']}/.gapless/mirror.git"], check=True)


def run(shell: str, text: str, place: Path, tools: str) -> str:
    environment = {"HOME": str(place), "PATH": f"{tools}:/usr/bin:/bin", "CANARY": str(place / "canary"), "SHELL": "/bin/false", "pm2_dir": tools}
    with subprocess.Popen(
        [shell, "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd=place, start_new_session=True,
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(f"{{\n{text}exit\n}}\n".encode())
        process.stdin.flush()  # and left open, as a deployer does that is there
        # An open quote would leave the shell waiting for more.
        stop = threading.Timer(LIMIT, os.killpg, (process.pid, signal.SIGKILL))
        stop.start()
        said = process.stdout.read().decode(errors="replace")
        stop.cancel()
    assert process.returncode != -signal.SIGKILL, said
    return said


def test_every_room_is_asked() -> None:
    assert {make.__module__.rsplit(".", 1)[1] for make in makers()} == {
        "artifact", "ask", "balancer", "byhand", "doctor", "envfile", "hooks", "journal", "lock", "node", "outlook", "pm2", "releases",
    }


def test_a_canary_is_seen_where_a_word_becomes_a_command(tools: str, tmp_path: Path) -> None:
    assert "step" in run("dash", "".join(script("", [Step("x", Shell("echo '' $(touch $CANARY)"))], "@m")), tmp_path, tools)
    assert (tmp_path / "canary").exists()
