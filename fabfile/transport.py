"""
One connection to one host: host keys, speed, bytes, cancel.

Scripts go one after another over a channel's stdin to one `sh -s`; lines that begin with a script's mark come back as events,
whatever else is printed is kept as a bounded tail. Facts about Fabric and Paramiko that shape this file: docs/decisions.md.
"""

from __future__ import annotations

import codecs
import errno
import json
import logging
import os
import random
import re
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import fabric
import paramiko

from . import knownhosts, sshconfig
from .commands.shell import Shell
from .inventory.values import Ssh
from .sshconfig import Found, Unreachable

CONNECT_TIMEOUT = 15.0    # seconds, for TCP, banner and login each
PULSE = 10.0              # seconds of silence, after each of which we request a sign of life
ALWAYS = 0.001            # seconds since we sent something: our heartbeats say nothing of how the host is
UNANSWERED = 3            # such requests in a row end the connection: what hangs may still acknowledge every packet
USER_TIMEOUT_MS = 30_000  # unacknowledged bytes older than this end the connection
HANDSHAKES = 10           # at once with one sshd: its MaxStartups (10:30:100) drops logins at random beyond
LOGINS = 64               # at once with all: each takes some milliseconds of this machine, and has a limit
TAIL_LINES = 40
CHANNELS = 8              # at once on one connection; sshd's MaxSessions is 10
FREEING = (0.02, 0.1, 0.5)  # seconds between requests for a session that sshd refuses
HEARTBEAT = b"\n"         # on the stdin of a script that runs
LINE_LIMIT = 65_536       # characters kept of a line without end
KEY_TROUBLE = {"REVOKED": "key revoked", "CHANGED": "key changed"}  # words of knownhosts.fault, and the kind that they tell
PACKET = 32_768           # bytes sent at once: what sshd takes in one packet
LAST_WORDS = 2.0          # seconds
STALLED = 60.0            # seconds in which a host must take or give some bytes of a stream
PASSING = ("entries", "output", "sample")  # events that are heard and not kept: there may be no end of them
EVENT_LIMIT = 8_388_608   # of a line that is meant for us: a host with many workers has much to tell

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # else its tracebacks land on stderr

_logins = threading.BoundedSemaphore(LOGINS)
_handshakes: dict[tuple[str, int], threading.BoundedSemaphore] = defaultdict(partial(threading.BoundedSemaphore, HANDSHAKES))
_counting = threading.Lock()  # two who come first at the same instant must not get one each


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

    @property
    def last_words(self) -> str:
        """Give the last lines that were printed, in one, or where it stood."""
        end = "nothing more was heard" if self.code is None else f"exit code {self.code}"
        return "; ".join(self.tail[-3:]) or f"{end} in {self.step or 'the start'}"

    def then(self, later: Outcome) -> Outcome:
        """Take what a second script did for the same, told as one."""
        tail = [*self.tail, *later.tail][-TAIL_LINES:]
        return Outcome(later.code, [*self.events, *later.events], tail, later.step, self.seconds + later.seconds)

    def last(self, *names: str) -> dict[str, Any] | None:
        """Return the last event with one of these names."""
        return next((event for event in reversed(self.events) if event.get("event") in names), None)


class Broken(Exception):
    """Tell why a stream of bytes ended before its time."""


class Pipe:
    """Carry bytes to or from one command on a host; the channel's window is all that is under way, so each side waits for the other."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self.channel = channel
        channel.settimeout(STALLED)

    def send(self, chunk: bytes) -> None:
        """Send some bytes; block while the host has not taken those before."""
        with self._whole():
            self.channel.sendall(chunk)

    def read(self) -> Iterator[bytes]:
        """Yield what the command prints, piece by piece."""
        with self._whole():
            while chunk := self.channel.recv(PACKET):
                yield chunk
        self.end()

    def end(self) -> None:
        """Tell the command that nothing more comes, and wait until it has ended well."""
        with self._whole():
            self.channel.shutdown_write()
            self.channel.status_event.wait(STALLED)
            if self.channel.exit_status < 0:
                raise EOFError("no exit code came")
        if self.channel.exit_status:
            raise Broken(self._last_words() or f"exit code {self.channel.exit_status}")

    def _last_words(self) -> str:
        """Wait a little for what a command said before it failed: sshd may send its exit code first."""
        self.channel.settimeout(LAST_WORDS)
        with suppress(TimeoutError):
            return self.channel.recv_stderr(PACKET).decode(errors="replace").strip()
        return ""

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Raise Broken with the command's own words, or else the connection's, where something goes wrong."""
        try:
            yield
        except (paramiko.SSHException, OSError, EOFError) as err:
            silent = f"nothing moved for {STALLED:.0f} s" if isinstance(err, TimeoutError) else ""
            raise Broken(self._said() or silent or f"connection lost: {err or type(err).__name__}") from None

    def _said(self) -> str:
        """Give the command's own words, as far as they are here."""
        return self.channel.recv_stderr(PACKET).decode(errors="replace").strip() if self.channel.recv_stderr_ready() else ""


