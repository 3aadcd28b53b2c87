"""Runs that are over, as hosts remember them: one line for each run, whatever it wrote and wherever."""

from __future__ import annotations

import time
from typing import Any

import pytest

from fabfile.errors import UsageError
from fabfile.look import history, past
from fabfile.transport import Outcome


def run(id: str = "r1", **changes: Any) -> dict[str, Any]:
    usual = {
        "run": id, "verb": "deploy", "who": "ann", "from": "desk", "at": 1000, "ci": "", "commit": "bbbbbbb" + "0" * 33, "release": "0002-bbbbbbb",
        "outcome": "ok", "sent": 1234, "lost": 0, "seconds": 61.0, "boot": "x", "pid": 7, "start": "9",
        "was": {"a": "0001-aaaaaaa", "b": "0001-aaaaaaa"}, "now": {"a": "0002-bbbbbbb", "b": "0002-bbbbbbb"},
    }
    return {**usual, **changes}


def test_a_run_that_wrote_twice_ended_as_it_said_last():
    outcome = Outcome(0, [{"event": "past_run", "record": each} for each in (run(), run("r2"), run("r2", outcome="5"))])
    assert [(each["run"], past.code(each)) for each in past.runs(outcome)] == [("r1", 0), ("r2", 5)]


def test_a_run_on_several_hosts_is_one_line_and_ended_as_its_worst_host_says():
    found = {"b": [run("r1", outcome="5"), run("r3", at=3000)], "a": [run("r1"), run("r2", at=2000)]}
    assert [(each["run"], past.code(each), hosts) for each, hosts in history.merged(found)] == [
        ("r1", 5, ["b", "a"]), ("r2", 0, ["a"]), ("r3", 0, ["b"]),
    ]


@pytest.mark.parametrize(("changes", "told"), [
    ({}, "aaaaaaa → bbbbbbb"),
    ({"now": {"a": "0001-aaaaaaa", "b": "0001-aaaaaaa"}, "outcome": "1"}, "aaaaaaa, not bbbbbbb"),
    ({"verb": "rolling", "commit": "", "now": {"a": "0001-aaaaaaa", "b": "0001-aaaaaaa"}}, "stays aaaaaaa"),
    ({"was": {"a": None, "b": "0001-aaaaaaa"}}, "aaaaaaa → bbbbbbb, nothing → bbbbbbb"),
    ({"was": None, "now": None}, "bbbbbbb"),
    ({"commit": "", "sha256": "bbbbbbb" + "0" * 57}, "aaaaaaa → artifact bbbbbbb"),
    ({"commit": "", "sha256": "ccccccc" + "0" * 57, "now": {"a": "0001-aaaaaaa", "b": "0001-aaaaaaa"}, "outcome": "1"}, "aaaaaaa, not artifact ccccccc"),
    ({"sha256": "ccccccc" + "0" * 57}, "aaaaaaa → bbbbbbb"),
    ({"now": {"a": "?", "b": "0002-bbbbbbb"}, "outcome": "5"}, "aaaaaaa → ?, aaaaaaa → bbbbbbb"),
])
def test_commits_are_told_from_where_to_where(changes: dict[str, Any], told: str):
    assert past.commits(run(**changes)) == told


@pytest.mark.parametrize(("outcome", "told"), [("ok", "done"), ("1", "failed (1)"), ("5", "unsettled (5)"), ("130", "interrupted (130)")])
def test_an_outcome_is_a_word_with_its_exit_code(outcome: str, told: str):
    assert past.outcome(run(outcome=outcome)) == told


def test_what_was_done_by_hand_says_what_and_counts_no_requests():
    drained = {key: value for key, value in run(verb="drain", what="new disk", by_hand=True).items() if key not in ("sent", "lost", "was", "now", "commit")}
    assert history.row(drained, ["a"])[1:] == ["ann@desk", "drain", "-", "a", "61 s", "-", "done; new disk"]


def test_the_last_run_is_told_in_one_line():
    assert past.in_words(run(at=time.time() - 180, ci="https://ci/7")) == (
        "deploy 0002-bbbbbbb by ann@desk https://ci/7, 3 min ago: done, 1,234 sent, 0 lost")


def test_which_process_it_was_is_nobodys_concern():
    assert not {"boot", "pid", "start"} & set(history.record(run(), ["a"]))


@pytest.mark.parametrize("lines", [0, -1, 1001])
def test_a_number_of_lines_that_is_none_is_refused(lines: int):
    with pytest.raises(UsageError, match="--lines"):
        history.check(lines)
