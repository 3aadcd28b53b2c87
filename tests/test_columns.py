"""Tables on screens of any width: whole where they fit, folded where not, and blocks where there is no room for columns."""

from __future__ import annotations

import pytest

from fabfile.report.columns import fitted

HEAD = ["host", "current", "state"]
LONG = "worker 0 is halted by a signal (SIGSTOP) and serves nobody; out of rotation: drained by hand, for 3 min"


def test_what_fits_stays_as_it_is():
    assert fitted(HEAD, [["web1", "0001-a", "ok"]], 80) == "host  current  state\nweb1  0001-a   ok"


def test_the_last_column_is_folded_one_finding_a_line():
    assert fitted(HEAD, [["web1", "0001-a", LONG], ["web2", "0001-a", "ok"]], 60).splitlines() == [
        "host  current  state",
        "web1  0001-a   worker 0 is halted by a signal (SIGSTOP) and",
        "                 serves nobody",
        "               out of rotation: drained by hand, for 3 min",
        "web2  0001-a   ok",
    ]


def test_where_it_would_be_too_narrow_it_stands_below():
    rows = fitted(["host", "current", "state"], [["web1", "0001-a, 0002-b, 0003-c", LONG]], 44).splitlines()
    assert rows[1] == "web1  0001-a, 0002-b, 0003-c  below:"
    assert rows[2:] == ["    worker 0 is halted by a signal (SIGSTOP)", "      and serves nobody", "    out of rotation: drained by hand, for 3", "      min"]


def test_where_there_is_no_room_for_columns_each_row_is_a_block():
    assert fitted(HEAD, [["web1", "0001-a", "ok"]], 18).splitlines() == ["host web1", "  current  0001-a", "  state    ok"]


@pytest.mark.parametrize("width", [20, 33, 40, 60, 80, 200])
def test_nothing_is_wider_than_the_screen_as_long_as_words_allow(width: int):
    text = fitted(HEAD, [["web1", "0001-a", LONG], ["web2", "0002-b", "ok"]], width)
    assert all(len(line) <= max(width, 36) for line in text.splitlines())
    assert all(word in text for word in LONG.replace(";", "").split())
