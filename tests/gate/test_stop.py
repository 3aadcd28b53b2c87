"""A worker that is told to stop finishes what it has begun, and then goes."""

from __future__ import annotations

import base64
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from conftest import Pm2, Site, alive, eventually


class Client:
    """A raw HTTP/1.1 connection."""

    def __init__(self, site: Site) -> None:
        self.socket = socket.create_connection(("127.0.0.1", site.port), timeout=10)

    def send(self, path: str, *headers: str) -> None:
        self.socket.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode())

    def answer(self) -> bytes:
        """Read one short answer."""
        text = b""
        while b"\r\n\r\n" not in text:
            text += self._more()
        head, _, body = text.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        while lengths and len(body) < int(lengths[0].split(b":")[1]):
            body += self._more()
        while not lengths and not body.endswith(b"0\r\n\r\n"):
            body += self._more()
        return head + b"\r\n\r\n" + body

    def _more(self) -> bytes:
        more = self.socket.recv(65536)
        assert more, "the connection was closed before the answer was whole"
        return more

    def get(self, path: str = "/") -> bytes:
        self.send(path)
        return self.answer()

    def wait_for_end(self) -> float:
        """Say how long the server kept the connection."""
        began = time.monotonic()
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return time.monotonic() - began


def begin_stop(site: Site, release: str = "", signals: tuple[signal.Signals, ...] = (signal.SIGINT,)) -> int:
    """Send the worker its stop signals, as PM2 does; PM2 starts the next one by itself."""
    [pid] = site.pids()
    for number in signals:
        os.kill(pid, number)
    eventually(lambda: any(state["pid"] == pid and state["state"] == "stopping" for state in site.states()))
    return pid


def time_to_end(pid: int, within: float = 12) -> float:
    began = time.monotonic()
    eventually(lambda: not alive(pid), within)
    return time.monotonic() - began


def test_idle_connections_are_served_until_their_time_is_over(site: Site) -> None:
    site.start(site.release(1, env={"KEEP_ALIVE_MS": "2000"}))
    clients = [Client(site) for _ in range(12)]
    for client in clients:
        assert b"keep-alive" in client.get().lower()
    pid = begin_stop(site)
    for client in clients:  # naive: they never look whether the server closed
        time.sleep(0.1)
        answer = client.get()
        assert answer.startswith(b"HTTP/1.1 200") and b"connection: close" in answer.lower()
    assert time_to_end(pid) < 2.5
    assert not list(site.run.glob("crash-*.log"))
    assert not (site.run / f"health-{pid}.sock").exists() and not (site.run / f"worker-{pid}.json").exists()


@pytest.mark.parametrize("drained", [False, True])
def test_a_drained_host_need_not_linger(site: Site, drained: bool) -> None:
    site.start(site.release(1, env={"KEEP_ALIVE_MS": "2000", "SLOW_MS": "2500"}))
    site.settings(drained=drained)
    idle, fresh = Client(site), Client(site)
    idle.get()
    fresh.send("/slow")  # in flight all the same
    time.sleep(1.2)  # rested, as the balancer's own connections have when a host is drained
    pid = begin_stop(site)
    assert idle.wait_for_end() < 0.5 if drained else idle.get()
    assert fresh.answer().startswith(b"HTTP/1.1 200")
    time_to_end(pid)


def test_a_drained_host_lingers_for_clients_that_come_past_the_balancer(site: Site) -> None:
    site.start(site.release(1, env={"KEEP_ALIVE_MS": "2000"}))
    site.settings(drained=True)
    client = Client(site)
    client.get()
    pid = begin_stop(site)
    time.sleep(0.5)
    assert client.get().startswith(b"HTTP/1.1 200")
    time_to_end(pid)


def test_what_the_balancer_used_just_before_the_drain_is_not_lingered_for(site: Site) -> None:
    site.start(site.release(1, env={"KEEP_ALIVE_MS": "4000"}))
    client = Client(site)
    client.get()
    time.sleep(0.2)  # three reads without a session make a drain
    site.settings(drained=True, since=round(time.time() * 1000))
    pid = begin_stop(site)
    assert 0.5 < client.wait_for_end() < 2, "it listens for a second, and then closes what nobody has asked on since"
    time_to_end(pid)


def test_who_has_come_past_the_balancer_once_is_lingered_for(site: Site) -> None:
    site.start(site.release(1, env={"KEEP_ALIVE_MS": "4000"}))
    site.settings(drained=True, since=round(time.time() * 1000))
    client = Client(site)
    client.get()
    time.sleep(1.2)
    pid = begin_stop(site)
    time.sleep(0.5)
    assert client.get().startswith(b"HTTP/1.1 200")
    time_to_end(pid)


