"""The balancer's orders against a real HAProxy: nobody is drained who is alone, nobody stays out by accident."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile.commands import balancer
from fabfile.commands.shell import Step, cmd
from fabfile.inventory.values import Balancer

pytestmark = pytest.mark.skipif(not shutil.which("haproxy"), reason="haproxy is not installed")

CONFIG = """\
global
    stats socket {socket} mode 600 level admin
defaults
    mode tcp
    timeout connect 1s
    timeout client 30s
    timeout server 30s
frontend in
    bind 127.0.0.1:{port}
    default_backend api
backend api
    default-server check inter 50ms rise 2 fall 2
    server web1 {behind}:{web1}
    server web2 {behind}:{web2}
backend unchecked
    server one {behind}:{web1}
    server two {behind}:{web2}
"""


BEHIND = "127.0.77.1"  # a port that a server has left for a moment may not go to some outgoing connection


class Server:
    """Accept connections and keep them; `stop` and `start` make HAProxy see it down and up."""

    def __init__(self) -> None:
        self.port = 0
        self.start()

    def start(self) -> None:
        self.listener = socket.create_server((BEHIND, self.port))
        self.port = self.listener.getsockname()[1]
        self.kept: list[socket.socket] = []
        threading.Thread(target=self._serve, args=(self.listener,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                self.kept.append(listener.accept()[0])
                threading.Thread(target=self._stay, args=(self.kept[-1],), daemon=True).start()
            except OSError:
                if listener.fileno() < 0:
                    return

    def _stay(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.sendall(b"hello")
            client.recv(1)  # until the client has gone

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for each in self.kept:
            each.close()


class Haproxy:
    def __init__(self, place: Path) -> None:
        self.web1, self.web2 = Server(), Server()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.socket = place / "admin.sock"
        config = place / "haproxy.cfg"
        config.write_text(CONFIG.format(socket=self.socket, behind=BEHIND, port=self.port, web1=self.web1.port, web2=self.web2.port))
        self.process = subprocess.Popen(["haproxy", "-db", "-q", "-f", config])

    def values(self, backend: str = "api", socket: str = "") -> Balancer:
        return Balancer("haproxy", "lb", socket or str(self.socket), backend)

    def ask(self, order: str) -> str:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self.socket))
            line.sendall(order.encode() + b"\n")
            return b"".join(iter(lambda: line.recv(65536), b"")).decode()

    def status(self, server: str) -> str:
        rows = [line.split(",") for line in self.ask("show stat").splitlines()]
        return next(row[17] for row in rows if row[:2] == ["api", server])

    def up(self) -> bool:
        try:
            return self.status("web1") == self.status("web2") == "UP"
        except (OSError, StopIteration):
            return False  # it has only begun

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.web1.stop()
        self.web2.stop()


@pytest.fixture
def lb(tmp_path_factory, until) -> Iterator[Haproxy]:
    haproxy = Haproxy(tmp_path_factory.mktemp("lb"))
    try:
        assert until(haproxy.up, 10)
        yield haproxy
    finally:
        haproxy.close()


def drain(lb: Haproxy, server: str = "web1", limit: float = 5, run: str = "r1", hold: float = 30, most: int = 9, **where: str) -> Step:
    return Step("drain", balancer.drain(lb.values(**where), server, limit, run, hold, most))


def restore(lb: Haproxy, server: str = "web1", run: str = "r1", **where: str) -> Step:
    return Step("restore", balancer.restore(lb.values(**where), server, run))


@pytest.mark.parametrize("speaker", ["socat", "perl", "python3"])
def test_drain_and_restore_with_whatever_can_speak_to_the_socket(sh, lb, bare_bin, speaker):
    program = shutil.which(speaker, path="/usr/bin:/usr/local/bin") or shutil.which(speaker)
    if not program:
        pytest.skip(f"{speaker} is not installed")
    (bare_bin / speaker).symlink_to(program)
    sh.env |= {"PATH": str(bare_bin)}
    ran = sh.run(drain(lb))
    assert (ran.code, ran.heard("drained"), ran.text, lb.status("web1")) == (0, True, "", "DRAIN")
    ran = sh.run(restore(lb))
    assert (ran.code, ran.heard("restored"), ran.text, lb.status("web1")) == (0, True, "", "UP")


def test_a_sleep_that_takes_whole_seconds_only_is_enough(one, lb, bare_bin):
    for speaker in filter(shutil.which, ["socat", "perl", "python3"]):
        (bare_bin / speaker).symlink_to(shutil.which(speaker))
    (bare_bin / "sleep").unlink(missing_ok=True)
    (bare_bin / "sleep").write_text(f'#!/bin/sh\ncase $1 in *.*) echo "bad number" >&2; exit 1 ;; esac\nexec {shutil.which("sleep")} "$1"\n')
    (bare_bin / "sleep").chmod(0o700)
    one.env |= {"PATH": str(bare_bin)}
    ran = one.run(drain(lb))
    assert (ran.code, ran.heard("drained"), ran.text) == (0, True, "")


def test_without_a_speaker_it_says_what_to_install(one, lb, bare_bin):
    one.env |= {"PATH": str(bare_bin)}
    for step in (drain(lb), restore(lb)):
        ran = one.run(step)
        assert (ran.code, "no socat, perl or python3" in ran.text) == (1, True)
    assert lb.status("web1") == "UP"


def test_the_last_one_up_is_left_in(one, lb, until):
    lb.web2.stop()
    assert until(lambda: lb.status("web2") == "DOWN")
    ran = one.run(drain(lb))
    assert (ran.code, ran.heard("alone"), ran.heard("drained"), lb.status("web1")) == (0, True, False, "UP")
    lb.web2.start()


def test_one_whose_only_neighbour_is_drained_is_left_in(one, lb):
    assert one.run(drain(lb, "web2")).heard("drained")
    assert one.run(drain(lb)).heard("alone")
    assert lb.status("web1") == "UP"


def test_beside_as_many_as_may_be_out_it_is_left_in(one, lb):
    drained = one.home / ".gapless/drained"
    drained.mkdir(parents=True)
    (drained / "api.web2").write_text("r0\n")
    (drained / "api.other").write_text("r0\n")
    assert one.run(drain(lb, most=1)).heard("crowded")
    assert (lb.status("web1"), (drained / "api.web1").exists()) == ("UP", False)
    assert one.run(drain(lb, most=2)).heard("drained")


def test_two_that_are_drained_at_the_same_moment_leave_one_in(one, lb):
    for _ in range(6):
        pair = [one.start(drain(lb, server)) for server in ("web1", "web2")]
        said = [process.stdout.read().decode() for process in pair]
        assert [process.wait(10) for process in pair] == [0, 0]
        assert any('"alone"' in text for text in said)
        assert "UP" in (lb.status("web1"), lb.status("web2"))
        for process in pair:
            process.stdin.close()
            process.stdout.close()
        assert one.run(restore(lb, "web1"), restore(lb, "web2")).code == 0


def test_who_was_taken_out_by_a_person_stays_out(sh, lb):
    lb.ask("set server api/web1 state maint")
    ran = sh.run(drain(lb))
    assert (ran.code, ran.heard("maintenance"), ran.heard("drained"), lb.status("web1")) == (0, True, False, "MAINT")


def test_one_that_is_down_itself_takes_nothing_away(one, lb, until):
    lb.web1.stop()
    assert until(lambda: lb.status("web1") == "DOWN")
    assert one.run(drain(lb)).heard("drained")
    lb.web1.start()


def test_a_stuck_session_puts_the_server_back_and_fails(one, lb, until):
    with socket.create_connection(("127.0.0.1", lb.port)) as client:
        assert client.recv(5) == b"hello"
        busy = "web1" if lb.web1.kept and until(lambda: sessions(lb, "web1"), 1) else "web2"
        begun = time.monotonic()
        ran = one.run(drain(lb, busy, 1), Step("next", cmd("echo", "too far")))
        assert time.monotonic() - begun < 4
        assert (ran.code, ran.heard("drained"), "too far" in ran.text) == (1, False, False)
        assert f"api/{busy} still had 1 sessions after 1 s of draining (drain_timeout); it was put back" in ran.text
        assert lb.status(busy) == "UP"


def sessions(lb: Haproxy, server: str) -> bool:
    rows = [line.split(",") for line in lb.ask("show stat").splitlines()]
    return next(row[4] for row in rows if row[:2] == ["api", server]) != "0"


def test_a_session_that_ends_in_time_is_waited_for(one, lb, until):
    client = socket.create_connection(("127.0.0.1", lb.port))
    assert client.recv(5) == b"hello"
    busy = "web1" if until(lambda: sessions(lb, "web1"), 0.5) else "web2"
    threading.Timer(0.7, client.close).start()
    begun = time.monotonic()
    ran = one.run(drain(lb, busy, 10))
    assert (ran.code, ran.heard("drained")) == (0, True)
    assert 0.6 < time.monotonic() - begun < 6


@pytest.mark.parametrize("where", [{"server": "nobody"}, {"backend": "nobody"}, {"socket": "/no/such.sock"}])
def test_what_haproxy_does_not_know_is_named(one, lb, where):
    ran = one.run(drain(lb, **where))
    assert (ran.code, ran.heard("drained")) == (1, False)
    assert ("there is no socket" if "socket" in where else "HAProxy has no server") in ran.text
    ran = one.run(restore(lb, **where))
    assert (ran.code, ran.heard("restored"), "HAProxy" in ran.text) == (1, False, True)


def test_restore_waits_until_it_is_up(one, lb, until):
    assert one.run(drain(lb)).heard("drained")
    lb.web1.stop()
    time.sleep(0.4)
    process = one.start(restore(lb))
    assert until(lambda: lb.status("web1").startswith("DOWN"))
    threading.Timer(0.5, lb.web1.start).start()
    text = process.stdout.read().decode()
    assert process.wait(10) == 0
    process.stdin.close()
    assert '"restored"' in text
    assert lb.status("web1") == "UP"


def test_servers_without_checks_can_be_drained_too(one, lb):
    assert one.run(drain(lb, "one", backend="unchecked")).heard("drained")
    assert one.run(drain(lb, "two", backend="unchecked")).heard("alone")
    assert one.run(restore(lb, "one", backend="unchecked")).heard("restored")


def test_rotation_tells_every_server(one, lb):
    assert one.run(drain(lb)).heard("drained")
    ran = one.run(Step("rotation", balancer.rotation(lb.values())))
    told = {event["name"]: (event["sessions"], event["status"]) for event in ran.events if event["event"] == "server"}
    assert told == {"web1": (0, "DRAIN"), "web2": (0, "UP")}
    one_of = next(event for event in ran.events if event.get("name") == "web1")
    assert (one_of["by"], one_of["weight"], one_of["check"], one_of["backend"]) == ("r1", 1, "L4OK", "api")


# ---------------------------------------------------------------- a deployer that vanished


def test_a_server_whose_deployer_vanished_comes_back(sh, lb, until):
    assert sh.run(drain(lb, hold=1)).heard("drained")
    assert lb.status("web1") == "DRAIN"
    assert until(lambda: lb.status("web1") == "UP", 10)
    assert until(lambda: not list((sh.home / ".gapless/drained").iterdir()))


def test_a_deployer_that_vanishes_while_it_drains_leaves_the_timer_behind(one, lb, until):
    with socket.create_connection(("127.0.0.1", lb.port)):
        busy = "web1" if until(lambda: sessions(lb, "web1"), 1) else "web2"
        process = one.start(drain(lb, busy, 60, hold=1))
        assert until(lambda: lb.status(busy) == "DRAIN")
        process.stdin.close()  # the link is gone, and with it the script and all in its process group
        assert process.wait(5) != 0
        process.stdout.close()
        assert until(lambda: lb.status(busy) == "UP", 10)


def test_as_long_as_its_deployer_is_heard_of_it_stays_out(one, lb, until):
    assert one.run(drain(lb, hold=3)).heard("drained")
    end = time.monotonic() + 6
    while time.monotonic() < end:
        assert one.run(Step("beat", balancer.beat("r2")), Step("beat", balancer.beat("r1"))).code == 0
        assert lb.status("web1") == "DRAIN"
        time.sleep(0.3)
    assert until(lambda: lb.status("web1") == "UP", 10)


def test_a_broken_server_is_not_put_back(one, lb, until):
    assert one.run(drain(lb, hold=1)).heard("drained")
    lb.web1.stop()
    time.sleep(6)
    assert "UP" not in lb.status("web1")
    assert [file.name for file in (one.home / ".gapless/drained").iterdir()] == ["api.web1"]
    lb.web1.start()
    assert until(lambda: lb.status("web1") == "UP", 10)


def test_the_timer_ends_when_the_server_is_restored(one, lb, until):
    assert one.run(drain(lb, hold=60)).heard("drained")
    assert until(lambda: timers(one.home))
    assert one.run(restore(lb)).heard("restored")
    assert until(lambda: not timers(one.home), 6)


def timers(home: Path) -> list[int]:
    """List the processes of ours that still stand in this home."""
    found = []
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if place.name.isdigit() and os.readlink(place / "cwd") == str(home):
                found.append(int(place.name))
    return found


def test_a_deployer_that_comes_back_late_restores_nothing_of_its_successor(one, lb):
    assert one.run(drain(lb)).heard("drained")
    assert one.run(drain(lb, run="r2")).heard("drained")
    ran = one.run(restore(lb))
    assert (ran.code, "was drained by run r2 since" in ran.text, lb.status("web1")) == (1, True, "DRAIN")
    assert one.run(restore(lb, run="r2")).heard("restored")


def test_what_a_dead_run_drained_is_mended_and_nothing_else(one, lb):
    def mend(server: str) -> Step:
        return Step("mend", balancer.mend(lb.values(), server))

    lb.ask("set server api/web2 state drain")
    assert not one.run(mend("web2")).heard("restored")
    assert one.run(drain(lb, "web2")).heard("maintenance")
    assert lb.status("web2") == "DRAIN"
    lb.ask("set server api/web2 state ready")
    assert one.run(drain(lb)).heard("drained")
    assert one.run(mend("web1")).heard("restored")
    assert lb.status("web1") == "UP"


def test_a_sign_of_life_brings_no_drain_back(one):
    """The server may be put back while the sign is given: a mark that came back would keep all others from being drained."""
    mark = one.home / ".gapless/drained/shop.web1"
    mark.parent.mkdir(parents=True)
    mark.write_text("r1\n")
    late = one.home / "bin"
    late.mkdir()
    (late / "cat").write_text(f"#!/bin/sh\n{shutil.which('cat')} \"$@\"\nrm -f \"$@\"\n")
    (late / "cat").chmod(0o755)
    one.env["PATH"] = f"{late}:{os.environ['PATH']}"
    assert one.run(Step("beat", balancer.beat("r1"))).code == 0
    assert not mark.exists()
