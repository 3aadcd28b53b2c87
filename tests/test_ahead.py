"""Plans as they are typed: what is refused before any host hears of it, what is kept, and who is asked."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fabfile.errors import UsageError
from fabfile.look import saved
from fabfile.plan import Options
from tests import test_cli
from tests.test_cli import HOME, Desk, both
from tests.test_forecast import an_eventful_day, made, targets

desk = test_cli.desk
PLANNED = ("deploy", "build", "migrate", "reload", "rolling", "rollback")


@pytest.fixture
def state(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "gapless"


def keep(desk: Desk, plan: dict[str, Any], id: str = "") -> str:
    file = desk.place / f".local/state/gapless/plans/{id or plan['plan_id']}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(plan))
    return file.stem


# ---------------------------------------------------------------------- kept


def test_a_plan_that_was_kept_comes_back_as_it_was(state):
    plan = an_eventful_day()
    saved.save(plan)
    assert saved.load(plan["plan_id"]) == json.loads(json.dumps(plan))
    assert [each.name for each in state.rglob("*.*")] == [f"{plan['plan_id']}.json"]
    assert (state / f"plans/{plan['plan_id']}.json").stat().st_mode & 0o777 == 0o600


def test_only_the_newest_plans_are_kept(state, monkeypatch):
    monkeypatch.setattr(saved, "KEPT", 3)
    plans = [made(targets(selector=f"web{number}")) for number in range(5)]
    for number, plan in enumerate(plans):
        saved.save(plan)
        os.utime(state / f"plans/{plan['plan_id']}.json", (number, number))
    assert {file.stem for file in (state / "plans").iterdir()} == {plan["plan_id"] for plan in plans[2:]}


def test_a_plan_that_cant_be_kept_is_told_so(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="XDG_STATE_HOME"):
        saved.save(an_eventful_day())


@pytest.mark.parametrize("id", ["", "f" * 12, "../../etc/passwd", "*", "F" * 12])
def test_a_plan_that_was_never_made_is_refused_with_those_that_were(state, id):
    saved.save(an_eventful_day())
    with pytest.raises(UsageError, match=f"no such plan was made on this machine; there is: {an_eventful_day()['plan_id']}"):
        saved.load(id)


@pytest.mark.parametrize("text", ["", "{}", "null", "[]", "{\"schema\": 1", "\x00", "torn", "other id", "edited", "foreign flag", "newer"])
def test_a_file_that_is_not_the_plan_is_refused(state, text):
    plan = json.loads(json.dumps(an_eventful_day()))
    saved.save(plan)
    file = state / f"plans/{plan['plan_id']}.json"
    changed = {
        "torn": lambda: file.read_text()[:-9], "other id": lambda: json.dumps({**plan, "plan_id": "f" * 12}),
        "edited": lambda: json.dumps({**plan, "commit": "d" * 40}), "foreign flag": lambda: json.dumps({**plan, "options": {"force": True}}),
        "newer": lambda: json.dumps({**plan, "schema": 2}),
    }
    file.write_text(changed[text]() if text in changed else text)
    with pytest.raises(UsageError, match="is not the plan that was kept there"):
        saved.load(plan["plan_id"])


@pytest.mark.parametrize("typed, told", [
    (Options("rollback"), "is one of deploy, not of rollback"), (Options("deploy", ref="main"), r"--ref main is not what plan \w+ says \(v3\)"),
    (Options("deploy", max_parallel=("2", "50%")), r"--max-parallel 2,50% is not what plan \w+ says \(nothing\)"),
    (Options("deploy", allow_downtime=True), "--allow-downtime True is not what plan"),
])
def test_flags_that_contradict_a_plan_are_refused(typed, told):
    with pytest.raises(UsageError, match=told):
        saved.agreed(an_eventful_day(), typed)


@pytest.mark.parametrize("typed", [Options("deploy"), Options("deploy", ref="v3")])
def test_flags_that_a_plan_has_may_be_left_out_or_said_again(typed):
    assert saved.agreed(an_eventful_day(), typed) == Options("deploy", ref="v3")


# ---------------------------------------------------------------------- typed


@both
@pytest.mark.parametrize("flag", ["-R", "--dry"])
@pytest.mark.parametrize("verb", ["deploy", "unlock", "resume"])
def test_the_programs_own_dry_run_is_refused(desk, program, flag, verb):
    assert "What it would do is said by --plan" in desk.refused(program, flag, verb, "--hosts", "web")


def test_every_verb_that_has_a_plan_says_so(desk):
    for verb in PLANNED:
        text = desk.say("inv", verb, "--help").stdout
        assert "--plan " in text
        assert "--plan-id=STRING" in text


@pytest.mark.parametrize("words, told", [
    (("deploy", "--plan-id", "0123456789ab"), "no such plan was made on this machine; there is: none"),
    (("deploy", "--hosts", "web", "--plan", "--plan-id", "0123456789ab"), "say one of them"),
    (("resume", "--hosts", "web", "--plan"), "resume has no plan"), (("abort", "--hosts", "web", "--plan-id", "x"), "abort has no plan"),
    (("migrate", "--hosts", "web", "--resolved", "done", "--plan"), "there is nothing to plan"),
    (("deploy", "--hosts", "nobody", "--plan"), 'no group or host is called "nobody"'),
    (("deploy", "--hosts", "forked", "--plan"), "--allow-downtime"), (("deploy", "--hosts", "web", "--ref=nope", "--plan"), "no branch or tag"),
])
def test_what_can_be_no_plan_is_refused(desk, words, told):
    assert told in desk.refused("inv", *words)


def test_a_plan_is_applied_as_it_was_made_or_not_at_all(desk):
    id = keep(desk, made(targets(selector="web")))
    assert f"--hosts jobs is not what plan {id} says (web)" in desk.refused("inv", "deploy", "--hosts", "jobs", "--plan-id", id)
    assert f"plan {id} is one of deploy, not of build" in desk.refused("fab", "build", "--plan-id", id)
    assert "--ref main is not what plan" in desk.refused("fab", "deploy", "-H", "web", "--ref", "main", "--plan-id", id)
    assert "is not the plan that was kept there" in desk.refused("inv", "deploy", "--plan-id", keep(desk, made(), "0" * 12))


def test_a_plan_out_of_reach_is_the_refusal_of_the_command_itself(desk):
    done = desk.say("inv", "deploy", "--hosts", "web", "--plan")
    assert (done.returncode, desk.listener.came > 0) == (4, True)
    assert "2 of 2 hosts can't be worked on; nothing was touched." in done.stderr
    told = desk.say("inv", "deploy", "--hosts", "web", "--plan", "--format", "json").stdout
    assert [json.loads(line)["exit"] for line in told.splitlines()] == [4]
    assert not list((desk.place / ".local/state").rglob("*.json"))


def on_terminal(desk: Desk, *words: str, **environment: str) -> int:
    """Type a command at a terminal where nobody answers; give its exit code."""
    ours, theirs = pty.openpty()
    try:
        run = [sys.executable, "-c", "from invoke.main import program; program.run()", "-r", HOME, *words]
        done = subprocess.run(run, cwd=desk.place, env={**desk.env, **environment}, stdin=theirs, capture_output=True, timeout=60, check=False)
    finally:
        os.close(ours)
        os.close(theirs)
    assert b"Traceback" not in done.stderr
    return done.returncode


def test_ci_and_programs_are_never_asked(desk):
    assert on_terminal(desk, "deploy", "--hosts", "jobs", CI="true") == 2
    assert on_terminal(desk, "deploy", "--hosts", "jobs", "--format", "json") == 2
    assert desk.listener.came == 0
    # Who can be asked is shown the plan first, and that host is out of reach.
    assert on_terminal(desk, "deploy", "--hosts", "jobs") == 4
