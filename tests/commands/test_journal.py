"""The history of a host: a line per run, as it was told."""

from __future__ import annotations

import json

from fabfile.commands import journal
from fabfile.commands.shell import Step


def test_each_run_is_a_line_of_its_own(sh, root):
    records = [{"run": f"r{number}", "who": "d'or \"x\" \\n $HOME `id` %s\n", "ü": "→"} for number in range(5)]
    ran = sh.run(*(Step("history", journal.append(str(root), record)) for record in records))
    lines = (root / ".gapless" / "history.jsonl").read_text().splitlines()
    assert (ran.code, [json.loads(line) for line in lines]) == (0, records)


def test_what_was_done_by_hand_hides_no_run(sh, root):
    said = {"run": "r", "what": 'a reason with "by_hand": true in it'}
    hand = [{"run": f"h{number}", "by_hand": True} for number in range(9)]
    sh.run(*(Step("history", journal.append(str(root), record)) for record in ({"run": "r0"}, said, *hand)))
    told = {each: [event["record"]["run"] for event in sh.run(Step("history", each(str(root), 4))).events if event["event"] == "past_run"]
            for each in (journal.runs, journal.history)}
    assert told == {journal.runs: ["r0", "r"], journal.history: ["h5", "h6", "h7", "h8"]}


def test_a_full_disk_ends_the_step(sh, small_disk, fill):
    fill(small_disk)
    assert sh.run(Step("history", journal.append(str(small_disk), {"run": "r1"}))).code != 0


def test_the_last_runs_come_back_as_they_were_told(sh, root):
    assert not sh.run(Step("history", journal.history(str(root), 2))).heard("past_run")
    records = [{"run": f"r{number}", "who": "d'or \"x\" \\n $HOME `id` %s\n", "ü": "→"} for number in range(3)]
    sh.run(*(Step("history", journal.append(str(root), record)) for record in records))
    file = root / ".gapless" / "history.jsonl"
    file.write_text(file.read_text().replace('{"run": "r1"', '{"torn') + '{"run": "half')
    ran = sh.run(Step("history", journal.history(str(root), 4)))
    told = [event["record"] for event in ran.events if event["event"] == "past_run"]
    assert (ran.code, told) == (0, [records[0], records[2]])
