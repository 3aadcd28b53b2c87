"""The reader of a host's logs, with a real node and files that grow, are rotated, emptied and full of secrets; no PM2 is needed for it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fabfile.commands.ask import LOGS, program

RUNTIME = Path(__file__).parent.parent / "fabfile/runtime"
MARK = "@reader"
SECRET = "c4n4ry-of-the-reader-0123456789"
LONG = "c4n4ry" + "z" * 3000
USUAL: dict[str, Any] = {"names": ["shop"], "lines": 50, "since": None, "errors": False, "release": "", "grep": "", "follow": False, "places": None}


class Reading:
    """A reader under way; its events arrive in a queue."""

    def __init__(self, host: Host, wanted: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            ["node", "-e", (RUNTIME / "loader.cjs").read_text(), str(host.root), "/no/pm2", json.dumps(USUAL | wanted)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PM2_HOME": str(host.home), "GAPLESS_MARK": MARK, "TZ": "UTC"},
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(program(LOGS)))
        self.process.stdin.close()
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self.places: dict[str, Any] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            assert line.startswith(MARK), line
            self.events.put(json.loads(line.removeprefix(MARK)))

    def past(self) -> list[dict[str, Any]]:
        """Give what there was; afterwards `told` is the event that ended it."""
        lines: list[dict[str, Any]] = []
        while (event := self.events.get(timeout=20))["event"] == "entries":
            lines += event["lines"]
        self.told = event
        self.places = event["places"]
        return lines

    def next(self, count: int) -> list[str]:
        """Give the texts that come next, so many of them."""
        texts: list[str] = []
        while len(texts) < count:
            event = self.events.get(timeout=10)
            texts += [line["text"] for line in event["lines"]]
            self.places = event.get("places", self.places)
        return texts


class Host:
    def __init__(self, place: Path) -> None:
        self.root = place / "shop"
        self.home = place / "pm2"
        self.logs = self.home / "logs"
        for folder in (self.logs, self.root / ".gapless/run", self.root / "releases/0001-aaaaaaa"):
            folder.mkdir(parents=True)
        (self.root / "releases/0001-aaaaaaa/.env").write_text(f"API_TOKEN={SECRET}\nLONG_KEY={LONG}\n")
        self.readings: list[Reading] = []

    def read(self, **wanted: Any) -> Reading:
        self.readings.append(Reading(self, wanted))
        return self.readings[-1]

    def texts(self, **wanted: Any) -> list[str]:
        return [line["text"] for line in self.read(**wanted).past()]

    def log(self, name: str, *lines: str) -> Path:
        file = self.logs / name
        with file.open("a") as out:
            out.writelines(f"{line}\n" for line in lines)
        return file


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    for reading in host.readings:
        reading.process.kill()
        reading.process.wait()


def test_lines_of_all_workers_come_in_order_of_time_and_only_ours(host: Host) -> None:
    host.log("shop-out-0.log", "2026-11-24T09:00:01.000Z a", "2026-11-24T09:00:03.000Z c")
    host.log("shop-out-1.log", "2026-11-24T09:00:02.000Z b")
    host.log("shop-error-1.log", "2026-11-24T09:00:04.000Z d")
    host.log("shopping-out-0.log", "2026-11-24T09:00:02.500Z not ours")
    lines = host.read().past()
    assert [(line["text"][-1], line["id"], line["kind"]) for line in lines] == [("a", 0, "out"), ("b", 1, "out"), ("c", 0, "out"), ("d", 1, "err")]
    assert [text[-1] for text in host.texts(lines=2)] == ["c", "d"]
    assert [text[-1] for text in host.texts(lines=0, since={"at": 1795510802_000})] == ["b", "c", "d"]


def test_a_line_without_a_time_has_its_neighbours_and_says_so(host: Host) -> None:
    host.log("shop-out-0.log", "a banner", "2026-11-24T09:00:01Z x", "  rest of x")
    host.log("shop-out-1.log", "no time anywhere")
    lines = {line["text"]: (line["at"], line["by"]) for line in host.read().past()}
    assert {lines[text] for text in ("a banner", "  rest of x")} == {(1795510801000, "near")}
    assert lines["no time anywhere"][1] == "file"


def test_errors_are_stderr_crashes_and_what_looks_like_one_with_its_trace(host: Host) -> None:
    host.log("shop-out-0.log", "2026-11-24T09:00:01Z fine", "Error: no", "    at x (y.js:1:2)", "2026-11-24T09:00:02Z fine again")
    host.log("shop-error-0.log", "2026-11-24T09:00:01Z a warning")
    (host.root / ".gapless/run/crash-999999.log").write_text("exit: the app called process.exit(1)\n\n--- last output ---\nbye\n")
    found = host.texts(errors=True)
    assert [text for text in found if text.startswith(("Error", "  "))] == ["Error: no", "    at x (y.js:1:2)"]
    assert "2026-11-24T09:00:01Z a warning" in found
    assert "exit: the app called process.exit(1)" in found
    assert not [text for text in found if "fine" in text]


def test_a_pattern_is_sought_in_what_can_be_seen(host: Host) -> None:
    host.log("shop-out-0.log", *(f"2026-11-24T09:00:01Z \x1b[31mor\x1b[39mder {n}" for n in range(100)), "2026-11-24T09:00:02Z else")
    assert [text.split()[-1] for text in host.texts(grep="order 9[89]", lines=5)] == ["98", "99"]


def test_secrets_are_hidden_before_lines_are_cut(host: Host) -> None:
    host.log("shop-out-0.log", f"token {SECRET}", "x" * 1990 + SECRET + "tail", "y" * 70_000 + SECRET, LONG * 30)
    (host.root / ".gapless/run/crash-999999.log").write_text(f"exception: bad token {SECRET}\n")
    text = json.dumps(host.read().past())
    assert "c4n4ry" not in text
    assert text.count("[hidden API_TOKEN]") >= 2
    assert "[cut: " in text
    assert "[a line of more than 65536 bytes is not shown]" in text


def test_where_nobody_knows_what_is_secret_nothing_is_shown(host: Host) -> None:
    (host.root / "releases/0001-aaaaaaa/.env").unlink()
    (host.root / "releases/0001-aaaaaaa/.env").symlink_to(".env")
    host.log("shop-out-0.log", f"token {SECRET}")
    [text] = host.texts()
    assert text.startswith("[not shown, for what is secret in it is not known")


def test_rotated_files_are_looked_at_as_far_back_as_is_wanted(host: Host) -> None:
    host.log("shop-out-0__2026-11-23_00-00-00.log", *(f"2026-11-23T09:00:00.{n:03d}Z old {n}" for n in range(100)))
    os.utime(host.logs / "shop-out-0__2026-11-23_00-00-00.log", (1795424400 + 9,) * 2)
    host.log("shop-out-0.log", "2026-11-24T09:00:01Z new")
    assert [text.split("Z ")[1] for text in host.texts(lines=3)] == ["old 98", "old 99", "new"]
    assert [text.split("Z ")[1] for text in host.texts(lines=0, since={"at": 1795510000_000})] == ["new"]


def test_a_long_file_is_read_from_its_end(host: Host) -> None:
    host.log("shop-out-0.log", *(f"2026-11-24T09:00:00Z line {n} {'x' * 500}" for n in range(40_000)))
    assert [text.split()[2] for text in host.texts(lines=2)] == ["39998", "39999"]
    reading = host.read(grep="line 5 ")
    assert reading.past() == []
    assert "only its last 8 MB were looked at" in reading.told["notes"][-1]


def eventually(check: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not check():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_following_survives_rotation_emptying_and_new_workers(host: Host) -> None:
    file = host.log("shop-out-0.log", "one")
    reading = host.read(follow=True)
    assert [line["text"] for line in reading.past()] == ["one"]
    host.log("shop-out-0.log", "two")
    assert reading.next(1) == ["two"]
    with file.open("a") as writer:
        file.rename(host.logs / "shop-out-0__2026-11-24_09-00-00.log")
        writer.write("three, into the renamed one\n")
    host.log("shop-out-0.log", "four")
    assert reading.next(2) == ["three, into the renamed one", "four"]
    os.truncate(file, 0)
    time.sleep(0.6)
    host.log("shop-out-0.log", "five")
    assert reading.next(1) == ["five"]
    host.log("shop-out-1.log", "six, of a new worker")
    assert reading.next(1) == ["six, of a new worker"]
    (host.root / ".gapless/run/crash-999999.log").write_text("exception: seven\n")
    assert reading.next(1) == ["exception: seven"]
    with file.open("a") as writer:
        writer.write("ei")
        writer.flush()
        time.sleep(0.5)
        writer.write("ght, in two pieces\n")
    assert reading.next(1) == ["eight, in two pieces"]


def test_who_comes_back_goes_on_where_it_was(host: Host) -> None:
    file = host.log("shop-out-0.log", "one")
    reading = host.read(follow=True)
    reading.past()
    host.log("shop-out-0.log", "two")
    assert reading.next(1) == ["two"]
    reading.process.kill()
    host.log("shop-out-0.log", "three")
    file.rename(host.logs / "shop-out-0__2026-11-24_09-00-00.log")
    host.log("shop-out-0.log", "four")
    again = host.read(follow=True, places=reading.places)
    assert again.past() == []
    assert again.next(2) == ["three", "four"]


def test_a_line_without_end_does_not_eat_the_memory(host: Host) -> None:
    file = host.log("shop-out-0.log")
    reading = host.read(follow=True)
    reading.past()
    with file.open("a") as out:
        for _ in range(400):
            out.write("x" * 100_000)
        out.write(f"{SECRET}\nafter it\n")
    texts = reading.next(2)
    assert texts[0].startswith("xxx") and len(texts[0]) < 2100
    assert texts[1] == "after it"
    memory = int(Path(f"/proc/{reading.process.pid}/status").read_text().split("VmRSS:")[1].split()[0])
    assert memory < 200_000
