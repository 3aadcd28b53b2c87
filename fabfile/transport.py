"""
One connection to one host: host keys, speed, bytes, cancel.

A script goes over the channel's stdin to `sh -s`; lines that begin with the script's mark come back as events, whatever
else is printed is kept as a bounded tail. Facts about Fabric and Paramiko that shape this file: docs/decisions.md.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import json
import logging
import os
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import fabric
import paramiko
from paramiko.hostkeys import HostKeyEntry

from .values import Ssh

CONNECT_TIMEOUT = 15.0    # seconds, for TCP, banner and login each
KEEPALIVE = 15            # seconds between keepalives; a silent drop would hang for ever
USER_TIMEOUT_MS = 30_000  # unacknowledged bytes older than this end the connection
HANDSHAKES = 10           # at once; sshd's MaxStartups (10:30:100) drops logins at random beyond
TAIL_LINES = 40

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # else its tracebacks land on stderr

_handshakes = threading.BoundedSemaphore(HANDSHAKES)


class Unreachable(Exception):
    """Tell why a host can't be worked on: the text says refused, timed out, name, key and login apart."""


@dataclass
class Outcome:
    """Hold what one script did: `code` None means unknown (the link was lost), never failed."""

    code: int | None
    events: list[dict[str, Any]] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    step: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.code == 0

    def last(self, *names: str) -> dict[str, Any] | None:
        """Return the last event with one of these names."""
        return next((event for event in reversed(self.events) if event.get("event") in names), None)


class Line:
    """Keep one verified connection for the whole run; one thread uses it at a time."""

    def __init__(self, name: str, ssh: Ssh, gateways: Gateways | None = None) -> None:
        self.name = name
        self.ssh = ssh
        self.gateways = gateways or Gateways()
        self.connection: fabric.Connection | None = None
        self._busy = threading.Lock()

    def open(self) -> None:
        """Connect and log in, three tries; raise Unreachable."""
        for attempt in (1, 2, 3):
            try:
                with _handshakes:
                    self.connection = _connect(self.ssh, self.gateways)
                return
            except paramiko.SSHException as err:
                # A crowded sshd drops connections before its banner; everything else is final.
                if "banner" not in str(err) or attempt == 3:
                    raise Unreachable(_why(err, self.ssh)) from err
                time.sleep(attempt * random.uniform(0.3, 0.8))  # noqa: S311 (jitter)
            except Exception as err:
                raise Unreachable(_why(err, self.ssh)) from err

    def address(self) -> str:
        """Return the address that ssh config gives this host."""
        return self.connection.host if self.connection else _config(self.ssh).hostname

    def run(self, text: str, mark: str, heard: Callable[[dict[str, Any]], None]) -> Outcome:
        """Send a script to `sh -s`; call `heard` for each event as it comes; block until the end, without polling."""
        if self.connection is None:
            raise RuntimeError(f"{self.name}: run before open")
        begun = time.monotonic()
        outcome = Outcome(code=None)
        with self._busy:
            try:
                self._exchange(text, mark, heard, outcome)
            except (paramiko.SSHException, OSError, EOFError) as err:
                outcome.tail.append(f"connection lost: {err or type(err).__name__}")
        outcome.seconds = time.monotonic() - begun
        return outcome

    def _exchange(self, text: str, mark: str, heard: Callable[[dict[str, Any]], None], outcome: Outcome) -> None:
        assert self.connection is not None
        channel = self.connection.transport.open_session(timeout=CONNECT_TIMEOUT)
        try:
            channel.set_combine_stderr(True)
            channel.exec_command("exec sh -s")  # noqa: S601 (a constant)
            channel.sendall(text.encode())
            tail: deque[str] = deque(maxlen=TAIL_LINES)
            for line in _lines(channel):
                if line.startswith(mark):
                    event = json.loads(line[len(mark):])
                    outcome.step = event["name"] if event["event"] == "step" else outcome.step
                    outcome.events.append(event)
                    heard(event)
                elif line.strip():
                    tail.append(line)
            outcome.tail = list(tail)
            channel.status_event.wait(CONNECT_TIMEOUT)
            outcome.code = channel.exit_status if channel.exit_status >= 0 else None
        finally:
            channel.close()

    def close(self) -> None:
        """Hang up; a script that still runs and carries the dead-man's stdin ends with it."""
        if self.connection is not None:
            self.connection.client.close()


def _lines(channel: paramiko.Channel) -> Iterator[str]:
    """Yield decoded lines; a character split between two packets stays whole."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    while data := channel.recv(65536):
        *whole, rest = (rest + decoder.decode(data)).split("\n")
        yield from whole
        rest = rest[-65536:]  # a line without end must not eat the memory
    if rest:
        yield rest


class Gateways:
    """Share one verified connection per jump host: a login per target trips the bastion's MaxStartups."""

    def __init__(self) -> None:
        self._open: dict[str, fabric.Connection] = {}
        self._lock = threading.Lock()

    def get(self, jump: str, ssh: Ssh) -> fabric.Connection:
        with self._lock:
            if jump not in self._open:
                user, _, rest = jump.rpartition("@")
                host, _, port = rest.partition(":")
                through = Ssh(host=host, user=user or None, port=int(port) if port else None, ssh_config=ssh.ssh_config)
                self._open[jump] = _connect(through, self)
            return self._open[jump]

    def close(self) -> None:
        for connection in self._open.values():
            connection.client.close()


