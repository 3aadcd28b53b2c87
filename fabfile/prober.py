"""Count every request that a deploy could lose: the prober that runs beside each deploy.

It asks through the balancer (keep-alive and new connections apart, since one can hang while the other answers) and each
host directly, over raw HTTP/1.1 with no retry, in one background thread. It is an open loop: a request leaves when its
time has come, whatever became of the ones before, and its latency counts from that time. So a stall is seen in full.

What counts as what
    good      any answer below 500, read to its end. A 404 is not a lost request; `statuses` shows it.
    failed    everything else once the target is up, that is since its first good answer. Failures of requests that were
              due earlier are `before_first_answer`: in a first deploy nothing serves yet, and that is nobody's loss.
    lost      `failed` of the counted targets. A direct probe of one host is information: a drained host may be down.
    stale     of the failed: not one byte came back on a reused connection, so a client may repeat the GET. Many clients
              do; ours does not, and still calls it lost, since a POST in its place would have been. A connection whose
              end was seen while it lay idle is replaced without a word, as every client does.
    baseline  until the first `mark` after `start(BASELINE)` the deploy has not begun: counted apart, never lost.

All offsets and durations are seconds; an offset counts from the prober's start.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import math
import re
import socket
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache
from typing import NamedTuple, SupportsIndex, cast
from urllib.parse import urlsplit

BASELINE = "baseline"
KEEP_ALIVE = "keep-alive"
NEW = "new"

POOL = 4                   # keep-alive connections per target
KEPT_FAILURES = 50         # per target and kind; the rest is only counted
KEPT_NAMES = 200           # distinct labels or releases per target and kind
KEPT_MARKS = 1000
KEPT_CELLS = 3600          # of the series; beyond, two cells become one
BODY_LIMIT = 1 << 20       # bytes read of one body
HEAD_LIMIT = 1 << 16       # bytes of one head or chunk line
LATE = 1.0                 # seconds behind schedule from which requests are skipped, lest they leave as one burst
PATIENCE = 2.0             # seconds beyond its grace that the thread has to end
MORE = "(more)"

# Out of sockets or memory is this machine's failure. Blaming the site would make a good deploy look lossy.
OWN_FAULTS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


# --- what is asked --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """Name one address to ask; the url's path is what is asked for.

    `counted` says that a failure is a lost request. `host_header` also names the host to TLS if the url is an address.
    """

    name: str
    url: str
    counted: bool = True
    host_header: str | None = None
    verify: bool = True

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{self.name}: {self.url!r} is no http or https address.")
        if parts.username is not None:
            raise ValueError(f"{self.name}: the url holds a login, which the report would show.")
        if not re.fullmatch(r"[!-~]+", self.url + (self.host_header or "")):
            raise ValueError(f"{self.name}: only printable ASCII without blanks fits a request.")
        # Both raise a ValueError: a port that is no number up to 65535, a name that no resolver can be asked for.
        _ = parts.port, parts.hostname.encode("idna")

    @property
    def tls(self) -> bool:
        return self.url.startswith("https:")

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return str(parts.hostname), parts.port or (443 if self.tls else 80)

    @property
    def server_name(self) -> str | None:
        """Name the host that the certificate must be for; None without TLS."""
        if not self.tls:
            return None
        return urlsplit(f"//{self.host_header}").hostname if self.host_header else self.address[0]

    def request(self, kind: str) -> bytes:
        """Write the request; a cache on the way must not answer in the app's place."""
        parts = urlsplit(self.url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"GET {path} HTTP/1.1", f"Host: {self.host_header or parts.netloc}", "User-Agent: gapless-prober",
                 "Accept: */*", "Cache-Control: no-cache"]
        lines += ["Connection: close"] if kind == NEW else []
        return "\r\n".join([*lines, "", ""]).encode("ascii")


@dataclass(frozen=True)
class Rate:
    """Hold requests per second; 0 leaves a kind out. `hosts` caps the direct probes of all hosts together."""

    keep_alive: float = 10.0
    new: float = 5.0
    host: float = 1.0
    hosts: float = 20.0

    def __post_init__(self) -> None:
        for one in fields(self):
            # Below 100 in a second, its p99 is its slowest answer: the series relies on that.
            if not 0 <= getattr(self, one.name) <= 50:
                raise ValueError(f"rate.{one.name}: between 0 and 50 requests per second.")

    def interval(self, target: Target, kind: str, directs: int) -> float:
        """Give the seconds between two requests; 0 when the kind is left out."""
        if target.counted:
            rate = self.keep_alive if kind == KEEP_ALIVE else self.new
        else:
            rate = min(self.host, self.hosts / max(directs, 1)) if kind == NEW else 0.0
        return 1 / rate if rate else 0.0


