"""Count what a plain client loses: an open-loop load generator that never retries.

It knows nothing of Gapless and shares no code with its prober, so it can serve as the second opinion.
`keepalive` clients are naive: they never look whether the peer has closed the connection before they use it again.
They do honour `Connection: close` and a `Keep-Alive: timeout=N`, as every client does.

    python tests/load.py http://127.0.0.1:3000 --rate 200 --slow 2 --seconds 20 --json load.json
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import ssl
import sys
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

KINDS = ("keepalive", "new", "post", "slow")
SHARES = {"keepalive": 0.5, "new": 0.4, "post": 0.1}
IDLE_LIMIT = 4.0  # seconds; below node's keepAliveTimeout of 5
PADDING = "x" * 500


class LostRequest(Exception):
    """A request that got no good answer; `kind_of` says how it was lost."""

    def __init__(self, kind_of: str, detail: str = "") -> None:
        super().__init__(f"{kind_of} {detail}".strip())
        self.kind_of = kind_of
        self.detail = detail


@dataclass
class Tally:
    """What was sent and what was lost."""

    url: str
    started: float = 0.0
    seconds: float = 0.0
    sent: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, object]] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    longest_gap_ms: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0

    @property
    def total(self) -> int:
        return sum(self.sent.values())

    @property
    def lost(self) -> int:
        return sum(self.failed.values())

    def as_json(self) -> str:
        fields = {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}
        return json.dumps({**fields, "total": self.total, "lost": self.lost}, indent=1)

    def summary(self) -> str:
        kinds = ", ".join(f"{kind} {self.failed[kind]}/{self.sent[kind]}" for kind in KINDS if self.sent[kind])
        versions = ", ".join(f"{name} {count}" for name, count in sorted(self.versions.items()))
        classes = Counter(str(failure["class"]) for failure in self.failures)
        return (
            f"lost {self.lost} of {self.total} in {self.seconds:.1f} s ({kinds}); "
            f"longest gap {self.longest_gap_ms:.0f} ms, p50 {self.p50_ms:.0f} ms, p99 {self.p99_ms:.0f} ms; "
            f"answered by: {versions or '-'}"
            + (f"; lost as: {dict(classes)}" if classes else "")
        )


class Wire:
    """One connection that speaks just enough HTTP/1.1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.reusable_until = float("inf")

    async def ask(self, head: bytes, body: bytes = b"") -> tuple[int, dict[str, str]]:
        """Send a request and read its whole answer."""
        self.writer.write(head + body)
        await self.writer.drain()
        status_line, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        await self._body(headers)
        self._note_reuse(headers)
        return int(status_line.split(" ", 2)[1]), headers

    async def _body(self, headers: dict[str, str]) -> None:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
                await self.reader.readexactly(size + 2)
            await self.reader.readuntil(b"\r\n")
        elif "content-length" in headers:
            await self.reader.readexactly(int(headers["content-length"]))
        else:
            await self.reader.read()
            self.reusable_until = 0.0

    def _note_reuse(self, headers: dict[str, str]) -> None:
        if headers.get("connection", "").lower() == "close":
            self.reusable_until = 0.0
        if not self.reusable_until:
            return
        _, _, said = headers.get("keep-alive", "").partition("timeout=")
        limit = min(IDLE_LIMIT, 0.8 * int(said.split(",")[0])) if said else IDLE_LIMIT
        self.reusable_until = time.monotonic() + limit

    def close(self) -> None:
        self.writer.close()


