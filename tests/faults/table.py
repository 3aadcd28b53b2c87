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
of exit code and status, locks, orphans, time, explanation, and whether the same command, typed again without the fault, ends well. This page is
written by that run.

- *safe after*: seconds from the fault until, on the hosts that it struck, no link moved any more and the balancer gave them traffic;
  `-` where one stayed out until the next command.
- *next command*: what was typed when the fault was gone; each time all hosts were on one release, healthy and in rotation afterwards.
"""

COLUMNS = """
| fault | command | exit | requests sent | lost | safe after | left behind | next command | exit |
|---|---|--:|--:|--:|--:|---|---|--:|
"""


def page(stories: list[Story]) -> str:
    """Put all cases into one page, with a table for each room, and the sums first."""
    sent, lost = (sum(total(story)[which] for story in stories) for which in (0, 1))
    excused = sum(total(story)[1] for story in stories if story.excuses)
    broken = sum(bool(judge(story.records)) for story in stories)
    sums = f"""
**{len(stories)} faults, {sent:,} requests sent, {lost:,} lost**, {excused:,} of them by the fault itself; {broken} broken promises.
"""
    rooms = dict.fromkeys(story.case["room"] for story in stories)
    tables = [f"\n## {room}\n{COLUMNS}" + "\n".join(row(story) for story in stories if story.case["room"] == room) + "\n" for room in rooms]
    notes = [f"- {story.case['name']}: {why}." for story in stories for why in story.excuses.values()]
    told = ["\nWhere requests may be lost, it is the fault itself that loses them, and only while it acts:\n", *notes, ""] if notes else []
    return HEAD + sums + "".join(tables) + "\n".join(told)


def total(story: Story) -> tuple[int, int]:
    """Give how many requests were sent and lost."""
    clients = story.all("clients")[0]
    return clients["sent"], len(clients["lost"])


def row(story: Story) -> str:
    """Put one case into a row; one that broke a promise says so where it is read first."""
    name = story.case["name"].replace("|", "\\|") + (" **(broken promise)**" if judge(story.records) else "")
    (sent, lost), words = total(story), story.all("command")[0]["words"]
    safe, again = seconds_to_safety(story.records), story.all("command")[1]
    return (
        f"| {name} | `{words[0]}` | {'killed' if story.code == KILLED else story.code} | {sent:,} | {lost:,} "
        f"| {'-' if safe is None else f'{safe:.1f} s'} | {end_state(story)} | `{again['words'][0]}` | {story.exit_of(2)} |"
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