# --- what is reported -----------------------------------------------------------------------------------------


class Failure(NamedTuple):
    """Tell one failed request in full; `label` was in force when the failure was seen."""

    offset: float
    failure: str               # refused reset eof_before eof_amid timeout http_5xx bad_reply tls unreachable
    kind: str
    target: str
    label: str
    status: int | None
    release: str | None        # of the answer, where one came
    reused: bool
    stale: bool
    received: int              # bytes of the answer
    seconds: float             # from the scheduled time
    why: str


@dataclass(frozen=True)
class Version:
    """Say when a release answered first and last, and how often, failures included."""

    first: float
    last: float
    count: int


@dataclass(frozen=True)
class Part:
    """Count one stretch of the run; latencies are of good answers and None where there was none."""

    sent: int                  # with a known outcome, since the first good answer
    failed: int
    stale: int                 # of the failed: safe to repeat
    by_class: dict[str, int]
    statuses: dict[str, int]
    p50: float | None
    p99: float | None
    max: float | None


class Series(NamedTuple):
    """Give counts per cell of `step` seconds, by scheduled time, baseline included; p99 is None if nothing was good."""

    step: float
    sent: list[int]
    failed: list[int]
    p99: list[float | None]


@dataclass(frozen=True)
class Tally(Part):
    """Count one kind of request to one target, from the end of the baseline on."""

    target: str
    kind: str
    counted: bool
    baseline: Part
    first_answer: float | None                 # offset of the target's first good answer of any kind
    before_first_answer: dict[str, int]        # failures by class
    pending: int                               # sent, outcome not known (yet)
    missed: int                                # never sent: this machine was held up
    longest_gap: float | None                  # between good answers, to the run's end; None: never up
    by_label: dict[str, tuple[int, int]]       # label: sent, failed; the baseline's too
    versions: dict[str, Version]
    failures: tuple[Failure, ...]
    series: Series


class Report(NamedTuple):
    """Hold what was measured; the properties speak of counted targets only."""

    started: float                             # seconds since the epoch
    seconds: float
    tallies: tuple[Tally, ...]
    marks: tuple[tuple[float, str], ...]       # offset, label
    lag: float                                 # longest delay of a request by this machine itself
    error: str | None = None                   # how the prober itself broke
    minimum: int = 30                          # requests per kind below which nothing is proven

    @property
    def judged(self) -> tuple[Tally, ...]:
        return tuple(tally for tally in self.tallies if tally.counted)

    @property
    def sent(self) -> int:
        return sum(tally.sent for tally in self.judged)

    @property
    def lost(self) -> int:
        return sum(tally.failed for tally in self.judged)

    @property
    def stale(self) -> int:
        return sum(tally.stale for tally in self.judged)

    @property
    def longest_gap(self) -> float | None:
        return max((tally.longest_gap for tally in self.judged if tally.longest_gap is not None), default=None)

    @property
    def upper_bound(self) -> float | None:
        """Give the share that may be lost all the same (95 %, rule of three); None when some were, or none was sent."""
        return min(1.0, 3 / self.sent) if self.sent and not self.lost else None

    @property
    def doubts(self) -> tuple[str, ...]:
        """Say what stands between this run and 'proven', one line each."""
        broke = [f"the prober broke: {self.error}"] if self.error else []
        blind = [] if self.judged else ["nothing was asked where a lost request counts"]
        return (*broke, *blind, *(doubt for tally in self.judged for doubt in _doubts(tally, self.minimum)))

    @property
    def proven(self) -> bool:
        return not self.doubts

    def to_dict(self) -> dict[str, object]:
        """Give plain values for JSON, the verdict included."""
        verdict = ("sent", "lost", "stale", "longest_gap", "upper_bound", "doubts", "proven")
        return {key: _plain(value) for key, value in (self._asdict() | {name: getattr(self, name) for name in verdict}).items()}


