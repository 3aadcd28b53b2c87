"""The checker itself: it has nothing against a good history, and each broken promise turns it red, alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults import checker, table
from tests.faults.history import Record

HOSTS = ["lab1", "lab2"]
OLD, NEW = "0001-aaaaaaa", "0002-bbbbbbb"
REPORT = [
    "00:09 ── finish: history, unlock, prune",
    "lab1 failed in reload: exception: no such table",
    "  lab1: is back on 0001-aaaaaaa, healthy",
    "  lab2: was not touched",
    "Next:  fab status --hosts lab",
]


def host(release: str) -> dict[str, Any]:
    return {"is": "complete", "release": release, "runs": [release, release], "lock": None}


def look(when: str, release: str) -> Record:
    rows = "\n".join(f"{name}  {release}  {release} x2  2/2  in  ok" for name in HOSTS)
    return {
        "at": 0, "kind": "look", "when": when, "hosts": {name: host(release) for name in HOSTS}, "pool": dict.fromkeys(HOSTS, "UP"),
        "status": {"code": 0, "text": f"host current running\n{rows}\n"}, "strangers": {},
    }


def samples(at: float, lab1: str, release: str) -> list[Record]:
    return [
        {"at": at, "kind": "pool", "value": {"lab1": lab1, "lab2": "UP"}},
        {"at": at, "kind": "links", "value": {"lab1": {"is": "complete", "release": release}, "lab2": {"is": "complete", "release": OLD}}},
    ]


def story(code: int) -> list[Record]:
    """Write a history in which every promise was kept: a good deploy, or one that failed and went back."""
    end = NEW if code == 0 else OLD
    lines = ["00:01 ── build: " + NEW, *(REPORT if code else ["host  state", "lab1  runs it", "lab2  runs it"])]
    records: list[Record] = [
        {"at": 0, "kind": "case", "name": "x", "room": "Links", "hosts": HOSTS, "struck": ["lab1"], "width": 1, "limit": 60, "codes": [code], "excused": {}},
        look("before", OLD),
        {"at": 1, "kind": "command", "number": 1, "words": ["deploy"]},
        *({"at": 2, "kind": "said", "line": line, "number": 1} for line in lines),
        *samples(1, "UP", OLD), *samples(4, "DRAIN", NEW), *samples(6, "DRAIN", end), *samples(8, "UP", end),
        {"at": 5, "kind": "fault"},
        {"at": 7, "kind": "healed"},
        {"at": 10, "kind": "exit", "code": code, "number": 1, "seconds": 9},
        look("after", end),
        {"at": 11, "kind": "clients", "sent": 1000, "lost": []},
        {"at": 12, "kind": "command", "number": 2, "words": ["deploy"]},
        {"at": 20, "kind": "exit", "code": 0, "number": 2, "seconds": 8},
        look("again", NEW),
    ]
    return records


Change = Callable[[Callable[..., Record], list[Record]], object]


def finder(records: list[Record]) -> Callable[..., Record]:
    return lambda kind, **fields: next(each for each in records if each["kind"] == kind and all(each[key] == value for key, value in fields.items()))


def judged(code: int, change: Change) -> list[str]:
    records = copy.deepcopy(story(code))
    change(finder(records), records)
    return checker.judge(records)


@pytest.mark.parametrize("code", [0, 1, 130, 143])
def test_good_history_has_nothing_against_it(code: int) -> None:
    def interrupted(_: object, records: list[Record]) -> None:
        if code >= 130:
            records.append({"at": 10, "kind": "said", "line": "interrupted: what was in hand was taken back", "number": 1})

    assert judged(code, interrupted) == []


def say(text: str) -> Record:
    return {"at": 10, "kind": "said", "line": text, "number": 1}


def unsay(word: str) -> Change:
    """Take a word out of all that was said."""

    def change(_: object, records: list[Record]) -> None:
        for record in records:
            if record["kind"] == "said":
                record["line"] = record["line"].replace(word, "...")

    return change


def out_in_silence(find: Callable[..., Record], _: object) -> None:
    find("look", when="after")["pool"]["lab1"] = "DRAIN"


def out_and_named(find: Callable[..., Record], records: list[Record]) -> None:
    """Leave a host out, and say so in status and report: then it is no broken promise of rotation."""
    after = find("look", when="after")
    after["pool"]["lab1"] = "DRAIN"
    after["status"] = {"code": 5, "text": "lab1  x  x  2/2  OUT: DRAIN  out of rotation"}
    find("exit", number=1)["code"] = find("case")["codes"][0] = 5
    records.append(say("  lab1: UNKNOWN: gone; OUT OF ROTATION: x"))


def test_host_that_is_out_and_named_is_no_broken_promise() -> None:
    assert judged(1, out_and_named) == []


def left(*words: str) -> Change:
    """Have the command leave at once, with a lock in place, and say these words."""

    def change(find: Callable[..., Record], records: list[Record]) -> None:
        unsaid_lock(find, records)
        find("look", when="after")["status"]["code"] = 5
        records.extend(map(say, words))

    return change


def test_who_leaves_at_once_may_leave_locks_if_it_says_how_to_go_on() -> None:
    assert judged(130, left("interrupted, and left at once; what is in hand goes on by itself", "Next:  fab resume")) == []
    assert {text.split(":")[0] for text in judged(130, left("interrupted"))} == {"lock", "truth"}


def test_what_nobody_read_is_looked_for_in_the_log() -> None:
    def unheard(find: Callable[..., Record], records: list[Record]) -> None:
        texts = [record["line"] for record in records if record["kind"] == "said"]
        records[:] = [record for record in records if record["kind"] != "said"]
        records.extend({"at": 10, "kind": "event", "number": 1, "text": text} for text in texts)
        records.append({"at": 2, "kind": "unheard", "number": 1})

    assert judged(1, unheard) == []
    assert judged(0, both(unheard, lambda find, _: find("look", when="after")["hosts"].update(lab2=host(OLD))))


def test_host_that_never_had_a_release_may_be_left_without_one_and_down() -> None:
    def first(find: Callable[..., Record], records: list[Record]) -> None:
        nothing = {"is": "absent", "release": None, "runs": [], "lock": None}
        for when in ("before", "after"):
            find("look", when=when)["hosts"]["lab2"] = nothing
            find("look", when=when)["pool"]["lab2"] = "DOWN"
        for sample in records:
            if sample["kind"] == "links":
                sample["value"]["lab2"] = {"is": "absent", "release": None}

    assert judged(1, first) == []


def unsaid_lock(find: Callable[..., Record], _: object) -> None:
    find("look", when="after")["hosts"]["lab2"]["lock"] = "run-7"


def nobodys_lock(find: Callable[..., Record], records: list[Record]) -> None:
    find("look", when="after")["hosts"]["lab2"]["lock"] = "nobody named"


def drifted(find: Callable[..., Record], _: object) -> None:
    find("look", when="after")["hosts"]["lab2"]["runs"] = [OLD, "0000-ccccccc"]


def two_out(find: Callable[..., Record], _: object) -> None:
    find("pool", at=4)["value"]["lab2"] = "DRAIN"


def loses(at: float) -> Change:
    return lambda find, _: find("clients")["lost"].append({"class": "reset", "at": at})


def excuse(promise: str) -> Change:
    return lambda find, _: find("case")["excused"].update({promise: "because"})


def both(*changes: Change) -> Change:
    return lambda find, records: [change(find, records) for change in changes]


def put(what: str, value: object, kind: str, **fields: object) -> Change:
    return lambda find, _: find(kind, **fields).update({what: value})


def link_is(kind: str, at: float = 4) -> Change:
    return lambda find, _: find("links", at=at)["value"]["lab1"].update({"is": kind})


BROKEN: list[tuple[str, int, Change]] = [
    ("traffic", 0, loses(5)),
    ("traffic", 0, both(excuse("traffic"), loses(3))),
    ("traffic", 0, put("sent", 0, "clients")),
    ("capacity", 0, two_out),
    ("rotation", 1, out_in_silence),
    ("link", 0, link_is("incomplete")),
    ("link", 0, link_is("not a link")),
    ("link", 0, link_is("absent")),
    ("truth", 1, drifted),
    ("truth", 0, lambda find, _: find("look", when="after")["hosts"].update(lab2=host(OLD))),
    ("truth", 1, lambda find, _: find("look", when="after")["hosts"].update(lab2=host(NEW))),
    ("truth", 1, lambda find, _: find("look", when="after")["status"].update(code=5)),
    ("lock", 1, unsaid_lock),
    ("lock", 1, nobodys_lock),
    ("converge", 1, put("code", 3, "exit", number=2)),
    ("converge", 1, lambda find, _: find("look", when="again")["hosts"].update(lab2=host(OLD))),
    ("converge", 1, lambda find, _: find("look", when="again")["pool"].update(lab2="DRAIN")),
    ("converge", 1, lambda find, _: find("look", when="again")["status"].update(code=5)),
    ("no orphans", 0, put("strangers", {"lab2": ["npm ci"]}, "look", when="after")),
    ("time", 0, put("seconds", 61, "exit", number=1)),
    ("explain", 1, unsay("lab2")),
    ("explain", 1, unsay("in reload")),
    ("explain", 1, unsay("Next:")),
    ("explain", 130, lambda find, _: find("case")),
    ("explain", 4, lambda find, _: find("case")),
    ("no traceback", 0, lambda _, records: records.append(say("Traceback (most recent call last):"))),
    ("exit code", 0, put("codes", [1], "case")),
]


@pytest.mark.parametrize(("promise", "code", "change"), BROKEN, ids=[f"{promise}-{number}" for number, (promise, *_) in enumerate(BROKEN)])
def test_each_broken_promise_is_seen_and_named(promise: str, code: int, change: Change) -> None:
    found = judged(code, change)
    assert found
    assert {text.split(":")[0] for text in found} == {promise}, found


def test_every_promise_has_been_seen_broken() -> None:
    assert {promise for promise, *_ in BROKEN} == set(checker.PROMISES)


def test_what_the_fault_itself_loses_may_be_excused_and_nothing_else() -> None:
    assert judged(0, both(excuse("traffic"), loses(6))) == []
    assert judged(0, excuse("lock")) == ["lock can't be excused"]


def test_it_never_ended() -> None:
    found = judged(0, lambda find, records: records.remove(find("exit", number=1)))
    assert "time: it never ended" in found


def test_time_to_safety_is_counted_from_the_fault_on_the_hosts_it_struck() -> None:
    assert checker.seconds_to_safety(story(1)) == 3.0
    records = story(1)
    find = finder(records)
    find("pool", at=8)["value"]["lab1"] = "DRAIN"
    assert checker.seconds_to_safety(records) is None
    find("case")["struck"] = ["lab2"]
    assert checker.seconds_to_safety(records) == 0.0


def test_table_tells_what_it_cost_a_broken_promise_and_every_excuse() -> None:
    good, bad = story(0), story(1)
    find = finder(bad)
    both(excuse("traffic"), loses(6), put("strangers", {"lab2": ["npm ci"]}, "look", when="after"), out_and_named)(find, bad)
    page = table.page([checker.Story(good), checker.Story(bad)])
    assert "## Links\n" in page
    assert "**2 faults, 2,000 requests sent, 1 lost**, 1 of them by the fault itself; 1 broken promises." in page
    assert "| x | `deploy` | 0 | 1,000 | 0 | 3.0 s | all new | `deploy` | 0 |" in page
    assert "| x **(broken promise)** | `deploy` | 5 | 1,000 | 1 | 3.0 s | lab1 out of rotation | `deploy` | 0 |" in page
    assert "- x: because." in page
