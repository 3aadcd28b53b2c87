"""
A host and a balancer in memory, as far as the scripts of fabfile/commands can tell.

Each function of the shell library has its twin here: a generator that pauses wherever a kill could tear the script in half, says
events, and raises Failed where the shell would call `fail`. The driver and the migration are pieces of work of their own, which go
on whatever becomes of the script that started them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fabfile.commands import pm2

if TYPE_CHECKING:
    from tests.model.world import World

WORKERS = 2
STEP = 2.0  # seconds between two steps of a driver or a migration
FINAL = ("done", "reverted", "broken")

Say = Callable[..., None]
Doing = Iterator[float | None]  # None: a kill may come here; a number: nothing more happens before that time


class Failed(Exception):
    """End a script with an exit code and a last line."""

    def __init__(self, why: str, code: int = 1) -> None:
        super().__init__(why)
        self.code = code


@dataclass
class Release:
    complete: bool = False
    bad: bool = False
    stable: bool = False


@dataclass
class Worker:
    release: str
    status: str = "online"
    died_at: float | None = None


@dataclass
class Lock:
    owner: dict[str, Any] | None = None
    phase: str = ""
    beat: float | None = None


@dataclass
class Work:
    """Hold a driver or a migration: what was asked of it, its journal, and whether its process lives."""

    kind: str
    run: str
    plan: dict[str, Any]
    at: float
    journal: list[dict[str, Any]] = field(default_factory=list)
    alive: bool = True
    due: float = 0.0
    doing: Iterator[None] = field(default_factory=lambda: iter(()))

    def write(self, event: str, **fields: Any) -> None:
        self.journal.append({"event": event, "at": self.at, **fields})

    def last(self, *names: str) -> dict[str, Any] | None:
        return next((each for each in reversed(self.journal) if each["event"] in names), None)


class Host:
    """Hold what lies on one host and what runs there."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.ahead = 0.0                       # seconds by which its clock is ahead of the true time
        self.away_until = 0.0
        self.lock: Lock | None = None
        self.replacing: set[str] = set()       # runs whose lock somebody is replacing or removing: lock.gone.RUN
        self.releases: dict[str, Release] = {}
        self.current: str | None = None
        self.workers: list[Worker] = []
        self.settled = 0.0
        self.works: list[Work] = []
        self.runtime = ""                      # which scripts of ours lie there
        self.build_breaks = self.driver_dies = self.going_back_fails = self.migration_fails = self.migration_dies = False

    @property
    def clock(self) -> float:
        return self.world.now + self.ahead

    @property
    def serves(self) -> bool:
        return any(worker.status == "online" for worker in self.workers)

    def runs(self) -> set[str]:
        return {worker.release for worker in self.workers}

    # ------------------------------------------------------------------ time

    def pass_time(self) -> None:
        """Let the work that is due take its next step."""
        for work in self.works:
            if work.alive and work.due <= self.world.now:
                work.due = self.world.now + STEP
                work.at = self.world.now
                ended = next(work.doing, self) is self
                work.alive = work.alive and not ended

    def begin(self, kind: str, run: str, plan: dict[str, Any]) -> Work:
        work = Work(kind, run, plan, self.world.now, due=self.world.now + STEP)
        work.doing = self.drive(work) if kind == "driver" else self.migrate(work)
        self.works.append(work)
        return work

    def find(self, kind: str, run: str) -> Work | None:
        return next((work for work in self.works if (work.kind, work.run) == (kind, run)), None)

    def dies(self, flag: str) -> bool:
        """Say once whether a fault that was planted here strikes now."""
        struck = bool(getattr(self, flag))
        setattr(self, flag, False)
        if struck:
            self.world.count(f"host: {flag}")
        return struck

    # ------------------------------------------------------------------ the driver (runtime/driver.cjs)

    def drive(self, work: Work) -> Iterator[None]:
        to, before = work.plan["release"], self.current
        if (why := self.refuses_to_drive(work.plan)) is not None:
            work.write("reverted", why=why, lines=[], untouched=True, release=before)
            return
        work.write("begin", **{"from": before, "to": to, "drained": work.plan["drained"]})
        found = list(self.workers)
        self.link(to)
        yield
        why = ""
        for number in range(WORKERS):
            if why := self.world.refused(to, self.name):
                break
            yield from self.replace(work, number, to)
            if not work.alive:
                return
        why = why or self.world.falls_over(to, self.name)
        if not why:
            yield
            self.keep(work)
            work.write("done", release=to)
            return
        work.write("failed", why=why, lines=[])
        yield
        self.go_back(work, before, found, why)

    def refuses_to_drive(self, plan: dict[str, Any]) -> str | None:
        if self.lock is None or self.lock.owner is None or self.lock.owner["run"] != plan["lock"]:
            return "the lock of this host is not this run's"
        if not self.releases.get(plan["release"], Release()).complete:
            return f"release {plan['release']} is not complete on this host"
        return None

    def replace(self, work: Work, number: int, to: str) -> Iterator[None]:
        fresh = Worker(to)
        self.workers[number:number + 1] = [fresh]
        work.write("worker", id=number, pid=1, release=to, state="open")
        if self.dies("driver_dies"):
            work.alive = False
        yield

    def keep(self, work: Work) -> None:
        self.releases[work.plan["release"]].stable = True
        self.settled = self.world.now
        if bad := work.plan["bad"]:
            self.mark_bad(bad)

    def mark_bad(self, release: str) -> None:
        if release in self.releases:
            self.releases[release].bad, self.releases[release].stable = True, False

    def go_back(self, work: Work, before: str | None, found: list[Worker], why: str) -> None:
        to = work.plan["release"]
        self.link(before)
        self.workers = [Worker(before) for _ in found] if before else []
        if to != before:
            self.mark_bad(to)
        self.settled = self.world.now
        if before and self.dies("going_back_fails"):
            self.workers[0].status = "errored"
            work.write("broken", why=why, lines=[], release=before, back="worker 0 would not come up")
            return
        work.write("reverted", why=why, lines=[], release=before)

    def link(self, release: str | None) -> None:
        self.current = release

    # ------------------------------------------------------------------ the migration (runtime/migrate.cjs)

    def migrate(self, work: Work) -> Iterator[None]:
        self.world.migration_begins(work)
        work.write("begin", release=work.plan["release"])
        yield
        if self.dies("migration_dies"):
            return
        if self.dies("migration_fails"):
            work.write("broken", why="exit code 1", lines=[])
            return
        work.write("done", release=work.plan["release"])

    # ------------------------------------------------------------------ the scripts

    def do(self, words: list[str], stdin: str, say: Say) -> Doing:
        """Find the twin of a shell function, and begin it."""
        name, *arguments = words
        if name == "clean_node":
            return self.node(arguments, stdin, say)
        twin: Callable[..., Doing] = getattr(self, f"sh_{name}")
        return twin(say, *arguments)

    def sh_use_tools(self, say: Say, *_: str) -> Doing:
        yield from ()

    sh_write_access = sh_shared_is_there = sh_link_shared = sh_scripts_are_there = sh_append_history = sh_tell_history = sh_use_tools
    sh_recall_tools = sh_tell_runs = sh_use_tools

    def sh_mkdir(self, say: Say, *_: str) -> Doing:
        """Begin what installs our scripts; nothing else calls it."""
        self.runtime = pm2.runtime()
        yield from ()

    def node(self, words: list[str], stdin: str, say: Say) -> Doing:
        if words[0] == "-" or words[0].endswith("/truth.cjs"):
            say("facts", **self.facts())
            return
        kind = words[0].rsplit("/", 1)[1].removesuffix(".cjs")
        verb, run = words[1], words[3]
        if verb == "start":
            plan = json.loads(stdin.partition("\n@END@")[0])
            self.world.writes(self, f"{kind} of {run}")
            self.begin(kind, run, plan)
            yield None
        yield from self.follow(kind, run, say)

    def follow(self, kind: str, run: str, say: Say) -> Doing:
        work, told = self.find(kind, run), 0
        while True:
            alive = work is not None and work.alive
            for event in work.journal[told:] if work else ():
                told += 1
                say(**event)
                if event["event"] in FINAL:
                    return
            if not alive:
                say("lost", why="it is gone without a final word")
                return
            yield self.world.now + STEP / 2

    # ------------------------------------------------------------------ releases

    def sh_fetch_commit(self, say: Say, root: str, repo: str, commit: str) -> Doing:
        yield None

    def sh_build_step(self, say: Say, root: str, release: str, run: str, command: str, *env_files: str) -> Doing:
        self.world.writes(self, f"build of {release}")
        yield None
        if self.dies("build_breaks"):
            raise Failed(f"build step failed with exit code 1: {command}")

    def sh_check_out(self, say: Say, root: str, release: str, commit: str) -> Doing:
        self.world.writes(self, f"check out {release}")
        if release in self.releases:
            raise Failed(f"mkdir: {release}: File exists")
        self.releases[release] = Release()
        yield None

    def sh_complete(self, say: Say, root: str, release: str, marker: str) -> Doing:
        self.world.writes(self, f"complete {release}")
        assert json.loads(marker)["release"] == release
        self.releases[release].complete = True
        yield None

    def sh_discard(self, say: Say, root: str, release: str) -> Doing:
        if release in self.releases and not self.releases[release].complete:
            self.world.writes(self, f"discard {release}")
            del self.releases[release]
        yield None

    def sh_prune(self, say: Say, root: str, *doomed: str) -> Doing:
        for release in doomed:
            if release != self.current and release not in self.runs():
                self.releases.pop(release, None)
            yield None

    # ------------------------------------------------------------------ the lock

    def owned_by(self, run: str) -> bool:
        return self.lock is not None and self.lock.owner is not None and self.lock.owner["run"] == run

    def age(self, then: float) -> int:
        return int(self.clock - then)

    def tell_held(self, say: Say) -> None:
        assert self.lock is not None
        quiet = self.age(self.lock.beat) if self.lock.beat is not None else 0
        say("held", owner=self.lock.owner, phase=self.lock.phase, quiet=quiet)

    def at_work(self) -> bool:
        return any(work.alive for work in self.works)

    def refuse_busy(self) -> None:
        if self.at_work():
            raise Failed("an earlier run is still at work on this host; it ends by itself, then try again")

    def sh_take_lock(self, say: Say, root: str, owner: str, abandoned: str) -> Doing:
        if self.lock is not None:
            taken = (yield from self.take_over(json.loads(owner), abandoned)) if abandoned else False
            if not taken:
                self.tell_held(say)
                raise Failed("", 3)
            say("locked")
            return
        self.lock = Lock()
        if self.at_work():
            self.lock = None
            self.refuse_busy()
        self.lock.owner, self.lock.beat = json.loads(owner), self.clock
        self.world.locked(self, None)
        yield None
        say("locked")

    def take_over(self, owner: dict[str, Any], abandoned: str) -> Any:
        self.refuse_busy()
        if abandoned in self.replacing or self.lock is None:
            return False
        taken = self.owned_by(abandoned)
        if taken:
            self.world.locked(self, self.lock)
            self.lock.beat, self.lock.owner = self.clock, owner
            self.lock.phase = self.lock.phase if owner["resumes"] else ""
        yield None
        return taken

    def sh_whole(self, say: Say, function: str, *arguments: str) -> Doing:
        yield from self.do([function, *arguments], "", say)

    def sh_own(self, say: Say, root: str, run: str) -> Doing:
        if not self.owned_by(run):
            say("fenced", owner=self.lock.owner if self.lock else None)
            self.world.count("fenced")
            raise Failed(f"the lock of this host is no longer that of run {run}; nothing was touched")
        yield None

    def sh_enter(self, say: Say, root: str, run: str, phase: str) -> Doing:
        yield from self.sh_own(say, root, run)
        if self.lock is not None:
            self.lock.beat, self.lock.phase = self.clock, phase
        yield None

    def sh_beat(self, say: Say, root: str, run: str) -> Doing:
        if self.lock is not None and self.owned_by(run):
            self.lock.beat = self.clock
        yield from ()

    def sh_drop_lock(self, say: Say, root: str, run: str) -> Doing:
        if self.owned_by(run) and run not in self.replacing:
            self.world.unlocked(self, run)
            self.lock = None
        yield None

    def sh_show_lock(self, say: Say, root: str) -> Doing:
        if self.lock is None:
            say("free")
        else:
            self.tell_held(say)
        yield None

    def sh_tell_past(self, say: Say, root: str, *runs: str) -> Doing:
        works = [work for run in runs if (work := self.find("driver", run))]
        begins = [begin for work in works if (begin := next((each for each in work.journal if each["event"] == "begin"), None))]
        ended = works[-1].last(*FINAL) if works else None
        say("past", began=begins[0] if begins else None, ended=ended, working=self.at_work())
        yield None

    # ------------------------------------------------------------------ the truth (runtime/truth.cjs)

    def sh_settle_migration(self, say: Say, root: str, run: str, line: str) -> Doing:
        work = self.find("migrate", run)
        assert work is not None
        work.journal.append(json.loads(line))
        yield None

    def sh_tell_facts(self, say: Say, root: str, runtime: str, *_: str) -> Doing:
        if self.runtime == runtime:
            say("facts", **self.facts())
        yield from ()

    def facts(self) -> dict[str, Any]:
        return {
            "node": "22.0.0", "path": "/usr/bin", "pm2": "/usr/lib/pm2", "cpus": 2, "runtime": self.runtime, "room": None, "trouble": None, "strays": [], "pinned": [], "taken": [],
            "daemon": {"pid": 1, "home": "/home/app/.pm2", "version": "7"}, "version": "7", "saved": ["shop"],
            "current": {"state": self.link_state(), "release": self.current},
            "releases": [
                {"id": name, "complete": each.complete, "bad": each.bad, "stable": each.stable}
                for name, each in sorted(self.releases.items(), key=lambda item: (int(item[0].split("-")[0]), item[0]))
            ],
            "processes": [self.process(number, worker) for number, worker in enumerate(self.workers)],
            "migrations": [self.migration(work) for work in self.works if work.kind == "migrate" and work.journal],
            "driving": [work.run for work in self.works if work.kind == "driver" and work.alive],
        }

    def link_state(self) -> str:
        if self.current is None:
            return "absent"
        release = self.releases.get(self.current)
        return "dangling" if release is None else "ok" if release.complete else "incomplete"

    def process(self, number: int, worker: Worker) -> dict[str, Any]:
        died = worker.died_at is not None and worker.died_at > self.settled
        return {
            "id": number, "name": "shop", "mode": "cluster", "gated": True, "script": "gate.cjs", "release": worker.release,
            "status": worker.status, "state": "open", "ports": [3000], "health": {"status": 200}, "died": int(died),
            "up_ms": 1000 * (self.world.now - worker.died_at) if worker.died_at is not None else 1e9,
        }

    def migration(self, work: Work) -> dict[str, Any]:
        end = work.last("done", "broken")
        outcome = {"done": "done", "broken": "failed"}[end["event"]] if end else "at work" if work.alive else "unknown"
        return {"run": work.run, "release": work.plan["release"], "at": work.journal[0]["at"], "outcome": outcome}


