"""What a plan asks a host beside its facts: names that changed, never a value; room and the runs that ended well."""

from __future__ import annotations

import json
from pathlib import Path

from fabfile.commands import outlook
from fabfile.commands.shell import Step


def listing(root: Path) -> list[tuple[str, int, int]]:
    return sorted((str(each), each.stat().st_ino, each.stat().st_ctime_ns) for each in (root, *root.rglob("*")))


def test_only_names_leave_the_host_and_nothing_is_written(sh, root):
    (root / ".gapless/env").mkdir(parents=True)
    (root / "shared").mkdir(exist_ok=True)
    (root / ".gapless/env/shop.good").write_text("SAME=hunter2same\nCHANGED=hunter2old\nGONE=hunter2gone\nQUOTED='hunter2 q'\n")
    (root / "shared/.env").write_text("SAME=hunter2same\nCHANGED=hunter2new\nNEW=hunter2new\nQUOTED=\"hunter2 q\"\nEMPTY=\n# note\n")
    before = listing(root)
    ran = sh.run(Step("outlook", outlook.look(str(root), {"shop": "shared/.env", "jobs": "shared/.env", "none": "shared/.missing"})))
    told = ran.event("outlook")
    assert ran.code == 0
    assert told["env"] == {"shop": {"added": ["EMPTY", "NEW"], "changed": ["CHANGED"], "removed": ["GONE"]}, "jobs": None, "none": None}
    assert told["history"] == []
    assert "hunter2" not in ran.text + json.dumps(ran.events)
    assert listing(root) == before


def test_an_env_file_that_is_gone_takes_all_its_names_along(sh, root):
    (root / ".gapless/env").mkdir(parents=True)
    (root / ".gapless/env/shop.good").write_text("A=1\nB=2\n")
    ran = sh.run(Step("outlook", outlook.look(str(root), {"shop": "shared/.env"})))
    assert ran.event("outlook")["env"]["shop"] == {"added": [], "changed": [], "removed": ["A", "B"]}


def test_history_is_of_the_last_runs_that_ended_well_and_told_their_phases(sh, root):
    (root / ".gapless").mkdir(exist_ok=True)
    good = [{"run": f"r{number}", "outcome": "ok", "phases": {"build": number}, "waves": 2, "who": "x" * 9000} for number in range(60)]
    bad = [{"run": "b1", "outcome": "1", "phases": {"build": 9}}, {"run": "b2", "outcome": "ok"}, "words", None]
    lines = [json.dumps(each) for each in (*good, *bad)] + ['{"run": "torn']
    (root / ".gapless/history.jsonl").write_text("\n".join(lines))
    told = sh.run(Step("outlook", outlook.look(str(root), {}))).event("outlook")["history"]
    assert [each["run"] for each in told] == [f"r{number}" for number in range(60 - len(told), 60)]
    assert 20 < len(told) <= 50
    assert told[-1] == {"run": "r59", "phases": {"build": 59}, "waves": 2}


def test_a_host_that_nothing_was_ever_deployed_to_has_an_outlook(sh, tmp_path):
    ran = sh.run(Step("outlook", outlook.look(str(tmp_path / "not there"), {"shop": "shared/.env"})))
    assert (ran.code, ran.event("outlook")) == (0, {"event": "outlook", "history": [], "env": {"shop": None}})
