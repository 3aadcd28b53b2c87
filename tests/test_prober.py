"""The prober against real sockets on loopback, and its books against times given by hand."""

import asyncio
import datetime
import errno
import ipaddress
import json
import socket
import ssl
import struct
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fabfile import prober
from fabfile.prober import (
    BASELINE,
    KEEP_ALIVE,
    NEW,
    Cells,
    Histogram,
    Ledger,
    Outcome,
    Prober,
    Rate,
    Stream,
    Target,
    Up,
)

OK = b"HTTP/1.1 200 OK\r\nX-Release: 0001-aaaaaaa\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BUSY = Rate(keep_alive=50, new=50, host=20)


# --- a site that behaves as told --------------------------------------------------------------------------------------


async def hear(reader):
    return await reader.readuntil(b"\r\n\r\n")


def says(*parts, then=None):
    """Answer each request with these bytes, a pause (a number) between them, then do `then` with the writer."""
    async def behave(reader, writer):
        while True:
            await hear(reader)
            for part in parts:
                if isinstance(part, bytes):
                    writer.write(part)
                else:
                    await asyncio.sleep(part)
            if then:
                then(writer)
                return
    return behave


def close(writer):
    writer.close()


def reset(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Site:
    """Serve in a thread; `behave` may be changed at any time and holds for the requests of new connections."""

    def __init__(self, behave, port=0, tls=None):
        self.behave, self.loop, self.ready = behave, asyncio.new_event_loop(), threading.Event()
        self.accepted, self.port, self.tls = 0, port, tls
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(5)
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/health"
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)

    def run(self):
        self.loop.set_exception_handler(lambda *_: None)
        server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", self.port, ssl=self.tls))
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        self.loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0.01))
        self.loop.close()

    async def serve(self, reader, writer):
        self.accepted += 1
        try:
            await self.behave(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            writer.close()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def ask(url, times=1, kind=NEW, limit=5.0, pause=0.0, **options):
    """Ask one after the other over one stream, and give the outcomes."""
    async def all_of_them():
        stream = Stream(Ledger(Target("site", url, **options), kind, Up(), 0.0), "x-release", limit)
        outcomes = []
        for _ in range(times):
            outcomes.append(await stream.ask())
            await asyncio.sleep(pause)
        stream.pool.close()
        return outcomes
    return asyncio.run(all_of_them())


def run(url, seconds=0.5, rate=BUSY, **options):
    one = Prober([Target("lb", url)], rate, **options)
    one.start()
    time.sleep(seconds)
    return one.stop()


def tally(report, kind, target="lb"):
    return next(one for one in report.tallies if (one.kind, one.target) == (kind, target))


# --- what one request can meet ----------------------------------------------------------------------------------------

GOOD = {
    "with a length": says(OK),
    "in chunks": says(CHUNKED + b"3;x=1\r\nabc\r\n", 0.02, b"1\r\nd\r\n0\r\n\r\n"),
    "chunks with a trailer": says(CHUNKED + b"1\r\na\r\n0\r\nA: b\r\n\r\n"),
    "204": says(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "404": says(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    "302": says(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"),
    "early hints": says(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK),
    "to the end of the connection": says(b"HTTP/1.0 200 OK\r\n\r\nhello", then=close),
    "2 MiB": says(b"HTTP/1.1 200 OK\r\nContent-Length: 2097152\r\n\r\n" + b"x" * 2097152),
    "2 MiB in one chunk": says(CHUNKED + b"200000\r\n" + b"x" * 2097152),
    "bit by bit": says(*[part for at in range(0, len(OK), 7) for part in (OK[at:at + 7], 0.0005)]),
}

BAD = {
    "reset": ("reset", says(then=reset)),
    "reset amid the answer": ("reset", says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", 0.05, then=reset)),
    "closed at once": ("eof_before", says(then=close)),
    "closed amid the head": ("eof_amid", says(b"HTTP/1.1 200", then=close)),
    "closed amid the body": ("eof_amid", says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", then=close)),
    "closed amid a chunk": ("eof_amid", says(CHUNKED + b"9\r\nhi", then=close)),
    "500": ("http_5xx", says(b"HTTP/1.1 500 Oops\r\nX-Release: 0002-bad\r\nContent-Length: 0\r\n\r\n")),
    "no answer": ("timeout", says(9.0)),
    "slow head": ("timeout", says(*[part for byte in OK for part in (bytes([byte]), 0.1)])),
    "other protocol": ("bad_reply", says(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", then=close)),
    "endless head": ("bad_reply", says(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20000)),
    "length no number": ("bad_reply", says(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")),
    "chunk size no number": ("bad_reply", says(CHUNKED + b"zz\r\n")),
    "chunk longer than said": ("bad_reply", says(CHUNKED + b"1\r\nabcd\r\n")),
}


@pytest.mark.parametrize("kind", [NEW, KEEP_ALIVE])
@pytest.mark.parametrize("name", GOOD)
def test_an_answer_below_500_is_good(name, kind):
    with Site(GOOD[name]) as site:
        assert [one.failure for one in ask(site.url, times=6, kind=kind)] == [None] * 6


@pytest.mark.parametrize("name", BAD)
def test_a_failure_is_named_by_its_class(name):
    failure, behave = BAD[name]
    with Site(behave) as site:
        outcome = ask(site.url, limit=0.2 if failure == "timeout" else 5.0)[0]
    assert (outcome.failure, outcome.reused, outcome.stale) == (failure, False, False), outcome.why
    assert outcome.why or outcome.status == 500


def test_a_5xx_keeps_its_status_and_the_release_that_said_it():
    with Site(BAD["500"][1]) as site:
        outcome = ask(site.url)[0]
    assert (outcome.status, outcome.release) == (500, "0002-bad")


def test_a_closed_port_refuses():
    assert ask(f"http://127.0.0.1:{free_port()}/")[0].failure == "refused"


def test_every_address_of_a_name_is_tried():
    with Site(says(OK)) as site:
        assert ask(f"http://localhost:{site.port}/")[0].failure is None


def test_an_unknown_name_is_a_failure_and_no_error():
    assert ask("http://nowhere.invalid/", limit=0.5)[0].failure in ("unreachable", "timeout")


def test_tls_failures_are_told_apart(tls_site):
    assert ask(tls_site.url, verify=False)[0].failure is None
    assert ask(tls_site.url)[0].failure == "tls"
    with Site(says(OK)) as plain:
        assert ask(plain.url.replace("http:", "https:"), limit=0.2)[0].failure in ("tls", "timeout", "reset")


def test_tls_is_reused_too(tls_site):
    assert ask(tls_site.url, times=6, kind=KEEP_ALIVE, verify=False)[5].reused


def test_our_own_want_of_sockets_is_not_the_sites_failure():
    assert prober.classify(OSError(errno.EHOSTUNREACH, "no route"), 0) == "unreachable"
    with pytest.raises(OSError, match="too many"):
        prober.classify(OSError(errno.EMFILE, "too many"), 0)


@pytest.fixture(scope="module")
def tls_site(tmp_path_factory):
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gapless test")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(1))
            .add_extension(address, critical=False).sign(key, hashes.SHA256()))
    pem = tmp_path_factory.mktemp("tls") / "site.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with Site(says(OK), tls=context) as site:
        yield site


# --- connections ------------------------------------------------------------------------------------------------------


def test_four_connections_are_kept_and_take_turns():
    with Site(says(OK)) as site:
        outcomes = ask(site.url, times=12, kind=KEEP_ALIVE)
        assert [one.reused for one in outcomes] == [False] * 4 + [True] * 8
        assert site.accepted == 4


def test_new_connections_are_never_reused():
    with Site(says(OK)) as site:
        ask(site.url, times=7, kind=NEW)
        assert site.accepted == 7


def test_a_server_that_says_close_is_taken_at_its_word():
    with Site(says(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), then=close)) as site:
        outcomes = ask(site.url, times=9, kind=KEEP_ALIVE)
    assert not any(one.reused or one.failure for one in outcomes)


@pytest.mark.parametrize("end", [close, reset])
def test_a_connection_that_closed_while_idle_is_replaced_silently(end):
    with Site(says(OK, 0.01, then=end)) as site:
        outcomes = ask(site.url, times=9, kind=KEEP_ALIVE, pause=0.03)
    assert not any(one.reused or one.failure for one in outcomes)


@pytest.mark.parametrize(("end", "failure"), [(close, "eof_before"), (reset, "reset")])
def test_a_connection_that_closes_under_a_request_is_stale_and_lost(end, failure):
    async def once(reader, writer):
        await hear(reader)
        writer.write(OK)
        await hear(reader)
        end(writer)

    with Site(once) as site:
        stale = ask(site.url, times=5, kind=KEEP_ALIVE)[4]
        assert (stale.failure, stale.reused, stale.stale) == (failure, True, True)
        report = run(site.url)
    assert 0 < report.stale == report.lost == tally(report, KEEP_ALIVE).failed
    assert tally(report, NEW).failed == 0


@pytest.mark.parametrize(("end", "failure"), [(close, "eof_amid"), (reset, "reset")])
def test_a_reused_connection_that_breaks_amid_the_answer_is_not_stale(end, failure):
    async def half(reader, writer):
        await hear(reader)
        writer.write(OK)
        await hear(reader)
        writer.write(OK[:20])
        await asyncio.sleep(0.05)
        end(writer)

    with Site(half) as site:
        outcome = ask(site.url, times=5, kind=KEEP_ALIVE)[4]
    assert (outcome.failure, outcome.reused, outcome.stale) == (failure, True, False)


# --- the whole prober -------------------------------------------------------------------------------------------------


def test_a_calm_run_is_proven_and_round_trips_through_json():
    with Site(says(OK)) as site:
        report = run(site.url, seconds=0.7)
    assert report.proven, report.doubts
    assert report.lost == 0
    assert report.upper_bound == pytest.approx(3 / report.sent)
    told = report.to_dict()
    assert json.loads(json.dumps(told)) == told
    assert (told["proven"], told["lost"], told["sent"]) == (True, 0, report.sent)
    assert [sum(one["series"]["sent"]) for one in told["tallies"]] == [one.sent for one in report.tallies]


def test_every_failure_that_the_site_dealt_out_is_counted():
    dealt = 0

    async def moody(reader, writer):
        nonlocal dealt
        while True:
            await hear(reader)
            moody.heard += 1
            bad = moody.heard > 10 and moody.heard % 3 == 0
            dealt += bad
            writer.write(OK.replace(b"200 OK", b"503 No") if bad else OK)

    moody.heard = 0
    with Site(moody) as site:
        report = run(site.url)
    assert report.lost == dealt > 5
    assert report.sent == moody.heard
    assert sum(one.by_class["http_5xx"] for one in report.tallies) == dealt
    assert sum(one.statuses["503"] for one in report.tallies) == dealt
    assert sum(sum(one.series.failed) for one in report.tallies) == dealt
    assert not report.proven
    assert report.upper_bound is None


def test_failures_before_the_first_good_answer_are_nobodys_loss():
    port = free_port()
    one = Prober([Target("lb", f"http://127.0.0.1:{port}/")], BUSY)
    one.start()
    time.sleep(0.3)
    assert one.snapshot().sent == one.snapshot().lost == 0
    with Site(says(OK), port=port):
        time.sleep(0.3)
        report = one.stop()
    assert report.lost == 0 < report.sent
    assert tally(report, NEW).before_first_answer["refused"] >= 10
    assert tally(report, NEW).first_answer == pytest.approx(0.3, abs=0.25)


def test_an_outage_after_the_first_good_answer_is_a_loss():
    with Site(says(OK)) as site:
        one = Prober([Target("lb", site.url)], BUSY)
        one.start()
        time.sleep(0.3)
    time.sleep(0.4)
    report = one.stop()
    assert tally(report, NEW).by_class["refused"] >= 15
    assert report.longest_gap == pytest.approx(0.4, abs=0.3)


def test_failures_carry_the_label_in_force_and_the_baseline_is_not_lost():
    port = free_port()
    with Site(says(OK), port=port) as site:
        one = Prober([Target("lb", site.url)], BUSY)
        one.start(BASELINE)
        time.sleep(0.2)
    time.sleep(0.2)
    before = one.snapshot()
    with Site(says(OK), port=port):
        time.sleep(0.2)
        one.mark("reload web1")
        time.sleep(0.2)
    time.sleep(0.1)
    one.mark("reload web2")
    time.sleep(0.1)
    report = one.stop()
    assert before.lost == before.sent == 0
    assert tally(before, NEW).baseline.failed > 5
    seen = {one.label for one in tally(report, NEW).failures}
    assert seen == {"reload web1", "reload web2"}
    assert tally(report, NEW).by_label["reload web2"][1] > 2
    assert [label for _, label in report.marks] == [BASELINE, "reload web1", "reload web2"]
    # The outage of the baseline was longer than any after it.
    assert report.longest_gap < 0.35


def test_a_stall_shows_in_full_although_few_connections_are_open():
    stalled = asyncio.Event()

    async def stalling(reader, writer):
        while True:
            await hear(reader)
            await stalled.wait()
            writer.write(OK)

    with Site(stalling) as site:
        site.loop.call_soon_threadsafe(stalled.set)
        one = Prober([Target("lb", site.url)], Rate(keep_alive=20, new=0))
        one.start()
        time.sleep(0.3)
        site.loop.call_soon_threadsafe(stalled.clear)
        time.sleep(1.0)
        site.loop.call_soon_threadsafe(stalled.set)
        time.sleep(0.1)
        seen = tally(one.stop(), KEEP_ALIVE)
    assert seen.failed == 0
    assert 0.85 < seen.p99 <= seen.max < 2
    # Twenty requests came due while it stalled; a closed loop would have sent four and called the median quick.
    assert seen.p50 > 0.1
    assert seen.longest_gap == pytest.approx(1.0, abs=0.5)


def test_versions_are_seen_first_and_last():
    with Site(says(OK)) as site:
        one = Prober([Target("lb", site.url)], Rate(keep_alive=0, new=50))
        one.start()
        time.sleep(0.2)
        site.behave = says(OK.replace(b"0001-aaaaaaa", b"0002-bbbbbbb"))
        time.sleep(0.2)
        seen = tally(one.stop(), NEW)
    old, new = seen.versions["0001-aaaaaaa"], seen.versions["0002-bbbbbbb"]
    assert 0 <= old.first < old.last < new.first < new.last
    assert old.count + new.count == seen.sent


def test_a_host_that_is_down_loses_nothing_and_a_late_one_is_asked_too():
    with Site(says(OK)) as site:
        one = Prober([Target("lb", site.url), Target("web1", site.url, counted=False)], BUSY)
        one.start()
        one.add(Target("web2", site.url, counted=False))
        time.sleep(0.2)
        one.add(Target("web1", f"http://127.0.0.1:{free_port()}/", counted=False))
        time.sleep(0.4)
        report = one.stop()
    assert tally(report, NEW, "web1").by_class["refused"] >= 2
    assert tally(report, NEW, "web2").sent >= 3
    assert report.lost == 0
    assert [one.target for one in report.judged] == ["lb", "lb"]


def test_stop_waits_for_requests_in_flight_and_counts_the_rest_as_open():
    with Site(says(0.4, OK)) as site:
        waited = run(site.url, seconds=0.25)
        assert {one.pending for one in waited.tallies} == {0}
        assert waited.sent > 20
        cut = run(site.url, seconds=0.2, rate=Rate(keep_alive=50, new=0), limit=0.1)
        assert tally(cut, KEEP_ALIVE).before_first_answer["timeout"] > 5
        one = Prober([Target("lb", site.url)], BUSY)
        one.start()
        time.sleep(0.2)
        report = one.stop(grace=0)
    assert sum(one.pending for one in report.tallies) > 5
    assert any("without an outcome" in doubt for doubt in report.doubts)


def test_too_few_requests_prove_nothing():
    with Site(says(OK)) as site:
        report = run(site.url, seconds=0.2)
    assert (report.lost, report.proven) == (0, False)
    assert "30 wanted" in report.doubts[0]
    assert not Prober([]).stop().proven


def test_a_prober_that_breaks_says_so_and_proves_nothing():
    class Torn(Rate):
        left = 40

        def interval(self, target, kind, directs):
            Torn.left -= 1
            return super().interval(target, kind, directs) if Torn.left > 0 else 1 / 0

    with Site(says(OK)) as site:
        late = run(site.url, seconds=0.8, rate=Torn(50, 50), minimum=5)
        Torn.left = 0
        early = run(site.url, seconds=0.1, rate=Torn(50, 50))
    assert late.sent >= 10
    assert (late.lost, late.proven, early.proven) == (0, False, False)
    assert "ZeroDivisionError" in late.error
    assert "ZeroDivisionError" in early.error


def test_a_request_that_breaks_in_our_own_hands_is_an_error_and_no_loss():
    class Odd(Target):
        def request(self, kind):
            if kind == NEW:
                raise RuntimeError("odd")
            return super().request(kind)

    with Site(says(OK)) as site:
        one = Prober([Odd("lb", site.url)], BUSY, minimum=0)
        one.start()
        time.sleep(0.2)
        report = one.stop()
    assert (report.lost, report.proven, report.error) == (0, False, "RuntimeError: odd")
    assert tally(report, KEEP_ALIVE).sent >= 5


def test_a_prober_that_was_held_up_says_what_it_did_not_send():
    with Site(says(OK)) as site:
        one = Prober([Target("lb", site.url)], BUSY)
        one.start()
        awake = threading.Event()
        time.sleep(0.1)
        one._tell(lambda: (time.sleep(prober.LATE + 0.3), awake.set()))
        assert awake.wait(10)
        time.sleep(0.2)
        report = one.stop()
    assert report.lag > prober.LATE
    assert tally(report, NEW).missed > 50
    assert any("held up" in doubt for doubt in report.doubts)


def test_stop_may_come_twice_or_before_the_start():
    with Site(says(OK)) as site:
        one = Prober([Target("lb", site.url)], BUSY)
        assert one.stop().sent == 0
        other = Prober([Target("lb", site.url)], BUSY)
        other.start()
        time.sleep(0.1)
        first = other.stop()
        other.add(Target("late", site.url))
        other.mark("too late")
        assert other.stop().tallies == first.tallies


# --- the books --------------------------------------------------------------------------------------------------------


def ledger(judged_from=0.0):
    return Ledger(Target("lb", "http://lb/"), NEW, Up(), judged_from)


def good(book, *moments):
    for moment in moments:
        book.record(Outcome(status=200), moment, moment, "run")


def test_the_longest_gap_counts_to_the_end_of_the_run():
    book = ledger()
    good(book, 1.0, 2.0, 5.0, 6.0)
    assert book.tally(7.0).longest_gap == 3.0
    assert book.tally(60.0).longest_gap == 54.0


def test_the_gap_of_a_target_that_never_answered_is_unknown():
    book = ledger()
    book.record(Outcome("refused"), 1.0, 1.0, "run")
    assert book.tally(9.0).longest_gap is None


def test_a_silence_that_began_in_the_baseline_counts_from_the_deploys_begin():
    book = ledger(judged_from=None)
    good(book, 1.0, 9.0)
    book.judged_from = 12.0
    good(book, 14.0)
    assert book.tally(14.0).longest_gap == 2.0


def test_an_answer_after_the_end_closes_the_gap_at_the_end():
    book = ledger()
    good(book, 1.0, 2.0)
    book.end = 3.0
    book.record(Outcome(status=200), 2.5, 8.5, "run")
    assert book.tally(3.0).longest_gap == 1.0
    assert book.tally(3.0).max == 6.0


def test_one_kind_that_hangs_is_not_hidden_by_the_other():
    up = Up()
    keep, new = (Ledger(Target("lb", "http://lb/"), kind, up, 0.0) for kind in (KEEP_ALIVE, NEW))
    good(keep, *range(1, 20))
    new.record(Outcome("timeout"), 5.0, 15.0, "run")
    assert (keep.tally(20.0).longest_gap, new.tally(20.0).longest_gap) == (1.0, 19.0)
    assert new.tally(20.0).failed == 1


def test_a_request_due_before_the_first_answer_is_forgiven_however_late_it_fails():
    book = ledger()
    good(book, 5.0)
    book.record(Outcome("timeout"), 4.9, 14.9, "run")
    book.record(Outcome("timeout"), 5.0, 15.0, "run")
    assert (book.tally(20.0).failed, book.tally(20.0).before_first_answer) == (1, {"timeout": 1})


def test_memory_is_bounded_whatever_happens():
    book = ledger()
    for moment in range(20000):
        book.record(Outcome(status=200, release=f"r{moment}"), moment, moment + 0.1, f"label {moment}")
        book.record(Outcome("reset"), moment, moment + 0.1, "run")
    seen = book.tally(20000.0)
    assert len(seen.failures) == prober.KEPT_FAILURES < seen.failed
    assert len(seen.versions) <= prober.KEPT_NAMES + 1
    assert len(seen.by_label) <= prober.KEPT_NAMES + 1
    assert len(seen.series.sent) <= prober.KEPT_CELLS
    assert (sum(seen.series.sent), sum(seen.series.failed)) == (seen.sent, seen.failed)


def test_the_series_folds_and_keeps_its_sums():
    cells = Cells()
    for due in (0.5, 3599.5, 3600.0, 9000.0):
        cells.add(due, failed=due == 3600.0, seconds=due)
    series = cells.series()
    assert (series.step, sum(series.sent), sum(series.failed), len(series.sent)) == (4.0, 4, 1, 2251)
    assert (series.p99[0], series.p99[899], series.p99[900], series.p99[2250]) == (0.5, 3599.5, None, 9000.0)


def test_percentiles_are_right_within_a_bucket():
    latency = Histogram()
    assert latency.percentile(0.5) is None
    for millis in range(1, 1001):
        latency.add(millis / 1000)
    assert latency.percentile(0.5) == pytest.approx(0.5, rel=0.05)
    assert latency.percentile(0.99) == pytest.approx(0.99, rel=0.05)
    assert latency.percentile(1.0) == 1.0


def test_hosts_share_their_cap():
    rate, host = Rate(), Target("web1", "http://web1/", counted=False)
    assert rate.interval(host, NEW, 3) == 1.0
    assert rate.interval(host, NEW, 100) == 5.0
    assert rate.interval(host, KEEP_ALIVE, 3) == 0.0


@pytest.mark.parametrize("url", ["ftp://a/", "http://", "http://u:p@a/", "http://a/\r\nX: y", "http://a:99999/",
                                 "http://a..b/"])
def test_an_address_that_can_not_be_asked_is_refused_beforehand(url):
    with pytest.raises(ValueError, match=r"."):
        Target("lb", url)


def test_the_request_names_host_and_path():
    text = Target("web1", "http://10.0.0.1:3000/health?deep=1", host_header="shop.example.com").request(NEW).decode()
    assert text.startswith("GET /health?deep=1 HTTP/1.1\r\nHost: shop.example.com\r\n")
    assert text.endswith("Connection: close\r\n\r\n")
