"""The relay alone, without a lab: whom it hears, what it refuses, and how it asks the machine's own proxy."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.lab import relay

VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "all_proxy", "ALL_PROXY")


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    server = relay.Relay(("127.0.0.1", 0), relay.Handler)
    server.registry = "localhost"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.server_address  # type: ignore[misc]
    server.shutdown()
    server.server_close()


@pytest.fixture
def upstream() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)
        yield listening


def ask(at: tuple[str, int], first: str, source: str = "127.0.0.1") -> str:
    with socket.create_connection(at, 5, (source, 0)) as talk:
        talk.sendall(f"{first} HTTP/1.1\r\nHost: asked\r\nProxy-Connection: x\r\n\r\n".encode())
        return b"".join(iter(lambda: talk.recv(65536), b"")).decode()


@pytest.mark.parametrize(
    ("first", "answer"),
    [
        ("CONNECT 127.0.0.1:22", "403 relay: port 22 is refused; only 80 and 443 are let through"),
        ("GET http://1.1.1.1:8080/", "403 relay: port 8080 is refused"),
        ("CONNECT 10.0.0.1:443", "403 relay: 10.0.0.1 is refused; it is a private address and not the registry's"),
        ("GET http://169.254.169.254/latest", "403 relay: 169.254.169.254 is refused"),
        ("CONNECT [::ffff:10.0.0.1]:443", "403 relay: ::ffff:10.0.0.1 is refused"),
        ("CONNECT nosuch.invalid:443", "502 relay: this machine finds no address of nosuch.invalid"),
        ("CONNECT me@10.0.0.1:443", "400 relay: no address of a host"),
        ("CONNECT 10.0.0.1:x", "400 relay: no address of a host"),
        ("GET /index.html", "400 relay: no address of a host"),
        ("GET https://example.com/", "400 relay: no address of a host"),
    ],
)
def test_what_is_refused_is_told_why(at: tuple[str, int], first: str, answer: str) -> None:
    assert ask(at, first).split("\r\n")[0].startswith(f"HTTP/1.0 {answer}")


def test_the_registry_may_be_private(at: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(relay, "connect", lambda targets, host: asked.extend(targets) or refuse())
    ask(at, "CONNECT localhost:443")
    assert ("127.0.0.1", 443) in asked


def refuse() -> None:
    raise relay.Refused(502, "seen")


def test_another_network_is_not_heard(at: tuple[str, int]) -> None:
    try:
        assert ask(at, "CONNECT 10.0.0.1:443", source="127.0.1.1") == ""
    except ConnectionError:
        pass


def test_a_plain_request_is_passed_on_with_its_path(
    at: tuple[str, int], upstream: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "connect", lambda *_: socket.create_connection(upstream.getsockname(), 5))
    heard = answer(upstream, b"HTTP/1.1 200 OK\r\n\r\nhello")
    assert ask(at, "GET http://localhost/a%20b?c=d").endswith("hello")
    assert heard() == "GET /a%20b?c=d HTTP/1.1\r\nHost: asked\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("first", ["CONNECT nosuch.invalid:443", "GET http://nosuch.invalid/x"])
def test_the_machines_proxy_is_asked_with_its_login(
    at: tuple[str, int], upstream: socket.socket, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://me:p%40ss@127.0.0.1:{upstream.getsockname()[1]}")
    heard = answer(upstream, b"HTTP/1.1 200 upstream's own\r\n\r\nbytes")
    assert ask(at, first) == "HTTP/1.1 200 upstream's own\r\n\r\nbytes"
    login = base64.b64encode(b"me:p@ss").decode()
    head = f"{first} HTTP/1.1\r\nHost: asked\r\nProxy-Authorization: Basic {login}\r\nConnection: close\r\n\r\n"
    assert heard() == head


def test_no_proxy_is_heeded(at: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "nosuch.invalid")
    assert "finds no address of nosuch.invalid" in ask(at, "CONNECT nosuch.invalid:443")


def answer(listening: socket.socket, text: bytes) -> object:
    """Serve one connection aside; the result waits and tells what was heard."""
    heard: list[bytes] = []

    def serve() -> None:
        talk = listening.accept()[0]
        with talk:
            heard.append(talk.recv(65536))
            talk.sendall(text)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    def told() -> str:
        thread.join(5)
        return heard[0].decode()

    return told
