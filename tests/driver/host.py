"""One host as the driver finds it: its tree, its releases, its PM2; and one run of the driver as its deployer sees it."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fabfile import plan
from fabfile.inventory.values import App, Group, Health, Process, Ssh, Update
from fabfile.inventory.values import Host as Named
from tests import load
from tests.gate.conftest import MINIMAL_ENV, Pm2, alive, children, eventually

HERE = Path(__file__).parent
RUNTIME = Path(os.environ.get("GAPLESS_RUNTIME", HERE.parents[1] / "fabfile/runtime"))
MARK = "@gapless-driver-test"
FINAL = {"done", "reverted", "broken", "lost"}
KILL = 4.0  # seconds; the drain must see idle connections off before, and a slow machine must not turn a test red
RUN = "20260101-000000-me"


def two_ports() -> int:
    """Find two free ports in a row, anywhere below those of outgoing connections: other tests look for theirs meanwhile."""
    while True:
        port = random.randrange(21000, 32000, 2)
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", port))
            two.bind(("127.0.0.1", port + 1))
            return port


class Host:
    """A root with releases of an app, under a PM2 that others may use too."""

    def __init__(self, root: Path, pm2: Pm2, modules: Path, name: str) -> None:
        self.root, self.pm2, self.modules, self.name = root, pm2, modules, name
        self.base = root / ".gapless"
        self.run = self.base / "run"
        self.port = two_ports()
        self.runs: list[Run] = []
        self.processes: tuple[Process, ...] = (self.process(),)
        self.own(RUN)
        self.run.mkdir(mode=0o700)
        for file in RUNTIME.glob("*.cjs"):
            shutil.copy(file, self.base)
        self.patch("driver.cjs", "LIST_MS = 500", "LIST_MS = 200")
        self.patch("driver.cjs", "settle(host, host.from, 1000,", "settle(host, host.from, 400,")

    # What was there before

    def own(self, run: str) -> None:
        """Take the lock for a run."""
        (self.base / "lock").mkdir(parents=True, exist_ok=True)
        aside = self.base / "owner.next"
        aside.write_text(json.dumps({"run": run, "who": "me@laptop"}) + "\n")
        aside.rename(self.base / "lock/owner.json")

    def process(self, suffix: str = "", instances: int = 1, **fields: Any) -> Process:
        """Describe a process; each suffix has a port of its own."""
        port = self.port + (1 if suffix else 0)
        name = self.name + suffix
        defaults = {"port": port, "health": Health("/health", 2.0), "env": (("APP", name),)}
        return Process(name, "app.cjs", instances, **{**defaults, **fields})

    @property
    def app(self) -> App:
        return App(self.name, "git@x:shop.git", str(self.root), self.processes)

    def release(self, number: int, mode: str = "", env: str | None = None) -> str:
        """Lay out a complete release of the processes that the host has now."""
        commit = hashlib.sha1(f"{number}".encode(), usedforsecurity=False).hexdigest()
        release = f"{number:04d}-{commit[:7]}"
        home = self.root / "releases" / release
        home.mkdir(parents=True)
        shutil.copy(HERE / "app.cjs", home)
        if mode:
            (home / ".mode").write_text(mode)
        if env is not None:
            (home / ".env").write_text(env)
        marker = plan.marker(self.app, (2000, round(KILL * 1000)), release, commit, "main")
        (home / ".gapless.json").write_text(marker)
        return release

    def turn(self, release: str, mode: str, process: str = "") -> None:
        """Let a release behave in a way from now on."""
        aside = self.root / "releases" / release / "mode.next"
        aside.write_text(mode)
        aside.rename(aside.with_name(f"{process}.mode"))

    def patch(self, file: str, old: str, new: str) -> None:
        """Change one of the host's scripts, so that a limit of half a minute takes seconds."""
        text = (self.base / file).read_text()
        assert text.count(old) == 1, f"{file}: {old}"
        (self.base / file).write_text(text.replace(old, new))

    # What a deployer does

    def plan(self, release: str, drained: bool = False, downtime: bool = False, **changes: Any) -> dict[str, Any]:
        update = Update(min_healthy_time=0.3, healthy_deadline=2.0, kill_timeout=KILL)
        named = Named("h", Ssh("h"), self.app, "h")
        facts = {"pm2": str(self.modules / "pm2")}
        made = plan.driver(named, Group("g", (named,), update), facts, release, RUN, drained, downtime)
        return {**made, **changes}

    def start(self, release: str, *, run: str | None = None, **options: Any) -> Run:
        """Let the driver carry this host to a release."""
        one = Run(self, run or f"r{len(self.runs)}", "start", self.plan(release, **options))
        self.runs.append(one)
        return one

    def deploy(self, release: str, **options: Any) -> dict[str, Any]:
        """Carry this host to a release and give the last word."""
        return self.start(release, **options).final()

    def up(self, release: str, **options: Any) -> str:
        """Have a release serve before the test begins."""
        word = self.deploy(release, drained=True, downtime=True, **options)
        assert word["event"] == "done", self.story()
        return release

    # What an onlooker sees

    @property
    def current(self) -> str | None:
        link = self.root / "current"
        return link.readlink().name if link.is_symlink() else None

    def workers(self, suffix: str = "") -> list[dict[str, Any]]:
        return sorted(self.pm2.workers(self.name + suffix), key=lambda worker: worker["pm_id"])

    def pids(self, suffix: str = "") -> list[int]:
        return [worker["pid"] for worker in self.workers(suffix)]

    def living(self) -> dict[int, str]:
        """List every process that stands in one of our releases, whatever PM2 knows of it, and which release that is."""
        found = {}
        for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
            with contextlib.suppress(OSError):
                place = (Path("/proc") / str(pid) / "cwd").readlink()
                if place.is_relative_to(self.root / "releases") and alive(pid):
                    found[pid] = place.relative_to(self.root / "releases").parts[0]
        return found

    def hidden(self) -> list[int]:
        """List the workers that serve without PM2's knowledge."""
        living = self.living()
        known = {worker["pid"] for worker in self.pm2.ask("list")}
        return [pid for pid in living if pid not in known]

    def state(self, release: str, *states: str, within: float = 10) -> dict[str, Any]:
        """Wait for a worker of a release to be in one of these states."""
        def look() -> dict[str, Any] | None:
            return next((each for each in self.records() if each["release"] == release and each["state"] in states), None)
        return eventually(look, within, 0.02)

    def open(self) -> list[int]:
        """List the workers that serve, as they say themselves."""
        return [each["pid"] for each in self.records() if each["state"] == "open"]

    def records(self) -> list[dict[str, Any]]:
        """Read what the living workers say of themselves."""
        found = []
        for file in self.run.glob("worker-*.json"):
            with contextlib.suppress(OSError, ValueError):
                record = json.loads(file.read_text())
                found += [record] if alive(record["pid"]) else []
        return found

    def get(self, path: str = "/", suffix: str = "") -> tuple[str | None, dict[str, Any]]:
        """Ask the app as a client does: the release that answered, and the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port + (1 if suffix else 0), timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.getresponse()
            assert response.status == 200
            return response.getheader("x-release"), json.loads(response.read())

    def load(self, **options: Any) -> contextlib.AbstractContextManager[load.Tally]:
        return load.running(f"http://127.0.0.1:{self.port}", **{"rate": 60, "slow": 1, "timeout": 8, **options})

    @contextlib.contextmanager
    def stranger(self) -> Iterator[subprocess.Popen[bytes]]:
        """Have a process that is not ours listen on the app's port."""
        command = [sys.executable, "-m", "http.server", str(self.port), "--bind", "127.0.0.1"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: self._answers())
            yield process
        finally:
            process.kill()
            process.wait()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def story(self) -> str:
        """Tell what all runs said, for a test that fails."""
        return "\n".join(f"{run.name}: {json.dumps(event)}" for run in self.runs for event in run.events)

    def serves(self, release: str, count: int = 1, suffix: str = "") -> None:
        """See that exactly so many workers of a release serve, that the link says so, and that nothing hides."""
        pids = self.pids(suffix)
        living = self.living()
        assert (len(pids), {living.get(pid) for pid in pids}) == (count, {release}), self.story()
        assert (self.get(suffix=suffix)[0], self.current) == (release, release), self.story()
        assert not self.hidden(), self.story()

    def remove(self) -> None:
        """Take the app away, quickly: PM2 deletes it, and nobody waits for the last connection."""
        for run in self.runs:
            run.end()
        mine = {worker["name"] for worker in self.pm2.ask("list") if worker["name"].startswith(self.name)}
        orders = [self.pm2.order("delete", name=name) for name in mine]
        eventually(lambda: self._kill() and all(order.done() for order in orders))
        assert [order.exception() for order in orders if order.exception()] == []

    def _kill(self) -> bool:
        time.sleep(0.05)  # PM2 first has to know that they are meant to go
        for pid in (living := self.living()):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        return not living


