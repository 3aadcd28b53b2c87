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
        "strays": [], "driving": [], "daemon": {"pid": 7, "version": "7.0.4"}, "version": "7.0.4", "saved": ["shop"], "node": "20.20.2",
    }
    return {**usual, **changes}


def server(**changes: Any) -> dict[str, Any]:
    usual = {"backend": "api", "name": "web1", "status": "UP", "weight": 1, "since": 90, "check": "L7OK", "code": "200", "said": "", "by": ""}
    return {**usual, **changes}


def answers(*asked: tuple[int, str | None], **changes: Any) -> dict[str, Any]:
    """Give what a port answered: pairs of status and release; usually all is well."""
    each = [{"status": status, "release": release, "ms": 3, "why": "timed out"} for status, release in asked or [(200, "0002-b")] * 4]
    return {"event": "answers", "name": "shop", "port": 3000, "route": "/health", "listening": True, "asked": each, **changes}


def test_a_good_host_has_no_drift_and_no_notes():
    assert (drift.drifted(HOST, facts()), drift.notes(facts())) == ([], [])


@pytest.mark.parametrize(("changes", "told"), [
    ({"processes": [worker(0)]}, "shop: 1 of 2 workers"),
    ({"processes": [worker(0), worker(1, release="0001-a")]}, "drift: runs 0001-a"),
    ({"processes": [worker(0), worker(1, health={"status": 500})]}, "worker 1 answers 500 to its health route, want 200"),
    ({"processes": [worker(0), worker(1, died=2, up_ms=12_000)]}, "worker 1 died 2 times since the deploy and was restarted by PM2, last 12 s ago"),
    ({"processes": [worker(0), worker(1, died=1, up_ms=99_000)]}, "worker 1 died once since the deploy and was restarted by PM2, last 99 s ago"),
    ({"processes": [worker(0), worker(1, halted=True)]}, "worker 1 is halted by a signal (SIGSTOP) and serves nobody"),
    ({"processes": [worker(0), worker(1, status="stopped", release=None)]}, "worker 1 is stopped in PM2"),
    ({"processes": [worker(0), worker(1, state="held")]}, "worker 1 is not open to requests but in state held"),
    ({"processes": [worker(0), worker(1, state=None, health=None)]}, "worker 1 did not start through the gate"),
    ({"processes": [worker(0), worker(1, health={"status": 0, "why": "ECONNREFUSED"})]}, "worker 1 gives no answer: ECONNREFUSED"),
    ({"processes": [worker(0), worker(1, gone=True)]}, "worker 1 stands in a directory that is gone"),
    ({"daemon": {"pid": None}}, "PM2's daemon does not run"),
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


@pytest.mark.parametrize(("changes", "shown", "why"), [
    ({}, "in", ""),
    ({"status": "UP 2/3"}, "in", ""),
    ({"status": "no check"}, "in", ""),
    ({"status": "DRAIN"}, "OUT (DRAIN)", "drained by hand, for 90 s"),
    ({"status": "DRAIN", "by": "r7"}, "OUT (DRAIN)", "drained by run r7, for 90 s"),
    ({"status": "MAINT"}, "OUT (MAINT)", "in maintenance, which no run of ours sets, for 90 s"),
    ({"weight": 0}, "OUT (weight 0)", "its weight at the balancer was set to 0"),
    ({"status": "DOWN", "check": "L4CON", "code": "", "said": "Connection refused", "since": 7300}, "OUT (DOWN)",
     "DOWN at the balancer: its check says L4CON (Connection refused), for 2 h"),
])
def test_the_balancers_word_is_told_with_its_reason(changes: dict[str, Any], shown: str, why: str):
    assert (drift.in_rotation(server(**changes)), drift.why_out(server(**changes))) == (shown, why)


@pytest.mark.parametrize(("answer", "told"), [
    (answers(), []),
    (answers(listening=False, asked=[]), ["nobody listens on port 3000"]),
    (answers((200, "0002-b"), (0, None)), ["1 of 2 connections to port 3000 got no answer: timed out"]),
    (answers((200, "0002-b"), (503, "0002-b")), ["port 3000 answers 503 to GET /health (1 of 2)"]),
    (answers((200, "0002-b"), (200, "0001-a")), ["port 3000 answers as 0001-a (1 of 2)"]),
    (answers((200, None)), ["port 3000 answers as something that names no release (1 of 1)"]),
])
def test_what_clients_would_see_is_compared_with_the_link(answer: dict[str, Any], told: list[str]):
    assert drift.answered(HOST, facts(), [answer]) == told
    assert drift.answered(HOST, facts(current={"state": "absent", "release": None}), [answer]) == []


def test_without_a_release_header_any_answer_will_do():
    host = HOST._replace(app=HOST.app._replace(header=None))
    assert drift.answered(host, facts(), [answers((200, None))]) == []


def test_what_runs_is_counted_whether_pm2_lists_it_or_not():
    here = facts(processes=[worker(0), worker(1, status="stopped", release=None)], strays=[{"pid": 9, "release": "0001-a"}])
    assert (drift.running(here), drift.healthy(HOST, here)) == ("0001-a x1, 0002-b x1", "1/2")
    assert drift.healthy(HOST, facts(processes=[worker(0)])) == "1/2"
    assert drift.healthy(HOST, facts(current={"state": "absent", "release": None}, processes=[])) == "0/0"


def test_a_stranger_in_pm2_that_stands_in_our_releases_is_a_note():
    [note] = drift.notes(facts(foreign=[{"name": "cron", "release": "0002-b", "pid": 8}]))
    assert "PM2 also runs cron (0002-b, pid 8), of which hosts.yaml says nothing" in note
