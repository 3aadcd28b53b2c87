"""The pure parts of the bench: logs, ratios, curves, targets, tables, page and picture."""

from __future__ import annotations

import json
import math
import subprocess
import xml.etree.ElementTree as Xml

import pytest

from . import figures, page, plot, table, targets, work

LOG = """\
Server listening on 10.77.1.1 port 2222.
Accepted key ED25519 SHA256:abc found at /x/authorized_keys:1
Accepted publickey for root from 10.77.0.1 port 5 ssh2: ED25519 SHA256:abc
Starting session: command for root from 10.77.0.1 port 5 id 0
Starting session: command for root from 10.77.0.1 port 5 id 1
Close session: user root from 10.77.0.1 port 5 id 0
Starting session: subsystem 'sftp' for root from 10.77.0.1 port 5 id 2
"""


def reading(wall: float, cpu: float = 1.0, channels: float = 4.0) -> dict[str, float | None]:
    return {"wall": wall, "cpu": cpu, "host_cpu": 0.1, "line_cpu": None, "busy": 0.2, "memory": None, "logins": 1.0, "channels": channels}


def contestant(walls: list[float], floors: list[float], cpu: float = 1.0, memory: float = 40.0) -> dict[str, object]:
    return {"memory": memory, "runs": [reading(wall, cpu) for wall in walls], "floors": [reading(wall) for wall in floors]}


def data() -> dict[str, object]:
    """Give figures of which some targets are reached, some missed, some not measured."""
    floors = [1.0, 1.0], [2.0, 2.0]
    return {
        "about": {
            "date": "2030-01-02", "cpus": 2, "ssh": "OpenSSH_9.2p1", "python": "3.11.7", "commit": "abc1234", "rtt": 20.0,
            "left_out": {"Nobody": "why not"},
        },
        "sizes": {
            "1": {
                "floor": contestant(floors[0], floors[0], memory=3.0), "fused": contestant([1.1], [1.0], 0.2),
                "gapless": contestant([1.2], [1.0], 0.4), "guarded": contestant([1.3], [1.0], 0.4),
            },
            "10": {
                "floor": contestant(floors[1], floors[1], memory=15.0), "fused": contestant([1.5], [2.0], 0.4),
                "gapless": contestant([3.0], [2.0], 0.5, 49.0),
            },
        },
        "many": {
            "hosts": 300, "name": "gapless", "build": 10.0, "short": {**reading(20.0, 5.0), "memory": 69.9}, "long": reading(30.0, 5.0),
            "build_cpu": 0.5, "build_seconds": 12.0, "waiting_cpu": 0.1, "waiting_seconds": 9.0,
        },
    }


def test_logins_and_channels_are_counted_from_sshds_log():
    assert figures.sshd_log(LOG) == figures.Sshd(logins=1, channels=3)


def test_what_others_took_is_what_is_neither_idle_nor_ours():
    spent = {"machine": 10.0, "idle": 4.0, "controller": 2.0, "hosts": 1.0, "line": None}
    assert figures.others(spent) == pytest.approx(0.3)
    assert figures.others({**spent, "controller": 9.0}) == 0.0


def test_a_ratio_is_that_of_each_pair_not_of_two_medians():
    found = figures.cell(contestant([2.0, 9.0, 4.0], [1.0, 3.0, 8.0]))
    assert found["over_floor"]["wall"] == {"median": 2.0, "least": 0.5, "most": 3.0}
    assert found["wall"] == {"median": 4.0, "least": 2.0, "most": 9.0}
    assert found["line_cpu"] is None


def test_the_floor_is_its_own_measure():
    assert figures.cell({"memory": 3.0, "runs": [reading(2.0)], "floors": []})["over_floor"]["wall"]["median"] == 1.0


def test_turns_that_only_one_has_run_are_compared_with_nobody():
    one, two = contestant([2.0, 2.0, 2.0], [1.0] * 3), contestant([1.0], [1.0])
    assert figures.over("wall", one, two) == {"median": 2.0, "least": 2.0, "most": 2.0}


def test_each_further_host_costs_what_the_ends_differ_by():
    assert figures.slope({1: 1.0, 30: 99.0, 11: 2.0}) == pytest.approx(98 / 29)
    assert figures.slope({1: 1.0}) is None


def log_of_a_build(began: list[float], ended: list[float]) -> str:
    events = [
        {"event": "run", "began": 1000.0, "at": 0.0, "phase": "start"},
        {"event": "phase", "at": 1.0, "phase": "build"},
        *({"event": "step", "name": "sleep 10.0", "at": at, "phase": "build"} for at in began),
        *({"event": "end", "at": at, "phase": "build"} for at in ended),
        {"event": "phase", "at": 13.0, "phase": "migrate"},
    ]
    return "\n".join(map(json.dumps, events))


