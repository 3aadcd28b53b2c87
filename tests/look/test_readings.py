"""One reading put together from what hosts and balancers said, some of them nothing."""

from __future__ import annotations

from typing import Any

import pytest

from fabfile.inventory.values import App, Balancer, Group, Host, Process, Ssh
from fabfile.look import reading, records, releases, status
from fabfile.look.reading import Front, Reading, Server, Whole
from fabfile.probe import Answer
from fabfile.transport import Outcome
from tests.test_drift import answers, facts, server, worker

APP = App("shop", "repo", "/srv/shop", (Process("shop", "dist/main.js", 2, 3000),))
LB = Balancer("haproxy", "lb1", "/run/x.sock", "api", "http://lb1")


def host(name: str = "web1") -> Host:
    return Host(name, Ssh(name), APP, name)


def said(code: int | None = 0, *events: dict[str, Any], tail: tuple[str, ...] = ()) -> Outcome:
    return Outcome(code, list(events), list(tail))


def read(*events: dict[str, Any], code: int | None = 0, tail: tuple[str, ...] = (), by: Server | None = None, late: float = 0.0) -> Reading:
    return Reading(host(), "web", said(code, *events, tail=tail), by, late)


GOOD = {"event": "facts", **facts()}


def test_a_good_host_has_nothing_to_say():
    each = read(GOOD, {"event": "free"}, answers(), by=Server("lb1", server()))
    assert status.row(each) == ["web1", "0002-b", "0002-b x2", "2/2", "in", "ok"]
    assert (records.of(each)["well"], records.of(each)["wanted"], records.of(each)["run"]) == (2, 2, None)


@pytest.mark.parametrize(("each", "told"), [
    (read(code=None, tail=("connection refused at web1:22",)), "can't be read: connection refused at web1:22"),
    (read(code=1, tail=("no node on this host",)), "can't be read: no node on this host"),
    (read(GOOD, code=1, tail=("node: killed",)), "what its ports answer can't be read: node: killed"),
    (read(GOOD, by=Server("lb1", None, "lb1: no answer")), "nobody knows whether it is in rotation: lb1: no answer"),
    (read(GOOD, by=Server("lb1", None)), "out of rotation: the balancer's backend has no server of its name (server: in hosts.yaml)"),
    (read(GOOD, late=7.2), "gives no answer for 7 s now; what is shown was so before"),
    (read({**GOOD, "pinned": ["shop"]}), "shop runs with its last good env file: the one in shared/ made it fail; mend it and reload"),
])
def test_each_trouble_is_named_once(each: Reading, told: str):
    assert each.findings() == [told]
    assert status.row(each)[5] == told


@pytest.mark.parametrize(("now", "told"), [
    ({"web1": "0002-b"}, ["current is absent, though the last run left 0002-b here"]), ({"web1": None}, []), ({"web1": "?"}, []), (None, []),
])
def test_a_link_that_is_gone_is_told_by_what_the_last_run_left(now: Any, told: list[str]):
    bare = {**GOOD, "current": {"state": "absent", "release": None}, "processes": []}
    assert read(bare, {"event": "past_run", "record": {"run": "r1", "now": now}}).findings() == told


def test_a_server_is_found_by_backend_and_name():
    group = Group("web", (host(),), balancer=LB)
    there = said(0, {"event": "server", **server(status="MAINT"), "backend": "other"}, {"event": "server", **server()})
    heard = {"web1": (said(0, GOOD), 0.0), "balancer lb1": (there, 0.0)}
    look: Any = type("Look", (), {"targets": type("Targets", (), {"groups": (group,)})})
    [each] = reading.whole(look, heard).hosts
    assert each.rotation == "in"
    heard["balancer lb1"] = (None, 3.0)
    [each] = reading.whole(look, heard).hosts
    assert each.rotation == "? (lb1: no answer yet)"


def test_what_clients_see_through_the_balancer_counts_once_something_is_deployed():
    front = Front("web", "lb1", "http://lb1", (Answer(200, "0002-b", 0.1), Answer(503, None, 0.1), Answer(0, None, 5.0, "no answer within 5 s")))
    bare = read({**GOOD, "current": {"state": "absent", "release": None}, "processes": []})
    assert Whole((bare,), (front,), ()).findings() == {}
    assert Whole((read(GOOD),), (front,), ()).findings() == {"lb1": [
        "1 of 3 requests to http://lb1 got no good answer: 503", "1 of 3 requests to http://lb1 got no good answer: no answer within 5 s"]}
    assert front.releases == {"0002-b": 1, "no release": 1}


def test_hosts_of_different_commits_are_a_note():
    other = Reading(host("web2"), "web", said(0, {**GOOD, "current": {"state": "ok", "release": "0001-a"}}), None)
    assert "hosts are on different commits: web1 on b; web2 on a" in status.told_notes(Whole((read(GOOD), other), (), ()))


def test_a_port_is_asked_often_enough_for_each_worker_to_have_its_turn():
    assert [reading.questions((Process("x", "x.js", n),)) for n in (1, 2, 4, 30, "max")] == [4, 4, 8, 16, 8]


def test_releases_that_are_alike_stand_once_and_the_others_name_their_hosts():
    listed = [
        {"id": "0001-a", "commit": "a" * 40, "ref": "v1", "built": 0, "complete": True, "stable": True, "bad": False},
        {"id": "0002-b", "commit": "b" * 40, "ref": "v2", "built": 0, "complete": True, "stable": True, "bad": False},
        {"id": "0003-c", "commit": None, "ref": None, "built": 0, "complete": False, "stable": False, "bad": False},
    ]
    one = releases.on_host(host("web1"), facts(releases=listed))
    two = releases.on_host(host("web2"), facts(releases=listed[:2], processes=[worker(0)]))
    rows = [releases.row(alike, 2) for alike in releases.together([*one, *two])]
    assert [(row[0], row[4], row[5]) for row in rows] == [
        ("0001-a", "stable", "all"), ("0002-b", "current, runs x2, stable", "web1"), ("0002-b", "current, runs x1, stable", "web2"),
        ("0003-c", "incomplete, never healthy yet, would be pruned", "web1"),
    ]
