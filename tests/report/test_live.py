"""The live face: frames of any width and height, and real terminals (tmux) that are looked at while a recorded run goes by."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len

from fabfile.report.live import Live
from tests.lab import system
from tests.report import events

HOME = Path(__file__).parent.parent.parent
HOLD = "sleep 60"  # keeps a screen to be looked at


def frames(width: int, height: int = 24, every: int = 10, run: str = "taken back") -> Iterator[list[str]]:
    """Give what a terminal of this size would be shown after some of the events, and at the end."""
    face = Live()
    face._begin = lambda: None  # nothing is to be written
    for number, event in enumerate(events(run)):
        face.show(event)
        if number % every == 0:
            yield [line.plain for line in face._frame(width, height, last=False)]
    yield [line.plain for line in face._frame(width, height, last=True)]


@pytest.mark.parametrize("width", range(19, 201, 6))
def test_no_line_is_wider_than_the_terminal_and_the_last_words_say_what_is_waited_for(width):
    *under_way, last = frames(width)
    for frame in under_way:
        assert all(cell_len(line) <= width for line in frame), frame
        assert re.search(r"waiting: .+(since|until \d\d:\d\d|\d of \d+ s)", " ".join(frame)), frame
        assert [line.split()[0] for line in frame[1:5]] == ["host", "lab1", "lab2", "lab3"]
    assert " ".join(last).endswith("failed in 00:36")


def test_wide_names_are_cut_where_they_stand():
    first, *rest = events("good")
    long = {"lab1": "東京のとても長い名前のホスト.example.com", "lab2": "x" * 300, "lab3": "c"}
    face = Live()
    face._begin = lambda: None
    for event in (first | {"groups": {"lab": list(long.values())}}, *rest):
        face.show({**event, "host": long.get(event["host"], event["host"])})
    for width in range(19, 120):
        assert all(cell_len(line.plain) <= width for line in face._frame(width, 24, last=False)), width


def test_where_not_all_hosts_fit_those_in_hand_are_shown():
    first, *rest = events("good")
    face = Live()
    face._begin = lambda: None
    face.show(first | {"groups": {"lab": [f"other{n}" for n in range(60)] + ["lab1", "lab2", "lab3"]}})
    for event in rest:
        if event["at"] > 18:
            break
        if event["event"] != "phase" or event["phase"] != "claim":
            face.show(event)
    frame = [line.plain for line in face._frame(79, 20, last=False)]
    assert len(frame) <= 20
    assert [line.split()[0] for line in frame[1:-3]][-3:] == ["lab1", "lab2", "lab3"]
    assert re.match(r"and \d+ more hosts", frame[-3])
    assert len(face._frame(79, 20, last=True)) > 63


# ---------------------------------------------------------------------- in a terminal


class Screen:
    """A terminal of tmux with a recorded run in it."""

    def __init__(self, place: Path, columns: int, rows: int, command: str, **environment: str) -> None:
        self.place = place
        self.env = {"PATH": os.environ["PATH"], "HOME": str(place), "LANG": "C.UTF-8", "PYTHONPATH": str(HOME)}
        self.tmux = [system.ensure_one("tmux"), "-L", place.name, "-f", "/dev/null"]
        given = "".join(f"{key}={value} " for key, value in environment.items())
        whole = f"{given and f'export {given}; '}{command}; echo exit $?; {HOLD}"
        self.run("new-session", "-d", "-x", str(columns), "-y", str(rows), "-c", str(place), whole)

    def run(self, *words: str) -> str:
        return subprocess.run([*self.tmux, *words], check=True, capture_output=True, text=True, env=self.env).stdout

    def lines(self, *, colours: bool = False) -> list[str]:
        """Give all that stands there and that scrolled away, with lines that the terminal had to break in one piece."""
        text = self.run("capture-pane", "-p", "-J", "-S", "-", *(["-e"] if colours else []))
        return [line.rstrip() for line in text.splitlines() if line.strip()]

    def until(self, text: str, within: float = 30) -> list[str]:
        """Wait until a text is there."""
        end = time.monotonic() + within
        while text not in "\n".join(found := self.lines()):
            assert time.monotonic() < end and "exit 1" not in found, found
            time.sleep(0.1)
        return found

    def close(self) -> None:
        subprocess.run([*self.tmux, "kill-server"], check=False, capture_output=True)


@pytest.fixture
def screen(tmp_path: Path) -> Iterator:
    opened: list[Screen] = []

    def make(columns: int, rows: int = 24, run: str = "taken back", speed: float = 6, format: str = "", command: str = "", **environment: str) -> Screen:
        try:
            command = command or f"{sys.executable} -m tests.report.replay '{run}' {speed} {format}"
            opened.append(Screen(tmp_path, columns, rows, command, **environment))
        except system.MissingPrograms as missing:
            pytest.skip(str(missing))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def headers(lines: list[str]) -> list[str]:
    """Find the first lines of tables: more than one is a trace of a repaint that missed."""
    return [line for line in lines if line.startswith("shop ·") or line.startswith("shop -")]


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_a_terminal_shows_one_table_and_what_is_waited_for(screen, columns):
    shown = screen(columns, rows=40, speed=9)
    seen = []
    while "exit 0" not in (lines := shown.lines()):
        assert "exit 1" not in lines, lines
        if headers(lines):
            seen.append(lines)
            assert len(headers(lines)) == 1, "\n".join(lines)
            table = lines[lines.index(headers(lines)[0]):]
            assert all(cell_len(line) < columns for line in table), table
            assert "waiting: " in " ".join(table) or " in 00:0" in " ".join(table)
        time.sleep(0.2)
    assert len(seen) > 8
    assert len(headers(lines)) == 1, "\n".join(lines)
    text = " ".join(lines)
    assert "REFUSED: health: GET /health answered 500" in text
    assert text.index("REFUSED") < text.index("shop ·") < text.index("failed in 00:0") < text.index("exit 0")


def test_a_terminal_that_is_resized_goes_on_with_one_whole_table(screen):
    """A terminal breaks its lines anew before it tells us: what was painted in between may leave a piece above, once each time."""
    shown = screen(120, rows=40, speed=4)
    shown.until("npm run")
    for number, columns in enumerate((60, 30, 100, 25, 140), start=1):
        shown.run("resize-window", "-x", str(columns), "-y", "40")
        time.sleep(0.8)
        lines = shown.lines()
        assert len(headers(lines)) <= 1 + number, "\n".join(lines)
        table = lines[len(lines) - lines[::-1].index(headers(lines)[-1]) - 1:]
        assert all(cell_len(line) < columns for line in table), "\n".join(table)
        assert [line.split()[0] for line in table[1:5]] == ["host", "lab1", "lab2", "lab3"], "\n".join(table)
    shown.until("exit 0")


@pytest.mark.parametrize("environment, colours", [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False)])
def test_colours_are_a_question_of_their_own(screen, environment, colours):
    shown = screen(80, speed=60, **environment)
    shown.until("exit 0")
    text = "\n".join(shown.lines(colours=True))
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]m", text)) == colours
    assert "FAILED" in text  # no meaning by colour alone


def test_without_unicode_plain_signs_do(screen):
    shown = screen(80, speed=60, PYTHONIOENCODING="ascii", LANG="C")
    lines = shown.until("exit 0")
    assert "shop - lab - deploy env-rename" in headers(lines)[0]
    assert all(line.isascii() for line in lines)


@pytest.mark.parametrize("environment, format", [({"CI": "true"}, ""), ({"TERM": "dumb"}, ""), ({"TERM": "dumb"}, "live"), ({}, "plain")])
def test_where_nothing_can_be_repainted_lines_come_plain(screen, environment, format):
    assert any(re.match(r"\d\d:\d\d lab1     drained in ", line) for line in screen(80, rows=60, speed=60, format=format, **environment).until("exit 0"))


def test_a_terminal_that_is_stopped_stops_no_deploy(screen):
    shown = screen(80, speed=15)
    shown.until("npm")
    shown.run("send-keys", "C-s")
    end = time.monotonic() + 20
    while not (shown.place / "replayed").exists():
        assert time.monotonic() < end
        time.sleep(0.2)
    shown.run("send-keys", "C-q")


def test_a_terminal_that_goes_away_ends_no_deploy(screen):
    shown = screen(80, speed=6, command=f"trap '' HUP; {sys.executable} -m tests.report.replay 'taken back' 15")
    shown.until("npm")
    shown.close()
    end = time.monotonic() + 20
    while not (shown.place / "replayed").exists():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_ctrl_c_leaves_the_terminal_as_it_was(screen):
    code = ("import signal, os; from tests.report import events; from fabfile.report.live import Live; import time; face = Live()\n"
            "signal.signal(signal.SIGINT, lambda *_: (face.say('left'), face.close(), os._exit(130)))\n"
            "for event in events('good')[:60]: face.show(event)\n"
            "time.sleep(60)")
    shown = screen(80, command=f'{sys.executable} -c "{code}"')
    shown.until("waiting: ")
    shown.run("send-keys", "C-c")
    lines = shown.until("exit 130")
    assert lines[-1] == "exit 130"
    assert lines[-2].startswith("left at 00:0")
    assert "left" in lines
    assert shown.run("display-message", "-p", "#{cursor_flag}").strip() == "1"
