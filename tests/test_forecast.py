"""A plan as a value: its words, its name, and what makes it another one."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile import forecast as ahead
from fabfile.basis import basis, differences, identity
from fabfile.errors import LockHeld, PreflightFailed
from fabfile.forecast import Code, Survey, forecast, options_of
from fabfile.inventory.values import App, Balancer, Group, Host, Process, Ssh, Targets, Update
from fabfile.plan import Options
from fabfile.report.outlook import following, told, told_shortly

COMMIT = "ccccccc" + "0" * 33
LIVE = "bbbbbbb" + "0" * 33
LB = Balancer("haproxy", "lb", "/run/haproxy.sock", "api")
DEPLOY = Options("deploy", ref="v3")
APP = App("shop", "git@x:shop.git", "/srv/shop", (Process("shop", "dist/main.js", instances=1),), build=("npm ci", "npm run build"),
          migrate="npx prisma migrate deploy", shared_files=(".env",), keep_releases=1)


def group(name: str = "web", count: int = 3, balancer: Balancer | None = LB, app: App = APP, widths: tuple[str, ...] = ("1", "100%")) -> Group:
    hosts = tuple(Host(f"{name}{number}", Ssh(f"{name}{number}"), app, f"{name}{number}") for number in range(1, count + 1))
    return Group(name, hosts, Update(max_parallel=widths), balancer)


def targets(*groups: Group, selector: str = "prod") -> Targets:
    groups = groups or (group(), group("job", 1, None))
    return Targets(selector, groups, groups)


def release(id: str, commit: str = "", stable: bool = True) -> dict[str, Any]:
    return {"id": id, "complete": True, "bad": False, "stable": stable, "commit": commit, "ref": "main"}


def facts(**changes: Any) -> dict[str, Any]:
    worker = {"id": 0, "name": "shop", "mode": "cluster", "gated": True, "script": "gate.cjs", "release": "0002-bbbbbbb", "status": "online",
              "state": "open", "health": {"status": 200}, "died": 0, "up_ms": 10**9}
    return {
        "node": "22.0.0", "trouble": None, "cpus": 2, "current": {"state": "ok", "release": "0002-bbbbbbb"}, "version": "7",
        "daemon": {"pid": 7, "home": "/home/app/.pm2", "version": "7"}, "saved": ["shop"], "processes": [worker],
        "releases": [release("0000-9999999"), release("0001-aaaaaaa", "a" * 40), release("0002-bbbbbbb", LIVE)],
        "taken": [], "migrations": [], "driving": [], "pinned": [], "strays": [], "room": {"place": "/srv/shop", "mb": 9000, "inodes": None}, **changes,
    }


IDLE = facts(processes=[], current={"state": "absent", "release": None})


def run(id: str, build: float, reload: float, waves: int) -> dict[str, Any]:
    return {"run": id, "phases": {"claim": 1.0, "build": build, "reload": reload}, "waves": waves}


def survey(chosen: Targets, **changes: Any) -> Survey:
    names = [host.name for host in chosen.hosts]
    outlook = {"history": [run("r1", 30, 40, 2), run("r2", 34, 10, 1)], "env": {"shop": {"added": [], "changed": [], "removed": []}}}
    usual = Survey({name: facts() for name in names}, {}, {}, dict.fromkeys(names, "in"), {name: copy.deepcopy(outlook) for name in names})
    return replace(usual, **changes)


CODE = Code([{
    "was": "0002-bbbbbbb", "aim": "0003-ccccccc", "old": LIVE, "new": COMMIT, "hosts": ["web1", "web2", "web3", "job1"],
    "what": {"commit": COMMIT, "author": "Ana", "day": "2026-11-20", "subject": "Fix cart total"}, "behind": 0, "taken_back": [],
    "ahead": 22, "commits": [{"commit": COMMIT, "author": "Ana", "day": "2026-11-20", "subject": "Fix cart total"}],
}], ["20261120_cart"])


def made(chosen: Targets | None = None, options: Options = DEPLOY, commit: str = COMMIT, code: Code = CODE, error: Any = None, **changes: Any) -> dict[str, Any]:
    chosen = chosen or targets()
    return forecast(chosen, options, commit, survey(chosen, **changes), code, error)


# ---------------------------------------------------------------------- words

GOLDEN = """\
plan {id}: deploy on prod, 4 hosts; nothing was written there
  now      0002-bbbbbbb on all 4 hosts
  what     0003-ccccccc on all 4 hosts
           ccccccc (v3) "Fix cart total", Ana, 2026-11-20
  commits  22 since 0002-bbbbbbb (all 4 hosts)
             ccccccc Fix cart total  (Ana)
             and 21 more
  build    npm ci; npm run build on all 4 hosts, at once
  migrate  npx prisma migrate deploy on web1, once
             new: 20261120_cart
  reload   web: 2 waves, groups side by side
             wave 1: web1 · drained; 1 of 3 keep serving
             wave 2: web2, web3 · drained; 1 of 3 keep serving
           job: 1 wave
             wave 1: job1 · not drained; 1 of 1 keep serving, worker by worker
  env      shop: added NEW; changed A, B; removed OLD on web1
           shop: unchanged on web2, web3, job1
  prune    0000-9999999 on all 4 hosts
  time     about 63 s, as the last 2 runs took: claim 1 s, build 32 s, migrate no history yet, reload 30 s
  warning  web2: 700 MB free; a release wants 500 MB (min_free_mb)
           web3: out of rotation: MAINT
