"""
Time the build of a redeploy with an unchanged lockfile against all of it each time: python -m tests.bench.redeploy.

Both build the lab's NestJS app on one host through `fab build`, in turns: one with the steps of `build:` as the README has them, the
other with the same steps in words that keep npm's from being remembered. Each turn builds another commit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.lab.conftest import Site
from tests.lab.fleet import Lab

STEPS = ["npm ci", "npm run build", "npm prune --omit=dev"]
WAYS = {"each time": [f"{step} && true" for step in STEPS], "remembered": STEPS}
COMMITS = ["v2", "slow-boot", "slow-requests", "hooks", "health-500", "dies"]  # one lockfile, other sources
HOST = "lab1"
WHOLE = "whole build phase"


Times = dict[str, float]


def build(site: Site, way: str, ref: str) -> Times:
    """Build a commit; return the seconds of each step, and of the whole phase on the host."""
    text = site.configure().read_text()
    site.inventory.write_text(text.replace("build: [npm ci, npm run build]", f"build: {json.dumps(WAYS[way])}"))
    # What the build before left to be written must not slow this one down, nor must the copy that it left to be made.
    site.lab.run(HOST, "while pgrep -f '[d]eps.cjs .* --copy' >/dev/null; do sleep 0.2; done; sync", timeout=300)
    done = site.fab("build", "--ref", ref, hosts=HOST)
    if done.code:
        raise SystemExit(f"{ref}: exit {done.code}")
    log = Path(next(line for line in done.out.splitlines() if line.startswith("log: ")).removeprefix("log: "))
    return times([json.loads(line) for line in (log / "run.jsonl").read_text().splitlines()])


def times(events: list[dict[str, Any]]) -> Times:
    """Read from a run's events how long each step of its build phase took; a step ends where the next one begins."""
    built = [each for each in events if each.get("phase") == "build" and each.get("event") in ("step", "end")]
    named = {each["name"].removesuffix(" && true"): after["at"] - each["at"] for each, after in pairwise(built)}
    return {**{step: named[step] for step in STEPS}, WHOLE: float(built[-1]["seconds"])}


def measure(site: Site, turns: int) -> dict[str, list[Times]]:
    """Take turns; the first build, which installs what is kept from then on, is not counted."""
    print(f"first deploy {build(site, 'remembered', COMMITS[0])[WHOLE]:.1f} s", flush=True)
    found: dict[str, list[Times]] = {way: [] for way in WAYS}
    for turn in range(turns):
        for way, taken in found.items():
            taken.append(build(site, way, COMMITS[(turn + 1) % len(COMMITS)]))
            print(f"turn {turn + 1}: {way} {taken[-1][WHOLE]:.2f} s", flush=True)
    return found


def table(found: dict[str, list[Times]]) -> str:
    """Show the median of each step with the extremes, and the ratio of each turn's pair."""
    rows = []
    for step in (*STEPS, WHOLE):
        old, new = ([each[step] for each in taken] for taken in found.values())
        ratios = [later / sooner for sooner, later in zip(old, new, strict=True)]
        rows.append(f"| {step} | {spread(old)} | {spread(new)} | {spread(ratios)} |")
    return "\n".join([f"| seconds: median (min-max) | {' | '.join(found)} | ratio of a turn |", "|---|--:|--:|--:|", *rows])


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main() -> None:
    """Bring a fleet of one host up, measure, print the table, end the fleet."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.redeploy", description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--name", default="redeploy", help="the lab's name")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Lab.up(options.name, 1, bound=True) as lab:
        print(table(measure(Site(lab, Path(folder)), options.turns)))


if __name__ == "__main__":
    main()
