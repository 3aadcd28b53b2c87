"""
The live face: a table of hosts and phases that repaints, and under it what is being waited for.

What was said in words, and what went wrong, scrolls by above the table. Only one thread writes, so that a terminal that is
stopped (Ctrl-S) stops no deploy. The cursor is never hidden, and no mode of the terminal is changed: nothing needs to be put
right after the worst of ends.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from io import StringIO
from math import ceil

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from ..errors import safe
from . import terminal
from .board import COLUMNS, Board
from .stream import Event
from .telling import clock, told

EVERY = 0.25    # seconds between two paintings
PATIENCE = 1.0  # seconds for the last one: a terminal may be stopped
CUT = "…"
CLEAR = "\x1b[K"  # the rest of a row
GAP = 2         # columns between two cells
NAME = 20       # columns for the name of a host, at most
CELL = 16       # columns for what a host does in a phase, at most
USUAL = {"build": CELL, "migrate": 7, "drain": 7, "reload": 11, "healthy": 10, "rotation": 8, "runs": 12}  # so that little moves later
STYLES = {"going": "cyan", "ok": "green", "failed": "bold red", "said": "yellow"}

# Columns that are given up first where there is no room; the others are given up for what each host does at the moment.
SPARED = ("runs", "migrate", "drain")

LOUD = ("failed", "broken", "lost", "revert", "reverted", "revive", "stray", "note", "held")  # events worth a line above the table


class Live:
    """Repaint a board of the run some times a second."""

    def __init__(self, verbose: bool = False) -> None:
        self.verbose = verbose
        self._board = Board()
        self._lock = threading.RLock()  # held for moments only, never while writing; a signal may come in the middle
        self._above: list[str] = []     # lines that are still to be written above the table
        self._zero = time.monotonic()
        self._widest = dict(USUAL)
        self._drawn: list[Text] = []
        self._painted = 0               # of the terminal, as the last frame was painted
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._repaint, name="live", daemon=True)
        self._console = Console(file=StringIO(), force_terminal=True, color_system="auto" if terminal.colourful() else None)

    def show(self, event: Event) -> None:
        """Take an event in; a painting will follow."""
        with self._lock:
            self._zero = min(self._zero, time.monotonic() - event["at"])
            self._board.take(event)
            with suppress(KeyError, TypeError):
                if (self.verbose or _is_loud(event)) and (text := told(event["phase"], event["host"], event, self.verbose)):
                    self._above.append(f"{clock(event['at'])} {text}")
            self._begin()

    def say(self, text: str) -> None:
        """Have lines written above the table."""
        with self._lock:
            self._above += text.splitlines()
            self._begin()

    def close(self) -> None:
        """Paint once more, and leave that standing."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)

    def _begin(self) -> None:
        if not self._thread.is_alive() and not self._closing.is_set():
            self._thread.start()

    # ------------------------------------------------------------------ painting

    def _repaint(self) -> None:
        while not self._closing.wait(EVERY):
            self._paint()
        self._paint(last=True)

    def _paint(self, last: bool = False) -> None:
        columns, rows = terminal.size()
        with self._lock:
            above, self._above = self._above, []
            frame: list[Text] = []
            with suppress(Exception):  # no table is worth a deploy; the words come through anyway
                frame = self._frame(columns - 1, max(4, rows - 1), last)
        if frame != self._drawn or above or last:
            words = "".join(f"{safe(line)}{_rest(safe(line), columns)}\n" for line in above)
            # Written over and not cleared first: that flickers, and tmux keeps what is cleared from its first row on.
            terminal.write(self._up(columns) + words + self._styled(frame) + ("\n" if last and frame else "") + "\x1b[J")
            self._drawn, self._painted = frame, columns

    def _up(self, columns: int) -> str:
        """
        Go to where the last frame began.

        In a terminal that has become narrower its lines are broken into more rows by now. These remember that they belong together,
        and would be joined again: they must go.
        """
        rows = sum(max(1, ceil(line.cell_len / columns)) for line in self._drawn)
        up = f"\r\x1b[{rows - 1}A" if rows > 1 else "\r"
        return up if columns == self._painted else f"{up}\x1b[{max(1, rows)}M"

    def _styled(self, frame: list[Text]) -> str:
        lines = []
        for line in frame:
            with self._console.capture() as captured:
                self._console.print(line, end=CLEAR, soft_wrap=True)
            lines.append(captured.get())
        return "\n".join(lines)

    # ------------------------------------------------------------------ one frame

    def _frame(self, width: int, height: int, last: bool) -> list[Text]:
        """Lay out what stands now in lines of at most `width`; all hosts in the last frame, else as many as fit into `height`."""
        now = time.monotonic() - self._zero
        board = self._board
        if not board.run:
            return []
        foot = [Text(line) for line in _wrapped(self._counts(), width)]
        foot += [Text(safe(line), "bold") for line in _wrapped(self._ending(now) if last else board.waiting(now), width)]
        hosts = board.hosts if last else self._chosen(height - len(foot) - 3)
        missing = len(board.hosts) - len(hosts)
        more = [Text(_cut(f"and {missing} more hosts", width))] if missing else []
        return [self._header(now, width), *self._table(hosts, now, width), *more, *foot]

    def _header(self, now: float, width: int) -> Text:
        run, board = self._board.run, self._board
        parts = [", ".join(run["apps"]), run["selector"], " ".join(filter(None, (run["verb"], run.get("ref"), board.release)))]
        time_ = clock(float(board.ended["at"]) if board.ended else now)
        left = width - len(time_) - 1
        return Text(f"{set_cell_size(_cut(safe(' · '.join(parts)), left), left)} {time_}", "bold")

    def _chosen(self, room: int) -> list[str]:
        """Choose the hosts to show: what is under way or failed goes before what is done, and that before what has not begun."""
        board = self._board
        if len(board.hosts) <= room + 1:
            return board.hosts

        def rank(host: str) -> int:
            states = {cell.state for cell in board.cells[host].values()}
            return 0 if host in board.waits else 1 if "failed" in states else 2 if states else 3

        chosen = set(sorted(board.hosts, key=rank)[:max(1, room)])
        return [host for host in board.hosts if host in chosen]

    def _table(self, hosts: list[str], now: float, width: int) -> list[Text]:
        head = ["host", *self._columns(), "runs"]
        rows = [[self._cell(host, column, now) for column in head] for host in hosts]
        for column, cells in zip(head, zip(*rows, strict=True), strict=True):
            self._widest[column] = max(self._widest.get(column, 0), len(column), *(cell.cell_len for cell in cells))
        self._widest["host"] = min(self._widest["host"], NAME)
        shown = self._fitting(head, width)
        if "now" in shown:
            name = min(self._widest["host"], width // 2 - GAP)
            widths = [name, width - name - GAP]
            rows = [[row[0], self._latest(host, now, widths[1])] for host, row in zip(hosts, rows, strict=True)]
        else:
            rows = [[row[head.index(column)] for column in shown] for row in rows]
            widths = [self._widest[column] for column in shown]
        return [_row([Text(column, "dim") for column in shown], widths), *(_row(row, widths) for row in rows)]

    def _columns(self) -> list[str]:
        """List the columns that this run has: a reload builds nothing."""
        board = self._board
        seen = {column for cells in board.cells.values() for column in cells}
        usual = set(COLUMNS) if board.run["verb"] == "deploy" else set(COLUMNS[2:]) if board.run["verb"] != "build" else set()
        return [column for column in COLUMNS if column in seen | usual]

    def _fitting(self, head: list[str], width: int) -> list[str]:
        """Leave columns out until the rest fits; where even few do not fit, one column says what each host does now."""
        shown = list(head)
        for spared in ("", *SPARED):
            shown = [column for column in shown if column != spared]
            if sum(self._widest[column] + GAP for column in shown) - GAP <= width:
                return shown
        return ["host", "now"]

    def _cell(self, host: str, column: str, now: float) -> Text:
        if column == "host":
            return Text(_cut(safe(host), NAME))
        if column == "runs":
            return Text(safe(self._board.runs.get(host) or "-"))
        cell = self._board.cells[host].get(column)
        return Text(_squeezed(safe(cell.shown(now)), CELL), STYLES[cell.state]) if cell else Text("-", "dim")

    def _latest(self, host: str, now: float, width: int) -> Text:
        column = self._board.latest.get(host)
        if not column:
            return Text("-", "dim")
        cell = self._cell(host, column, now)
        return Text(_squeezed(f"{column} {cell.plain}", width), cell.style)

    def _counts(self) -> str:
        sent = self._board.sent
        return "" if sent is None else f"requests: {sent} sent, {self._board.lost} lost"

    def _ending(self, now: float) -> str:
        ended = self._board.ended
        return f"{ended['outcome']} in {clock(ended['at'])}" if ended else f"left at {clock(now)}; what is in hand goes on by itself"


def _is_loud(event: Event) -> bool:
    return event["event"] in LOUD or event.get("ok") is False or (event["event"] == "end" and event["code"] != 0)


def _rest(line: str, columns: int) -> str:
    """Give what clears the row behind a line; behind one that fills its last row it would take that one's last character."""
    return "" if line and cell_len(line) % columns == 0 else CLEAR


def _cut(text: str, width: int) -> str:
    """Cut a text that is too wide, and show that it was."""
    return text if cell_len(text) <= width else f"{set_cell_size(text, max(0, width - 1)).rstrip()}{CUT}"


def _squeezed(text: str, width: int) -> str:
    """Cut a text before its last word, which says how long it has taken."""
    head, _, last = text.rpartition(" ")
    return text if cell_len(text) <= width else f"{_cut(head, width - cell_len(last) - 1)} {last}"


def _row(cells: list[Text], widths: list[int]) -> Text:
    row = Text()
    for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        text = _cut(cell.plain, width)
        padded = text if number == len(widths) - 1 else set_cell_size(text, width) + " " * GAP
        row.append(padded, cell.style)
    return row


def _wrapped(text: str, width: int) -> list[str]:
    """Break a text between words, so that no line is wider; what is one word is cut."""
    lines: list[str] = []
    for word in text.split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(_cut(word, width))
    return lines