@dataclass
class Server:
    state: str = "ready"             # ready, drain or maint, as HAProxy's socket sets it
    drained_by: tuple[str, float, float] | None = None  # run, last heartbeat, hold: the file and its timer


class Front:
    """Hold one balancer: its servers, and the timers of what was drained."""

    def __init__(self, world: World, name: str, hosts: list[Host]) -> None:
        self.world = world
        self.name = name
        self.away_until = 0.0
        self.ahead = 0.0
        self.hosts = {host.name: host for host in hosts}
        self.servers = {host.name: Server() for host in hosts}
        self.refuses: list[str] = []           # orders that fail once each
        self.hangs: set[str] = set()           # servers whose sessions do not end, once each

    @property
    def clock(self) -> float:
        return self.world.now + self.ahead

    def up(self, name: str) -> bool:
        return self.servers[name].state == "ready" and self.hosts[name].serves

    def others_up(self, name: str) -> bool:
        return any(self.up(other) for other in self.servers if other != name)

    def pass_time(self) -> None:
        """Put back what a vanished run had drained, once it is fit."""
        for name, server in self.servers.items():
            if server.drained_by is None:
                continue
            _, beat, hold = server.drained_by
            if self.clock - beat > hold and self.hosts[name].serves:
                server.state, server.drained_by = "ready", None
                self.world.count("put back by the timer")

    def order(self, server: str, state: str) -> None:
        if state in self.refuses:
            self.refuses.remove(state)
            self.world.count(f"balancer: refused {state}")
            raise Failed(f"HAProxy refused 'set server {server} state {state}'")
        self.servers[server].state = state

    def do(self, words: list[str], stdin: str, say: Say) -> Doing:
        twin: Callable[..., Doing] = getattr(self, f"sh_{words[0]}")
        return twin(say, *words[1:])

    def sh_beat_drains(self, say: Say, run: str) -> Doing:
        for server in self.servers.values():
            if server.drained_by and server.drained_by[0] == run:
                server.drained_by = (run, self.clock, server.drained_by[2])
        yield from ()

    def sh_drain(self, say: Say, socket: str, backend: str, name: str, limit: str, run: str, hold: str, most: str) -> Doing:
        server, was_up = self.servers[name], self.up(name)
        if server.state == "maint" or (server.state == "drain" and server.drained_by is None):
            say("maintenance")
            return
        if was_up and not self.others_up(name):
            say("alone")
            return
        if was_up and sum(each.drained_by is not None for other, each in self.servers.items() if other != name) >= int(most):
            self.world.count("balancer: crowded")
            say("crowded")
            return
        self.world.writes(self.hosts[name], f"drain of {name}")
        server.drained_by = (run, self.clock, float(hold))
        yield None
        self.order(name, "drain")
        yield None
        if was_up and not self.others_up(name):
            self.order(name, "ready")
            server.drained_by = None
            say("alone")
            return
        if name in self.hangs:
            self.hangs.remove(name)
            self.world.count("balancer: drain hangs")
            yield self.world.now + float(limit)
            self.order(name, "ready")
            server.drained_by = None
            raise Failed(f"{name} still had 1 sessions after {limit} s of draining (drain_timeout); it was put back")
        yield None
        say("drained")

    def sh_restore(self, say: Say, socket: str, backend: str, name: str, limit: str, run: str) -> Doing:
        server = self.servers[name]
        if server.drained_by and server.drained_by[0] != run:
            raise Failed(f"{name} was drained by run {server.drained_by[0]} since, and is left as it is")
        self.world.restores(self.hosts[name])
        self.order(name, "ready")
        yield None
        server.drained_by = None
        yield None
        if int(limit) and not self.up(name):
            yield self.world.now + float(limit)
        if int(limit) and not self.up(name):
            raise Failed(f"{name} was set ready, but HAProxy says DOWN after {limit} s")
        say("restored")

    def sh_mend(self, say: Say, socket: str, backend: str, name: str, limit: str) -> Doing:
        if by := self.servers[name].drained_by:
            yield from self.sh_restore(say, socket, backend, name, limit, by[0])

    def sh_rotation(self, say: Say, socket: str, backend: str) -> Doing:
        for name, server in self.servers.items():
            status = {"ready": "UP" if self.up(name) else "DOWN", "drain": "DRAIN", "maint": "MAINT"}[server.state]
            by = server.drained_by[0] if server.drained_by else ""
            say("server", backend=backend, name=name, sessions=0, status=status, weight=1, since=0, check="", code="", said="", by=by)
        yield None