class Run:
    """A way in to the driver's work, read as it speaks."""

    def __init__(self, host: Host, name: str, verb: str, plan: dict[str, Any] | None = None, script: str = "driver") -> None:
        self.host, self.name, self.script = host, name, script
        self.events: list[dict[str, Any]] = []
        self.seen = threading.Condition()
        env = {**MINIMAL_ENV, "PM2_HOME": str(host.pm2.home), "GAPLESS_MARK": MARK}
        command = ["node", str(host.base / f"{script}.cjs"), verb, str(host.root), name]
        self.began = time.monotonic()
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "start_new_session": True}
        self.process = subprocess.Popen(command, env=env, cwd="/", text=True, **pipes)
        assert self.process.stdin
        self.process.stdin.write(json.dumps(plan))
        self.process.stdin.close()
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            mark, _, text = line.partition(" ")
            assert mark == MARK, line
            with self.seen:
                self.events.append(json.loads(text))
                self.seen.notify_all()
        with self.seen:
            self.seen.notify_all()

    def wait(self, event: str, within: float = 20, **fields: Any) -> dict[str, Any]:
        """Wait for an event that has these fields."""
        def find() -> dict[str, Any] | None:
            return next((each for each in self.events if {"event": event, **fields}.items() <= each.items()), None)
        with self.seen:
            self.seen.wait_for(lambda: find() or not self.thread.is_alive(), within)
            found = find()
            assert found, f"no {event} {fields} in\n{self.host.story()}"
            return found

    def final(self, within: float = 40) -> dict[str, Any]:
        """Wait until the way in ends, and give its last word: there is one, and only one."""
        self.thread.join(within)
        assert not self.thread.is_alive(), f"not at its end after {within} s\n{self.host.story()}"
        self.process.wait(5)
        word = self.events[-1]
        assert word["event"] in FINAL, self.host.story()
        assert [each["event"] for each in self.events[:-1] if each["event"] in FINAL] == []
        return word

    def cut(self) -> None:
        """Lose the link: all that lives in the session of the way in dies."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.thread.join(5)

    def all(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.events if each["event"] == event]

    @property
    def pid(self) -> int:
        """The pid of the detached work."""
        file = self.host.base / "runs" / self.name / f"{self.script}.pid"
        return int(eventually(lambda: file.exists() and file.read_text().split()[:1])[0])

    def end(self) -> None:
        """End what a failed test left behind."""
        with contextlib.suppress(AssertionError, OSError, ValueError):
            if self.works():
                os.kill(self.pid, 9)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(5)
        self.thread.join(5)
        assert self.process.stdout
        self.process.stdout.close()

    def works(self) -> bool:
        """Tell whether the detached work lives; its pid may be another's by now."""
        file = self.host.base / "runs" / self.name / f"{self.script}.pid"
        if not file.exists():
            return False
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{file.read_text().split()[0]}/cmdline").read_text().split("\0")
            return f"{self.script}.cjs" in " ".join(command) and self.name in command
        return False


__all__ = ["Host", "Run", "alive", "children", "eventually"]