def _doubts(tally: Tally, minimum: int) -> Iterable[str]:
    name = f"{tally.target}, {tally.kind}"
    if tally.failed:
        yield f"{name}: {tally.failed} of {tally.sent} lost"
    if tally.sent < minimum:
        yield f"{name}: {tally.sent} sent, {minimum} wanted"
    if tally.pending:
        yield f"{name}: {tally.pending} without an outcome"
    if tally.missed:
        yield f"{name}: {tally.missed} not sent, this machine was held up"


def _plain(value: object) -> object:
    if isinstance(value, Failure | Series):
        value = value._asdict()
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value


# --- the books: pure, times come from outside -----------------------------------------------------------------


class Outcome(NamedTuple):
    """Tell how one request ended; `failure` is None when it was good."""

    failure: str | None = None
    status: int | None = None
    release: str | None = None
    reused: bool = False
    received: int = 0
    why: str = ""

    @property
    def stale(self) -> bool:
        return self.reused and self.received == 0 and self.failure in ("reset", "eof_before")


class Histogram:
    """Keep latencies in buckets 5 % wide: bounded, and close enough for a percentile."""

    GROWTH = 1.05

    def __init__(self) -> None:
        self.buckets: Counter[int] = Counter()
        self.top = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[math.ceil(math.log(max(seconds, 1e-5), self.GROWTH))] += 1
        self.top = max(self.top, seconds)

    def percentile(self, share: float) -> float | None:
        """Give the nearest-rank percentile in seconds, rounded up to its bucket's edge."""
        rank = math.ceil(share * self.buckets.total())
        for bucket in sorted(self.buckets):
            rank -= self.buckets[bucket]
            if rank <= 0:
                return min(self.top, self.GROWTH**bucket)
        return None


class Count:
    """Count one stretch of one kind."""

    def __init__(self) -> None:
        self.sent = self.failed = self.stale = 0
        self.by_class: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.latency = Histogram()

    def add(self, outcome: Outcome, seconds: float) -> None:
        self.sent += 1
        if outcome.status:
            self.statuses[str(outcome.status)] += 1
        if outcome.failure:
            self.failed += 1
            self.stale += outcome.stale
            self.by_class[outcome.failure] += 1
        else:
            self.latency.add(seconds)

    def part(self) -> Part:
        latency = self.latency
        return Part(self.sent, self.failed, self.stale, dict(self.by_class), dict(self.statuses),
                    latency.percentile(0.5), latency.percentile(0.99), latency.top if latency.buckets else None)


