"""Name who takes part, and say how each is told to deploy one commit to the first hosts of the fleet."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import rivals, work
from .fleet import ALIKE, HERE, Fleet

CHECKOUT = HERE.parents[1]
PROGRAMS = Path(sys.executable).parent
HOSTS_YAML = """\
app:
  name: shop
  repo: {repo}
  ref: main
  root: ~/{root}
  script: dist/main.js
  instances: 1
  build: [sleep {build}]
  migrate: echo {name} >>../../migrated
  shared: {{files: [.env], dirs: [uploads]}}
  health: {health}
defaults: {{max_parallel: {parallel}, min_healthy_time: 0s, healthy_deadline: 10s, kill_timeout: 5s}}
groups:
  bench:
    ssh_config: ./ssh_config
    hosts: [{hosts}]
"""


@dataclass(frozen=True)
class Job:
    """Say what is to be deployed, and where."""

    fleet: Fleet
    hosts: list[str]
    commit: str
    number: int
    folder: Path  # ours for this contestant and size
    build: float = work.BUILD

    @property
    def env(self) -> dict[str, str]:
        """Give an environment in which nothing of this user's counts."""
        return {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder / "state"), "LANG": "C.UTF-8",
                "BENCH_JOB": str(self.folder / "job.json")}

    def steps(self, root: str) -> list[tuple[str, str]]:
        return work.steps(root, str(self.fleet.repo), self.commit, self.number, self.build)

    def written(self, root: str, more: Mapping[str, Any] | None = None) -> str:
        """Write the job where a peer reads it, with what that one wants more, and return that place."""
        steps = self.steps(root)
        told = {
            "hosts": self.hosts, "ssh_config": str(self.fleet.ssh_config), "root": root, "release": work.release(self.number, self.commit),
            "steps": steps, "fused": work.fused(steps), "gated": work.gated(steps), "guarded": work.guarded(steps),
            **(more or {}),
        }
        (self.folder / "job.json").write_text(json.dumps(told))
        return str(self.folder / "job.json")


@dataclass(frozen=True)
class Contestant:
    """Hold one who takes part; `command` prepares a job and gives the command line, `root` is below each host's home, `size` the only fleet."""

    name: str
    root: str
    command: Callable[[Job], list[str]]
    size: int | None = None


def floor(job: Job) -> list[str]:
    return [str(HERE / "peers/floor.sh"), str(job.fleet.ssh_config), work.fused(job.steps("floor")), *job.hosts]


def peer(root: str, script: str, *words: str) -> Callable[[Job], list[str]]:
    """Give the command of a contestant that is a script of ours in peers/."""
    return lambda job: [sys.executable, "-I", str(HERE / "peers" / script), job.written(root), *words]


def pyinfra(job: Job) -> list[str]:
    job.written("pyinfra")
    common = {"ssh_config_file": str(job.fleet.ssh_config), "ssh_known_hosts_file": str(job.fleet.folder / "known_hosts")}
    hosts = [(host, {**common, "home": str(job.fleet.home(host))}) for host in job.hosts]
    (job.folder / "inventory.py").write_text(f"hosts = {hosts!r}\n")
    return [str(rivals.pyinfra()), "--yes", "inventory.py", str(HERE / "peers/pyinfra_deploy.py")]


def capistrano(job: Job) -> list[str]:
    """Give the command of a Capistrano deploy; its deploy_to is one for all hosts, so each has its home at ALIKE too."""
    at = f"{ALIKE}/capistrano"
    job.written("capistrano", {"at": at, "repo": str(job.fleet.repo), "commit": job.commit, "build": job.build, "reload": work.RELOAD})
    return [str(rivals.capistrano()), "--rakefile", str(HERE / "peers/capistrano/Capfile"), "bench", "deploy"]


def gapless(root: str, health: str, parallel: str = "100%") -> Callable[[Job], list[str]]:
    """Give the command of a deploy of ours, with the prober on, whose app has this health route; so many hosts are reloaded at once."""
    def command(job: Job) -> list[str]:
        link = job.folder / "ssh_config"
        if not link.exists():
            link.symlink_to(job.fleet.ssh_config)
        hosts = ", ".join(job.hosts)
        text = HOSTS_YAML.format(repo=job.fleet.repo, build=job.build, hosts=hosts, name=job.commit, root=root, health=health, parallel=parallel)
        (job.folder / "hosts.yaml").write_text(text)
        return [str(PROGRAMS / "fab"), "--search-root", str(CHECKOUT), "deploy", "--hosts", "bench"]
    return command


EVERYBODY: Mapping[str, Contestant] = {each.name: each for each in (
    Contestant("floor", "floor", floor),
    Contestant("barriers", "barriers", peer("barriers", "floor_barriers.py")),
    Contestant("fused", "fused", peer("fused", "fabric_fused.py")),
    Contestant("gated", "gated", peer("gated", "fabric_barriers.py", "gated")),
    Contestant("guarded", "guarded", peer("guarded", "fabric_barriers.py", "guarded")),
    Contestant("naive", "naive", peer("naive", "fabric_naive.py")),
    Contestant("pyinfra", "pyinfra", pyinfra),
    Contestant("capistrano", "capistrano", capistrano),
    Contestant("gapless", "gapless", gapless("gapless", "none")),
    Contestant("probed", "probed", gapless("probed", "{path: /}")),
    Contestant("rolling", "rolling", gapless("rolling", "none", parallel="1"), size=10),
)}
