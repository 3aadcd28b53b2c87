"""The history of a host: what was appended comes back as it was."""

from __future__ import annotations

from fabfile.commands import journal
from fabfile.commands.shell import Step


def runs(ran):
    return [event["run"] for event in ran.events if event["event"] == "run"]


def test_the_last_runs_come_back_oldest_first(sh, root):
    records = [{"run": f"r{number}", "who": "d'or \"x\" \\n $HOME `id` %s", "ü": "→"} for number in range(5)]
    ran = sh.run(*(Step("history", journal.append(str(root), record)) for record in records), Step("read", journal.read(str(root), 3)))
    assert (ran.code, runs(ran)) == (0, records[2:])


def test_a_line_that_was_cut_short_is_left_out(sh, root):
    sh.run(Step("history", journal.append(str(root), {"run": "r1"})))
    with open(root / ".gapless" / "history.jsonl", "a") as file:
        file.write('{"run": "r2", "wh\n')
    ran = sh.run(Step("history", journal.append(str(root), {"run": "r3"})), Step("read", journal.read(str(root), 10)))
    assert [run["run"] for run in runs(ran)] == ["r1", "r3"]


def test_no_history_is_no_error(sh, root):
    ran = sh.run(Step("read", journal.read(str(root), 10)))
    assert (ran.code, runs(ran)) == (0, [])
