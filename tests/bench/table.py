"""Print the figures as tables that read well in a terminal and in Markdown. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import figures

COLUMNS = (
    "contestant", "runs", "wall s", "min-max", "x floor", "min-max", "CPU s", "CPU x", "MiB", "logins", "channels", "host CPU s", "line CPU s",
    "busy",
)


def of(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw the table of one size."""
    return markdown(COLUMNS, rows(found))


def rows(found: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Give a row per contestant of one size."""
    cells = {name: figures.cell(each) for name, each in found.items()}
    return [[
        name, str(cell["runs"]), middle(cell["wall"]), reach(cell["wall"]), middle(cell["over_floor"]["wall"]), reach(cell["over_floor"]["wall"]),
        middle(cell["cpu"]), middle(cell["over_floor"]["cpu"]), "-" if cell["memory"] is None else f"{cell['memory']:.0f}",
        middle(cell["logins"], 1), middle(cell["channels"], 1), middle(cell["host_cpu"]), middle(cell["line_cpu"]), middle(cell["busy"]),
    ] for name, cell in cells.items()]


def middle(spread: Mapping[str, float] | None, digits: int = 2) -> str:
    return "-" if spread is None else f"{spread['median']:.{digits}f}"


def reach(spread: Mapping[str, float] | None) -> str:
    return "-" if spread is None else f"{spread['least']:.2f}-{spread['most']:.2f}"


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Draw a table whose columns stand under each other in plain text too; the first is for names."""
    widths = [max(len(row[n]) for row in [head, *body]) for n in range(len(head))]

    def line(row: Sequence[str]) -> str:
        name, *numbers = row
        return "| " + " | ".join([name.ljust(widths[0]), *map(str.rjust, numbers, widths[1:])]) + " |"

    rule = "|" + "|".join("-" * (width + 2) if n == 0 else "-" * (width + 1) + ":" for n, width in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *map(line, body)])
