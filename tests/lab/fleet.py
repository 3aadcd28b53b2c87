"""Bring a real fleet up on this machine: sshd, PM2 and HAProxy on N hosts, without Docker.

    lab = Lab.up("t1", hosts=3)
    lab.run("lab1", "pm2 ls"); lab.servers(); lab.cut("lab2")
    lab.down()

As root each host is a network, mount and PID namespace; else a set of ports and a HOME on 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from . import cache, claim, egress, loopback, making, namespaces, system, texts
from .hosts import BALANCER, DEFAULT_NAME, Host, LabError
from .making import Ground

__all__ = ["DEFAULT_NAME", "Lab", "LabError"]

MOST_HOSTS = 9
READY_SECONDS = 15
PM2_SECONDS = 30
LISTENER, BALANCING = b"[listener]", b"haproxy.cfg"


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked of `up`."""

    name: str
    hosts: int
    mode: str
    disk: str | None
    bound: bool
    in_memory: bool


class Lab:
    """A fleet that is up. Make one with `Lab.up`, or reach another process's with `Lab.attach`."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self.state = dict(state)
        self.name: str = state["name"]
        self.mode: str = state["mode"]
        self.dir = Path(state["dir"])
        self.disk: str | None = state["disk"]
        self.ground = making.ground_for(self.mode, self.name, state["number"])
        every = [unpack(host) for host in state["hosts"]]
        self.balancer = every[0]
        self.members = {host.name: host for host in every[1:]}
        self.inits: dict[str, int] = dict(state["inits"])
        self._owner_fd: int | None = None

    # -- coming and going -------------------------------------------------------------------------------------------

    @classmethod
    def up(
        cls,
        name: str = DEFAULT_NAME,
        hosts: int = 3,
        mode: str | None = None,
        *,
        disk: str | None = None,
        bound: bool = False,
        in_memory: bool = False,
    ) -> Lab:
        """Start a lab and leave it standing; with `bound` it ends when this process does.

        `disk` (such as "300m", namespace mode only) makes each app root a file system of that size. With `in_memory` its files lie in
        memory where this machine has plenty: npm writes ten thousand for each build, which takes a disk twice the time.
        """
        check_request(name, hosts)
        mode = mode or ("namespace" if namespaces.allowed() else "loopback")
        if disk and mode != "namespace":
            raise LabError("a disk of limited size needs namespaces, which need root")
        system.ensure(mode)
        lock = claim.take(name)
        try:
            clean(name)
            lab = build(Request(name, hosts, mode, disk, bound, in_memory and mode == "namespace"), lock)
        except BaseException:
            # Our own descriptor would keep the name taken while we wait for the hosts to let go.
            os.close(lock)
            take_down(name)
            raise
        os.close(lock)
        return lab

    @classmethod
    def attach(cls, name: str = DEFAULT_NAME) -> Lab:
        """Reach a lab that another process brought up."""
        try:
            lab = cls(json.loads((making.lab_dir(name) / "lab.json").read_text()))
        except FileNotFoundError:
            raise LabError(f"lab '{name}' is not up. Start it with: python -m tests.lab up --name {name}") from None
        if not all(b"init.py" in loopback.command_line(pid) for pid in lab.inits.values()):
            raise LabError(f"lab '{name}' has died. Clean up with: python -m tests.lab down --name {name}")
        return lab

    def down(self) -> None:
        """End the lab and leave nothing behind."""
        take_down(self.name)
        if self._owner_fd is not None:
            os.close(self._owner_fd)
            self._owner_fd = None

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    # -- where things are -------------------------------------------------------------------------------------------

    @property
    def ssh_config(self) -> Path:
        """The file for `ssh -F`: aliases lab1…labN and lablb."""
        return self.dir / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        """The hosts' real keys."""
        return self.dir / "known_hosts"

    @property
    def repo(self) -> Path:
        """The bare repository of the app; hosts see it at this path too, and as ~/repo.git."""
        return self.dir / "repo.git"

    @property
    def url(self) -> str:
        """The app through the balancer."""
        return self.balancer.url

    @property
    def names(self) -> list[str]:
        """The hosts behind the balancer."""
        return list(self.members)

    def host_url(self, host: str) -> str:
        """Say where a host's app answers without the balancer."""
        return self.host(host).url

    def root(self, host: str) -> str:
        """Say where the app lives, as the host names it."""
        return str(self.host(host).root)

    def path(self, host: str, inside: str | Path) -> Path:
        """Name a host's path as this process can open it."""
        return self.ground.outside(self.inits[host], Path(inside))

    def ref(self, name: str) -> str:
        """Resolve a tag or branch of the app's repository to its commit."""
        return cache.git(self.repo, "rev-parse", f"{name}^{{commit}}").strip()

    def host(self, name: str) -> Host:
        """Find a host by its name, the balancer too."""
        if name == BALANCER:
            return self.balancer
        if name not in self.members:
            raise LabError(f"no host {name}; there are {', '.join(self.members)} and {BALANCER}")
        return self.members[name]

    # -- looking and touching without ssh ---------------------------------------------------------------------------

    def run(
        self, host: str, script: str, *, check: bool = True, timeout: float = 60, input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script inside a host, past ssh: the tests' independent eye."""
        there = self.host(host)
        # `timeout` ends the script's whole process group, on the inside; killing nsenter would leave it running.
        inner = ["timeout", "--kill-after=2", str(timeout), "/bin/sh", "-c", f'cd "$HOME" || exit\n{script}']
        command = [*self.ground.enter_prefix(self.inits[host]), *inner]
        done = subprocess.run(
            command,
            env=making.host_env(there),
            input=input if input is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout + 10,
            check=False,
        )
        if done.returncode in (124, 137):
            raise subprocess.TimeoutExpired(script, timeout, done.stdout, done.stderr)
        if check and done.returncode:
            raise LabError(f"{host}: exit {done.returncode} from: {script}\n{done.stdout}{done.stderr}")
        return done

    def pm2(
        self, host: str, *args: str, check: bool = True, timeout: float = PM2_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run PM2's command line inside a host."""
        return self.run(host, shlex.join(["pm2", *args]), check=check, timeout=timeout)

    def pids(self, host: str) -> list[int]:
        """List all processes of a host, by the numbers that this process knows."""
        return self.ground.pids(self.host(host), self.inits[host])

    def haproxy(self, command: str) -> str:
        """Say something to HAProxy's runtime socket and return its answer."""
        with socket.socket(socket.AF_UNIX) as talk:
            talk.settimeout(5)
            talk.connect(str(self.balancer.folder / "home/haproxy/admin.sock"))
            talk.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: talk.recv(65536), b"")).decode()

    def servers(self) -> dict[str, dict[str, Any]]:
        """Read what HAProxy thinks of each host: status, scur, check_status and all of `show stat`."""
        text = self.haproxy(f"show stat {texts.BACKEND} 4 -1").removeprefix("# ")
        return {
            row["svname"]: {key: number(value) for key, value in row.items()}
            for row in csv.DictReader(io.StringIO(text))
        }

    def forget_health(self, host: str) -> None:
        """Make HAProxy hold a host for dead until its checks say otherwise; it would take a new one for healthy."""
        self.haproxy(f"set server {texts.BACKEND}/{host} health down")

    # -- making trouble ---------------------------------------------------------------------------------------------

    def cut(self, host: str) -> None:
        """Pull a host's network cable."""
        self.ground.link(self.host(host), "down")

    def heal(self, host: str) -> None:
        """Put the cable back."""
        self.ground.link(self.host(host), "up")

    def stop_sshd(self, host: str) -> None:
        """Stop accepting ssh; sessions that are open go on."""
        os.kill(self.inits[host], signal.SIGUSR1)
        wait_until(f"{host}: sshd to stop", lambda: not self._listener(host))

    def start_sshd(self, host: str) -> None:
        """Accept ssh again."""
        if self._listener(host):
            return
        os.kill(self.inits[host], signal.SIGUSR2)
        wait_until(f"{host}: sshd to start", lambda: bool(self._listener(host)) and greets(self.host(host)))

    def change_host_key(self, host: str) -> None:
        """Give a host a key that known_hosts does not have."""
        folder = self.host(host).folder
        for key in ("hostkey", "hostkey.pub"):
            (folder / key).rename(folder / f"true-{key}")
        making.keygen(folder / "hostkey")
        self._restart_sshd(host)

    def restore_host_key(self, host: str) -> None:
        """Give a host its first key back."""
        folder = self.host(host).folder
        if (folder / "true-hostkey").exists():
            for key in ("hostkey", "hostkey.pub"):
                (folder / f"true-{key}").rename(folder / key)
            self._restart_sshd(host)

    def fill_disk(self, host: str) -> None:
        """Leave no byte free under the app root; only for a lab that was brought up with `disk`."""
        if not self.disk:
            raise LabError('this lab has no disks of its own; bring it up with disk="300m"')
        self.run(host, f"dd if=/dev/zero of={self.root(host)}/.filler bs=64k 2>/dev/null || true")

    def free_disk(self, host: str) -> None:
        """Take back what `fill_disk` did."""
        self.run(host, f"rm -f {self.root(host)}/.filler")

    def reset(self, host: str | None = None) -> None:
        """Make a host (or all of them and the database) as before the first deploy; keep shared/.env."""
        for name in [host] if host else self.names:
            self._reset_host(name)
        if host is None:
            wipe(self.dir / "db")

    def _reset_host(self, host: str) -> None:
        if self.mode == "namespace":
            self.heal(host)
        self.start_sshd(host)
        self.restore_host_key(host)
        self._kill_all_but_services(host)
        env = self.path(host, self.root(host)) / "shared/.env"
        kept = env.read_text()
        wipe(self.path(host, self.root(host)))
        shutil.rmtree(self.path(host, self.host(host).home / ".pm2"), ignore_errors=True)
        making.write_env(env, kept)
        self.haproxy(f"set server {texts.BACKEND}/{host} state ready")
        self.forget_health(host)

    def _kill_all_but_services(self, host: str) -> None:
        init = self.inits[host]

        def strangers() -> list[int]:
            return [pid for pid in self.pids(host) if pid != init and not is_service(pid, init)]

        while found := strangers():
            for pid in found:
                loopback.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def _restart_sshd(self, host: str) -> None:
        self.stop_sshd(host)
        self.start_sshd(host)

    def _listener(self, host: str) -> list[int]:
        init = self.inits[host]
        return [pid for pid in self.pids(host) if is_service(pid, init, (LISTENER,))]


