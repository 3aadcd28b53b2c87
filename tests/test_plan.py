"""The plan's rules: pure values in, refusals and waves out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile import plan
from fabfile.errors import PlanRefused, UsageError
from fabfile.inventory.values import App, Balancer, Group, Health, Host, Process, Ssh, Targets, Update
from fabfile.plan import Options

DOCS = Path(__file__).parent.parent / "docs" / "on-the-host.md"
LB = Balancer("haproxy", "lb", "/run/haproxy.sock", "api")
DEPLOY = Options("deploy")
FORK = Process("shop", "dist/main.js", exec_mode="fork")


def an_app(*processes: Process) -> App:
    return App("shop", "git@x:shop.git", "/srv/shop", processes or (Process("shop", "dist/main.js"),))


def hosts(count: int, app: App | None = None) -> tuple[Host, ...]:
    return tuple(Host(f"h{number}", Ssh(f"h{number}"), app or an_app(), f"h{number}") for number in range(count))


def sizes(count: int, *widths: str) -> list[int]:
    return [len(wave) for wave in plan.waves(hosts(count), widths)]


# ---------------------------------------------------------------------- waves


@pytest.mark.parametrize(
    "count, widths, expected",
    [
        (3, ["1"], [1, 1, 1]),
        (4, ["3"], [3, 1]), (3, ["3"], [3]), (2, ["3"], [2]),          # width n-1, n, n+1
        (1, ["1"], [1]), (0, ["1"], []),
        (4, ["25%"], [1, 1, 1, 1]), (10, ["25%"], [2, 2, 2, 2, 2]), (3, ["25%"], [1, 1, 1]),
        (3, ["50%"], [1, 1, 1]), (3, ["99%"], [2, 1]), (3, ["100%"], [3]), (100, ["1%"], [1] * 100),
        (10, ["1", "25%", "100%"], [1, 2, 7]), (3, ["1", "2"], [1, 2]), (7, ["1", "2"], [1, 2, 2, 2]),
        (2, ["5", "1"], [2]), (5, ["2", "100%"], [2, 3]),
    ],
)
def test_waves_have_the_width_that_was_asked_for(count, widths, expected):
    assert sizes(count, *widths) == expected


@given(st.integers(0, 60), st.lists(st.one_of(st.integers(1, 70).map(str), st.integers(1, 100).map("{}%".format)), min_size=1, max_size=4))
def test_waves_hold_each_host_once_in_order_and_round_down(count, widths):
    everyone = hosts(count)
    cut = plan.waves(everyone, widths)
    assert [host for wave in cut for host in wave] == list(everyone)
    assert all(cut)
    for number, wave in enumerate(cut):
        width = widths[min(number, len(widths) - 1)]
        most = int(width) if "%" not in width else max(1, count * int(width[:-1]) // 100)
        assert len(wave) <= most


# ---------------------------------------------------------------------- floor


@pytest.mark.parametrize(
    "count, widths, balancer, expected",
    [
        (3, ("1",), LB, 2), (3, ("2",), LB, 1), (10, ("1", "25%", "50%"), LB, 5),
        (3, ("100%",), LB, 1), (2, ("5",), LB, 1),      # the last one up is never drained
        (1, ("1",), LB, 1), (3, ("100%",), None, 3),    # the gate alone keeps its requests
    ],
)
def test_the_floor_is_what_must_serve_at_any_moment(count, widths, balancer, expected):
    group = Group("web", hosts(count), Update(widths), balancer)
    assert plan.floor([group], DEPLOY) == expected
    assert plan.floor([group, group], DEPLOY) == 2 * expected
    assert plan.floor([group, group], Options("rolling", one_group_at_a_time=True)) == count + expected


def test_the_floor_goes_by_the_width_that_was_typed_and_by_what_restarts():
    assert plan.floor([Group("web", hosts(4), Update(("1",)), LB)], Options("reload", max_parallel=("3",))) == 1
    assert plan.floor([Group("web", hosts(4, an_app(FORK)), Update(("1",)))], DEPLOY) == 3


# ---------------------------------------------------------------------- refuse_downtime

@pytest.mark.parametrize(
    "process, count, balancer, refused",
    [
        (Process("shop", "dist/main.js"), 1, None, False),
        (FORK, 1, None, True),
        (FORK, 3, None, True),
        (FORK, 1, LB, True),
        (FORK, 2, LB, False),
        (Process("jobs", "dist/jobs.js", exec_mode="fork", health=None), 1, None, False),
    ],
)
def test_what_would_lose_requests_is_refused(process, count, balancer, refused):
    group = Group("web", hosts(count, an_app(process)), balancer=balancer)
    plan.refuse_downtime([group], allowed=True)
    if not refused:
        plan.refuse_downtime([group], allowed=False)
        return
    with pytest.raises(PlanRefused) as caught:
        plan.refuse_downtime([group], allowed=False)
    assert caught.value.code == 2
    assert "web: shop is in fork mode" in str(caught.value)
    assert "--allow-downtime" in str(caught.value)


@pytest.mark.parametrize("verb, replaces", [("deploy", True), ("reload", True), ("rolling", True), ("rollback", True), ("abort", True),
                                            ("build", False), ("migrate", False), ("scale", False)])
def test_only_what_replaces_workers_can_lose_requests(verb, replaces):
    assert Options(verb).replaces == replaces


def test_one_bad_group_among_good_ones_is_enough():
    good, bad = Group("web", hosts(2)), Group("old", hosts(1, an_app(Process("api", "x.js"), FORK)))
    with pytest.raises(PlanRefused, match="old: shop"):
        plan.refuse_downtime([good, bad], allowed=False)


# ---------------------------------------------------------------------- unfit


def release(id: str, complete: bool = True, bad: bool = False, stable: bool = True) -> dict[str, Any]:
    return {"id": id, "complete": complete, "bad": bad, "stable": stable, "commit": None, "ref": None}


def worker(**changes: Any) -> dict[str, Any]:
    usual = {"id": 0, "name": "shop", "mode": "cluster", "gated": True, "script": "/srv/shop/.gapless/gate.cjs", "release": "0002-bbb"}
    return {**usual, **changes}


def facts(current: Any = "0002-bbb", state: str = "ok", **changes: Any) -> dict[str, Any]:
    usual = {
        "node": "20.12.0", "pm2": "/pm2", "trouble": None, "current": {"state": state, "release": current},
        "daemon": {"pid": 7, "home": "/home/app/.pm2"}, "processes": [worker()], "releases": [release("0001-aaa"), release("0002-bbb")],
        "taken": [], "migrations": [], "room": {"place": "/srv/shop", "mb": 500, "inodes": 20_000},
    }
    return {**usual, **changes}


def unfit(options: Options = DEPLOY, **changes: Any) -> list[str]:
    return plan.unfit(hosts(1)[0], facts(**changes), options)


def test_a_port_that_a_stranger_holds_is_told_and_nothing_else_is_done():
    holder = {"name": "shop", "port": 3000, "pid": 12, "command": "PM2 v7.0.4: God Daemon (/home/eve/.pm2)"}
    assert unfit(taken=[holder]) == [
        "port 3000 of shop is held by pid 12 (PM2 v7.0.4: God Daemon (/home/eve/.pm2)), which is not ours and was left alone: end it, set "
        "another port:, or name the PM2 that it belongs to (pm2_home:)"
    ]


def test_a_release_is_made_only_where_there_is_room_for_it():
    full, many = {"place": "/srv", "mb": 499, "inodes": None}, {"place": "/srv", "mb": 9000, "inodes": 19_999}
    told = "/srv has 499 MB free, a release wants 500 MB (min_free_mb): disk full"
    assert unfit(room=full) == unfit(Options("build"), room=full) == [told]
    assert unfit(room=many) == ["/srv has 19999 inodes free, node_modules wants 20000: out of inodes"]
    assert unfit(room={**many, "inodes": None}) == unfit(room=None) == []  # a file system may count none, or tell nothing


@pytest.mark.parametrize("verb", ["rollback", "reload", "rolling", "abort", "resume", "migrate", "scale"])
def test_a_full_disk_keeps_nobody_from_the_way_back(verb):
    assert unfit(Options(verb), room={"place": "/srv", "mb": 0, "inodes": 0}) == []


def migration(outcome: str, at: int = 1, release: str = "0003-ccc") -> dict[str, Any]:
    return {"run": f"r{at}", "release": release, "at": at, "outcome": outcome}


def test_the_last_migration_of_a_release_counts_on_whichever_host_it_ran():
    known = {"a": facts(migrations=[migration("failed", 1), migration("done", 3)]), "b": facts(migrations=[migration("failed", 2)])}
    assert plan.migrated(known, "0003-ccc") == "done"
    assert plan.migrated(known, "0004-ddd") == ""


def test_a_migration_of_unknown_outcome_is_named_with_host_and_run():
    known = {"a": facts(), "b": facts(migrations=[migration("unknown", 1), migration("done", 2), migration("at work", 3)])}
    assert plan.unknown_migrations(known) == {"b": {"r1": "0003-ccc"}}


def test_a_good_host_is_fit():
    assert unfit() == []
    assert unfit(node="20.12.2") == unfit(node="21.0.0") == unfit(node="100.0.0") == []


def test_a_first_deploy_is_fit():
    assert unfit(current=None, state="absent", processes=[], releases=[], daemon={"pid": None, "home": "/home/app/.pm2"}) == []


@pytest.mark.parametrize("version", ["20.11.1", "18.20.8", "4.0.0"])
def test_an_old_node_is_unfit(version):
    assert unfit(node=version) == [f"node is {version}; the gate needs 20.12 or newer"]


def test_trouble_with_pm2_is_told_as_it_is():
    assert unfit(trouble="PM2's daemon (pid 7): gave no answer", processes=[], saved=[]) == ["PM2's daemon (pid 7): gave no answer"]


@pytest.mark.parametrize(
    "state, words",
    [
        ("directory", "is a directory, not a link"), ("file", "is a file, not a link"), ("outside", "leads out of /srv/shop/releases"),
        ("dangling", "which is gone"), ("incomplete", "which is not complete"),
    ],
)
def test_a_link_that_is_not_right_is_unfit(state, words):
    for options in (DEPLOY, Options("deploy", allow_downtime=True)):
        (told,) = unfit(options, state=state)
        assert words in told
        assert told.startswith("/srv/shop/current")


@pytest.mark.parametrize("pid, words", [(None, "does not run"), (7, "runs, but lists none")])
def test_a_live_link_beside_an_empty_pm2_is_an_alarm(pid, words):
    changes = {"processes": [], "saved": [], "daemon": {"pid": pid, "home": "/home/app/.pm2"}}
    (told,) = unfit(**changes)
    assert words in told
    assert "pm2 resurrect" in told
    assert unfit(Options("deploy", allow_downtime=True), **changes) == []


def test_a_pm2_that_died_and_had_saved_the_app_is_fit_to_be_revived():
    changes = {"processes": [], "daemon": {"pid": None, "home": "/home/app/.pm2"}}
    assert unfit(saved=["shop", "other"], **changes) == []
    assert unfit(saved=["other"], **changes)


@pytest.mark.parametrize("change", [{"gated": False, "script": "/usr/bin/npm"}, {"mode": "fork"}])
def test_what_the_gate_does_not_hold_cant_be_reloaded(change):
    changes = {"processes": [worker(**change), worker(id=1, **change)]}
    (told,) = unfit(**changes)  # once per name, not per worker
    assert "not through the gate" in told
    assert "--allow-downtime" in told
    assert unfit(Options("deploy", allow_downtime=True), **changes) == []


def test_everything_that_is_wrong_is_told_at_once():
    assert len(unfit(node="18.0.0", trouble="wedged", state="outside")) == 3


# ---------------------------------------------------------------------- releases


def test_the_next_release_is_one_above_the_highest_anywhere():
    here, there = facts(), facts(releases=[release("0041-fff", complete=False), release("0003-ccc")])
    assert plan.next_release([here, there], "abcdef0123") == "0042-abcdef0"
    assert plan.next_release([facts(releases=[])], "abcdef0123") == "0001-abcdef0"
    assert plan.next_release([facts(releases=[release("9999-fff")])], "abcdef0123") == "10000-abcdef0"
    assert plan.next_release([], "abcdef0123") == "0001-abcdef0"


@pytest.mark.parametrize(
    "current, releases, expected",
    [
        ("0003-c", [release("0001-a"), release("0002-b"), release("0003-c")], "0002-b"),
        ("0003-c", [release("0001-a"), release("0002-b", bad=True), release("0003-c")], "0001-a"),
        ("0003-c", [release("0001-a"), release("0002-b", stable=False), release("0003-c")], "0001-a"),
        ("0003-c", [release("0001-a"), release("0002-b", complete=False), release("0003-c")], "0001-a"),
        ("0002-b", [release("0001-a"), release("0002-b"), release("0003-c")], "0001-a"),   # after a rollback: further back
        ("0001-a", [release("0001-a"), release("0002-b")], None),
        (None, [release("0001-a")], None),
        ("10000-b", [release("9999-a"), release("10000-b")], "9999-a"),
    ],
)
def test_earlier_is_the_newest_good_one_below(current, releases, expected):
    assert plan.earlier(facts(current, releases=releases)) == expected


def test_doomed_spares_the_live_the_newest_and_the_last_stable():
    names = [f"{number:04d}-x" for number in range(1, 10)]
    known = [release(name, bad=name == "0008-x", complete=name != "0009-x", stable=name in ("0002-x", "0003-x")) for name in names]
    known[0] = release("0001-x", stable=False)
    state = facts("0005-x", releases=known, processes=[worker(release="0004-x")])
    assert plan.doomed(state, 2, ["0009-x"]) == ["0001-x", "0008-x"]
    assert plan.doomed(state, 2, []) == ["0001-x", "0008-x", "0009-x"]
    assert plan.doomed(state, 2, [None]) == ["0001-x", "0008-x", "0009-x"]


@given(st.data())
def test_doomed_never_names_what_lives(data):
    known = [release(f"{number:04d}-x", *data.draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))) for number in range(8)]
    name = st.sampled_from([each["id"] for each in known])
    current, running, new = data.draw(name), data.draw(st.lists(name)), data.draw(name)
    state = facts(current, releases=known, processes=[worker(release=each) for each in running])
    gone = set(plan.doomed(state, data.draw(st.integers(2, 5)), [new]))
    assert not gone & {current, new, *running}
    assert not gone & set([each["id"] for each in known if each["stable"]][-2:])


# ---------------------------------------------------------------------- what the host reads


def keys(value: Any, above: str = "") -> set[str]:
    if not isinstance(value, dict):
        return set()
    return {f"{above}{key}" for key in value} | set().union(*(keys(inner, f"{above}{key}.") for key, inner in value.items()))


def test_the_marker_is_what_the_page_says():
    """docs/on-the-host.md is the contract with the gate: the example there must be what is written."""
    text = re.search(r"^## `.gapless.json`.*?```json\n(.*?)```", DOCS.read_text(), re.DOTALL | re.MULTILINE)[1]
    wanted = json.loads(text.replace("…40 hex", "0" * 33))
    process = Process("shop", "dist/main.js", port=3000, env=(("NODE_ENV", "production"),), health=Health("/health", 5.0))
    update = Group("web", (), Update(healthy_deadline=120, kill_timeout=30))
    made = json.loads(plan.marker(an_app(process), plan.timing(update), wanted["release"], wanted["commit"], "main"))
    assert made == wanted


def test_the_marker_says_null_where_there_is_none():
    process = Process("jobs", "dist/jobs.js", port=None, health=None, env_file=None)
    made = json.loads(plan.marker(App("shop", "r", "/srv", (process,), header=None), (1, 2), "0001-aaa", "a" * 40, "main"))
    assert made["header"] is None
    assert made["processes"]["jobs"] == {
        "script": "dist/jobs.js", "port": None, "env_file": None, "env": {}, "health": None, "healthy_deadline_ms": 1, "kill_timeout_ms": 2,
    }


def test_a_marker_is_one_line():
    process = Process("shop", "x.js", env=(("A", "one\ntwo"), ("B", "\u2028 é '\"")))
    assert "\n" not in plan.marker(an_app(process), (1, 2), "0001-aaa", "a" * 40, "main")


def test_the_driver_is_told_milliseconds():
    group = Group("web", hosts(1), Update(min_healthy_time=0.5, healthy_deadline=1.0, kill_timeout=2.0))
    order = plan.driver(group.hosts[0], group, facts(), "0003-ccc", "run-1", drained=True, downtime=False)
    assert (order["min_healthy_ms"], order["healthy_deadline_ms"], order["kill_timeout_ms"]) == (500, 1000, 2000)
    assert (order["lock"], order["release"], order["pm2"], order["drained"], order["allow_downtime"]) == ("run-1", "0003-ccc", "/pm2", True, False)
    assert order["processes"] == {"shop": {"instances": "max", "exec_mode": "cluster", "port": None, "env_file": ".env"}}


# ---------------------------------------------------------------------- scale


def targets(*processes: Process) -> Targets:
    group = Group("web", hosts(2, an_app(*processes)))
    return Targets("web", (group,), (group,))


API, JOBS = Process("api", "a.js", 2), Process("jobs", "b.js", 1, health=None)


def counts(found: Targets) -> list[dict[str, Any]]:
    return [{each.name: each.instances for each in host.app.processes} for host in found.hosts]


@pytest.mark.parametrize("processes, options, count", [
    ([API], Options("scale", instances="4"), {"api": 4}), ([API], Options("scale", instances="max"), {"api": "max"}),
    ([API, JOBS], Options("scale", instances="3", process="jobs"), {"api": 2, "jobs": 3}),
    ([API], Options("resume", aim="scale", instances="4"), {"api": 4}),
    ([API], Options("abort", aim="scale", instances="4"), {"api": 2}), ([API], Options("reload"), {"api": 2}),
])
def test_scale_changes_the_number_of_one_process(processes, options, count):
    assert counts(plan.scaled(targets(*processes), options)) == [count] * 2


@pytest.mark.parametrize("processes, flags, told", [
    ([API, JOBS], {"instances": "3"}, "say which to scale"), ([API], {"instances": "3", "process": "x"}, "h0 runs api; say which"),
    ([API], {}, "no number of workers"), ([API], {"instances": "0"}, "no number"), ([API], {"instances": "-1"}, "no number"),
    ([API], {"instances": "٣"}, "no number"), ([Process("api", "a.js", 1, exec_mode="fork")], {"instances": "2"}, "fork mode"),
])
def test_a_scale_that_makes_no_sense_is_refused(processes, flags, told):
    with pytest.raises(UsageError, match=told):
        plan.scaled(targets(*processes), Options("scale", **flags))


def test_what_hosts_yaml_says_otherwise_is_told_once_for_all_hosts():
    told = plan.unlike_yaml(targets(API, JOBS), Options("scale", process="api", instances="4"))
    assert told == "hosts.yaml says instances: 2 for api; write 4 there, or the next reload goes back to 2"
    assert plan.unlike_yaml(targets(API), Options("scale", instances="2")) == ""


def test_a_scale_goes_back_to_the_workers_that_were_there():
    found = plan.as_found(targets(API, JOBS).hosts[0], {"processes": [{"name": "api"}] * 3})
    assert {each.name: each.instances for each in found.app.processes} == {"api": 3, "jobs": 1}


@pytest.mark.parametrize("verb, aim, back", [
    ("rollback", "", True), ("abort", "deploy", True), ("resume", "rollback", True), ("resume", "abort", True), ("resume", "deploy", False), ("deploy", "", False),
])
def test_what_takes_up_a_way_back_is_one(verb, aim, back):
    assert plan.Options(verb, aim=aim).leads_back is back
