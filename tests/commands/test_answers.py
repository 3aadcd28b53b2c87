"""What a host answers on its ports: each question a connection of its own, and an end to each within seconds."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from fabfile.commands import pm2
from fabfile.commands.shell import Step
from fabfile.inventory.values import Health, Process

pytestmark = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")


@contextmanager
def listener(each: Callable[[socket.socket, int], None], address: str = "127.0.0.1") -> Iterator[int]:
    """Listen on a port, and hand each connection over with its number."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = socket.socket(family)
    server.bind((address, 0))
    server.listen(64)

    def serve() -> None:
        number = 0
        try:
            while True:
                talk, _ = server.accept()
                number += 1
                threading.Thread(target=each, args=(talk, number), daemon=True).start()
        except OSError:
            return

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()


def answer(talk: socket.socket, number: int) -> None:
    """Answer as one of two workers, the way a cluster does."""
    talk.recv(4096)
    talk.sendall(f"HTTP/1.1 200 OK\r\nX-Release: 000{1 + number % 2}-a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
    talk.close()


def hang(talk: socket.socket, number: int) -> None:
    if number == 1:
        time.sleep(20)
    else:
        answer(talk, number)


def asked(one, port: int, times: int = 4):
    processes = [Process("api", "x.js", 2, port, Health("/health?a=b")), Process("job", "y.js", 1, None, None)]
    ran = one.run(Step("answers", pm2.answers("X-Release", processes, times)))
    assert ran.code == 0, ran.text
    [event] = [event for event in ran.events if event["event"] == "answers"]
    assert (event["name"], event["port"], event["route"]) == ("api", port, "/health?a=b")
    return event


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "127.0.0.2", "::", "::1"])
def test_each_worker_behind_a_port_is_seen_wherever_it_is_bound(one, address):
    with listener(answer, address) as port:
        event = asked(one, port)
    assert event["listening"]
    assert sorted(each["release"] for each in event["asked"]) == ["0001-a", "0001-a", "0002-a", "0002-a"]


def test_a_worker_that_hangs_holds_up_nobody_for_long(one):
    begun = time.monotonic()
    with listener(hang) as port:
        event = asked(one, port)
    assert sorted(each["status"] for each in event["asked"]) == [0, 200, 200, 200]
    assert next(each["why"] for each in event["asked"] if not each["status"]) == "no answer within 3000 ms"
    assert time.monotonic() - begun < 10


def test_a_port_that_nobody_listens_on_is_told_as_such(one):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    event = asked(one, port)
    assert (event["listening"], event["asked"]) == (False, [])
