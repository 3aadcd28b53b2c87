"""Write docs/faults.md from the histories of a run: python -m tests.faults.table FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.faults.checker import KILLED, Story, judge, seconds_to_safety
from tests.faults.history import read

HEAD = """\
# What breaks, and what it costs

Each row is one run of `fab` on a fleet of three hosts (real sshd, PM2 and HAProxy, `make faults`), with one fault in it and clients that
never retry. One checker ([checker.py](../tests/faults/checker.py)) judged the history of every run: requests, capacity, rotation, links, truth
of exit code and status, locks, orphans, time, explanation, and whether the same command, typed again without the fault, ends well (after a
run that died with something in hand: `fab resume`). This page is written by that run.

- *safe after*: seconds from the fault until, on the hosts that it struck, no link moved any more and the balancer gave them traffic;
  `-` where one stayed out until the command was typed again.
- *end*: what the command left behind, before it was typed again.

| fault | command | requests sent | lost | safe after | end | exit |
|---|---|--:|--:|--:|---|--:|
"""


def page(stories: list[Story]) -> str:
    """Put all cases into one page."""
    notes = [f"- {story.case['name']}: {why}." for story in stories for why in story.excuses.values()]
    told = ["", "Where requests may be lost, it is the fault itself that loses them, and only while it acts:", "", *notes, ""] if notes else [""]
    return HEAD + "\n".join([*map(row, stories), *told])


def row(story: Story) -> str:
    """Put one case into a row; one that broke a promise says so where it is read first."""
    name = story.case["name"] + (" **(broken promise)**" if judge(story.records) else "")
    clients, words = story.all("clients")[0], story.all("command")[0]["words"]
    safe = seconds_to_safety(story.records)
    return (
        f"| {name} | `{words[0]}` | {clients['sent']:,} | {len(clients['lost']):,} | {'-' if safe is None else f'{safe:.1f} s'} "
        f"| {end_state(story)} | {'killed' if story.code == KILLED else story.code} |"
    )


def end_state(story: Story) -> str:
    """Put into words what the command left behind, before it was typed again."""
    before, after = story.look("before"), story.look("after")
    if out := [host for host in story.hosts if not after["pool"].get(host, "").startswith("UP")]:
        return f"{', '.join(out)} out of rotation"
    moved = [host for host in story.hosts if after["hosts"][host]["release"] != before["hosts"][host]["release"]]
    if moved and len(moved) < len(story.hosts):
        return f"new on {', '.join(moved)}, old elsewhere"
    return "all new" if moved else "all old"


def main(folder: Path) -> None:
    """Print the page of every case that was played to its end below a folder, in the order in which they were."""
    files = sorted({file.resolve() for file in folder.rglob("history.jsonl")}, key=lambda file: file.stat().st_mtime)
    stories = [Story(read(file)) for file in files]
    print(page([story for story in stories if story.one("look", when="again")]), end="")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
