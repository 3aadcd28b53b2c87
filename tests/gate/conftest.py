"""Real PM2, real apps: a private daemon per test module and sites that are laid out like a host."""


from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import pytest

HERE = Path(__file__).parent
APPS = HERE / "apps"
GATE = Path(os.environ.get("GAPLESS_GATE", HERE.parents[1] / "fabfile/runtime/gate.cjs"))
sys.path.insert(0, str(HERE.parent))

T = TypeVar("T")
MINIMAL_ENV = {key: os.environ[key] for key in ("PATH", "HOME", "USER", "LANG") if key in os.environ}


# ------------------------------------------------------------------------------------------------- dependencies


def cached_modules(apps: Path) -> Path:
    """Install a lockfile's packages once per machine, aside and then by rename, and say where they are."""
    default = f"/tmp/gapless-cache-{os.getuid()}"
    key = hashlib.sha256((apps / "package-lock.json").read_bytes()).hexdigest()[:16]
    home = Path(os.environ.get("GAPLESS_CACHE", default)) / "node" / key
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=home.parent))
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(apps / name, aside)
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=aside, check=True)
        try:
            aside.rename(home)
        except OSError:  # another test run was faster
            shutil.rmtree(aside)
    return home / "node_modules"


@pytest.fixture(scope="session")
def node_modules() -> Path:
    return cached_modules(APPS)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A throw-away certificate, as the variables that the HTTPS app reads."""
    home = tmp_path_factory.mktemp("tls")
    key, cert = str(home / "key.pem"), str(home / "cert.pem")
    subject = ["-subj", "/CN=localhost", "-days", "2", "-nodes", "-keyout", key, "-out", cert]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", *subject]
    subprocess.run(command, check=True, capture_output=True)
    return {"TLS_KEY": key, "TLS_CERT": cert}


# ------------------------------------------------------------------------------------------------------- waiting


def eventually(question: Callable[[], T], within: float = 15.0, every: float = 0.05) -> T:
    """Ask until the answer is true."""
    until = time.monotonic() + within
    while not (answer := question()):
        assert time.monotonic() < until, f"not so within {within} s"
        time.sleep(every)
    return answer


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return []


# ----------------------------------------------------------------------------------------------------------- PM2


class Pm2:
    """A PM2 daemon of its own, asked through one long-lived helper."""

    def __init__(self, home: Path, node_modules: Path) -> None:
        self.home = home
        # LEAK is in the daemon's environment, so an app that sees it inherited what it must not.
        env = {**MINIMAL_ENV, "PM2_HOME": str(home), "LEAK": "from the daemon"}
        self.log = (home.parent / "pm2ctl.log").open("w")
        command = ["node", str(HERE / "pm2ctl.cjs"), str(node_modules / "pm2")]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.log}
        self.helper = subprocess.Popen(command, env=env, text=True, cwd="/", **pipes)
        self.waiting: dict[int, Future[Any]] = {}
        threading.Thread(target=self._listen, daemon=True).start()
        self.ask("list")

    @property
    def daemon(self) -> int:
        """Name the daemon of now: a driver may have started another."""
        return int((self.home / "pm2.pid").read_text())

    def _listen(self) -> None:
        assert self.helper.stdout
        for line in self.helper.stdout:
            reply = json.loads(line)
            future = self.waiting.pop(reply["key"])
            if "error" in reply:
                future.set_exception(RuntimeError(reply["error"]))
            else:
                future.set_result(reply["result"])

    def order(self, order: str, **options: Any) -> Future[Any]:
        """Send an order; PM2 answers when it is done with it."""
        future: Future[Any] = Future()
        key = id(future)
        self.waiting[key] = future
        assert self.helper.stdin
        self.helper.stdin.write(json.dumps({"key": key, "order": order, **options}) + "\n")
        self.helper.stdin.flush()
        return future

    def ask(self, order: str, timeout: float = 60, **options: Any) -> Any:
        return self.order(order, **options).result(timeout)

    def workers(self, name: str) -> list[dict[str, Any]]:
        return [worker for worker in self.ask("list") if worker["name"] == name]

    def end(self) -> None:
        """End the daemon by its pid and see to it that nothing of it is left."""
        daemon = self.daemon
        below = [daemon, *children(daemon)]
        os.kill(daemon, signal.SIGTERM)
        with contextlib.suppress(AssertionError):
            eventually(lambda: not any(map(alive, below)), within=20)  # its workers may end a moment after it
        left = [pid for pid in below if alive(pid)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert self.helper.stdin
        self.helper.stdin.close()
        self.helper.wait(10)
        self.log.close()
        assert not left, f"still there after the daemon's end: {left}"


@pytest.fixture(scope="module")
def pm2(node_modules: Path) -> Iterator[Pm2]:
    with a_pm2(node_modules) as daemon:
        yield daemon


@contextlib.contextmanager
def a_pm2(node_modules: Path, end: Callable[[Pm2], None] = Pm2.end) -> Iterator[Pm2]:
    """Have a daemon of our own; a short path, for unix sockets end at 107 bytes."""
    home = Path(tempfile.mkdtemp(prefix="gg-", dir="/tmp"))
    daemon = Pm2(home / "pm2", node_modules)
    try:
        yield daemon
    finally:
        try:
            end(daemon)
        finally:
            shutil.rmtree(home)


# ---------------------------------------------------------------------------------------------------------- site


def free_port() -> int:
    """Find two free ports in a row, below the range that outgoing connections take theirs from."""
    for port in range(21000 + os.getpid() % 9000, 32000, 7):
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", port))
            two.bind(("127.0.0.1", port + 1))
            return port
    raise RuntimeError("no free port")


class Site:
    """One app on one host: its tree, its releases, its workers."""

    def __init__(self, root: Path, pm2: Pm2, node_modules: Path, name: str) -> None:
        self.root, self.pm2, self.name = root, pm2, name
        self.node_modules = node_modules
        self.run = root / ".gapless/run"
        self.port = free_port()
        self.witness = root / "witness"
        self.run.mkdir(parents=True, mode=0o700)
        shutil.copy(GATE, root / ".gapless/gate.cjs")

    # What the deployer would do

    def release(self, number: int, script: str = "plain.cjs", mode: str = "good", *, env: dict[str, str] | None = None,
                **settings: Any) -> str:
        """Lay out a release and mark it complete."""
        commit = hashlib.sha1(f"{number}".encode(), usedforsecurity=False).hexdigest()
        release = f"{number:04d}-{commit[:7]}"
        home = self.root / "releases" / release
        shutil.copytree(APPS, home)
        (home / "node_modules").symlink_to(self.node_modules)
        process = {
            "script": script, "port": self.port, "env_file": ".env",
            "env": {"MODE": mode, "KEEP_ALIVE_MS": "1000", "WITNESS": str(self.witness), **(env or {})},
            "health": {"path": "/health", "timeout_ms": 2000}, "healthy_deadline_ms": 20000, "kill_timeout_ms": 9000,
        }
        marker = {
            "schema": 1, "release": release, "commit": commit, "ref": "main", "app": self.name, "header": "x-release",
            "processes": {self.name: {**process, **settings}},
        }
        (home / ".gapless.json").write_text(json.dumps(marker))
        return release

    def switch(self, release: str) -> None:
        """Point `current` at a release, in one step."""
        aside = self.root / "current.new"
        aside.symlink_to(f"releases/{release}")
        aside.rename(self.root / "current")

    def settings(self, **settings: Any) -> None:
        (self.run / "reload.json").write_text(json.dumps({"run": "test", **settings}))

    def start(self, release: str, wait: bool = True, **options: Any) -> float:
        """Start the app for the first time and say how long PM2 took until it called it ready."""
        self.switch(release)
        gate, current = self.root / ".gapless/gate.cjs", self.root / "current"
        defaults = {
            "exec_mode": "cluster", "instances": 1, "wait_ready": True, "listen_timeout": 60000, "kill_timeout": 9000,
            "env": {"STALE": "from the start"},
        }  # fmt: skip
        began = time.monotonic()
        started = self.pm2.order("start", name=self.name, script=str(gate), cwd=str(current), **{**defaults, **options})
        if wait:
            started.result(30)
        return time.monotonic() - began

    def reload(self, pm_id: int | None = None) -> Future[Any]:
        """Begin to replace one worker; the result is there when PM2 has ended the old one."""
        return self.pm2.order("reload", id=self.workers()[0]["pm_id"] if pm_id is None else pm_id)

    def deploy(self, release: str, timeout: float = 40) -> None:
        """Replace all workers, one after the other."""
        self.switch(release)
        for worker in self.workers():
            self.reload(worker["pm_id"]).result(timeout)

    def break_with(self, release: str) -> str:
        """Start a release that does not come up and return its crash log."""
        self.start(release, wait=False, autorestart=False)
        return self.crash()

    def remove(self) -> None:
        """Delete the app from PM2 and end what it lost track of: this is cleaning up, not a test."""
        # PM2 7 loses a worker when it deletes an app in the instant in which it respawns one: the worker that comes up
        # then is in no list and serves on. So let every respawn come up first; one may still slip through.
        with contextlib.suppress(AssertionError):
            eventually(lambda: all(self._settled(worker) for worker in self.workers()), 5)
        if self.workers():
            self.pm2.ask("delete", name=self.name)
        with contextlib.suppress(AssertionError):
            eventually(lambda: not self.states(), 5)
        for state in self.states():
            os.kill(state["pid"], signal.SIGKILL)
        eventually(lambda: not self.states())

    def _settled(self, worker: dict[str, Any]) -> bool:
        up = any(state["pid"] == worker["pid"] and state["state"] == "open" for state in self.states())
        return worker["status"] in ("stopped", "errored") or (worker["status"] == "online" and up)

    # What an onlooker sees

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def workers(self) -> list[dict[str, Any]]:
        return self.pm2.workers(self.name)

    def pids(self) -> list[int]:
        return [worker["pid"] for worker in self.workers()]

    def states(self) -> list[dict[str, Any]]:
        """Read what the living workers say of themselves."""
        found = []
        for file in self.run.glob("worker-*.json"):
            with contextlib.suppress(FileNotFoundError):
                state = json.loads(file.read_text())
                found += [state] if alive(state["pid"]) else []
        return found

    def state(self, release: str, state: str, within: float = 15) -> dict[str, Any]:
        """Wait for a worker of a release to be in a state."""
        wanted = {"release": release, "state": state}
        return eventually(lambda: next((w for w in self.states() if wanted.items() <= w.items()), None), within)

    def crash(self, within: float = 15) -> str:
        """Wait for a crash log."""
        return eventually(lambda: next((log.read_text() for log in self.run.glob("crash-*.log")), None), within)

    def get(self, path: str = "/") -> tuple[int, dict[str, str], bytes]:
        return fetch(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10), path)

    def health(self, pid: int, path: str = "/health") -> tuple[int, dict[str, str], bytes]:
        return fetch(UnixConnection(str(self.run / f"health-{pid}.sock")), path)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.path)


def fetch(connection: http.client.HTTPConnection, path: str) -> tuple[int, dict[str, str], bytes]:
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()


@pytest.fixture
def site(pm2: Pm2, node_modules: Path) -> Iterator[Site]:
    """A site of its own per test; its processes are gone afterwards."""
    number = sum(1 for _ in pm2.home.parent.iterdir())
    one = Site(pm2.home.parent / f"s{number}", pm2, node_modules, f"app{number}")
    try:
        yield one
    finally:
        one.remove()