class Line:
    """Keep one verified connection for the whole run; several scripts may run on it side by side."""

    def __init__(self, name: str, ssh: Ssh, gateways: Gateways | None = None, timeout: float = CONNECT_TIMEOUT) -> None:
        self.name = name
        self.ssh = ssh
        self.timeout = timeout
        self.gateways = gateways or Gateways()
        self.connection: fabric.Connection | None = None
        self.trouble: Unreachable | None = None  # why the last try to open it failed
        self._channels = threading.BoundedSemaphore(CHANNELS)
        self._running: list[paramiko.Channel] = []
        self._waiting: list[paramiko.Channel] = []  # whose shell has ended its script, and reads on
        self._opening = threading.RLock()  # a heartbeat must not take the one session that MaxSessions may allow

    def open(self) -> None:
        """Connect and log in, three tries; raise Unreachable."""
        self.trouble = None
        self._waiting.clear()
        try:
            self._open()
        except Unreachable as err:
            self.trouble = err
            raise

    def _open(self) -> None:
        asked = time.monotonic()
        for attempt in (1, 2, 3):
            try:
                with _turn(sshconfig.address(self.ssh)), _logins:
                    self.connection = _connect(self.ssh, self.gateways, self.timeout, asked)
                return
            except Unreachable:
                raise
            except Exception as err:
                if not _crowded(err) or attempt == 3:
                    raise _unreachable(err, self.ssh, self.timeout) from err
                time.sleep(attempt * random.uniform(0.3, 0.8))  # noqa: S311 (jitter)

    def warm(self) -> None:
        """Start the shell of a script that is still waited for; where that fails, the script's own request is the one that tells."""
        with self._opening, suppress(paramiko.SSHException, OSError, EOFError):
            self._waiting.append(self._shell())

    def address(self) -> str:
        """Return the address that ssh config gives this host."""
        return self.connection.host if self.connection else sshconfig.found(self.ssh).hostname

    def run(self, text: Callable[[], Iterable[Shell]], mark: str, heard: Callable[[dict[str, Any]], None]) -> Outcome:
        """
        Send a script to `sh -s`; call `heard` for each event and each other `line` as it comes; block until the end, without polling.

        `text` makes the script, in pieces, when it is sent: kept for as long as hundreds of hosts build, it would fill the memory.
        """
        if self.connection is None:
            raise RuntimeError(f"{self.name}: run before open")
        begun = time.monotonic()
        outcome = Outcome(code=None)
        with self._channels:
            try:
                self._exchange(text, mark, heard, outcome)
            except (paramiko.SSHException, OSError, EOFError) as err:
                outcome.tail.append(f"connection lost: {err or type(err).__name__}")
        outcome.seconds = time.monotonic() - begun
        return outcome

    def beat(self, text: Callable[[], Iterable[Shell]], mark: str) -> None:
        """Show a sign of life: a line to a script that runs, else the script `text`, which is done at once."""
        with self._opening:
            running = next((channel for channel in self._running if not channel.closed), None)
            if running is None and self.alive:
                with suppress(paramiko.SSHException, OSError, EOFError):
                    self._exchange(text, mark, lambda event: None, Outcome(None))
            elif running is not None and running.send_ready():
                with suppress(OSError):
                    running.sendall(HEARTBEAT)

    @contextmanager
    def pipe(self, order: Shell) -> Iterator[Pipe]:
        """Run one command whose stdin and stdout are bytes, beside whatever else runs on this connection; raise Broken."""
        with self._channels, ExitStack() as opened:
            try:
                self._dismiss()
                channel = opened.enter_context(closing(self._session()))
                channel.exec_command(order)
            except (paramiko.SSHException, OSError, EOFError) as err:
                raise Broken(f"connection lost: {err or type(err).__name__}") from None
            yield Pipe(channel)

    def _start(self, text: Callable[[], Iterable[Shell]]) -> paramiko.Channel:
        """Send a script to a shell that waits for one, else to a new one."""
        with self._opening:
            channel = next(filter(_listens, iter(self._pop, None)), None) or self._shell()
            try:
                for packet in _packets(text()):
                    channel.sendall(packet)
            except BaseException:
                channel.close()
                raise
            self._running.append(channel)
        return channel

    def _pop(self) -> paramiko.Channel | None:
        return self._waiting.pop() if self._waiting else None

    def _dismiss(self) -> None:
        """End the shells that wait: sshd may allow one session (MaxSessions 1), and frees it when its shell has ended."""
        with self._opening:
            for channel in iter(self._pop, None):
                channel.shutdown_write()
                channel.status_event.wait(self.timeout)
                channel.close()

    def _session(self) -> paramiko.Channel:
        """Open a session; where the last one is not freed yet (sshd does so after it has read our close, a moment later) ask again."""
        assert self.connection is not None
        transport: paramiko.Transport = self.connection.transport
        for pause in FREEING:
            with suppress(paramiko.ChannelException):
                return transport.open_session(timeout=self.timeout)
            time.sleep(pause)
        return transport.open_session(timeout=self.timeout)

    def _shell(self) -> paramiko.Channel:
        channel = self._session()
        channel.set_combine_stderr(True)
        # Without waiting for the answer, as exec_command() does: the script may follow at once, and a refusal closes the channel.
        assert self.connection is not None
        self.connection.transport._send_user_message(_request_for_shell(channel))
        return channel

    def _exchange(self, text: Callable[[], Iterable[Shell]], mark: str, heard: Callable[[dict[str, Any]], None], outcome: Outcome) -> None:
        channel = self._start(text)
        try:
            tail: deque[str] = deque(maxlen=TAIL_LINES)
            for line in _lines(channel, mark):
                if (event := _event(line, mark)) is None:
                    if line.strip():
                        tail.append(line)
                        heard({"event": "line", "text": line})
                    continue
                if event["event"] == "exit":
                    outcome.code = event["code"]
                    break
                outcome.step = event["name"] if event["event"] == "step" else outcome.step
                if event["event"] not in PASSING:
                    outcome.events.append(event)
                heard(event)
            outcome.tail = list(tail)
        finally:
            self._running.remove(channel)
            if outcome.code is None:
                channel.close()
            else:
                self._waiting.append(channel)

    @property
    def alive(self) -> bool:
        """Say whether the connection is up, as far as is known here."""
        transport = self.connection.client.get_transport() if self.connection else None
        return transport is not None and transport.is_active()

    def close(self) -> None:
        """Hang up; a script that still runs and carries the dead-man's stdin ends with it."""
        if self.connection is not None:
            _hang_up(self.connection)


