"""The tools of the fault cases: a history that can be waited for, and a wire that can be broken."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import nemesis
from tests.faults.history import History, event, read, said, sampled
from tests.faults.wire import Wire


def test_what_was_written_before_the_wait_counts_too(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    history.write("said", line="── build", number=1)
    assert history.wait(said("build"), 0)
    assert history.wait(said("build"), 0, since=1) is None


def test_wait_ends_when_the_moment_comes(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    threading.Timer(0.2, lambda: history.write("event", event="settle", host="lab1", phase="reload")).start()
    assert history.wait(event("settle", "lab2"), 0.05) is None
    assert history.wait(event("settle", "lab1", phase="reload"), 5)


def test_history_is_read_back_by_its_stamps(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    history.write("exit", at=7.0)
    history.write("clients", at=5.0)
    history.close()
    assert [record["kind"] for record in read(tmp_path / "h")] == ["clients", "exit"]


def test_a_look_that_fails_is_a_sample_too(tmp_path: Path) -> None:
    history = History(tmp_path / "h")

    def look() -> None:
        raise ConnectionRefusedError

    with sampled(history, "pool", look, 0.01):
        assert history.wait(lambda record: record["kind"] == "pool" and record["value"] is None, 5)


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """Serve back what comes in."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(talk: socket.socket) -> None:
            with contextlib.suppress(ConnectionResetError):
                while data := talk.recv(100):
                    talk.sendall(data)

        def accept() -> None:
            while True:
                try:
                    talk, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(talk,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wire(echo: tuple[str, int]) -> Iterator[Wire]:
    with Wire(echo) as wire:
        yield wire


def talk(wire: Wire, seconds: float = 5) -> socket.socket:
    return socket.create_connection(("127.0.0.1", wire.port), timeout=seconds)


def test_wire_passes_on(wire: Wire) -> None:
    with talk(wire) as end:
        end.sendall(b"hello")
        assert end.recv(100) == b"hello"


def test_stalled_wire_keeps_what_was_sent(wire: Wire) -> None:
    with talk(wire) as end:
        with nemesis.stalled(wire):
            end.sendall(b"hello")
            end.settimeout(0.3)
            with pytest.raises(TimeoutError):
                end.recv(100)
        end.settimeout(5)
        assert end.recv(100) == b"hello"


def test_slowed_wire_is_slow_both_ways(wire: Wire) -> None:
    with talk(wire) as end, nemesis.slowed(wire, 0.2):
        begun = time.monotonic()
        end.sendall(b"hello")
        assert end.recv(100) == b"hello"
        assert time.monotonic() - begun > 0.39


def test_reset_wire_ends_what_is_open_and_refuses_until_healed(wire: Wire) -> None:
    with talk(wire) as end:
        end.sendall(b"a")
        assert end.recv(1) == b"a"
        with nemesis.reset(wire):
            with pytest.raises(ConnectionResetError):
                end.recv(100)
            with pytest.raises(ConnectionResetError), talk(wire) as other:  # it may already be the connect that fails
                other.recv(100)
    with talk(wire) as end:
        end.sendall(b"b")
        assert end.recv(1) == b"b"
