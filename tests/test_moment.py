"""What is done by hand, in a moment: hosts remember it, and what it leaves when it dies is nothing that another could finish."""

from __future__ import annotations

import json
import shlex
from types import SimpleNamespace
from typing import Any

import pytest

from fabfile.errors import Unsettled
from fabfile.inventory.values import App, Host, Process, Ssh
from fabfile.run import recovery
from fabfile.run.moment import MOMENTS, remembered
from fabfile.run.recovery import Left

APP = App("shop", "git@example.com:shop.git", "/srv/shop", (Process("shop", "main.js"),))
HOSTS = {name: Host(name, Ssh(name), APP, name) for name in ("a1", "a2", "a3")}


class Fleet:
    """Stand in for a fleet: keep what each host's history is given."""

    def __init__(self, *away: str) -> None:
        self.lines = {name: SimpleNamespace(alive=name not in away) for name in HOSTS}
        self.history: dict[str, dict[str, Any]] = {}

    def open_what_can_be(self) -> None:
        """Leave what is away where it is."""

    def each(self, phase: str, scripts: Any) -> None:
        for name, [step] in scripts.items():
            [line] = [word for word in shlex.split(step.command) if word.startswith('{"')]
            self.history[name] = json.loads(line)


@pytest.mark.parametrize("verb", MOMENTS)
def test_a_moment_that_died_is_not_resumed_by_a_reload(verb: str) -> None:
    told: list[str] = []
    rollout: Any = SimpleNamespace(begin=lambda phase, what: told.append(what))  # whatever else is asked of it fails
    recovery.resume(rollout, Left({"run": "r", "verb": verb}, {}, {}))
    assert len(told) == 1 and "type it once more" in told[0]


@pytest.mark.parametrize("error, outcome", [(None, "ok"), (Unsettled("x"), "5"), (KeyboardInterrupt(), "130")])
def test_what_was_done_by_hand_is_remembered_however_it_ended(error: BaseException | None, outcome: str) -> None:
    fleet: Any = Fleet("a3")
    try:
        with remembered(fleet, HOSTS, "drain") as deed:
            deed.did |= {"a2": "new disk", "a3": "new disk"}
            if error:
                raise error
    except BaseException as err:
        assert err is error
    assert set(fleet.history) == {"a2"}  # nothing was done on the first, the last can't be reached
    line = fleet.history["a2"]
    assert {key: line[key] for key in ("verb", "what", "by_hand", "outcome", "hosts", "run")} == {
        "verb": "drain", "what": "new disk", "by_hand": True, "outcome": outcome, "hosts": list(HOSTS), "run": deed.owner["run"]}
    assert line["who"] and line["from"] and line["seconds"] >= 0


def test_where_nothing_was_done_nothing_is_remembered() -> None:
    fleet: Any = Fleet()
    with remembered(fleet, HOSTS, "restore"):
        pass
    assert fleet.history == {}