@dataclass(frozen=True)
class _Resolved:
    """Hold what ssh config says of one host, with Fabric's own Config beside it."""

    config: fabric.Config
    entry: dict[str, Any]
    hostname: str


_configs: dict[str | None, fabric.Config] = {}


def _config(ssh: Ssh) -> _Resolved:
    if ssh.ssh_config not in _configs:
        overrides = {"runtime_ssh_path": ssh.ssh_config} if ssh.ssh_config else {}
        _configs[ssh.ssh_config] = fabric.Config(**overrides)
    config = _configs[ssh.ssh_config]
    entry = dict(config.base_ssh_config.lookup(ssh.host))
    return _Resolved(config, entry, entry.get("hostname", ssh.host))


def _connect(ssh: Ssh, gateways: Gateways) -> fabric.Connection:
    found = _config(ssh)
    jump = found.entry.get("proxyjump")
    gateway = gateways.get(jump, ssh) if jump and jump.lower() != "none" else None
    connection = fabric.Connection(
        ssh.host,
        user=ssh.user,
        port=ssh.port,
        config=found.config,
        gateway=gateway,
        connect_timeout=CONNECT_TIMEOUT,
        # A fresh dict each time: Fabric writes into it, and one host's key would be offered to the next.
        connect_kwargs=_login(ssh, found.entry),
    )
    _trust(connection, ssh, found.entry)
    connection.open()
    connection.transport.set_keepalive(KEEPALIVE)
    return connection


def _login(ssh: Ssh, entry: dict[str, Any]) -> dict[str, Any]:
    kwargs: dict[str, Any] = {
        "transport_factory": _transport,
        "banner_timeout": CONNECT_TIMEOUT,
        "auth_timeout": CONNECT_TIMEOUT,
    }
    if ssh.key:
        kwargs["key_filename"] = [os.path.expanduser(ssh.key)]
    if ssh.key or entry.get("identitiesonly", "no").lower() == "yes":
        # Every key offered counts against MaxAuthTries.
        kwargs |= {"look_for_keys": False, "allow_agent": False}
    return kwargs


def _transport(sock: Any, **kwargs: Any) -> paramiko.Transport:
    """Make a transport without Nagle's 40 ms per command, that notices a dead link."""
    if hasattr(sock, "setsockopt"):  # not on a gateway's channel
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    return paramiko.Transport(sock, **kwargs)


def _trust(connection: fabric.Connection, ssh: Ssh, entry: dict[str, Any]) -> None:
    """Accept known host keys only: Fabric by itself accepts unknown and changed ones in silence."""
    client = connection.client
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    if ssh.host_key:
        name = _known_name(connection)
        pinned = HostKeyEntry.from_line(f"{name} {ssh.host_key}")
        client.get_host_keys().add(name, pinned.key.get_name(), pinned.key)
        return
    for file in entry.get("userknownhostsfile", "~/.ssh/known_hosts").split():
        if os.path.exists(os.path.expanduser(file)):
            client.load_system_host_keys(os.path.expanduser(file))
    if os.path.exists("/etc/ssh/ssh_known_hosts"):
        client.load_system_host_keys("/etc/ssh/ssh_known_hosts")


def _known_name(connection: fabric.Connection) -> str:
    return connection.host if connection.port == 22 else f"[{connection.host}]:{connection.port}"


def _fingerprint(key: paramiko.PKey) -> str:
    digest = hashlib.sha256(key.asbytes()).digest()
    return f"{key.get_name()} SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def _why(err: Exception, ssh: Ssh) -> str:
    """Say in a sentence or two why we could not log in, and what to do."""
    entry = _config(ssh).entry
    where = f"{entry.get('hostname', ssh.host)}:{ssh.port or entry.get('port', 22)}"
    text = str(err)
    if isinstance(err, paramiko.BadHostKeyException):
        return (
            f"the host key CHANGED: {where} shows {_fingerprint(err.key)}, known is {_fingerprint(err.expected_key)}. "
            f"Somebody may be in between. If the change is right: ssh-keygen -R '{err.hostname}', then ssh {ssh.host} once."
        )
    if "not found in known_hosts" in text:
        return f"{where} is not in known_hosts. Compare its fingerprint, then: ssh {ssh.host} once, or host_key: in hosts.yaml."
    if isinstance(err, paramiko.AuthenticationException):
        return f"{where} refused our login ({text.rstrip('.')}). Try: ssh {ssh.host}; set user: or key: in hosts.yaml."
    if isinstance(err, socket.gaierror):
        return f"no such name: {entry.get('hostname', ssh.host)}."
    if isinstance(err, ConnectionRefusedError) or getattr(err, "errno", None) is None and "Unable to connect" in text:
        return f"connection refused at {where}: is sshd running there?"
    if isinstance(err, TimeoutError) or "timed out" in text or "No existing session" in text:
        return f"no answer from {where} within {CONNECT_TIMEOUT:.0f} s."
    return f"{where}: {text or type(err).__name__}"