# -- building -------------------------------------------------------------------------------------------------------


def check_request(name: str, hosts: int) -> None:
    """Refuse names and numbers that would not fit into interface names and addresses."""
    if not re.fullmatch(r"[a-z][a-z0-9]{0,7}", name):
        raise LabError(f"lab name {name!r}: use 1 to 8 of a-z and 0-9, a letter first")
    if not 1 <= hosts <= MOST_HOSTS:
        raise LabError(f"{hosts} hosts: a lab has 1 to {MOST_HOSTS}")


def build(request: Request, lock: int) -> Lab:
    """Make everything, in the order in which it is needed."""
    ground, hosts = making.place(request.name, request.mode, request.hosts)
    folder = making.lab_dir(request.name)
    announce(request, folder, hosts)
    cache.pm2_bin()
    folder.mkdir(mode=0o700)
    if request.in_memory:
        namespaces.lay_memory(folder)
    making.make_repo(folder / "repo.git")
    making.write_files(folder, hosts, ground.gateway)
    ground.lay(hosts)
    owner, held = os.pipe()
    inits = {host.name: making.spawn(ground, host, hosts, request.disk, (owner, lock)) for host in hosts}
    relay = making.spawn_relay(folder, owner) if ground.gateway else None
    os.close(owner)
    lab = Lab(describe(request, ground, hosts, inits))
    settle(lab)
    if ground.gateway:
        at = (ground.gateway, egress.RELAY_PORT)
        wait_until("the relay to answer", partial(is_open, at), log=folder / "relay/log")
    (folder / "lab.json").write_text(json.dumps(lab.state, indent=1))
    if request.name == DEFAULT_NAME:
        making.point_checkout_at(folder)
    if request.bound:
        lab._owner_fd = held
    else:
        # One byte for each init: from here on they outlive us.
        os.write(held, b"." * (len(inits) + bool(relay)))
        os.close(held)
    return lab


