"""Where a run stands: read from the events of real ones, at any moment."""

from __future__ import annotations

import pytest

from fabfile.report.board import COLUMNS, Board
from tests.report import RUNS, events


def board(run: str, until: float = 1e9) -> Board:
    """Give the board as it stood `until` so many seconds."""
    found = Board()
    for event in events(run):
        if event["at"] <= until:
            found.take(event)
    return found


def row(found: Board, host: str, now: float) -> list[str]:
    return [found.cells[host][column].shown(now) if column in found.cells[host] else "-" for column in COLUMNS]


@pytest.mark.parametrize("at, told", [
    (0.05, "waiting: lab1, lab2, lab3 to log in, since 00:00"),
    (5.5, "waiting: lab1, lab2, lab3 npm run build, since 00:05"),
    (13.9, "waiting: lab1 npx prisma migrate deploy, since 00:13"),
    (14.5, "waiting: lab1 sessions to end, until 00:29 (drain_timeout)"),
    (14.75, "waiting: lab1 its driver to begin, until 00:20 (healthy_deadline)"),
    (15.0, "waiting: lab1 worker 0 to load its script, until 00:20 (healthy_deadline)"),
    (18.2, "waiting: lab1 must stay healthy, 2 of 3 s"),
    (19.14, "waiting: lab1 old workers to end, since 00:19"),
    (19.2, "waiting: lab1 the balancer to call it up, until 00:49"),
    (25.0, "waiting: lab2 worker 0 to prove healthy, until 00:27 (healthy_deadline)"),
    (27.0251, "waiting: lab2 to be taken back, since 00:27"),
    (27.03, "waiting: lab2 to go back to 0005-ad4ac5e, since 00:27"),
    (27.2, "waiting: lab2 worker 0 to load its script, since 00:27"),  # it may take longer than healthy_deadline
    (35.0, "waiting: losses that show late, until 00:36"),
])
def test_it_always_says_what_is_waited_for(at, told):
    assert board("taken back", at).waiting(at) == told


def test_of_two_workers_in_hand_the_one_that_waits_longest_is_told():
    found = board("taken back", 15.0)
    told = []
    for at, worker, state in ((15.5, 1, "boot"), (16.0, 0, "held"), (17.0, 0, "open"), (17.5, 1, "held"), (18.0, 1, "open")):
        found.take({"event": "worker", "phase": "reload", "host": "lab1", "at": at, "id": worker, "state": state, "release": "r", "pid": 1})
        told.append(found.waiting(at).removeprefix("waiting: lab1 "))
    assert told == [
        "worker 0 to load its script, until 00:20 (healthy_deadline)", "worker 0 to prove healthy, until 00:20 (healthy_deadline)",
        "worker 1 to load its script, until 00:21 (healthy_deadline)", "worker 1 to prove healthy, until 00:21 (healthy_deadline)",
        "the next worker, since 00:18",
    ]


@pytest.mark.parametrize("run", RUNS)
def test_at_no_moment_is_it_silent(run):
    found = Board()
    for event in events(run):
        found.take(event)
        assert found.waiting(event["at"]).startswith("waiting: ")
        assert found.waiting(event["at"]).rsplit(", ", 1)[1][:5] in ("since", "until") or " of " in found.waiting(event["at"])


def test_the_table_of_a_good_deploy():
    found = board("good")
    assert row(found, "lab1", 0) == ["ok 10s", "ok 0s", "ok 0s", "ok 1s", "ok 3s", "in"]
    assert row(found, "lab3", 0) == ["ok 9s", "-", "ok 1s", "ok 1s", "ok 3s", "in"]
    assert (found.sent, found.lost, set(found.runs.values())) == (431, 0, {"0005-ad4ac5e"})


def test_the_table_of_one_that_was_taken_back():
    found = board("taken back")
    assert row(found, "lab1", 0)[3:] == ["ok 1s", "went back", "in"]
    assert row(found, "lab2", 0)[3:] == ["FAILED", "went back", "in"]
    assert row(found, "lab3", 0)[2:] == ["-"] * 4
    assert set(found.runs.values()) == {"0005-ad4ac5e"}
    assert [(span.host, span.column, span.state) for span in found.spans() if span.column not in ("build", "migrate", "rotation")] == [
        ("lab1", "drain", "ok"), ("lab1", "reload", "ok"), ("lab1", "healthy", "ok"),
        ("lab2", "drain", "ok"), ("lab2", "reload", "failed"), ("lab2", "back", "failed"),
        ("lab1", "drain", "ok"), ("lab1", "reload", "ok"), ("lab1", "healthy", "said"),
    ]


def test_what_cant_be_understood_changes_nothing():
    """A host may run another version of our scripts: each event without each of its fields, and with nonsense in it."""
    first, *rest = events("taken back")
    for event in rest:
        for field in event:
            for broken in ({key: value for key, value in event.items() if key != field}, {**event, field: None}, {**event, field: [1]}):
                found = Board()
                found.take(first)
                found.take(broken)
                assert found.hosts == ["lab1", "lab2", "lab3"]
                assert found.waiting(1.0).startswith("waiting: ")
