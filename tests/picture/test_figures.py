"""The figures of real runs: how they ended, what is true now, and what was measured on the run's own axis."""

from __future__ import annotations

import pytest

from fabfile.report.figures import CELLS, NO_END, STOPPED, figures
from tests.picture.crowd import crowd
from tests.picture.recording import RECORDED, recorded


def last(events: list, kind: str) -> dict:
    return next(event for event in reversed(events) if event["event"] == kind)


@pytest.mark.parametrize("name", RECORDED)
def test_the_floor_holds_and_every_host_serves_before_and_after(name):
    run = figures(recorded(name))
    counts = [count for _, count in run.capacity]
    assert (counts[0], counts[-1], min(counts), run.floor) == (3, 3, 2, 2)


@pytest.mark.parametrize(("name", "code", "headline"), [
    ("good", 0, "done"), ("throws", 1, "failed: the fleet is safe on the old release"), ("interrupted", 130, STOPPED),
])
def test_how_it_ended(name, code, headline):
    run = figures(recorded(name))
    assert (run.exit, run.headline, run.foreign) == (code, headline, None)


def test_what_is_true_now():
    good, second = figures(recorded("good")), figures(recorded("second"))
    assert {state for _, state in good.states} == {f"runs {good.release}, healthy"}
    assert dict(second.states) == {
        "lab1": f"is back on {second.before[0]}, healthy", "lab2": f"is back on {second.before[0]}, healthy",
        "lab3": f"was not touched, serves {second.before[0]}",
    }


def test_a_run_without_an_end_says_so():
    run = figures([event for event in recorded("good") if event["event"] not in ("summary", "requests")])
    assert (run.exit, run.headline, run.measured) == (None, NO_END, None)
    assert all(state.startswith("not known; last seen serving 0002") for _, state in run.states)


def test_a_run_that_left_at_once_has_its_last_words_told():
    words = "interrupted, and left at once.\nNext:  fab resume --hosts lab   or   fab abort --hosts lab"
    run = figures([*(event for event in recorded("good") if event["event"] != "summary"), {"at": 70.0, "text": words}])
    assert (run.message, run.following) == ("interrupted, and left at once.", ("fab resume --hosts lab   or   fab abort --hosts lab",))


def test_nothing_at_all_is_a_run_too():
    assert figures([]).lanes == ()


def test_what_to_type_next():
    events = recorded("good")
    events[0]["selector"] = "web,!web 3"
    assert figures(events).following[0].startswith("fab rollback --hosts 'web,!web 3'   ")
    assert figures(recorded("throws")).following == ("fab status --hosts lab",)
    assert "Next:" not in figures(recorded("throws")).message
    first = [{**event, "current": {"state": "absent", "release": None}} if event["event"] == "facts" else event for event in recorded("good")]
    assert figures(first).following == ()


def test_another_schema_is_told():
    events = recorded("good")
    events[0]["schema"] = 7
    assert figures(events).foreign == 7


@pytest.mark.parametrize("name", RECORDED)
def test_what_was_counted_lies_on_the_axis_of_the_run(name):
    run = figures(recorded(name))
    requests = last(recorded(name), "requests")
    assert run.measured is not None
    assert run.measured.lost == requests["lost"] == 0
    assert sum(cell.sent for cell in run.measured.cells) == sum(sum(tally["series"]["sent"]) for tally in requests["tallies"] if tally["counted"])
    claimed = next(phase.end for phase in run.phases if phase.name == "claim")
    assert claimed - 0.2 < run.measured.cells[0].start
    assert run.measured.cells[-1].end <= run.seconds
    switched = min(each.at for lane in run.lanes for each in lane.serving if each.at)
    for answered in run.measured.answers[1:]:
        assert answered.first > switched


def test_a_bad_release_is_not_among_those_that_answered():
    run = figures(recorded("throws"))
    assert run.measured is not None
    assert [each.release for each in run.measured.answers] == list(run.before)
    assert run.release not in run.before


def test_a_long_run_is_folded_and_loses_no_failure_and_no_peak():
    events = recorded("good")
    requests = last(events, "requests")
    requests["seconds"] = 14_000.0
    for tally in requests["tallies"]:
        tally["series"] = {"step": 4.0, "sent": [40] * 3500, "failed": [0] * 3500, "p99": [0.01] * 3500}
    balancer = next(tally for tally in requests["tallies"] if tally["counted"])
    balancer["series"]["failed"][1234] = 3
    balancer["series"]["p99"][2345] = 7.5
    run = figures(events)
    assert run.measured is not None
    assert len(run.measured.cells) <= CELLS
    assert sum(cell.failed for cell in run.measured.cells) == 3
    assert max(cell.p99 or 0 for cell in run.measured.cells) == 7.5
    counted = sum(tally["counted"] for tally in requests["tallies"])
    assert sum(cell.sent for cell in run.measured.cells) == 40 * 3500 * counted


def test_a_crowd_keeps_its_floor():
    run = figures(crowd(recorded("good"), 60))
    counts = [count for _, count in run.capacity]
    assert (len(run.lanes), counts[0], counts[-1], min(counts)) == (60, 60, 60, run.floor)
