"""Bring up N sshds, each with an address, a home and a key of its own, behind a line of a given length; node and pm2 are stubs there."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab import making, namespaces, system, texts

from .cgroups import Group, until

PORT, APP_PORT = 2222, 3000
NEAR, NET = "10.77.0.1", "10.77.0.0/16"
HERE = Path(__file__).parent
TOOLS = HERE / "stubs/pm2/bin"
READY_SECONDS = 60
ALIKE = "/srv"  # where each host has its home too, in its own mount namespace: who knows one path for all hosts finds it there
COMMITS = 400
APP = {"package.json": '{"name": "shop"}\n', "dist/main.js": "// the app\n", **{f"src/part{n}.ts": f"// part {n}\n" * 40 for n in range(10)}}
SSHD = """\
LogLevel VERBOSE
MaxStartups 4000
MaxSessions 100
"""
SSH = """\
Host *
  User {user}
  Port {port}
  IdentityFile {folder}/id
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  LogLevel ERROR
"""


@dataclass
class Fleet:
    """Hold a fleet that is up; `hosts` are addresses."""

    folder: Path
    hosts: list[str]
    groups: Mapping[str, Group] | None
    commits: list[str] = field(default_factory=list)
    processes: list[subprocess.Popen[Any]] = field(default_factory=list)

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def repo(self) -> Path:
        return self.folder / "repo.git"

    def home(self, host: str) -> Path:
        """Give a host's home."""
        return self.folder / "hosts" / host / "home"

    def log(self, host: str) -> Path:
        """Give the log of a host's sshd."""
        return self.folder / "hosts" / host / "log"

    def advance(self) -> str:
        """Let main lead to a commit that no host has fetched yet, and return it."""
        commit = self.commits.pop()
        git(self.repo, "update-ref", "refs/heads/main", commit)
        return commit

    def down(self) -> None:
        """End the sshds and the line; what they wait for would not end by being asked."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()


def up(folder: Path, count: int, rtt: float, isolated: bool, groups: Mapping[str, Group] | None) -> Fleet:
    """Make a fleet; `rtt` in seconds needs `isolated`, namespaces of our own."""
    prefix = "10.77" if rtt else "127.77"
    fleet = Fleet(folder, [f"{prefix}.{1 + n // 200}.{1 + n % 200}" for n in range(count)], groups)
    for program in ("sshd", "ssh", "ssh-keygen", "git"):
        system.ensure_one(program)
    write(fleet)
    inside: list[str] = []
    if isolated:
        namespaces.ip("link", "set", "lo", "up")
    if rtt:
        line = lay_line(fleet, rtt)
        inside = [system.path_of("nsenter"), f"--net=/proc/{line}/ns/net"]
    for host in fleet.hosts:
        place = folder / "hosts" / host
        sshd = [system.path_of("sshd"), "-D", "-E", str(place / "log"), "-f", str(place / "sshd_config")]
        apart = alone(fleet.home(host)) if isolated else []
        fleet.processes.append(spawn([*inside, *apart, *sshd], fleet, "hosts"))
    responder = [sys.executable, "-I", str(HERE / "responder.py"), str(APP_PORT), *fleet.hosts]
    started(spawn([*inside, *responder], fleet, "line", stdout=subprocess.PIPE), fleet, "what answers on the app's port")
    for host in fleet.hosts:
        if not until(lambda host=host: answers(host), READY_SECONDS):
            raise RuntimeError(f"the sshd of {host} does not answer: {fleet.log(host).read_text()}")
    return fleet


def alone(home: Path) -> list[str]:
    """Give what begins a command line that has mounts and processes of its own."""
    unshare = [system.path_of("unshare"), "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
    return [*unshare, "sh", "-c", f'[ ! -d {ALIKE} ] || mount --bind "$0" {ALIKE}; exec "$@"', str(home)]


def spawn(command: list[str], fleet: Fleet, kind: str, **more: Any) -> subprocess.Popen[Any]:
    """Start what lives as long as the fleet, in its control group."""
    enter = fleet.groups[kind].enter if fleet.groups else None
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=enter, start_new_session=True, cwd="/", **more)


def started(process: subprocess.Popen[Any], fleet: Fleet, what: str) -> None:
    """Keep a process that says `ready` first."""
    fleet.processes.append(process)
    assert process.stdout
    if process.stdout.readline() != b"ready\n":
        raise RuntimeError(f"{what} did not start")


def lay_line(fleet: Fleet, rtt: float) -> int:
    """Start the delay line, give its far end all addresses, and return the pid in whose namespace they are."""
    first, *others = fleet.hosts
    command = [sys.executable, "-I", str(HERE / "delay.py"), str(rtt / 2), NEAR, first, NET]
    line = spawn(command, fleet, "line", stdout=subprocess.PIPE)
    os.setpriority(os.PRIO_PROCESS, line.pid, -15)  # late packets would be a longer line
    started(line, fleet, "the delay line")
    orders = "\n".join(f"addr add {host}/32 dev lo" for host in others)
    enter = [system.path_of("nsenter"), f"--net=/proc/{line.pid}/ns/net", system.path_of("ip"), "-batch", "-"]
    subprocess.run(enter, input=orders, text=True, check=True)
    return line.pid


def answers(host: str) -> bool:
    """Tell whether somebody listens there."""
    try:
        with socket.create_connection((host, PORT), 2):
            return True
    except OSError:
        return False


def write(fleet: Fleet) -> None:
    """Write keys, configurations, homes and the repository."""
    folder = fleet.folder
    making.keygen(folder / "id")
    fleet.ssh_config.write_text(SSH.format(user=getpass.getuser(), port=PORT, folder=folder))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda host: write_host(fleet, host), fleet.hosts))
    known = [texts.known_host(host, PORT, (folder / "hosts" / host / "hostkey.pub").read_text()) for host in fleet.hosts]
    (folder / "known_hosts").write_text("".join(known))
    fleet.commits = make_repo(fleet.repo)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


def write_host(fleet: Fleet, host: str) -> None:
    """Write what one host's sshd needs."""
    place, home = fleet.folder / "hosts" / host, fleet.home(host)
    home.mkdir(parents=True)
    making.keygen(place / "hostkey")
    shutil.copy(fleet.folder / "id.pub", place / "authorized_keys")
    number = fleet.hosts.index(host) + 1
    env = {"HOME": str(home), "PATH": f"{TOOLS}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "BENCH_HOST": str(number)}
    (place / "sshd_config").write_text(SSHD + texts.sshd_config(address=host, port=PORT, files=place, env=env))


def share(fleet: Fleet, root: str) -> None:
    """Put what an operator keeps in shared/ below a root on every host."""
    for host in fleet.hosts:
        shared = fleet.home(host) / root / "shared"
        (shared / "uploads").mkdir(parents=True)
        (shared / ".env").write_text("A=1\n")


def make_repo(repo: Path) -> list[str]:
    """Make a repository with a small app and many commits, and return these."""
    subprocess.run(["git", "init", "-q", "--bare", str(repo)], check=True)
    lines = []
    for number in range(COMMITS):
        who = f"committer bench <bench@localhost> {int(time.time()) - COMMITS + number} +0000"
        lines.append(f"commit refs/heads/all\nmark :{number + 1}\n{who}\ndata 4\nbump")
        files = APP if number == 0 else {"src/part0.ts": f"// version {number}\n"}
        lines += [f"M 100644 inline {name}\ndata {len(text)}\n{text}" for name, text in files.items()]
    git(repo, "fast-import", "--quiet", input_="\n".join(lines))
    return git(repo, "rev-list", "refs/heads/all").split()


def git(repo: Path, *words: str, input_: str | None = None) -> str:
    """Ask git about a repository."""
    return subprocess.run(["git", f"--git-dir={repo}", *words], input=input_, capture_output=True, text=True, check=True, timeout=60).stdout