CURVE = [(1000.0, 0.0), (1002.0, 2.0), (1012.0, 3.0), (1014.0, 5.0)]


def test_the_build_phase_is_found_in_a_runs_own_log():
    found = figures.while_building(log_of_a_build([2.0, 3.0], [12.0, 13.0]), CURVE)
    assert found == pytest.approx({"build_cpu": 3.0, "build_seconds": 12.0, "waiting_cpu": 0.9, "waiting_seconds": 9.0})


def test_hosts_that_never_build_at_the_same_time_leave_nothing_to_wait_in():
    assert figures.while_building(log_of_a_build([2.0, 12.5], [12.0, 13.0]), CURVE) == pytest.approx({"build_cpu": 3.0, "build_seconds": 12.0})


def test_a_curve_ends_where_its_last_point_is():
    assert figures.at([(1.0, 1.0), (2.0, 3.0)], 9.0) == 3.0


def test_targets_are_told_reached_missed_or_not_measured():
    found = {(row[0], row[1]): row[3:5] for row in targets.rows(data())}
    assert found["wall / floor", "1 host"] == ["1.2", "reached"]
    assert found["wall / floor", "10 hosts"] == ["1.5", "**missed**"]
    assert found["wall / floor", "30 hosts"] == ["-", "not measured"]
    assert found["wall / fused Fabric", "10 hosts"] == ["2", "**missed**"]
    assert found["controller CPU, s per further host", "all sizes"] == ["0.0111", "reached"]
    assert found["peak memory, MiB per further host", "300 hosts"] == ["0.1", "reached"]
    assert found["controller CPU of the build phase, s", "300 hosts, 10 s build"] == ["0.5", "reached"]
    assert [row[5] for row in targets.rows(data())[:2]] == ["1.3", "-"]  # the same of bare Fabric, where that took part


def test_columns_stand_under_each_other():
    lines = table.markdown(("who", "s"), [["floor", "1.00"], ["gapless", "12.00"]]).splitlines()
    assert lines == ["| who     |     s |", "|---------|------:|", "| floor   |  1.00 |", "| gapless | 12.00 |"]


def test_the_page_tells_sizes_targets_and_who_is_missing():
    text = page.page(data())
    assert "### 1 host\n" in text
    assert "### 10 hosts\n" in text
    assert "## 300 hosts\n" in text
    assert "- Left out: Nobody, why not.\n" in text
    assert "`naive`" not in text
    assert "{" not in text


def test_a_bench_without_many_hosts_has_a_page_too():
    assert "300 hosts\n\nComplete" not in page.page({**data(), "many": {}})


def test_the_picture_is_an_svg_with_a_line_per_contestant_and_panel():
    drawn = Xml.fromstring(page.picture(data()))
    paths = [each for each in drawn.iter("{http://www.w3.org/2000/svg}path") if each.get("class", "").startswith("line")]
    assert len(paths) == 12
    assert all(math.isfinite(float(word)) for path in paths for word in path.get("d")[1:].replace("L", " ").split())


def test_labels_never_cover_each_other():
    assert plot.apart({"a": 10.0, "b": 11.0, "c": 50.0}, space=13) == {"a": 10.0, "b": 23.0, "c": 50.0}


@pytest.mark.parametrize("value", [0.01, 3.0])
def test_an_axis_of_one_value_has_a_length(value):
    assert 0 < plot.Axis([value], 100)(value) < 100


@pytest.mark.parametrize("make", [work.fused, work.gated, work.guarded])
def test_the_work_is_shell(make):
    order = make(work.steps("it's a root", "/some where/repo.git", "0" * 40, 1))
    assert subprocess.run(["sh", "-n"], input=order, text=True, check=False).returncode == 0
    assert order.startswith("exec sh -c ")


def test_nobody_migrates_or_flips_before_a_word_came():
    order = work.gated(work.steps("root", "repo", "0" * 40, 1))
    places = [order.index(text) for text in ("sleep 0.2", "echo build done", "read -r _", ">>migrated", "echo migrate done", "mv -T next")]
    assert places == sorted(places)
    lines = work.guarded(work.steps("root", "repo", "0" * 40, 1)).splitlines()
    waits = [number for number, line in enumerate(lines) if line == "read -r _"]
    places = [next(number for number, line in enumerate(lines) if text in line) for text in ("lock", "sleep 0.2", ">>migrated", "mv -T next", "history")]
    assert all(wait < place for wait, place in zip(waits, places, strict=True))
    assert all(place < wait for place, wait in zip(places, waits[1:], strict=False))
