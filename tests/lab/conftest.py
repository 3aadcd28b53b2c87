"""The fleet that all real deploys of the test run share: three hosts, a balancer, and an eye that is not ours."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import load
from tests.lab import loopback, system
from tests.lab.crash import KILLED, dying
from tests.lab.fleet import Lab, sweep_dead, wait_until
from tests.lab.making import CHECKOUT
from tests.lab.repo import RELEASES

# A shell that starts us in the background has us ignore Ctrl-C, and what we start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

HOSTS_YAML = """\
groups:
  lab:
    ssh_config: {ssh_config}
    hosts: [lab1, lab2, lab3]
    min_healthy_time: {settle}
    healthy_deadline: {deadline}
    kill_timeout: 8s
    drain_timeout: 15s
    {more}
    balancer: {{kind: haproxy, host: lablb, socket: ~/haproxy/admin.sock, backend: shop, url: "http://lablb:{port}"}}
    app:
      name: shop
      repo: {repo}
      ref: v1
      root: ~/shop
      script: dist/main.js
      instances: {instances}
      port: 3000
      build: [npm ci, npm run build]
      {migrate}
      shared: {{files: [.env]}}
      health: {{path: /health}}
      {app}
"""


@dataclass
class Done:
    """Hold what one command said."""

    code: int
    out: str
    seconds: float


class Running:
    """Hold a command that is under way; its output so far is in `out`."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        self.out = ""

    def until(self, text: str) -> None:
        """Read on until a line holds the text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.out += line
            if text in line:
                return
        raise AssertionError(f"{text!r} never came:\n{self.out}")

    def done(self, within: float = 120) -> Done:
        """Wait for its end."""
        begun = time.monotonic()
        self.out += self.process.communicate(timeout=within)[0]
        print(f"{self.out}exit {self.process.returncode}")
        return Done(self.process.returncode, self.out, time.monotonic() - begun)


class Site:
    """Type commands at the fleet as a person does, and look at it as an outsider."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.configure()

    def configure(self, *, settle: str = "1s", deadline: str = "20s", instances: int = 2, more: str = "", app: str = "",
                  migrate: str = "npx prisma migrate deploy", name: str = "hosts.yaml", ssh_config: Path | None = None) -> Path:
        """Write a hosts.yaml with these settings, and use it from now on."""
        self.inventory = self.folder / name
        self.inventory.write_text(HOSTS_YAML.format(
            ssh_config=ssh_config or self.lab.ssh_config, port=urlsplit(self.lab.url).port, repo=self.lab.repo, settle=settle, deadline=deadline,
            instances=instances, more=more, app=app,
            migrate=f"migrate: {migrate}" if migrate else "",
        ))
        return self.inventory

    def fab(self, *words: str, tool: str = "fab", hosts: str | None = "lab") -> Done:
        """Run one command to its end; stdout and stderr together, as a terminal shows them."""
        command = self.command(tool, words, hosts)
        begun = time.monotonic()
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
            env=self.environment(), timeout=280, check=False,
        )
        print(f"$ {tool} {' '.join(words)} --hosts {hosts}\n{done.stdout}exit {done.returncode}")
        return Done(done.returncode, done.stdout, time.monotonic() - begun)

    def begin(self, *words: str) -> Running:
        """Start a command on the whole fleet."""
        return Running(self.command("fab", words, "lab"), self.environment())

    def killed(self, phase: str, when: str, where: str, *words: str) -> None:
        """Run one command on the whole fleet that is killed with -9 at this boundary (crash.py)."""
        done = subprocess.run(
            [*dying(phase, when, where), *words, "--hosts", "lab"], cwd=CHECKOUT, env=self.environment(), capture_output=True, text=True,
            timeout=120, check=False,
        )
        print(done.stdout)
        assert done.returncode == KILLED, done.stdout + done.stderr

    def command(self, tool: str, words: tuple[str, ...], hosts: str | None) -> list[str]:
        return [str(Path(sys.executable).parent / tool), *words, *(["--hosts", hosts] if hosts else [])]

    def environment(self, state: str = "state") -> dict[str, str]:
        """Give a command its hosts.yaml and a place of ours for its logs."""
        return {**os.environ, "GAPLESS_INVENTORY": str(self.inventory), "XDG_STATE_HOME": str(self.folder / state)}

    @contextlib.contextmanager
    def load(self, *, nest: bool = True, slow: int = 2, rate: int = 120) -> Iterator[load.Tally]:
        """Load the site through the balancer while the block runs, with a generator that shares no code with ours."""
        options = {"path": "/", "slow_path": "/slow?ms=3000", "post_path": "/items", "rate": rate, "slow": slow}
        with load.running(self.lab.url, **options) as tally:
            time.sleep(1)
            yield tally
            time.sleep(1)
        print(tally.summary())

    def link(self, host: str) -> str:
        """Read `current` with our own eyes."""
        done = self.lab.run(host, "readlink ~/shop/current", check=False)
        return Path(done.stdout.strip()).name if done.returncode == 0 else ""

    def answers(self, host: str, times: int = 8) -> set[str]:
        """Ask the host itself, each time on a new connection; return the releases that answered."""
        found = set()
        for _ in range(times):
            with urllib.request.urlopen(self.lab.host_url(host), timeout=10) as answer:
                found.add(answer.headers["x-release"])
        return found

    def processes(self, host: str) -> list[str]:
        """List the release directories that living processes stand in."""
        script = "for p in /proc/[0-9]*; do readlink $p/cwd; done 2>/dev/null | grep /releases/ || true"
        return sorted(Path(line).name for line in self.lab.run(host, script).stdout.split())

    def commanded(self, host: str, word: bytes) -> list[int]:
        """List the processes of a host whose command line holds this word."""
        return [pid for pid in self.lab.pids(host) if word in self.command_line(pid)]

    @staticmethod
    def command_line(pid: int) -> bytes:
        return loopback.command_line(pid)

    def releases(self, host: str) -> list[str]:
        """List the complete releases on a host that never proved bad."""
        listed = "cd ~/shop/releases; for each in *; do [ -e $each/.gapless.json ] && [ ! -e $each/.gapless-bad ] && echo $each; done; true"
        return self.lab.run(host, listed).stdout.split()

    def locks(self) -> list[str]:
        return [host for host in self.lab.names if self.lab.run(host, "test -e ~/shop/.gapless/lock", check=False).returncode == 0]

    def rotation(self) -> set[str]:
        """Return the servers that the balancer gives traffic to."""
        return {name for name, row in self.lab.servers().items() if str(row["status"]).startswith("UP")}

    def needs_mounts(self) -> None:
        """Skip, with the reason, where hosts have no file systems of their own to be filled or made read-only."""
        if self.lab.mode != "namespace":
            pytest.skip("hosts share this machine's file systems here; as root they have their own")

    @staticmethod
    def needs_program(name: str) -> str:
        """Return the path of a program that is no part of the lab; skip, with what to type, where it can't be had."""
        try:
            return system.ensure_one(name)
        except system.MissingPrograms as missing:
            pytest.skip(str(missing))

    def release_of(self, done: Done) -> str:
        """Read the id of the release that a deploy built from its output."""
        return next(line.split("build: ")[1].strip() for line in done.out.splitlines() if "── build: " in line)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    sweep_dead("t[0-9]*")
    lab = Lab.up(name=f"t{os.getpid() % 10000}", hosts=3, bound=True, in_memory=True)
    try:
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="session")
def live(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give the fleet with v1 deployed everywhere: the first deploy, where nothing runs yet."""
    site = Site(lab, tmp_path_factory.mktemp("site"))
    for host in lab.names:
        lab.run(host, "echo DEMO_OLD=1 >> ~/shop/shared/.env")
    done = site.fab("deploy", "--ref", "v1")
    assert done.code == 0, done.out
    return site


@pytest.fixture
def site(live: Site) -> Iterator[Site]:
    """Give the fleet; whatever a test does to it, it must leave it whole."""
    live.configure()
    yield live
    assert live.locks() == []
    # The balancer sees a host that was out of reach a moment after it is back.
    wait_until("all servers to be up", lambda: live.rotation() == set(live.lab.names))


def crash_reason(name: str) -> str:
    return str(RELEASES[name].reason)