def _packets(pieces: Iterable[Shell]) -> Iterator[bytes]:
    """Join what is short and cut what is long, about as one packet takes it; what many hosts are sent is never copied as a whole."""
    waiting = ""
    for piece in pieces:
        for at in range(0, len(piece), PACKET):
            waiting += piece[at:at + PACKET]
            if len(waiting) >= PACKET:
                yield waiting.encode()
                waiting = ""
    yield waiting.encode()


def _turn(address: tuple[str, int]) -> threading.BoundedSemaphore:
    """Give what counts the handshakes with one sshd."""
    with _counting:
        return _handshakes[address]


def _listens(channel: paramiko.Channel) -> bool:
    """Say whether the shell of a channel is still there to read a script."""
    return not (channel.closed or channel.eof_received or channel.exit_status_ready())


def _event(line: str, mark: str) -> dict[str, Any] | None:
    """Read a line that is meant for us; what got torn on its way is only text."""
    if not line.startswith(mark):
        return None
    try:
        event = json.loads(line[len(mark):])
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _crowded(err: Exception) -> bool:
    """Tell an sshd that drops connections before its banner, which passes, from one that says nothing at all."""
    return not isinstance(err, _Untrusted) and "banner" in str(err) and not isinstance(err.__context__, TimeoutError)


