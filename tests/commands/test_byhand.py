"""A person's own decision at a real HAProxy: it stays, it is told why, and nobody is taken out who is the last one."""

from __future__ import annotations

import os
import shutil
import socket

import pytest

from fabfile.commands import balancer, byhand
from fabfile.commands.shell import Step
from tests.commands.test_balancer import Haproxy, lb

pytestmark = pytest.mark.skipif(not shutil.which("haproxy"), reason="haproxy is not installed")
RECORD = {"hand": "me@laptop", "hand_since": 1_795_000_000, "reason": 'it\'s "hot" & <old>; $(id)'}
__all__ = ["lb"]


def out(lb: Haproxy, server: str, allowed: bool = False) -> Step:
    return Step("drain", byhand.take_out(lb.values(), server, RECORD, allowed))


def drained(lb: Haproxy, server: str, run: str = "r1") -> Step:
    return Step("drain", balancer.drain(lb.values(), server, 5, run, 60, 1))


def servers(lb: Haproxy, sh) -> dict:
    return {event["name"]: event for event in sh.run(Step("look", balancer.rotation(lb.values()))).events if event["event"] == "server"}


def test_it_stays_out_and_says_why_until_it_is_brought_back(lb, sh, until):
    assert sh.run(out(lb, "web1")).heard("out")
    row = servers(lb, sh)["web1"]
    assert row["status"].startswith("DRAIN")
    assert {key: row[key] for key in RECORD} == RECORD
    assert "hand" not in servers(lb, sh)["web2"]
    # A deploy finds somebody's decision, and leaves it.
    assert sh.run(drained(lb, "web1")).heard("maintenance")
    assert sh.run(Step("mend", balancer.mend(lb.values(), "web1"))).code == 0
    assert lb.status("web1").startswith("DRAIN")
    again = sh.run(out(lb, "web1"))
    assert again.event("already")["reason"] == RECORD["reason"]
    assert sh.run(Step("restore", byhand.bring_back(lb.values(), "web1"))).heard("restored")
    assert until(lb.up)
    assert not (sh.home / ".gapless/byhand/api.web1").exists()
    assert sh.run(drained(lb, "web1")).heard("drained")


def test_the_last_one_stays_in_unless_that_is_allowed(lb, one):
    lb.ask("set server api/web2 state maint")
    assert one.run(out(lb, "web1")).heard("alone")
    assert lb.status("web1") == "UP"
    assert not (one.home / ".gapless/byhand/api.web1").exists()
    assert one.run(out(lb, "web1", allowed=True)).heard("out")


def test_what_a_living_run_has_drained_is_its_own(lb, one):
    assert one.run(drained(lb, "web1")).heard("drained")
    for step in (out(lb, "web1"), Step("restore", byhand.bring_back(lb.values(), "web1"))):
        ran = one.run(step)
        assert (ran.code, "was drained by run r1" in ran.text) == (1, True)
    assert lb.status("web1").startswith("DRAIN")


def test_what_a_dead_run_has_drained_becomes_the_persons(lb, one):
    assert one.run(drained(lb, "web1")).heard("drained")
    file = one.home / ".gapless/drained/api.web1"
    os.utime(file, (1, 1))
    assert one.run(out(lb, "web1")).heard("out")
    assert not file.exists()
    assert servers(lb, one)["web1"]["hand"] == "me@laptop"


def test_sessions_that_are_left_are_counted(lb, one):
    clients = []
    while len(clients) < 4:  # two of them on each
        clients.append(socket.create_connection(("127.0.0.1", lb.port)))
        clients[-1].recv(5)
    assert one.run(out(lb, "web1")).heard("out")
    assert one.run(Step("wait", byhand.wait_calm(lb.values(), "web1", 1))).event("left")["sessions"] == 2
    for client in clients:
        client.close()
    assert one.run(Step("wait", byhand.wait_calm(lb.values(), "web1", 5))).event("left")["sessions"] == 0
    assert lb.status("web1").startswith("DRAIN")


@pytest.mark.parametrize("backend, server, told", [("api", "nope", "has no server api/nope"), ("nope", "web1", "has no server nope/web1")])
def test_a_server_that_haproxy_does_not_know_is_named(lb, one, backend, server, told):
    ran = one.run(Step("drain", byhand.take_out(lb.values(backend), server, RECORD, False)))
    assert (ran.code, told in ran.text) == (1, True)
