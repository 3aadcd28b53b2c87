"""Be the way out of a lab in namespaces: an HTTP proxy on its bridge, for its own hosts and public addresses only.

Run as `python -I relay.py ADDRESS PORT REGISTRY_HOST`. It asks the http:// proxies that HTTPS_PROXY and HTTP_PROXY of
its environment name, NO_PROXY aside. Private addresses are refused, except those of the registry's host.
"""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import sys
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address, ip_network
from socketserver import ThreadingTCPServer
from threading import active_count
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment

MOST_THREADS, CONNECT_SECONDS, IDLE_SECONDS = 256, 15, 120
NOT_PASSED_ON = {"connection", "keep-alive", "proxy-authorization", "proxy-connection", "upgrade"}


class Refused(Exception):
    """Hold the status and the text that the asking host gets."""


class Relay(ThreadingTCPServer):
    """Serve the lab's hosts, each connection on a thread."""

    allow_reuse_address, daemon_threads, request_queue_size, registry = True, True, 128, ""

    def verify_request(self, _: object, client: tuple[str, int]) -> bool:
        """Hang up on too many, and on other networks: their packets may come in through another card."""
        mine = ip_network(f"{self.server_address[0]}/24", strict=False)
        return ip_address(client[0]) in mine and active_count() <= MOST_THREADS


class Handler(BaseHTTPRequestHandler):
    """Open one tunnel or forward one plain request."""

    rbufsize = 0  # what follows the head is the other side's to read
    timeout = CONNECT_SECONDS
    server: Relay

    def do_GET(self) -> None:
        self.close_connection = True
        try:
            other, hello = self.reach("https" if self.command == "CONNECT" else "http")
        except (Refused, ValueError) as why:
            return self.send_error(*(why.args if isinstance(why, Refused) else (400, "relay: no address of a host")))
        self.log_message("passes on: %s", self.requestline)
        with other, contextlib.suppress(OSError):
            other.sendall(hello) if hello else self.connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            splice({self.connection: other, other: self.connection})

    do_CONNECT = do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def reach(self, scheme: str) -> tuple[socket.socket, bytes]:
        """Connect to the target or to the proxy before it; return that with what to say there first."""
        url = urlsplit(self.path if scheme == "http" else f"https://{self.path}")
        host, port = url.hostname or "", url.port or 80
        if not host or url.scheme != scheme or "@" in url.netloc or (scheme == "https" and url.netloc != self.path):
            raise ValueError
        proxy = None if proxy_bypass_environment(host) else getproxies_environment().get(scheme)
        targets = allowed(host, port, self.server.registry, asks=bool(proxy))
        line = [self.command, self.path if proxy else url._replace(scheme="", netloc="").geturl() or "/", "HTTP/1.1"]
        lines = [f"{name}: {value}" for name, value in self.headers.items() if name.lower() not in NOT_PASSED_ON]
        if proxy:
            via = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            targets = [(via.hostname or "", via.port or 80)]
            if via.scheme != "http":
                raise Refused(502, "relay: this machine's own proxy is not an http:// one")
            login = base64.b64encode(unquote(via.netloc.rpartition("@")[0]).encode()).decode()
            lines += [f"Proxy-Authorization: Basic {login}"] if via.username else []
        hello = "\r\n".join([" ".join(line), *lines, "Connection: close", "", ""]) if proxy or scheme == "http" else ""
        return connect(targets, host), hello.encode()


def allowed(host: str, port: int, registry: str, *, asks: bool) -> list[tuple[str, int]]:
    """Look a host up once and keep what a lab may talk to; a proxy that is asked may know more names than we."""
    if port not in (80, 443):
        raise Refused(403, f"relay: port {port} is refused; only 80 and 443 are let through")
    found = lookup(host)
    fit = [each for each in found if ip_address(each).is_global or each in lookup(registry)]
    if found and not fit:
        raise Refused(403, f"relay: {host} is refused; it is a private address and not the registry's")
    if not found and not asks:
        raise Refused(502, f"relay: this machine finds no address of {host}")
    return [(each, port) for each in fit]


def lookup(host: str) -> list[str]:
    with contextlib.suppress(OSError, UnicodeError):
        return [str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    return []


def connect(targets: list[tuple[str, int]], host: str) -> socket.socket:
    for target in targets:
        with contextlib.suppress(OSError):
            return socket.create_connection(target, CONNECT_SECONDS)
    raise Refused(502, f"relay: this machine can't reach {host}")


def splice(peers: dict[socket.socket, socket.socket]) -> None:
    while peers and (ready := select.select(list(peers), [], [], IDLE_SECONDS)[0]):
        for end in ready:
            if data := end.recv(65536):
                peers[end].sendall(data)
            else:
                peers.pop(end).shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    relay = Relay((sys.argv[1], int(sys.argv[2])), Handler)
    relay.registry = sys.argv[3]
    relay.serve_forever()