def _lines(channel: paramiko.Channel, mark: str) -> Iterator[str]:
    """Yield decoded lines; a character split between two packets stays whole."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    while data := channel.recv(65536):
        lines = (rest + decoder.decode(data)).split("\n")
        # A line without end must not eat the memory.
        *whole, rest = (each[-(EVENT_LIMIT if each.startswith(mark) else LINE_LIMIT):] for each in lines)
        yield from whole
    if rest:
        yield rest


def _hang_up(connection: fabric.Connection) -> None:
    # Behind a jump host that is gone even the goodbye fails.
    with suppress(EOFError, OSError, paramiko.SSHException):
        connection.client.close()


Route = tuple[str | None, str | None, str]  # ssh config, known_hosts, and the jump hosts up to here


class Gateways:
    """Share one verified connection per jump host: a login per target trips the bastion's MaxStartups."""

    def __init__(self) -> None:
        self._open: dict[Route, fabric.Connection] = {}
        self._failed: dict[Route, tuple[float, Unreachable]] = {}  # when the last try ended, and why
        self._lock = threading.RLock()  # the first of the jump hosts may lie behind one itself

    def get(self, jumps: str, ssh: Ssh, timeout: float, asked: float) -> fabric.Connection:
        """
        Return a living connection to the last of `jumps` ("a,b"), each reached through the one before it.

        Who asked before a try failed shares its end: hosts that wait in line for a jump host that is gone would wait in turn.
        """
        with self._lock:
            through = None
            hops = jumps.split(",")
            for number, hop in enumerate(hops, 1):
                key = ssh.ssh_config, ssh.known_hosts, ",".join(hops[:number])
                through = self._living(key) or self._jump(key, sshconfig.hop(hop, ssh), timeout, asked, through)
                self._open[key] = through
            assert through is not None
            return through

    def _living(self, key: Route) -> fabric.Connection | None:
        """Give what is open, unless its link has died: it would fail every host behind it for the rest of the run."""
        connection = self._open.get(key)
        return connection if connection and connection.transport and connection.transport.is_active() else None

    def _jump(self, key: Route, ssh: Ssh, timeout: float, asked: float, through: fabric.Connection | None) -> fabric.Connection:
        if key in self._failed and self._failed[key][0] > asked:
            why = self._failed[key][1]
            raise Unreachable(str(why), why.kind, why.hop)
        try:
            connection = _connect(ssh, self, timeout, asked, through)
        except Exception as err:
            why = err if isinstance(err, Unreachable) else _unreachable(err, ssh, timeout, hop=True)
            self._failed[key] = time.monotonic(), why
            raise why from err
        connection.transport.channel_timeout = timeout  # an hour by itself
        return connection

    def close(self) -> None:
        for connection in self._open.values():
            _hang_up(connection)


def _connect(ssh: Ssh, gateways: Gateways, timeout: float, asked: float, gateway: fabric.Connection | None = None) -> fabric.Connection:
    found = sshconfig.found(ssh)
    if gateway is None and (jumps := sshconfig.jumps(ssh)):
        gateway = gateways.get(jumps, ssh, timeout, asked)
    judge = _judge(ssh, found)
    connection = fabric.Connection(
        ssh.host,
        user=ssh.user,
        port=ssh.port,
        config=found.config(),
        # Never None: Fabric would look for a jump host by itself, and check no host key there.
        gateway=gateway or found.entry.get("proxycommand") or False,
        connect_timeout=timeout,
        # A fresh dict each time: Fabric writes into it, and one host's key would be offered to the next.
        connect_kwargs=_login(ssh, found.entry, timeout, knownhosts.kinds(judge.known)),
    )
    if ssh.key:
        connection.connect_kwargs["key_filename"] = [os.path.expanduser(ssh.key)]  # Fabric adds ssh config's keys to it
    connection.client.set_missing_host_key_policy(judge)  # it has no keys of its own, so it asks each time
    connection.open()
    # Paramiko's thread wakes up ten times a second to look around; of hundreds of hosts that alone would keep a core busy.
    connection.transport.sock.settimeout(PULSE)
    connection.transport.packetizer.set_keepalive(ALWAYS, connection.transport.feel_pulse)
    return connection