class Cells:
    """Keep the series; when it is full, two cells become one, so a run of any length fits."""

    def __init__(self) -> None:
        self.step = 1.0
        self.rows: list[tuple[int, int, float | None]] = []

    def add(self, due: float, failed: bool, seconds: float) -> None:
        while due / self.step >= KEPT_CELLS:
            self._fold()
        index = int(due / self.step)
        self.rows += [(0, 0, None)] * (index + 1 - len(self.rows))
        self.rows[index] = _merge(self.rows[index], (1, int(failed), None if failed else seconds))

    def _fold(self) -> None:
        pairs = zip(self.rows[::2], [*self.rows[1::2], (0, 0, None)], strict=False)
        self.step, self.rows = self.step * 2, [_merge(one, two) for one, two in pairs]

    def series(self) -> Series:
        rows = self.rows
        return Series(self.step, [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def _merge(one: tuple[int, int, float | None], two: tuple[int, int, float | None]) -> tuple[int, int, float | None]:
    slowest = max((seconds for seconds in (one[2], two[2]) if seconds is not None), default=None)
    return one[0] + two[0], one[1] + two[1], slowest


@dataclass
class Up:
    """Remember when a target answered first; its kinds share this."""

    since: float | None = None


class Ledger:
    """Book every outcome of one kind of request to one target. All times are offsets."""

    def __init__(self, target: Target, kind: str, up: Up, judged_from: float | None) -> None:
        self.target, self.kind, self.up = target, kind, up
        self.judged_from = judged_from         # None while the baseline lasts
        self.pending = self.missed = 0
        self.run, self.baseline = Count(), Count()
        self.early: Counter[str] = Counter()
        self.labels: dict[str, tuple[int, int]] = {}
        self.versions: dict[str, Version] = {}
        self.failures: list[Failure] = []
        self.cells = Cells()
        self.last_good: float | None = None
        self.end = math.inf                    # of the run: later answers are waited for, but nothing is asked
        self.gap = 0.0

    def record(self, outcome: Outcome, due: float, now: float, label: str) -> None:
        """Book an outcome known at `now` of the request that was due at `due`."""
        self.pending -= 1
        self._saw(outcome.release, now)
        if outcome.failure and (self.up.since is None or due < self.up.since):
            self.early[outcome.failure] += 1
            return
        if not outcome.failure:
            self._good(now)
        (self.baseline if self.judged_from is None else self.run).add(outcome, now - due)
        self.cells.add(due, bool(outcome.failure), now - due)
        self._label(label, bool(outcome.failure))
        if outcome.failure and self.judged_from is not None and len(self.failures) < KEPT_FAILURES:
            self.failures.append(self._failure(outcome, due, now, label))

    def _good(self, now: float) -> None:
        moment = min(now, self.end)
        if self.up.since is None:
            self.up.since = moment
        self.gap = max(self.gap, self._silence(moment))
        self.last_good = moment

    def _silence(self, now: float) -> float:
        """Measure since the last good answer, or since the deploy began where that is later."""
        if self.judged_from is None or self.up.since is None:
            return 0.0
        return now - max(self.up.since if self.last_good is None else self.last_good, self.judged_from)

    def _saw(self, release: str | None, now: float) -> None:
        if release is None:
            return
        name = release if release in self.versions or len(self.versions) < KEPT_NAMES else MORE
        seen = self.versions.get(name, Version(now, now, 0))
        self.versions[name] = replace(seen, last=now, count=seen.count + 1)

    def _label(self, label: str, failed: bool) -> None:
        name = label if label in self.labels or len(self.labels) < KEPT_NAMES else MORE
        before = self.labels.get(name, (0, 0))
        self.labels[name] = (before[0] + 1, before[1] + failed)

    def _failure(self, outcome: Outcome, due: float, now: float, label: str) -> Failure:
        return Failure(now, str(outcome.failure), self.kind, self.target.name, label, outcome.status, outcome.release,
                       outcome.reused, outcome.stale, outcome.received, now - due, outcome.why)

    def tally(self, now: float) -> Tally:
        """Sum up as if the run ended at `now`."""
        run = self.run.part()
        return Tally(
            **{one.name: getattr(run, one.name) for one in fields(Part)},
            target=self.target.name, kind=self.kind, counted=self.target.counted, baseline=self.baseline.part(),
            first_answer=self.up.since, before_first_answer=dict(self.early), pending=self.pending, missed=self.missed,
            longest_gap=None if self.up.since is None else max(self.gap, self._silence(now)),
            by_label=dict(self.labels), versions=dict(self.versions), failures=tuple(self.failures),
            series=self.cells.series(),
        )


# --- the wire -------------------------------------------------------------------------------------------------


class BadReply(Exception):
    """Say what in the answer was not HTTP."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    reusable: bool


class Inbox(asyncio.StreamReader):
    """Count the bytes of the answer, to tell a connection that said nothing from one that broke off."""

    received = 0

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self.received += len(cast(bytes, data))
        super().feed_data(data)


class Wire:
    """Hold one connection."""

    def __init__(self, inbox: Inbox, transport: asyncio.Transport) -> None:
        self.inbox, self.transport = inbox, transport

    @classmethod
    async def open(cls, target: Target) -> Wire:
        """Connect to the first address that accepts; raise the last one's error."""
        host, port = target.address
        failed: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
        for address in await _addresses(host, port):
            try:
                return await cls._connect(target, address, port)
            except OSError as error:
                failed = error
        raise failed

    @classmethod
    async def _connect(cls, target: Target, address: str, port: int) -> Wire:
        inbox = Inbox(limit=HEAD_LIMIT)
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: asyncio.StreamReaderProtocol(inbox), address, port,
            ssl=_tls(target.verify) if target.tls else None, server_hostname=target.server_name)
        return cls(inbox, transport)

    @property
    def idle(self) -> bool:
        """Tell whether a request can go here: still open, and no byte came that nobody asked for."""
        inbox = self.inbox
        return not (inbox.received or inbox.at_eof() or inbox.exception() or self.transport.is_closing())

    async def ask(self, request: bytes) -> Answer:
        """Send the request and read the answer to its end, 1 MiB of the body at most."""
        self.transport.write(request)
        status, version, headers = await _head(self.inbox)
        whole = await _body(self.inbox, status, headers)
        return Answer(status, headers, whole and _keeps(version, headers))

    def rest(self) -> None:
        """Begin anew: what comes from here on belongs to the next answer."""
        self.inbox.received = 0

    def close(self) -> None:
        self.transport.abort()


async def _addresses(host: str, port: int) -> list[str]:
    # An address needs no resolver, whose threads are few and could all be hanging on another target's name.
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


@cache
def _tls(verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = verify
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    return context


async def _head(inbox: Inbox) -> tuple[int, str, dict[str, str]]:
    """Read status, minor version and headers (names in lower case), past any 1xx."""
    while True:
        first, *lines = (await inbox.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        found = re.fullmatch(r"HTTP/1\.([01]) ([1-5]\d\d)(?: .*)?", first)
        if not found:
            raise BadReply(f"status line {first[:80]!r}")
        if found[2][0] != "1":
            pairs = (line.partition(":") for line in lines)
            return int(found[2]), found[1], {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _body(inbox: Inbox, status: int, headers: dict[str, str]) -> bool:
    """Read the body and drop it; tell whether its end was reached and the connection stays."""
    if status in (204, 304):
        return True
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _chunks(inbox)
    length = headers.get("content-length")
    if length is None:
        await _until_closed(inbox)
        return False
    if not re.fullmatch(r"\d{1,18}", length):
        raise BadReply(f"content-length {length[:80]!r}")
    await _drop(inbox, min(int(length), BODY_LIMIT))
    return int(length) <= BODY_LIMIT


async def _chunks(inbox: Inbox) -> bool:
    left = BODY_LIMIT
    while True:
        line = await inbox.readuntil(b"\r\n")
        found = re.fullmatch(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?\r\n", line)
        if not found:
            raise BadReply(f"chunk size {line[:80]!r}")
        size = int(found[1], 16)
        if size == 0:
            while await inbox.readuntil(b"\r\n") != b"\r\n":
                pass
            return True
        await _drop(inbox, min(size, left))
        left -= size
        if left <= 0:
            return False
        if await inbox.readexactly(2) != b"\r\n":
            raise BadReply("a chunk is longer than it said")


async def _drop(inbox: Inbox, count: int) -> None:
    while count:
        data = await inbox.read(min(count, HEAD_LIMIT))
        if not data:
            raise asyncio.IncompleteReadError(b"", count)
        count -= len(data)


async def _until_closed(inbox: Inbox) -> None:
    left = BODY_LIMIT
    while left > 0 and (data := await inbox.read(HEAD_LIMIT)):
        left -= len(data)


def _keeps(version: str, headers: dict[str, str]) -> bool:
    said = headers.get("connection", "").lower()
    return "close" not in said and (version == "1" or "keep-alive" in said)


# The first that fits names the failure: a timeout and a refusal are OSErrors too.
CLASSES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (TimeoutError, "timeout"),
    ((EOFError, ssl.SSLEOFError), "eof"),
    ((BadReply, asyncio.LimitOverrunError), "bad_reply"),
    (ssl.SSLError, "tls"),
    (ConnectionRefusedError, "refused"),
    (ConnectionError, "reset"),
    (OSError, "unreachable"),
)


def classify(error: Exception, received: int) -> str:
    """Name the failure class of an error; raise it again where it is the prober's own fault."""
    found = next((name for types, name in CLASSES if isinstance(error, types)), None)
    if found is None or getattr(error, "errno", None) in OWN_FAULTS:
        raise error
    if found == "eof":
        return "eof_amid" if received else "eof_before"
    return found


class Pool:
    """Keep the connections of one target. It grows to its size first, so that all of them see traffic."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.lines = 0                         # open or being opened
        self.resting: deque[Wire] = deque()

    def take(self) -> Wire | None:
        """Give the connection that rested longest; None when the request needs a new one."""
        while self.resting and self.lines >= self.size:
            wire = self.resting.popleft()
            if wire.idle:
                return wire
            self.drop(wire)
        self.lines += 1
        return None

    def put(self, wire: Wire) -> None:
        wire.rest()
        if len(self.resting) < self.size:
            self.resting.append(wire)
        else:
            self.drop(wire)

    def drop(self, wire: Wire | None) -> None:
        self.lines -= 1
        if wire:
            wire.close()

    def close(self) -> None:
        while self.resting:
            self.drop(self.resting.popleft())


class Stream:
    """Send one kind of request to one target."""

    def __init__(self, ledger: Ledger, header: str | None, limit: float) -> None:
        self.ledger, self.header, self.limit = ledger, (header or "").lower(), limit
        self.pool = Pool(POOL if ledger.kind == KEEP_ALIVE else 0)

    async def ask(self) -> Outcome:
        """Send one request, never a second one, and tell how it ended."""
        target, pool = self.ledger.target, self.pool
        wire = pool.take()
        reused, kept = wire is not None, False
        try:
            async with asyncio.timeout(self.limit):
                wire = wire or await Wire.open(target)
                answer = await wire.ask(target.request(self.ledger.kind))
            kept = answer.reusable and pool is self.pool
            return self._outcome(answer, reused, wire.inbox.received)
        except Exception as error:
            received = wire.inbox.received if wire else 0
            return Outcome(classify(error, received), reused=reused, received=received, why=_why(error, self.limit))
        finally:
            pool.put(wire) if wire and kept else pool.drop(wire)

    def _outcome(self, answer: Answer, reused: bool, received: int) -> Outcome:
        release = answer.headers.get(self.header)
        failure = "http_5xx" if answer.status >= 500 else None
        return Outcome(failure, answer.status, release and release[:200], reused, received)

    def aim(self, target: Target) -> None:
        """Ask elsewhere from now on; the books go on."""
        self.pool.close()
        self.pool = Pool(self.pool.size)
        self.ledger.target = target


def _why(error: Exception, limit: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no whole answer within {limit:g} s"
    return f"{type(error).__name__}: {error}"[:200]


# --- the prober -----------------------------------------------------------------------------------------------


@dataclass
class _Clock:
    """Give seconds since the start, and the wall time of it."""

    zero: float = field(default_factory=time.monotonic)
    started: float = field(default_factory=time.time)

    def now(self) -> float:
        return time.monotonic() - self.zero


class Prober:
    """Ask all targets, each of its own name, until stopped. No method raises: what breaks is the report's `error`."""

    def __init__(self, targets: Iterable[Target], rate: Rate | None = None, header: str | None = "x-release",
                 limit: float = 10.0, minimum: int = 30) -> None:
        self._targets = {target.name: target for target in targets}
        self._rate, self._header, self._limit, self._minimum = rate or Rate(), header, limit, minimum
        self._streams: list[Stream] = []
        self._clock, self._lock = _Clock(), threading.Lock()
        self._marks: list[tuple[float, str]] = []
        self._label, self._lag = "", 0.0
        self._judged_from: float | None = None
        self._end: float | None = None
        self._error: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over, self._done, self._grace = asyncio.Event(), threading.Event(), 0.0
        self._tasks: set[asyncio.Task[None]] = set()       # a loop holds its tasks weakly
        self._pacers: list[asyncio.Task[None]] = []

    def start(self, label: str = "run") -> None:
        """Begin to ask. Under the label BASELINE nothing counts as lost until the first mark."""
        self._clock = _Clock()
        self.mark(label)
        try:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._thread, args=(self._loop,), name="prober", daemon=True).start()
        except (OSError, RuntimeError) as error:
            self._broke(error)
            self._done.set()

    def mark(self, label: str) -> None:
        """Name what the deploy does from now on; failures carry the label in force."""
        with self._lock:
            now, self._label = self._clock.now(), label
            if len(self._marks) < KEPT_MARKS:
                self._marks.append((now, label))
            if self._judged_from is None and label != BASELINE:
                self._judged_from = now
                for stream in self._streams:
                    stream.ledger.judged_from = now

    def add(self, target: Target) -> None:
        """Ask this one too; one that bears a known name is asked at its new address from now on."""
        self._tell(lambda: self._welcome(target))

    def snapshot(self) -> Report:
        """Report what is known so far."""
        with self._lock:
            now = self._clock.now() if self._end is None else self._end
            tallies = tuple(stream.ledger.tally(now) for stream in self._streams)
            return Report(self._clock.started, now, tallies, tuple(self._marks), self._lag, self._error, self._minimum)

    def stop(self, grace: float | None = None) -> Report:
        """End the run and report; wait `grace` seconds for requests in flight, by default as long as one may take."""
        if self._loop is None:
            self._done.set()
        if self._end is None:
            self._finish(self._limit if grace is None else grace)
        if not self._done.wait(self._grace + PATIENCE):
            self._broke(TimeoutError("its thread did not end"))
        return self.snapshot()

    def _finish(self, grace: float) -> None:
        with self._lock:
            self._end, self._grace = self._clock.now(), grace
            for stream in self._streams:
                stream.ledger.end = self._end
        self._tell(self._over.set)

    def _tell(self, message: Callable[[], object]) -> None:
        # A loop that has ended takes no messages, and there is nobody left to act on one.
        with contextlib.suppress(RuntimeError):
            if self._loop:
                self._loop.call_soon_threadsafe(message)

    def _broke(self, error: BaseException) -> None:
        with self._lock:
            self._error = self._error or f"{type(error).__name__}: {error}"

    # From here on all runs in the thread.

    def _thread(self, loop: asyncio.AbstractEventLoop) -> None:
        # Each request's end is booked where it is awaited; asyncio's own remarks on it would only clutter the terminal.
        loop.set_exception_handler(lambda _, __: None)
        try:
            loop.run_until_complete(self._main())
        except BaseException as error:
            self._broke(error)
        finally:
            self._done.set()
            loop.close()                       # after `done`: it must not wait for a resolver that hangs

    async def _main(self) -> None:
        for target in self._targets.values():
            self._launch(target)
        await self._over.wait()
        for pacer in self._pacers:
            pacer.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._grace)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._pacers, return_exceptions=True)
        for stream in self._streams:
            stream.pool.close()
        await asyncio.sleep(0)                 # closing takes effect in the loop's next round

    def _welcome(self, target: Target) -> None:
        try:
            self._launch(target)
        except Exception as error:
            self._broke(error)

    def _launch(self, target: Target) -> None:
        known = [stream for stream in self._streams if stream.ledger.target.name == target.name]
        self._targets[target.name] = target
        for stream in known:
            stream.aim(target)
        if known or self._over.is_set():
            return
        up = Up()
        for kind in (KEEP_ALIVE, NEW):
            if self._interval(target, kind):
                self._begin(target, kind, up)

    def _begin(self, target: Target, kind: str, up: Up) -> None:
        with self._lock:
            stream = Stream(Ledger(target, kind, up, self._judged_from), self._header, self._limit)
            self._streams.append(stream)
        pacer = asyncio.create_task(self._pace(stream, len(self._streams)))
        pacer.add_done_callback(self._paced)
        self._pacers.append(pacer)

    def _paced(self, pacer: asyncio.Task[None]) -> None:
        # A pacer that dies falls silent, and silence must not pass for "nothing was lost".
        if not pacer.cancelled() and (error := pacer.exception()):
            self._broke(error)

    def _interval(self, target: Target, kind: str) -> float:
        directs = sum(not target.counted for target in self._targets.values())
        return self._rate.interval(target, kind, directs)

    async def _pace(self, stream: Stream, place: int) -> None:
        """Send each request when it is due, whatever became of the ones before."""
        ledger = stream.ledger
        # The golden ratio spreads any number of streams evenly, lest they all ask in the same millisecond.
        due = self._clock.now() + place * 0.618 % 1 * self._interval(ledger.target, ledger.kind)
        while True:
            await asyncio.sleep(due - self._clock.now())
            interval = self._interval(ledger.target, ledger.kind)
            due += self._skip(ledger, self._clock.now() - due, interval)
            self._send(stream, due)
            due += interval

    def _skip(self, ledger: Ledger, late: float, interval: float) -> float:
        """Note how late we are; give the seconds to leave out when that is too much to make up for."""
        skipped = int(late / interval) if late > LATE else 0
        with self._lock:
            self._lag = max(self._lag, late)
            ledger.missed += skipped
        return skipped * interval

    def _send(self, stream: Stream, due: float) -> None:
        with self._lock:
            stream.ledger.pending += 1
        task = asyncio.create_task(self._ask(stream, due))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, stream: Stream, due: float) -> None:
        try:
            outcome = await stream.ask()
        except Exception as error:             # ours, not the site's: stay alive, and say so
            with self._lock:
                stream.ledger.pending -= 1
            self._broke(error)
            return
        with self._lock:
            stream.ledger.record(outcome, due, self._clock.now(), self._label)
