"""One host's way through real runs: what was done to it, what it met, and what it served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from fabfile.report.lanes import Courses, Lane
from fabfile.report.stream import Event
from tests.picture.recording import RECORDED, recorded

GROUPS = {"lab": ["lab1", "lab2", "lab3"]}


def lanes(events: Iterable[Event], groups: Mapping[str, Iterable[str]], end: float) -> tuple[Lane, ...]:
    courses = Courses(groups)
    for event in events:
        courses.take(event)
    return courses.lanes(end)


def lane(name: str, host: str) -> Lane:
    events = recorded(name)
    return next(each for each in lanes(events, GROUPS, events[-1]["at"]) if each.host == host)


def kinds(found: Lane) -> list[str]:
    return [segment.kind for segment in found.segments]


def marks(found: Lane) -> list[str]:
    return [mark.kind for mark in found.marks]


def served(found: Lane) -> list[str]:
    """Give the counters of the releases that it served, in order; "" for none."""
    return [each.release[:4] for each in found.serving]


def test_a_good_deploy():
    first, last = lane("good", "lab1"), lane("good", "lab3")
    assert kinds(first) == ["claim", "build", "migrate", "drain", "reload", "settle", "restore", "finish"]
    assert kinds(last) == ["claim", "build", "drain", "reload", "settle", "restore", "finish"]
    assert marks(first) == marks(last) == ["boot", "open", "boot", "open"]
    assert served(first) == served(last) == ["0001", "", "0002"]
    assert first.before == last.before == first.serving[0].release


def test_a_release_that_throws_never_serves():
    found = lane("throws", "lab1")
    assert kinds(found) == ["claim", "build", "migrate", "drain", "reload", "back", "restore", "finish"]
    assert served(found) == ["0002", "", "0002"]
    assert "refused: exception: Error: JWT_SECRET is not set" in [mark.text for mark in found.marks if mark.kind == "refused"]
    assert kinds(lane("throws", "lab2")) == ["claim", "build", "finish"]
    assert served(lane("throws", "lab2")) == ["0002"]


def test_a_wave_that_fails_takes_the_one_before_it_back():
    first, second = lane("second", "lab1"), lane("second", "lab2")
    assert kinds(first)[3:] == ["drain", "reload", "settle", "restore", "drain", "back", "restore", "finish"]
    assert served(first) == ["0002", "", "0004", "", "0002"]
    assert kinds(second)[2:] == ["drain", "reload", "back", "restore", "finish"]
    assert "refused" in marks(second) and "refused" not in marks(first)


def test_a_lost_link_is_marked_and_what_is_heard_twice_counts_once():
    found = lane("cut", "lab2")
    assert [kind for kind in marks(found) if kind not in ("boot", "open")] == ["cut", "joined"]
    assert kinds(found) == kinds(lane("cut", "lab1")) == ["claim", "drain", "reload", "settle", "restore", "finish"]
    assert marks(found).count("open") == 2


def test_an_interrupted_run_leaves_the_last_host_alone():
    assert kinds(lane("interrupted", "lab3")) == ["claim", "finish"]
    assert kinds(lane("interrupted", "lab2")) == kinds(lane("interrupted", "lab1"))


@pytest.mark.parametrize("name", RECORDED)
def test_time_runs_forward_in_every_lane(name):
    for found in lanes(recorded(name), GROUPS, 1e6):
        edges = [edge for segment in found.segments for edge in (segment.start, segment.end)]
        assert edges == sorted(edges)
        assert [each.at for each in found.serving] == sorted(each.at for each in found.serving)


# ---------------------------------------------------------------- what was not recorded

FACTS = {"event": "facts", "phase": "claim", "at": 0.1, "current": {"release": "0001-a"}, "processes": [{"name": "shop"}]}


def of(*events: dict[str, object]) -> Lane:
    return lanes([{"host": "a", **each} for each in (FACTS, *events)], {"web": ["a"]}, 9.0)[0]


def test_a_host_in_maintenance_serves_nobody_all_the_time():
    found = of({"event": "drain", "phase": "drain", "at": 2.0, "ok": True, "said": "maintenance", "seconds": 0.1},
               {"event": "done", "phase": "reload", "at": 3.0, "release": "0002-b"})
    assert served(found) == [""]


def test_a_host_that_was_not_drained_serves_the_new_release_when_its_first_worker_opens():
    found = of({"event": "drain", "phase": "drain", "at": 2.0, "ok": True, "said": "alone", "seconds": 0.1},
               {"event": "worker", "phase": "reload", "at": 3.0, "id": 0, "pid": 1, "release": "0002-b", "state": "open"})
    assert [(each.at, each.release) for each in found.serving] == [(0.0, "0001-a"), (3.0, "0002-b")]


def test_a_host_that_broke_is_not_counted_as_serving():
    found = of({"event": "broken", "phase": "reload", "at": 3.0, "why": "no worker came back"})
    assert served(found) == ["0001", ""]
    assert marks(found) == ["broken"]


def test_a_failed_build_is_marked():
    found = of({"event": "step", "phase": "build", "at": 1.0, "name": "npm ci"},
               {"event": "end", "phase": "build", "at": 2.0, "code": 1, "step": "npm ci"})
    assert (kinds(found), [mark.text for mark in found.marks]) == (["build"], ["failed in build, step npm ci"])


def test_a_run_that_was_left_ends_where_its_events_end():
    assert [(each.start, each.end) for each in of({"event": "step", "phase": "build", "at": 1.0, "name": "npm ci"}).segments] == [(1.0, 9.0)]


@pytest.mark.parametrize("event", [
    {"event": "worker", "phase": "reload", "at": 1.0}, {"event": "end"}, {"event": "drain", "phase": "drain", "at": "soon"},
    {"event": "facts", "phase": "claim", "at": 1.0, "current": None}, {"text": "a line of words"}, {"event": "invented", "phase": "reload", "at": 1.0},
])
def test_what_another_version_wrote_is_left_out(event):
    assert served(of(event)) == ["0001"]