def _login(ssh: Ssh, entry: Mapping[str, Any], timeout: float, kinds: set[str]) -> dict[str, Any]:
    kwargs: dict[str, Any] = {
        "transport_factory": partial(_transport, kinds),
        "banner_timeout": timeout,
        "auth_timeout": timeout,
    }
    if ssh.key or entry.get("identitiesonly", "no").lower() == "yes":
        # Every key offered counts against MaxAuthTries.
        kwargs |= {"look_for_keys": False, "allow_agent": False}
    return kwargs


def _transport(kinds: set[str], sock: Any, **kwargs: Any) -> paramiko.Transport:
    """Make a transport without Nagle's 40 ms per command, that notices a dead link and asks for a key of known kind."""
    if hasattr(sock, "setsockopt"):  # not on a gateway's channel
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    transport = _Transport(sock, **kwargs)
    options = transport.get_security_options()
    # Paramiko compares the digests of all others byte by byte in Python.
    options.ciphers = sorted(options.ciphers, key=lambda cipher: "-gcm@" not in cipher)
    # An ssh-rsa key signs by rsa-sha2-256 or -512.
    options.key_types = sorted(options.key_types, key=lambda kind: re.sub("^rsa-sha2-.*", "ssh-rsa", kind) not in kinds)
    return transport


if TYPE_CHECKING:
    class _Paramiko(paramiko.Transport):
        """Name what Paramiko has and its stubs leave out."""

        clear_to_send: threading.Event

        def _send_user_message(self, data: paramiko.Message) -> None: ...
        def _parse_request_success(self, m: paramiko.Message) -> None: ...
        def _parse_request_failure(self, m: paramiko.Message) -> None: ...
else:
    _Paramiko = paramiko.Transport


class _Transport(_Paramiko):
    _unanswered = 0

    def feel_pulse(self) -> None:
        """
        Ask a host that was silent for a while for a sign of life, and hang up when none comes: Paramiko's own keepalive wants no answer.

        Paramiko's thread calls it each time when the socket's timeout has passed without a byte.
        """
        if self._unanswered >= UNANSWERED:
            raise EOFError("no sign of life")
        self._unanswered += 1
        if self.clear_to_send.is_set():  # while keys are exchanged it would wait for itself
            self._send_user_message(_pulse())

    def stop_thread(self) -> None:
        """End the thread at once: it may be waiting for the socket."""
        with suppress(AttributeError, EOFError, OSError, paramiko.SSHException):  # a ProxyCommand's pipe knows no shutdown
            self.sock.shutdown(socket.SHUT_RDWR)
        super().stop_thread()

    def _parse_request_success(self, m: paramiko.Message) -> None:
        self._unanswered = 0
        super()._parse_request_success(m)

    def _parse_request_failure(self, m: paramiko.Message) -> None:
        self._unanswered = 0  # no server knows this request, and each must answer it
        super()._parse_request_failure(m)

    def run(self) -> None:
        """Do as always; but a jump host that is gone is no reason for a traceback from this thread."""
        with suppress(EOFError, OSError):
            super().run()


def _request_for_shell(channel: paramiko.Channel) -> paramiko.Message:
    request = paramiko.Message()
    request.add_byte(paramiko.common.cMSG_CHANNEL_REQUEST)
    request.add_int(channel.remote_chanid)
    request.add_string("exec")
    request.add_boolean(True)
    request.add_string("exec sh -s")
    return request


def _pulse() -> paramiko.Message:
    request = paramiko.Message()
    request.add_byte(paramiko.common.cMSG_GLOBAL_REQUEST)
    request.add_string("keepalive@openssh.com")
    request.add_boolean(True)
    return request