Next:  fab deploy --hosts prod --plan-id {id}"""


def an_eventful_day() -> dict[str, Any]:
    chosen = targets()
    usual = survey(chosen)
    told = {name: dict(each) for name, each in usual.outlook.items()}
    told["web1"]["env"] = {"shop": {"added": ["NEW"], "changed": ["A", "B"], "removed": ["OLD"]}}
    scarce = {**usual.facts, "web2": facts(room={"place": "/srv/shop", "mb": 700, "inodes": None})}
    return made(chosen, rotation={**usual.rotation, "web3": "OUT (MAINT)"}, outlook=told, facts=scarce)


def test_a_plan_is_told_in_full():
    plan = an_eventful_day()
    assert "\n".join([told(plan), following(plan)]) == GOLDEN.format(id=plan["plan_id"])


def test_what_is_asked_with_shows_commits_migrations_and_warnings_only():
    text = told_shortly(an_eventful_day())
    assert [line.split()[0] for line in text.splitlines() if line[2:3].strip()] == ["deploy", "what", "commits", "migrate", "warning"]


def test_what_stands_against_a_plan_is_its_end_and_nothing_comes_next():
    plan = made(error=PreflightFailed("1 of 4 hosts are not fit for it"), unfit={"web1": ["disk full"]}, facts={"web2": facts()})
    assert (plan["exit"], plan["message"], following(plan)) == (4, "1 of 4 hosts are not fit for it", "")
    assert plan["hosts"]["web1"]["current"] == "?"
    assert "0002-bbbbbbb on web2" in told(plan)


def test_no_lock_that_stands_in_the_way_is_called_taken_over():
    held = made(locks={"web1": "r9"}, error=LockHeld("held"))
    assert held["exit"] == 3
    assert "taken over" not in told(held)
    assert "web1: run r9 died with nothing in hand; its lock is taken over" in told(made(locks={"web1": "r9"}))


@pytest.mark.parametrize("options, migrations, exit, words", [
    (DEPLOY, [{"run": "r1", "release": "0002-bbbbbbb", "at": 1, "outcome": "unknown"}], 5, "UNKNOWN: whether that of run r1 on web1"),
    (Options("migrate"), [{"run": "r1", "release": "0002-bbbbbbb", "at": 1, "outcome": "done"}], 0, "done before for this release"),
    (Options("migrate"), [{"run": "r1", "release": "0002-bbbbbbb", "at": 1, "outcome": "failed"}], 1, "not begun again without --again"),
    (Options("migrate", again=True), [{"run": "r1", "release": "0002-bbbbbbb", "at": 1, "outcome": "failed"}], 0, "on web1, once"),
    (Options("rollback"), [{"run": "r1", "release": "0002-bbbbbbb", "at": 1, "outcome": "unknown"}], 0, "now      0002-bbbbbbb"),
])
def test_migrations_that_were_begun_before_are_named_and_stop_what_they_would_stop(options, migrations, exit, words):
    chosen = targets(group(count=1))
    plan = made(chosen, options, "", Code(), facts={"web1": facts(migrations=migrations)})
    assert plan["exit"] == exit
    assert words in told(plan)


def test_a_verb_that_has_no_release_to_go_to_ends_so():
    chosen = targets(group(count=1))
    plan = made(chosen, Options("rollback"), "", Code(), facts={"web1": facts(releases=[release("0002-bbbbbbb", LIVE)])})
    assert (plan["exit"], plan["message"]) == (4, "web1: no earlier release that was ever healthy; nothing was touched.")


def test_what_can_not_be_read_of_the_repository_fails_no_plan():
    plan = made(code=Code(note="reading them takes longer than 30 s"))
    assert plan["exit"] == 0
    assert "  commits  can't be read: reading them takes longer than 30 s" in told(plan)


@pytest.mark.parametrize("chosen, widths, changes, words", [
    (targets(group(count=1)), (), {}, "wave 1: web1 · not drained; 1 of 1 keep serving, worker by worker"),
    (targets(group(count=2, balancer=None)), ("2",), {}, "wave 1: web1, web2 · not drained; 2 of 2 keep serving"),
    (targets(group(count=2)), (), {"rotation": {}, "facts": {"web1": IDLE, "web2": IDLE}}, "wave 2: web2 · started; nothing serves yet"),
    (targets(group(count=2)), (), {"rotation": {"web1": "in"}, "facts": {"web1": facts(), "web2": IDLE}}, "wave 2: web2 · started; 1 of 2 keep serving"),
    (targets(group(count=2)), (), {"rotation": {"web1": "in"}}, "wave 2: web2 · out of rotation already; 1 of 2 keep serving"),
    (targets(group(count=2, balancer=None, app=APP._replace(processes=(Process("shop", "x.js", exec_mode="fork"),)))), (), {},
     "wave 1: web1 · RESTARTED, requests to it are lost; 1 of 2 keep serving"),
])
def test_each_wave_says_what_serves_meanwhile(chosen, widths, changes, words):
    assert words in told(made(chosen, DEPLOY._replace(max_parallel=widths), **changes))


def test_of_a_group_that_is_not_chosen_whole_all_hosts_count():
    whole = group(count=4)
    part = Targets("web1", (whole._replace(hosts=whole.hosts[:1]),), (whole,))
    plan = forecast(part, DEPLOY, COMMIT, survey(part, rotation={host.name: "in" for host in whole.hosts}), CODE, None)
    assert "wave 1: web1 · drained; 3 of 4 keep serving" in told(plan)


def test_time_is_the_median_of_each_phase_and_of_a_reload_for_each_wave():
    chosen = targets(group(count=3, widths=("1",)))
    outlook = {"history": [run("r1", 10, 10, 1), run("r2", 20, 40, 2), run("r3", 60, 90, 3), {"run": "r4", "phases": {"build": 20, "migrate": 0.0}, "waves": 0}], "env": {}}
    time = made(chosen, outlook=dict.fromkeys(("web1", "web2", "web3"), outlook))["time"]
    assert time["runs"] == 4
    assert time["phases"] == {"claim": 1.0, "build": 20.0, "migrate": None, "reload": 60.0}
    assert made(chosen, outlook={})["time"]["seconds"] is None
    assert "time     no history yet" in told(made(chosen, outlook={}))


# ---------------------------------------------------------------------- the same plan, or another


def test_a_plan_survives_being_kept():
    plan = an_eventful_day()
    back = json.loads(json.dumps(plan))
    assert identity(back) == plan["plan_id"] == identity(an_eventful_day())
    assert differences(back, an_eventful_day()) == []
    assert options_of(back) == DEPLOY
    typed = DEPLOY._replace(max_parallel=("1", "50%"), allow_downtime=True)
    assert options_of(json.loads(json.dumps(made(options=typed)))) == typed


def test_time_warnings_and_words_of_the_repository_are_nothing_that_a_plan_rests_on():
    usual = made()
    told = {name: {**each, "history": []} for name, each in survey(targets()).outlook.items()}
    scarce = {name: facts(room={"place": "/srv/shop", "mb": 600, "inodes": None}) for name in told}
    assert made(outlook=told, facts=scarce, code=Code(note="no git"))["plan_id"] == usual["plan_id"]


def test_a_disk_that_is_full_already_is_among_the_warnings():
    full = {host.name: facts(room={"place": "/srv/shop", "mb": 100, "inodes": None}) for host in targets().hosts}
    told = [warning for host in made(facts=full)["hosts"].values() for warning in host["warnings"]]
    assert told == ["100 MB free; a release wants 500 MB (min_free_mb)"] * len(full)


def other_release(plan: dict[str, Any]) -> None:
    plan["facts"]["web2"]["current"] = {"state": "ok", "release": "0001-aaaaaaa"}


MOVES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another release lives": (other_release, "web2: current was 0002-bbbbbbb, is 0001-aaaaaaa"),
    "other code runs": (lambda it: it["facts"]["web2"]["processes"][0].update(release="0001-aaaaaaa"),
                        "web2: what runs was 0002-bbbbbbb x1, is 0001-aaaaaaa x1"),
    "a release was built": (lambda it: it["facts"]["web1"]["releases"].append(release("0003-ddddddd")),
                            "web1, web2, web3, job1: its release was 0003-ccccccc, is 0004-ccccccc"),
    "a lock is held": (lambda it: it["locks"].update(web1="r7"), "web1: its lock was none, is r7"),
    "a host is out": (lambda it: it["rotation"].update(web3="OUT (DOWN)"), "web3: its rotation was in, is OUT"),
    "a host is unfit": (lambda it: it["unfit"].update(web3=["disk full"]), "web3: unfit was none, is disk full"),
    "an env file was edited": (lambda it: it["outlook"]["web1"]["env"]["shop"]["added"].append("NEW"),
                               "web1: what changed in its env files was shop nothing, is shop added NEW"),
    "a migration is unknown": (lambda it: it["facts"]["job1"]["migrations"].append({"run": "r1", "release": "0002-bbbbbbb", "at": 1, "outcome": "unknown"}),
                               "migration: unknown was nothing, is job1 r1"),
    "something else is pruned": (lambda it: it["facts"]["web1"]["releases"].pop(0), "web1: what is pruned was 0000-9999999, is none"),
    "the branch moved": (lambda it: it.update(commit="d" * 40), "v3 moved from ccccccc to ddddddd"),
    "other flags": (lambda it: it.update(options=DEPLOY._replace(allow_downtime=True)), "it is another command"),
    "other waves": (lambda it: it.update(options=DEPLOY._replace(max_parallel=("3",))), "web: the waves were web1 then web2+web3, are web1+web2+web3"),
    "other settings": (lambda it: it.update(chosen=targets(group(app=APP._replace(build=("make",))), group("job", 1, None))),
                       "hosts.yaml says something else of web than it did"),
    "another host": (lambda it: it.update(chosen=targets(group(count=4), group("job", 1, None))), "web4: was no part of it"),
    "another selector": (lambda it: it.update(chosen=targets(selector="web,job")), "it is another command"),
}


def moved(*names: str) -> dict[str, Any]:
    chosen = targets()
    usual = survey(chosen)
    it = {"chosen": chosen, "options": DEPLOY, "commit": COMMIT, **copy.deepcopy({key: getattr(usual, key) for key in ("facts", "unfit", "locks", "rotation", "outlook")})}
    for name in names:
        MOVES[name][0](it)
    chosen, options, commit = it.pop("chosen"), it.pop("options"), it.pop("commit")
    return forecast(chosen, options, commit, Survey(**it), CODE, None)


@pytest.mark.parametrize("name", MOVES)
def test_whatever_it_rests_on_makes_it_another_plan_and_is_named(name):
    was, now = moved(), moved(name)
    assert was["plan_id"] != now["plan_id"]
    assert any(MOVES[name][1] in line for line in differences(was, now)), differences(was, now)


@given(st.sets(st.sampled_from(sorted(MOVES))), st.sets(st.sampled_from(sorted(MOVES))))
def test_the_same_facts_are_the_same_plan_and_others_another(some, others):
    one, two = moved(*sorted(some)), moved(*sorted(others))
    assert (one["plan_id"] == two["plan_id"]) == (differences(one, two) == []) == (basis(one) == basis(two))
    if some == others:
        assert one["plan_id"] == two["plan_id"]


# ---------------------------------------------------------------------- between what serves and what is meant


def test_hosts_that_go_the_same_way_go_it_together():
    known = {"a": facts(), "b": facts(), "c": facts(current={"state": "ok", "release": "0001-aaaaaaa"}), "d": facts(current={"state": "absent", "release": None})}
    ways = ahead.spans(known, dict.fromkeys(known, "0003-ccccccc"), COMMIT)
    assert [(way["old"], way["new"], way["hosts"]) for way in ways] == [(LIVE, COMMIT, ["a", "b"]), ("a" * 40, COMMIT, ["c"]), ("", COMMIT, ["d"])]
    back = ahead.spans({"a": facts()}, {"a": "0001-aaaaaaa"}, "")
    assert [(way["old"], way["new"]) for way in back] == [(LIVE, "a" * 40)]


def test_what_was_migrated_or_serves_brings_no_news_to_the_database():
    migrations = [{"run": "r", "release": "0001-aaaaaaa", "at": 1, "outcome": "done"}, {"run": "s", "release": "0000-9999999", "at": 1, "outcome": "failed"}]
    assert ahead.migrated_commits({"a": facts(migrations=migrations)}) == ["a" * 40, LIVE]


@pytest.mark.parametrize("file, built, expected", [
    (".env", False, "shared/.env"), ("config/.env", False, "shared/config/.env"), (".env.prod", True, "releases/0002-x/.env.prod"),
    (".env.prod", False, None), (None, True, None),
])
def test_the_env_file_of_the_next_workers_is_found(file, built, expected):
    app = APP._replace(shared_dirs=("config",))
    assert ahead.env_file(app, Process("shop", "x.js", env_file=file), "0002-x", built) == expected


# ---------------------------------------------------------------------- built once, or elsewhere

ONCE = APP._replace(build_on="first")
HEX = "3f2a1b9" + "0" * 57


def built(made: dict[str, Any]) -> list[str]:
    lines = told(made).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("  build "))
    return [line[11:] for line in lines[first:first + 1 + next((n for n, line in enumerate(lines[first + 1:]) if line[2] != " "), 0)]]


def kinds(chosen: Targets, **other: str) -> dict[str, Any]:
    return {host.name: facts(machine=other.get(host.name, "linux x64 glibc node 22")) for host in chosen.hosts}


def test_a_plan_says_who_builds_and_who_is_sent_what():
    chosen = targets(group(app=ONCE), group("job", 2, None, app=ONCE._replace(build=("make",))), group("old", 1, None, app=APP._replace(build=("x",))))
    assert built(made(chosen, facts=kinds(chosen))) == [
        "npm ci; npm run build on web1, once", "packed there, and sent to web2, web3, where its sha256 is checked",
        "make on job1, once", "packed there, and sent to job2, where its sha256 is checked", "x on old1, at once",
    ]


def test_hosts_of_another_kind_stop_a_plan_that_builds_once():
    chosen = targets(group(app=ONCE))
    plan = made(chosen, facts=kinds(chosen, web3="linux arm64 glibc node 22"))
    assert (plan["exit"], following(plan)) == (4, "")
    assert "web3: linux arm64 glibc node 22, and web1, which builds: linux x64 glibc node 22" in plan["message"]
    assert made(chosen, Options("rollback"), "", facts=kinds(chosen, web3="another"))["exit"] == 0
    assert made(chosen, DEPLOY._replace(artifact="a.tgz", sha256=HEX), facts=kinds(chosen, web3="another"))["exit"] == 0


@pytest.mark.parametrize("name, way", [("shop.tgz", "sent from here to"), ("https://s3.example/shop.tgz", "fetched by")])
def test_a_plan_of_an_artifact_says_how_it_comes_and_what_it_must_be(name, way):
    plan = made(options=Options("deploy", artifact=name, sha256=HEX), commit="", code=Code())
    assert {each["release"] for each in plan["hosts"].values()} == {"0003-3f2a1b9"}
    assert built(plan) == [f"nothing: {name} is {way} all 4 hosts", f"where its sha256 is checked: {HEX}"]
    assert "artifact 3f2a1b9; --ref did not say of which commit" in told(plan)
    assert following(plan).endswith(f"--plan-id {plan['plan_id']} --artifact {name}")
    assert options_of(json.loads(json.dumps(plan))).sha256 == HEX


def test_another_artifact_is_another_plan():
    one, other = (made(options=Options("deploy", ref="v3", artifact="a.tgz", sha256=digit * 64)) for digit in "ab")
    assert one["plan_id"] != other["plan_id"]
    assert differences(one, other) == ["it is another command"]
