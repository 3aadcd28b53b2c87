"""A host for the scripts: a real shell that gets them the way a host does, over a pipe that stays open."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fabfile.commands.shell import Step, script
from fabfile.fleet import LIBRARY

MARK = "@gapless-test"


def shells() -> dict[str, list[str]]:
    """Find the shells that may be a host's /bin/sh; each is started under the name sh."""
    found = {}
    for name, words in (("dash", ["dash"]), ("bash", ["bash"]), ("busybox", ["busybox", "sh"]), ("ksh", ["ksh"])):
        if program := shutil.which(words[0]):
            found[name] = [program, *words[1:]]
    return found


@dataclass
class Ran:
    """Hold what one script did."""

    code: int
    events: list[dict[str, Any]] = field(default_factory=list)
    text: str = ""

    def names(self) -> list[str]:
        return [event["name"] for event in self.events if event["event"] == "step"]

    def event(self, name: str) -> dict[str, Any]:
        return next(event for event in self.events if event["event"] == name)

    def heard(self, name: str) -> bool:
        return any(event["event"] == name for event in self.events)


@dataclass
class Shell:
    """Run scripts as sshd would: in a session of their own, with stdin held open to the end."""

    words: list[str]
    home: Path
    env: dict[str, str] = field(default_factory=dict)

    def start(self, *steps: Step, chunk: int = 1 << 20) -> subprocess.Popen[bytes]:
        home = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", **self.env}
        args = self.words if len(self.words) > 1 else ["sh"]
        process = subprocess.Popen(
            [*args, "-s"], executable=self.words[0], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=home, cwd=self.home, start_new_session=True, bufsize=0,
        )
        text = "".join(["{\n", *script(LIBRARY, steps, MARK), "exit\n}\n"]).encode()
        for at in range(0, len(text), chunk):
            process.stdin.write(text[at:at + chunk])
        return process

    def run(self, *steps: Step, chunk: int = 1 << 20) -> Ran:
        with self.start(*steps, chunk=chunk) as process:
            return ended(process)


def ended(process: subprocess.Popen[bytes]) -> Ran:
    """Read to the end of the output; stdin stays open so long."""
    text = process.stdout.read().decode()
    ran = Ran(process.wait(20))
    lines = []
    for line in text.splitlines():
        if (event := told(line)) is not None:
            if event["event"] != "exit":
                ran.events.append(event)
        elif line.strip():
            lines.append(line)
    ran.text = "\n".join(lines)
    return ran


def told(line: str) -> dict[str, Any] | None:
    """Read a line that is meant for us, as transport.py does: what is torn is only text."""
    try:
        return dict(json.loads(line[len(MARK):])) if line.startswith(MARK) else None
    except ValueError:
        return None


@pytest.fixture(params=shells())
def sh(request: pytest.FixtureRequest, home: Path) -> Shell:
    return Shell(shells()[request.param], home)


@pytest.fixture
def one(home: Path) -> Shell:
    """Give the machine's own sh, where the shell is not what is in question."""
    return Shell([shutil.which("sh") or "sh"], home)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Give a home; what watches a drain from there ends with it, and would look for an hour else."""
    yield tmp_path
    shutil.rmtree(tmp_path / ".gapless/drained", ignore_errors=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give an app root whose name would break what is not quoted."""
    path = tmp_path / "app's $HOME root"
    path.mkdir()
    return path


PROGRAMS = (
    "sh awk basename cat chmod cp cut date df dirname env find grep head id kill ln ls mkdir mv printf readlink rm sed sha256sum sleep "
    "sort stat tail touch tr uname wc"
)


@pytest.fixture
def bare_bin(tmp_path: Path) -> Path:
    """Give a PATH with what every system has and nothing else: no node, no git, no socat."""
    return linked(tmp_path / "bare", PROGRAMS.split())


def linked(directory: Path, programs: Iterable[str]) -> Path:
    directory.mkdir(exist_ok=True)
    for program in programs:
        (directory / program).symlink_to(shutil.which(program) or f"/missing/{program}")
    return directory


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 1 MB and 72 inodes."""
    if os.geteuid() != 0:
        pytest.skip("a full disk needs a mount, and that needs root")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=72", "none", place], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine lets root mount nothing: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(disk: Path) -> None:
    """Leave not a byte on the disk."""
    with open(disk / "ballast", "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


def fill_inodes(disk: Path) -> None:
    try:
        for number in range(1000):
            (disk / f"inode-{number}").touch()
    except OSError:
        return


@pytest.fixture(name="fill")
def _fill():
    return fill


@pytest.fixture(name="fill_inodes")
def _fill_inodes():
    return fill_inodes


@pytest.fixture(name="until")
def _until():
    def until(true, seconds: float = 5.0) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if true():
                return True
            time.sleep(0.02)
        return bool(true())

    return until