def test_a_connection_that_never_asked_does_not_hold_the_worker(site: Site) -> None:
    site.start(site.release(1))
    Client(site).get()
    unused = Client(site)
    time.sleep(0.2)
    pid = begin_stop(site)
    assert 1.2 < time_to_end(pid) < 2.5  # keepAliveTimeout 1 s + 0.5 s
    assert unused.wait_for_end() < 0.5


def test_what_is_in_flight_survives_repeated_signals(site: Site) -> None:
    site.start(site.release(1))
    client = Client(site)
    client.send("/slow")
    time.sleep(0.2)
    pid = begin_stop(site, signals=(signal.SIGINT, signal.SIGTERM, signal.SIGINT))
    os.kill(pid, signal.SIGINT)
    answer = client.answer()
    assert answer.startswith(b"HTTP/1.1 200") and b"connection: close" in answer.lower()
    time_to_end(pid)


def test_a_slow_reader_gets_the_whole_answer(site: Site) -> None:
    site.start(site.release(1))
    client = Client(site)
    client.send("/big")
    time.sleep(0.2)
    pid = begin_stop(site)
    time.sleep(2.5)  # beyond the linger; the server has long "finished" this answer
    client.socket.settimeout(5)
    received = 0
    while more := client.socket.recv(1 << 20):
        received += len(more)
    assert received > 16 * 1024 * 1024
    time_to_end(pid)


def websocket(site: Site) -> Client:
    client = Client(site)
    client.send("/", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}")  # fmt: skip
    assert client.socket.recv(4096).startswith(b"HTTP/1.1 101")
    return client


def test_streams_end_before_pm2_kills(pm2: Pm2, site: Site) -> None:
    site.start(site.release(1, kill_timeout_ms=30000), kill_timeout=4000)  # PM2's own limit is the one that kills
    stream, upgraded = Client(site), websocket(site)
    stream.send("/sse")
    stream.socket.recv(100)
    [pid] = site.pids()
    reload = site.reload()
    lived: list[float] = []
    watcher = threading.Thread(target=lambda: lived.append(upgraded.wait_for_end()))
    watcher.start()
    assert 2.0 < stream.wait_for_end() < 4.0
    watcher.join()
    assert 2.0 < lived[0] < 4.0
    reload.result(10)
    assert f"pid {pid} still alive" not in daemon_log(pm2)


def daemon_log(pm2: Pm2) -> str:
    return Path(pm2.home / "pm2.log").read_text()


def test_the_apps_own_handlers_run_after_the_drain(site: Site) -> None:
    site.start(site.release(1, mode="handlers", env={"SLOW_MS": "1500"}))
    client = Client(site)
    client.send("/slow")
    time.sleep(0.2)
    pid = begin_stop(site)
    time.sleep(0.5)
    assert not site.witness.exists()
    assert client.answer().startswith(b"HTTP/1.1 200")
    time_to_end(pid)
    assert site.witness.read_text() == "closed in order"


def test_a_handler_for_the_other_signal_runs(site: Site) -> None:
    site.start(site.release(1, "job.cjs", health=None, port=None))
    [pid] = site.pids()
    os.kill(pid, signal.SIGINT)  # the job listens to SIGTERM only
    time_to_end(pid)
    assert site.witness.read_text() == "job finished"


def test_an_app_that_closes_everything_need_not_exit(site: Site) -> None:
    site.start(site.release(1, mode="closes"))
    pid = begin_stop(site)
    assert time_to_end(pid) < 2


def test_a_held_worker_leaves_at_once(site: Site) -> None:
    first, bad = site.release(1), site.release(2, mode="health-500")
    site.start(first)
    site.switch(bad)
    reload = site.reload()
    pid = site.state(bad, "held")["pid"]
    site.switch(first)
    os.kill(pid, signal.SIGTERM)
    assert time_to_end(pid) < 1.5
    reload.result(15)
    assert not list(site.run.glob("crash-*.log"))


def test_the_shutdown_message_stops_too(site: Site) -> None:
    site.start(site.release(1, env={"SLOW_MS": "1000"}), shutdown_with_message=True)
    client = Client(site)
    client.send("/slow")
    time.sleep(0.2)
    stopped = site.pm2.order("stop", name=site.name)
    assert client.answer().startswith(b"HTTP/1.1 200")
    stopped.result(10)
    assert not site.states()
