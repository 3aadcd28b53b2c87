"""What a line of a log tells of itself: its time, its process, whether it is an error; and nothing that it does not say."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

RUNTIME = Path(__file__).parent.parent / "fabfile/runtime"
ASK = "const { read } = require(process.argv[1]); console.log(JSON.stringify(JSON.parse(process.argv[2]).map(read)))"


def read(*texts: str, zone: str = "UTC") -> list[dict[str, Any]]:
    done = subprocess.run(["node", "-e", ASK, str(RUNTIME / "lines.cjs"), json.dumps(texts)], env={**os.environ, "TZ": zone}, capture_output=True,
                          text=True, check=True)
    return json.loads(done.stdout)


def utc(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp() * 1000  # type: ignore[misc, arg-type]


NINE = utc(2026, 11, 24, 9, 5, 12)
TIMES = {
    "2026-11-24T09:05:12Z hello": (NINE, False),
    "2026-11-24T09:05:12.345Z hello": (NINE + 345, True),
    "[2026-11-24 10:05:12.345678 +0100] hello": (NINE + 345, True),
    "2026-11-24 09:05:12,345 INFO hello": (NINE + 345, True),
    "2026-11-24T09:05:12: PM2's own": (NINE, False),
    "2026-11-24 09:05 +00:00: PM2's own": (NINE - 12_000, False),
    "2026/11/24 09:05:12 hello": (NINE, False),
    "\x1b[32m[Nest] 4242  - \x1b[39m11/24/2026, 9:05:12 AM \x1b[32m    LOG\x1b[39m [X] up": (NINE, False),
    "[Nest] 4242  - 11/24/2026, 9:05:12\u202fPM     LOG [X] up": (NINE + 12 * 3_600_000, False),
    "[Nest] 4242  - 11/24/2026, 12:05:12 AM     LOG [X] up": (NINE - 9 * 3_600_000, False),
    "[Nest] 4242  - 24/11/2026, 09:05:12     LOG [X] up": (NINE, False),
    "[Nest] 4242  - 24.11.2026, 09:05:12     LOG [X] up": (NINE, False),
    '127.0.0.1 - - [24/Nov/2026:10:05:12 +0100] "GET / HTTP/1.1" 200 2': (NINE, False),
    json.dumps({"level": 30, "time": NINE, "pid": 7, "msg": "x"}): (NINE, True),
    json.dumps({"level": "info", "timestamp": "2026-11-24T09:05:12.345Z"}): (NINE + 345, True),
    json.dumps({"ts": NINE / 1000, "msg": "x"}): (NINE, True),
}
TIMELESS = ["hello", "", "    at Object.<anonymous> (/srv/x.js:6:11)", '{"time": "soon"}', "{not json", "2026-13-44T09:05:12Z", "9:05 it was", "[Nest] 1 - x", "12345"]


def test_times_of_the_usual_loggers_are_read() -> None:
    said = read(*TIMES)
    assert {text: (one["at"], one["fine"]) for text, one in zip(TIMES, said, strict=True)} == TIMES


def test_a_time_that_is_none_is_not_made_up() -> None:
    assert [one["at"] for one in read(*TIMELESS)] == [None] * len(TIMELESS)


def test_a_time_without_a_zone_is_the_hosts_own() -> None:
    assert [one["at"] for one in read("2026-11-24 10:05:12 x", "[Nest] 1 - 11/24/2026, 10:05:12 AM LOG", zone="Europe/Berlin")] == [NINE] * 2


@pytest.mark.parametrize("text, pid", [("[Nest] 4242  - 11/24/2026, 9:05:12 AM LOG", 4242), ('{"pid": 7, "level": 30}', 7), ("pid 7 is up", None)])
def test_the_process_that_a_line_names_is_read(text: str, pid: int | None) -> None:
    assert read(text)[0]["pid"] == pid


ERRORS = [
    "[Nest] 1  - 11/24/2026, 9:05:12 AM   ERROR [X] no", "Error: JWT_SECRET is not set", "TypeError: x is not a function", "Uncaught RangeError: x",
    "2026-11-24T09:05:12Z ERROR no", '{"level": 50, "msg": "no"}', '{"level": "error"}', '{"severity": "CRITICAL"}', "error: password authentication failed",
    "PrismaClientInitializationError: can't reach", "FATAL: sorry", "Error [ERR_HTTP_HEADERS_SENT]: no",
]
QUIET = [
    "[Nest] 1  - 11/24/2026, 9:05:12 AM     LOG [X] Mapped {/errors, GET}", "0 errors", "GET /ERROR.html 200", '{"level": 30, "msg": "ERROR"}',
    "no error at all", "terrors", '{"level": "warn"}',
]


def test_errors_are_told_from_talk_about_errors() -> None:
    assert [text for text, one in zip(ERRORS, read(*ERRORS), strict=True) if not one["error"]] == []
    assert [text for text, one in zip(QUIET, read(*QUIET), strict=True) if one["error"]] == []


# ---------------------------------------------------------------------- who wrote it

WRITERS = """
const { Writers, isCalled } = require(process.argv[2]);
const all = new Writers(process.argv[3]);
process.stdout.write(JSON.stringify(JSON.parse(process.argv[4]).map((line) => all.of(line))));
"""


@pytest.fixture
def wrote(tmp_path: Path) -> Callable[..., list[list[str]]]:
    """A host on which release 1 was started at 1000, and replaced by 2 at 9000, worker by worker."""
    for run, release, at, pids in (("a", "0001-aaaaaaa", 1000, (10, 11)), ("b", "0002-bbbbbbb", 9000, (20, 21))):
        folder = tmp_path / ".gapless/runs" / run
        folder.mkdir(parents=True)
        events = [{"event": "begin", "at": at, "to": release}]
        for id, pid in enumerate(pids):
            events += [{"event": "worker", "id": id, "pid": pid, "release": release, "state": state, "at": at + 100 * id + more}
                       for state, more in (("boot", 0), ("open", 50))]
        (folder / "driver.jsonl").write_text("\n".join(json.dumps(event) for event in events) + "\n{torn")
        (folder / "driver.plan").write_text('{"kill_timeout_ms": 500}')

    def ask(*lines: dict[str, Any]) -> list[list[str]]:
        (tmp_path / "ask.cjs").write_text(WRITERS)  # as a file: truth.cjs takes what has none for itself
        run = ["node", tmp_path / "ask.cjs", RUNTIME / "writers.cjs", tmp_path, json.dumps([{"id": 0, "pid": None, **line} for line in lines])]
        return json.loads(subprocess.run(run, capture_output=True, text=True, check=True).stdout)

    return ask


def test_a_line_belongs_to_the_release_that_ran_then(wrote: Callable[..., list[list[str]]]) -> None:
    one, two = "0001-aaaaaaa", "0002-bbbbbbb"
    assert wrote({"at": 500}, {"at": 1000}, {"at": 8999}, {"at": 9700}, {"at": 99999, "id": 1}) == [[], [one], [one], [two], [two]]


def test_while_an_old_worker_finishes_a_line_may_be_of_either_unless_it_names_its_process(wrote: Callable[..., list[list[str]]]) -> None:
    one, two = "0001-aaaaaaa", "0002-bbbbbbb"
    assert wrote({"at": 9300}, {"at": 9300, "pid": 10}, {"at": 9300, "pid": 20}, {"at": 9300, "pid": 77}) == [[one, two], [one], [two], [one, two]]


def test_a_file_that_workers_share_is_of_whichever_ran(wrote: Callable[..., list[list[str]]]) -> None:
    assert wrote({"at": 5000, "id": None}, {"at": 9700, "id": None}) == [["0001-aaaaaaa"], ["0001-aaaaaaa", "0002-bbbbbbb"]]