class _Untrusted(paramiko.SSHException):
    """Tell why a host is not the one that was meant."""

    kind = "other"


class _Judge(paramiko.MissingHostKeyPolicy):
    """Judge every key by itself: Paramiko's own way knows no pattern, no alias, no revoked key and one key a type."""

    def __init__(self, ssh: Ssh, name: str, known: list[knownhosts.Entry]) -> None:
        self.ssh = ssh
        self.name = name
        self.known = known

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Hang up on a key that is not the known one; Paramiko asks before it logs in."""
        if wrong := knownhosts.fault(_where(self.ssh), self.known, knownhosts.Key(key.get_name(), key.asbytes())):
            client.close()
            kind = next((kind for word, kind in KEY_TROUBLE.items() if word in wrong), "key unknown")
            # A revoked key must not be taken on any word.
            trouble = _Untrusted(wrong if kind == "key revoked" else f"{wrong} {self._advice()}")
            trouble.kind = kind
            raise trouble

    def _advice(self) -> str:
        if self.ssh.host_key or self.ssh.known_hosts:
            return f"If it is right, put the key into {self.ssh.known_hosts or 'host_key: in hosts.yaml'} as {self.name}."
        again = f"ssh-keygen -R '{self.name}', then " if any(not entry.marker for entry in self.known) else ""
        return f"Compare it with the host's own. If it is right: {again}ssh {self.ssh.host} once, or host_key: in hosts.yaml."


def _judge(ssh: Ssh, found: Found) -> _Judge:
    """Gather what is known of a host: the pinned key, else the named file, else what ssh itself reads."""
    name, files = sshconfig.known_as(ssh)
    if ssh.host_key:
        return _Judge(ssh, name, [knownhosts.Entry(knownhosts.key(ssh.host_key), "host_key: in hosts.yaml")])
    if not ssh.known_hosts and found.entry.get("revokedhostkeys", "none") != "none":
        raise _Untrusted(f"{_where(ssh)}: ssh config names RevokedHostKeys, which is not read here; use @revoked lines in known_hosts.")
    return _Judge(ssh, name, knownhosts.entries(files, name))


def _where(ssh: Ssh) -> str:
    host, port = sshconfig.address(ssh)
    return f"{host}:{port}"


def _unreachable(err: Exception, ssh: Ssh, timeout: float, hop: bool = False) -> Unreachable:
    """Say in a sentence or two why we could not log in, and what to do."""
    if isinstance(err, paramiko.ssh_exception.NoValidConnectionsError):
        err = next(iter(err.errors.values()))
    kind, text = _why(err, ssh, timeout)
    return Unreachable(f"{'jump host ' if hop else ''}{text}", kind, ssh if hop else None)


def _why(err: Exception, ssh: Ssh, timeout: float) -> tuple[str, str]:
    """Give the kind of a failure, and words for it."""
    where = _where(ssh)
    text = str(err)
    if isinstance(err, _Untrusted):
        return err.kind, text
    if isinstance(err, paramiko.AuthenticationException) and "timeout" not in text:
        return "auth", f"{where} refused our login ({text.rstrip('.')}). Try: ssh {ssh.host}; set user: or key: in hosts.yaml."
    if isinstance(err, socket.gaierror):
        return "name", f"no such name: {sshconfig.found(ssh).hostname}."
    if isinstance(err, paramiko.ChannelException):
        return "jump", f"the jump host can't reach {where}: {err.text}."
    if isinstance(err, ConnectionRefusedError):
        return "refused", f"connection refused at {where}: is sshd running there?"
    if isinstance(err, paramiko.ssh_exception.IncompatiblePeer):
        return "algorithms", f"{where}: {text}."
    if isinstance(err, FileNotFoundError | PermissionError) and err.filename:
        return "key file", f"{err.filename}: {err.strerror}; it is to be the key for {where}."
    if getattr(err, "errno", None) in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return "no route", f"no route to {where}."
    late = isinstance(err, TimeoutError) or isinstance(err.__context__, TimeoutError)
    if late or re.search("[Tt]imeout|timed out|No existing session", text):
        return "timeout", f"no answer from {where} within {timeout:.0f} s."
    return "other", f"{where}: {text or type(err).__name__}"
