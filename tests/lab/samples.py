"""
Write the sample outputs of README and docs anew, from one run of today's code on a fleet of its own; or look whether they are still true.

A sample is a fenced block below a line `<!-- sample: NAME -->`; STORY says what is typed for it, in which situation.
"""

from __future__ import annotations

import argparse
import atexit
import functools
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from tests import load
from tests.lab.crash import KILLED, dying
from tests.lab.fleet import Lab
from tests.lab.making import CHECKOUT

SAMPLE = re.compile(r"(?<=^<!-- sample: )(?P<name>[a-z-]+)(?P<fence> -->\n```[a-z]*\n)(?P<text>.*?)(?=^```$)", re.M | re.S)
Around = Callable[[Lab], AbstractContextManager[object]]


# ---------------------------------------------------------------------- situations


def quiet(lab: Lab) -> AbstractContextManager[object]:
    """Change nothing."""
    return nullcontext()


def broken(**hosts: tuple[str, str]) -> Around:
    """Run the first command on each of these hosts before, and the second one, which mends it, after."""
    @contextmanager
    def around(lab: Lab) -> Iterator[None]:
        for host, (breaks, _) in hosts.items():
            lab.run(host, breaks)
        yield
        for host, (_, mends) in hosts.items():
            lab.run(host, mends)

    return around


STRANGER = "setsid node -e 'require(\"net\").createServer().listen(3000)' old-server.js </dev/null >/dev/null 2>&1 & sleep 1"
UPLOADS = "mkdir ~/shop/shared/uploads", "rmdir ~/shop/shared/uploads"
NEGLECTED = "cp ~/shop/shared/.env ~/env.was; rm ~/shop/shared/.env; chmod 755 ~/shop/.gapless"
MENDED = "mv ~/env.was ~/shop/shared/.env; chmod 600 ~/shop/shared/.env; chmod 700 ~/shop/.gapless"


@contextmanager
def loaded(lab: Lab) -> Iterator[None]:
    """Put 200 requests a second on the balancer."""
    with load.running(lab.url, path="/", rate=200, slow=3, slow_path="/slow?ms=3000", post_path="/items"):
        time.sleep(1)
        yield


@contextmanager
def key_changed(lab: Lab) -> Iterator[None]:
    """Give lab2 a host key that nobody knows."""
    lab.change_host_key("lab2")
    yield
    lab.restore_host_key("lab2")


@contextmanager
def killed(lab: Lab) -> Iterator[None]:
    """Leave a rolling reload behind that was killed with -9 while lab2 was in hand."""
    done = subprocess.run([*dying("reload", "after", "lab2"), "rolling", "--hosts", "lab"], cwd=CHECKOUT, env=environment(), capture_output=True,
                          text=True, timeout=120, check=False)
    assert done.returncode == KILLED, done.stdout + done.stderr
    yield


# ---------------------------------------------------------------------- the story


@dataclass(frozen=True)
class Scene:
    """Name what is typed, the exit code it must end with, the situation, and the sample that it gives (or none)."""

    typed: str
    sample: str = ""
    code: int = 0
    around: Around = quiet


STORY = (
    Scene("fab deploy --ref v1 --hosts lab", "port", 4, broken(lab2=(STRANGER, "kill $(pgrep -f '[o]ld-server.js')"))),
    Scene("fab deploy --ref v1 --hosts lab"),
    Scene("fab deploy --ref v2 --hosts lab --plan", "plan"),
    Scene("fab deploy --ref v2 --hosts lab"),
    Scene("fab deploy --ref v3-throws --hosts lab", "throws", 1, loaded),
    Scene("fab logs --errors --lines 4 --hosts lab1", "logs"),
    Scene("fab exec --hosts lab --command 'test -e ~/shop/shared/uploads && echo there'", "exec", 1, broken(lab1=UPLOADS, lab3=UPLOADS)),
    Scene("fab doctor --hosts lab", "doctor", 4, broken(lab2=(NEGLECTED, MENDED))),
    Scene("fab rollback --hosts lab", "rollback"),
    Scene("fab releases --hosts lab", "releases"),
    Scene("fab history --hosts lab", "history"),
    Scene("fab status --hosts lab", "status"),
    Scene("fab rollback --hosts lab", "left", 3, killed),
    Scene("fab resume --hosts lab", "resume"),
    Scene("fab deploy --hosts lab", "host-key", 4, key_changed),
)


def environment() -> dict[str, str]:
    """Give a command a person's surroundings, that of nobody's machine."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("GAPLESS", "XDG", "GITHUB", "CI")) or key == "GAPLESS_LAB"}
    return {**clean, "HOME": home(), "LOGNAME": "lena", "USER": "lena", "COLUMNS": "100"}


@functools.cache
def home() -> str:
    """Make a home for the story, gone when this process is."""
    place = tempfile.TemporaryDirectory(prefix="gapless-samples-")
    atexit.register(place.cleanup)
    return place.name


def play(lab: Lab) -> dict[str, str]:
    """Type the whole story; return sample name to what stood on the terminal."""
    found = {}
    for scene in STORY:
        program, *words = shlex.split(scene.typed)
        with scene.around(lab):
            command = [str(Path(sys.executable).parent / program), *words]
            done = subprocess.run(command, cwd=CHECKOUT, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, timeout=280, check=False)
        print(f"$ {scene.typed}\n{done.stdout}exit {done.returncode}\n", flush=True)
        assert done.returncode == scene.code, f"{scene.typed}: exit {done.returncode}, not {scene.code}"
        if scene.sample:
            said = done.stdout.replace(f"{CHECKOUT}/", "").replace(str(lab.dir), ".lab").replace(socket.gethostname(), "desk")
            found[scene.sample] = f"$ {scene.typed}\n{said.rstrip()}\n"
    return found


# ---------------------------------------------------------------------- the pages


def pages() -> list[Path]:
    return [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]


def samples() -> dict[str, str]:
    """Read the samples that the pages show."""
    return {match["name"]: match["text"] for page in pages() for match in SAMPLE.finditer(page.read_text())}


def rewrite(found: dict[str, str]) -> None:
    for page in pages():
        text = page.read_text()
        page.write_text(SAMPLE.sub(lambda match: f"{match['name']}{match['fence']}{found[match['name']]}", text))


def shape(text: str) -> list[str]:
    """Take out of a sample what differs from run to run: numbers, ids, and the order of hosts that work side by side."""
    lines = [re.sub(r"SHA256:\S+|\b\d{8}-\d{6}-[0-9a-f]{6}\b|\b[0-9a-f]{7,}\b|[0-9][0-9:.,]*", "#", line).rstrip() for line in text.splitlines()]
    return sorted({re.sub(r" +", " ", line) for line in lines})


def stale(found: dict[str, str]) -> list[str]:
    """List the samples whose page no longer says what the code says, with the lines that differ."""
    shown = samples()
    differing = {name: sorted(set(shape(shown[name])) ^ set(shape(found[name]))) for name in shown}
    return [f"{name}: {lines}" for name, lines in differing.items() if lines]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a page is no longer true")
    arguments = parser.parse_args()
    with Lab.up("lab", bound=True) as lab:
        found = play(lab)
    if not arguments.check:
        rewrite(found)
        return 0
    print(*(old := stale(found)), sep="\n")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