def describe(request: Request, ground: Ground, hosts: list[Host], inits: dict[str, int]) -> dict[str, Any]:
    """Say all that another process needs to attach; this is what lab.json holds."""
    folder = making.lab_dir(request.name)
    state = {
        "name": request.name,
        "mode": request.mode,
        "number": ground.number,
        "dir": folder,
        "disk": request.disk,
        "hosts": [asdict(host) for host in hosts],
        "inits": inits,
        "url": hosts[0].url,
        "ssh_config": folder / "ssh_config",
        "known_hosts": folder / "known_hosts",
        "repo": folder / "repo.git",
    }
    return json.loads(json.dumps(state, default=str))  # type: ignore[no-any-return]


def settle(lab: Lab) -> None:
    """Wait until every host answers, then put there what an operator would have."""
    for host in (lab.balancer, *lab.members.values()):
        wait_until(
            f"{host.name}: sshd to answer", partial(has_started, host, lab.inits[host.name]), log=host.folder / "log"
        )
    wait_until("HAProxy to answer", partial(answers, lab), log=lab.balancer.folder / "log")
    for host in lab.members.values():
        lab.forget_health(host.name)
        making.write_env(lab.path(host.name, host.root) / "shared/.env", making.env_file(host, lab.mode))


def announce(request: Request, folder: Path, hosts: list[Host]) -> None:
    """Say what is about to be made, and where."""
    places = ", ".join(f"{host.name} {host.address}:{host.ssh_port}" for host in hosts)
    print(
        f"lab '{request.name}' ({request.mode}): {places}; files in {folder}, caches in {cache.cache_dir()}", flush=True
    )
    if request.mode == "loopback" and request.name == DEFAULT_NAME and hosts[0].http_port != loopback.WEB_PORT:
        print(
            f"lab: port {loopback.WEB_PORT} of {hosts[0].address} is taken; give the balancer in hosts.yaml "
            f'url: "http://{BALANCER}:{hosts[0].http_port}"',
            flush=True,
        )


