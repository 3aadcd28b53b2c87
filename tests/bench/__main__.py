"""Measure what a deploy costs, beside others: python -m tests.bench [--sizes 1,10] [--runs 3] [--rtt 20] [--only gapless,fused]."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab import namespaces, system

from . import cgroups, page, rivals, table, targets
from .contest import Contest
from .contestants import CHECKOUT, EVERYBODY
from .fleet import Fleet, up
from .measure import Failed

INSIDE = "GAPLESS_BENCH"  # names the bench in whose namespaces we are
PR_SET_PDEATHSIG = 1


def main() -> int:
    """Do what the command line says; as root in namespaces of our own, so that nothing of it can stay behind."""
    options = read()
    if options.again:
        page.write(json.loads(options.again.read_text()), options.write or options.again.parent)
        return 0
    if os.environ.get(INSIDE):
        return bench(options, os.environ[INSIDE], isolated=True)
    name = secrets.token_hex(3)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what follows is cleaned up
    with tempfile.TemporaryDirectory(prefix="gapless-bench-") as folder:
        try:
            if namespaces.allowed():
                return enter(name, folder)
            if options.rtt:
                print("bench: no namespaces here (they need root), so the line has no length", flush=True)
                options.rtt = 0
            return bench(options, name, isolated=False)
        finally:
            cgroups.remove(name)


def read() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--sizes", default="1,10,30,100", help="numbers of hosts")
    parser.add_argument("--runs", help="counted runs at each size: 3, or 5,2 for what matters most and for the others; else fewer for large fleets")
    parser.add_argument("--rtt", type=float, default=20, help="ms")
    parser.add_argument("--only", default=",".join(EVERYBODY), help="contestants; the floor always takes part")
    parser.add_argument("--many", type=int, default=0, help="hosts of one more fleet, to which only gapless deploys, with a long build too")
    parser.add_argument("--write", type=Path, help="write speed.md, speed.svg and speed.json there")
    parser.add_argument("--again", type=Path, help="run nothing; take the figures from this speed.json")
    parser.add_argument("--keep", type=Path, help="leave there what the contestants wrote, gapless's own logs too")
    options = parser.parse_args()
    options.sizes = [int(size) for size in options.sizes.split(",")]
    options.runs = [int(options.runs.split(",")[0]), int(options.runs.split(",")[-1])] if options.runs else None
    options.only = options.only.split(",")
    options.left_out = {}
    if not options.again:
        if not os.environ.get(INSIDE):
            rivals.install(options.only)
        options.left_out = rivals.left_out(options.only) | no_path_alike(options)
    options.only = [each for each in options.only if each not in options.left_out]
    if unknown := [name for name in options.only if name not in EVERYBODY]:
        parser.error(f"no contestant is called {', '.join(unknown)}; there are {', '.join(EVERYBODY)}")
    return options


def no_path_alike(options: argparse.Namespace) -> dict[str, str]:
    """Leave out who wants one path for all hosts, where they have no mounts of their own to give it one."""
    alike = bool(os.environ.get(INSIDE)) or namespaces.allowed()
    return {} if alike or "capistrano" not in options.only else {"capistrano": "it wants hosts with namespaces of their own"}


def enter(name: str, folder: str) -> int:
    """Run ourselves again in namespaces that end with us, whatever ends us."""
    libc = ctypes.CDLL(None)
    command = [
        system.path_of("unshare"), "--net", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc",
        sys.executable, "-m", "tests.bench", *sys.argv[1:],
    ]
    env = {**os.environ, INSIDE: name, "TMPDIR": folder}
    child = subprocess.Popen(command, env=env, preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
    try:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue  # it got the same signal, and ends in order
    finally:
        child.kill()


def bench(options: argparse.Namespace, name: str, isolated: bool) -> int:
    """Bring the fleet up, let everybody deploy, print the tables; write the page anew after each size, lest a long run be in vain."""
    try:
        with fleet_for(options, name, isolated) as (fleet, folder):
            contest = Contest(fleet, folder, options.only, lambda text: print(text, file=sys.stderr, flush=True))
            for size in options.sizes:
                found = contest.at(size, *(options.runs or usual_runs(size)))
                print(f"\n{size} hosts, {options.rtt:g} ms round trip\n{table.of(found)}\n", flush=True)
                data = written(options, contest)
            if options.many:
                contest.with_many(options.many)
                data = written(options, contest)
    except (Failed, namespaces.LabError, system.MissingPrograms) as err:
        print(f"bench: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(table.markdown(targets.COLUMNS, [row for row in targets.rows(data) if targets.UNKNOWN not in row]), flush=True)
    return 0


def written(options: argparse.Namespace, contest: Contest) -> dict[str, Any]:
    """Give all figures so far, and write their page if that is wanted."""
    data = {"about": about(options, contest.failed), "sizes": contest.sizes, "many": contest.many}
    if options.write:
        page.write(data, options.write)
    return data


def about(options: argparse.Namespace, failed: dict[str, str]) -> dict[str, Any]:
    """Say what was measured, and on what."""
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr.split(",")[0].split()[0]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=CHECKOUT, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "date": time.strftime("%Y-%m-%d"), "cpus": os.cpu_count(), "ssh": ssh, "python": platform.python_version(), "commit": commit or "unknown",
        "rtt": options.rtt, "left_out": options.left_out | failed,
    }


@contextmanager
def fleet_for(options: argparse.Namespace, name: str, isolated: bool) -> Iterator[tuple[Fleet, Path]]:
    """Hold a fleet of the largest size that is asked for, and a folder for what the contestants write."""
    groups = cgroups.make(name)
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        folder = Path(place)
        (folder / "fleet").mkdir()
        fleet = up(folder / "fleet", max([*options.sizes, options.many]), options.rtt / 1000, isolated, groups)
        try:
            yield fleet, folder
        finally:
            fleet.down()
            if options.keep:
                shutil.copytree(folder, options.keep, ignore=shutil.ignore_patterns("fleet"), symlinks=True, dirs_exist_ok=True)


def usual_runs(size: int) -> tuple[int, int]:
    """Say how often ours and what it is measured by are run where nothing else is said, and how often the others."""
    return (5, 2) if size <= 10 else (3, 1)


if __name__ == "__main__":
    sys.exit(main())
