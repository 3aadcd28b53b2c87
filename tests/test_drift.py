"""What a host says of itself against what was meant: each difference gets a sentence, and nothing is invented on a good host."""

from __future__ import annotations

from typing import Any

import pytest

from fabfile import drift
from fabfile.inventory.values import App, Host, Process, Ssh

HOST = Host("web1", Ssh("web1"), App("shop", "repo", "/srv/shop", (Process("shop", "dist/main.js", 2, 3000),)), "web1")


def worker(id: int = 0, **changes: Any) -> dict[str, Any]:
    usual = {"id": id, "name": "shop", "status": "online", "state": "open", "release": "0002-b", "health": {"status": 200}, "died": 0, "up_ms": 9e6}
    return {**usual, **changes}


def facts(**changes: Any) -> dict[str, Any]:
    usual = {
        "trouble": None, "current": {"state": "ok", "release": "0002-b"}, "processes": [worker(0), worker(1)], "cpus": 2, "pinned": [],
        "strays": [], "driving": [], "daemon": {"pid": 7, "version": "7.0.4"}, "version": "7.0.4", "saved": ["shop"],
    }
    return {**usual, **changes}


def test_a_good_host_has_no_drift_and_no_notes():
    assert (drift.drifted(HOST, facts()), drift.notes(facts())) == ([], [])


@pytest.mark.parametrize(("changes", "told"), [
    ({"processes": [worker(0)]}, "shop: 1 of 2 workers"),
    ({"processes": [worker(0), worker(1, release="0001-a")]}, "drift: runs 0001-a"),
    ({"processes": [worker(0), worker(1, health={"status": 500})]}, "worker 1 answers 500 to its health route, want 200"),
    ({"processes": [worker(0), worker(1, died=2, up_ms=12_000)]}, "worker 1 died 2 times since the deploy and was restarted by PM2, last 12 s ago"),
    ({"processes": [worker(0), worker(1, died=1, up_ms=99_000)]}, "worker 1 died once since the deploy and was restarted by PM2, last 99 s ago"),
    ({"current": {"state": "incomplete", "release": "0002-b"}}, "current is incomplete"),
    ({"strays": [{"pid": 9, "release": "0001-a"}]}, "pid 9 runs 0001-a, unknown to PM2"),
    ({"driving": ["r7"]}, "a reload is under way (run r7)"),
    ({"trouble": "PM2's daemon (pid 7): no answer"}, "PM2's daemon (pid 7): no answer"),
])
def test_each_difference_is_named_once(changes: dict[str, Any], told: str):
    assert drift.drifted(HOST, facts(**changes)) == [told]


def test_a_death_of_long_ago_is_no_news():
    assert drift.drifted(HOST, facts(processes=[worker(0), worker(1, died=3, up_ms=3.6e6)])) == []


def test_a_host_out_of_rotation_is_drift_only_where_something_is_deployed():
    assert drift.drifted(HOST, facts(), "drained by hand") == ["out of rotation: drained by hand"]
    assert drift.drifted(HOST, facts(current={"state": "absent", "release": None}, processes=[]), "DOWN") == []


def test_what_will_be_a_problem_some_day_is_a_note():
    [version, saved] = drift.notes(facts(version="7.1.0", saved=["other"]))
    assert "PM2's daemon is 7.0.4, its command 7.1.0" in version
    assert "PM2 would not start shop after a reboot" in saved
    assert drift.notes(drift.NOTHING) == []