class Load:
    """A steady stream of requests; each starts on its own time, whatever became of the ones before."""

    def __init__(
        self, url: str, *, rate: float = 100, slow: int = 0, timeout: float = 15, connections: int = 12,
        path: str = "/", slow_path: str = "/slow", post_path: str = "/echo",
    ) -> None:
        parts = urlsplit(url)
        self.host, self.tls = parts.hostname or "127.0.0.1", parts.scheme == "https"
        self.port = parts.port or (443 if self.tls else 80)
        self.rate, self.slow, self.timeout, self.connections = rate, slow, timeout, connections
        self.paths = {"keepalive": path, "new": path, "post": post_path, "slow": slow_path}
        self.tally = Tally(url)
        self.idle: deque[Wire] = deque()
        self.kept = 0  # keep-alive connections, idle or at work
        self.latencies: list[float] = []
        self.last_good = 0.0
        self.stopping = asyncio.Event()
        self.context = ssl.create_default_context() if self.tls else None
        if self.context:  # a test certificate; what is counted here is requests
            self.context.check_hostname = False
            self.context.verify_mode = ssl.CERT_NONE

    async def run(self, seconds: float | None = None) -> Tally:
        """Send until the time is over or `stopping` is set, then wait for what is in flight."""
        self.tally.started, began = time.time(), time.monotonic()
        self.last_good = began
        tasks = [asyncio.create_task(self._steady(kind, self.rate * share)) for kind, share in SHARES.items()]
        tasks += [asyncio.create_task(self._always_one("slow")) for _ in range(self.slow)]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)
        self.stopping.set()
        await asyncio.gather(*tasks)
        for wire in self.idle:
            wire.close()
        self._finish(time.monotonic() - began)
        return self.tally

    def _finish(self, seconds: float) -> None:
        ordered = sorted(self.latencies) or [0.0]
        self.tally.seconds = round(seconds, 3)
        self.tally.p50_ms = round(ordered[len(ordered) // 2] * 1000, 1)
        self.tally.p99_ms = round(ordered[int(len(ordered) * 0.99)] * 1000, 1)
        self.tally.longest_gap_ms = round(self.tally.longest_gap_ms, 1)

    async def _steady(self, kind: str, rate: float) -> None:
        """Start a request of this kind at each tick of a clock that does not wait for answers."""
        if rate <= 0:
            return
        began, count, running = time.monotonic(), 0, set()
        while not self.stopping.is_set():
            task = asyncio.create_task(self._one(kind))
            running.add(task)
            task.add_done_callback(running.discard)
            count += 1
            await asyncio.sleep(max(0.0, began + count / rate - time.monotonic()))
        if running:
            await asyncio.wait(running)

    async def _always_one(self, kind: str) -> None:
        """Keep one request of this kind in flight."""
        while not self.stopping.is_set():
            await self._one(kind)
            await asyncio.sleep(0.01)  # a port that refuses must not be hammered

    async def _one(self, kind: str) -> None:
        began = time.monotonic()
        self.tally.sent[kind] += 1
        try:
            status, headers = await self._exchange(kind)
        except LostRequest as lost:
            self._lose(kind, lost)
            return
        self.tally.statuses[str(status)] += 1
        self.tally.versions[headers.get("x-release", "unnamed")] += 1
        if not 200 <= status < 300:
            self._lose(kind, LostRequest(f"status-{status}", headers.get("x-release", "")))
            return
        if kind == "slow":
            return
        ended = time.monotonic()
        self.tally.longest_gap_ms = max(self.tally.longest_gap_ms, (ended - self.last_good) * 1000)
        self.last_good = ended
        self.latencies.append(ended - began)

    def _lose(self, kind: str, lost: LostRequest) -> None:
        self.tally.failed[kind] += 1
        at = round(time.time() - self.tally.started, 3)
        self.tally.failures.append({"kind": kind, "class": lost.kind_of, "at": at, "detail": lost.detail})

    async def _exchange(self, kind: str) -> tuple[int, dict[str, str]]:
        wire: Wire | None = None
        try:
            async with asyncio.timeout(self.timeout):
                wire = self._reuse() if kind == "keepalive" else None
                reused = wire is not None
                wire = wire or await self._connect()
                self.kept += kind == "keepalive" and not reused
                return await self._converse(wire, kind, reused)
        except TimeoutError:
            raise LostRequest("timeout", f"after {self.timeout} s") from None
        finally:
            self._put_back(wire, kind)

    async def _connect(self) -> Wire:
        try:
            return Wire(*await asyncio.open_connection(self.host, self.port, ssl=self.context))
        except ConnectionRefusedError:
            raise LostRequest("refused") from None
        except (OSError, ssl.SSLError) as error:
            raise LostRequest("connect", repr(error)) from None

    async def _converse(self, wire: Wire, kind: str, reused: bool) -> tuple[int, dict[str, str]]:
        try:
            return await wire.ask(*self._request(kind))
        except BaseException as error:
            wire.reusable_until = 0.0
            where = "on a reused connection" if reused else "on a new connection"
            if isinstance(error, asyncio.IncompleteReadError):
                raise LostRequest("truncated" if error.partial else "closed", where) from None
            if isinstance(error, OSError) and not isinstance(error, TimeoutError):
                raise LostRequest("reset", f"{where}: {error!r}") from None
            raise

    def _request(self, kind: str) -> tuple[bytes, bytes]:
        body = json.dumps({"id": str(uuid.uuid4()), "echo": PADDING}).encode() if kind == "post" else b""
        lines = [f"{'POST' if body else 'GET'} {self.paths[kind]} HTTP/1.1", f"Host: {self.host}"]
        if kind != "keepalive":
            lines.append("Connection: close")
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode(), body

    def _reuse(self) -> Wire | None:
        """Take the connection that rested longest, once there are enough; not beyond the time clients keep them."""
        while self.idle and self.kept >= self.connections:
            wire = self.idle.popleft()
            if time.monotonic() < wire.reusable_until:
                return wire
            self._drop(wire, "keepalive")
        return None

    def _drop(self, wire: Wire, kind: str) -> None:
        self.kept -= kind == "keepalive"
        wire.close()

    def _put_back(self, wire: Wire | None, kind: str) -> None:
        if wire is None:
            return
        if kind == "keepalive" and wire.reusable_until:
            self.idle.append(wire)
        else:
            self._drop(wire, kind)


@contextlib.contextmanager
def running(url: str, **options: object) -> Iterator[Tally]:
    """Load a URL from a thread of its own while the block runs; the tally is whole after it."""
    ready = threading.Event()
    state: dict[str, object] = {}

    async def main() -> None:
        load = Load(url, **options)  # type: ignore[arg-type]
        state["load"], state["loop"] = load, asyncio.get_running_loop()
        ready.set()
        await load.run()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    ready.wait()
    load = state["load"]
    assert isinstance(load, Load)
    try:
        yield load.tally
    finally:
        state["loop"].call_soon_threadsafe(load.stopping.set)  # type: ignore[attr-defined]
        thread.join()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=100, help="quick requests per second, over all kinds but slow")
    parser.add_argument("--slow", type=int, default=0, help="slow requests that are always in flight")
    parser.add_argument("--connections", type=int, default=12, help="keep-alive connections to spread requests over")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--timeout", type=float, default=15, help="after which a request counts as lost")
    parser.add_argument("--path", default="/")
    parser.add_argument("--slow-path", default="/slow")
    parser.add_argument("--post-path", default="/echo")
    parser.add_argument("--json", type=Path, help="write the whole tally to this file")
    args = parser.parse_args(argv)

    async def measure() -> Tally:
        load = Load(
            args.url, rate=args.rate, slow=args.slow, timeout=args.timeout, connections=args.connections,
            path=args.path, slow_path=args.slow_path, post_path=args.post_path,
        )
        return await load.run(args.seconds)

    tally = asyncio.run(measure())
    if args.json:
        args.json.write_text(tally.as_json() + "\n")
    print(tally.summary())
    return 1 if tally.lost else 0


if __name__ == "__main__":
    sys.exit(main())