# -- taking down ----------------------------------------------------------------------------------------------------


def take_down(name: str) -> bool:
    """End a lab of this name, alive or stale; tell whether there was one."""
    there = making.lab_dir(name).exists() or claim.lock_path(name).exists()
    clean(name)
    if there:
        claim.drop(claim.wait_for(name, 10), name)
    return there


def sweep_dead(pattern: str) -> None:
    """Take down the labs of these names that nobody holds any more: what was killed may have left gigabytes in memory."""
    for folder in making.lab_dir(pattern).parent.glob(f"{making.lab_dir(pattern).name}/"):
        name = folder.name.removeprefix(making.lab_dir("").name)
        # Two may find the same one, or one that its owner is taking down just now: whatever goes wrong then is not ours to fail of.
        with contextlib.suppress(LabError, OSError, subprocess.CalledProcessError):
            lock = claim.take(name)
            try:
                clean(name)
            finally:
                claim.drop(lock, name)


def clean(name: str) -> None:
    """Remove all that a lab of this name may have left: processes, namespaces, files."""
    folder = making.lab_dir(name)
    if folder.exists() and folder.stat().st_uid != os.getuid():
        raise LabError(f"{folder} belongs to uid {folder.stat().st_uid}, not to us; use another --name")
    namespaces.sweep(name)
    loopback.sweep(folder)
    if folder.is_mount():
        namespaces.lift_memory(folder)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    link = making.CHECKOUT / ".lab"
    if link.is_symlink() and link.readlink() == folder:
        link.unlink()


# -- small help -----------------------------------------------------------------------------------------------------


def unpack(host: Mapping[str, Any]) -> Host:
    """Read a host back from lab.json."""
    return Host(**{**host, "folder": Path(host["folder"]), "home": Path(host["home"])})


def wipe(folder: Path) -> None:
    """Empty a directory but keep it: it may be a mount point."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def is_service(pid: int, init: int, titles: tuple[bytes, ...] = (LISTENER, BALANCING)) -> bool:
    """Tell whether this process is one of init's services and not an orphan, such as a session of an ended sshd."""
    with contextlib.suppress(OSError):
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return parent == init and any(title in loopback.command_line(pid) for title in titles)
    return False


def is_open(address: tuple[str, int]) -> bool:
    """Tell whether anybody listens there."""
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True


def greets(host: Host) -> bool:
    """Tell whether a host's sshd says hello."""
    try:
        with socket.create_connection((host.address, host.ssh_port), timeout=1) as talk:
            return talk.recv(4) == b"SSH-"
    except OSError:
        return False


def has_started(host: Host, init: int) -> bool:
    """Tell whether a new host's sshd says hello; give up at once when its init has died."""
    if not loopback.command_line(init):
        raise LabError(f"{host.name}: its init died:\n{(host.folder / 'log').read_text(errors='replace')}")
    return greets(host)


def answers(lab: Lab) -> bool:
    """Tell whether HAProxy's runtime socket answers."""
    try:
        return len(lab.servers()) == len(lab.members)
    except OSError:
        return False


def wait_until(
    what: str, ready: Callable[[], bool], *, seconds: float = READY_SECONDS, log: Path | None = None
) -> None:
    """Wait for something; when it does not come, say what, with the end of the log."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            tail = f"\n{log.read_text(errors='replace')[-2000:]}" if log and log.exists() else ""
            raise LabError(f"waited {seconds:.0f} s in vain for {what}{tail}")
        time.sleep(0.01)


def number(value: str) -> int | str:
    """Read whole numbers as such."""
    return int(value) if re.fullmatch(r"-?\d+", value) else value
