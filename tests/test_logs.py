"""What `fab logs`, `exec`, `monit` and `ssh` make of words and answers before and after a host is asked."""

from __future__ import annotations

import json
import queue
import re
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fabfile.errors import RunFailed, Unsettled, UsageError
from fabfile.inventory.values import App, Host, Process, Ssh
from fabfile.look import execute, logs, monit, ssh
from fabfile.report.page import Page
from fabfile.transport import Outcome


def host(name: str, processes: tuple[str, ...] = ("shop",), **more: Any) -> Host:
    app = App("shop", "repo", "~/shop", tuple(Process(each, "main.js") for each in processes))
    return Host(name, Ssh(name, **more), app, name)


def look(*names: str, format: str = "", processes: tuple[str, ...] = ("shop",)) -> Any:
    """A look at hosts that nobody has opened: what they say is put in by hand."""
    hosts = {name: host(name, processes) for name in names}
    targets = SimpleNamespace(hosts=tuple(hosts.values()), selector="web", groups=())
    return SimpleNamespace(hosts=hosts, targets=targets, page=Page(format), unreachable={}, fleet=SimpleNamespace(emit=None))


# ---------------------------------------------------------------------- what was typed


def test_since_is_a_deploy_a_duration_or_a_time_of_here() -> None:
    assert (logs.moment(""), logs.moment("deploy"), logs.moment("10m")) == (None, "deploy", {"ago": 600_000})
    here = datetime(2026, 11, 24, 9, 30).astimezone().timestamp() * 1000
    assert logs.moment("2026-11-24T09:30") == logs.moment("2026-11-24 09:30") == {"at": here}
    assert logs.moment("2026-11-24T09:30:00+00:00") == {"at": 1795512600000}


@pytest.mark.parametrize("since", ["yesterday", "10", "10x", "1.5.5m", "2026-13-01", "2h ago", "99h"])
def test_a_since_that_is_none_is_refused(since: str) -> None:
    with pytest.raises(UsageError, match="--since"):
        logs.moment(since)


def test_lines_are_fifty_unless_a_time_says_where_to_begin() -> None:
    def lines(**more: Any) -> int:
        return logs.wanted(**{"lines": 0, "since": "", "errors": False, "release": "", "grep": "", "follow": False, **more})["lines"]

    assert (lines(), lines(lines=7), lines(since="10m"), lines(since="10m", lines=7)) == (50, 7, 0, 7)
    for wrong in ({"lines": -1}, {"grep": "("}):
        with pytest.raises(UsageError):
            lines(**wrong)


@pytest.mark.parametrize("flags", [
    {"command": " "}, {"limit": 0}, {"policy": "some"}, {"timeout": "60"}, {"timeout": "0s"},
])
def test_an_order_that_is_none_is_refused(flags: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        execute.order(**{"command": "true", "timeout": "60s", "limit": 10, "policy": "any", "stream": False, **flags})


# ---------------------------------------------------------------------- logs of many hosts


def entry(at: float, text: str, **more: Any) -> dict[str, Any]:
    return {"at": at, "by": "line", "fine": True, "name": "shop", "id": 0, "kind": "out", "text": text, **more}


def told(view: logs.Logs, host: str, *entries: dict[str, Any], ahead: float = 0.0) -> None:
    """Have a host tell its past."""
    view.hear("logs", host, {"event": "entries", "lines": list(entries)})
    view.hear("logs", host, {"event": "told", "now": (time.time() + ahead) * 1000, "notes": [], "places": {}})


def logs_of(*names: str, **more: Any) -> logs.Logs:
    return logs.Logs(look(*names, **more), {"follow": False})


def test_what_many_hosts_say_is_merged_by_time_and_one_hosts_words_stay_together() -> None:
    view = logs_of("web1", "web2")
    told(view, "web2", entry(2000, "b"), entry(3000, "Error: x"), entry(3000, "  at y"))
    told(view, "web1", entry(1000, "a"), entry(3000, "c"), entry(4000, "d"))
    assert [each["text"] for each in view.past()] == ["a", "b", "c", "Error: x", "  at y", "d"]


def test_a_host_whose_clock_is_off_is_put_right_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    view = logs_of("web1", "web2")
    told(view, "web1", entry(10_000, "a"), entry(12_000, "c"))
    told(view, "web2", entry(3_611_000, "b"), ahead=3600)
    assert [each["text"] for each in view.past()] == ["a", "b", "c"]
    assert "web2: its clock is 3600 s ahead of ours; its times are put right here" in capsys.readouterr().out


def test_a_host_that_could_not_be_heard_is_named_at_the_end() -> None:
    view = logs_of("web1", "web2")
    told(view, "web1", entry(1000, "a"))
    view.heard.put(("web2", {"event": "over", "why": "no answer"}))
    assert [each["text"] for each in view.past()] == ["a"]
    assert view.lost == {"web2": "no answer"}


def at_nine(text: str, **more: Any) -> dict[str, Any]:
    today = datetime.now().replace(hour=9, minute=5, second=12, microsecond=7000)
    return {**entry(today.timestamp() * 1000, text, **more), "host": "web1"}


def test_a_line_is_time_host_worker_and_text(capsys: pytest.CaptureFixture[str]) -> None:
    lines = logs.Lines(look("web1", "web10"))
    lines.put([at_nine("\x1b[2J\x1b]0;title\x07red\x1b[31m\rX", id=3), at_nine("seconds", fine=False), at_nine("bad", kind="err", id=None)])
    assert capsys.readouterr().out.splitlines() == [
        "09:05:12.007 web1  3| redX", "09:05:12     web1  0| seconds", "09:05:12.007 web1  -! bad",
    ]


def test_of_several_processes_each_is_named_and_another_day_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    lines = logs.Lines(look("web1", processes=("api", "jobs")))
    lines.put([{**entry(0, "old", name="jobs"), "host": "web1"}, at_nine("now", name="api")])
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("── 19") and out[1].endswith("web1 jobs 0| old")
    assert out[2:] == [f"── {datetime.now().date()}", "09:05:12.007 web1 api 0| now"]


def test_hosts_have_colours_of_their_own_where_colours_are_wanted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    logs.Lines(look("web1")).put([at_nine("\x1b[31mx")])
    said = capsys.readouterr().out
    assert re.fullmatch(r"\x1b\[\d\dm09:05:12.007 web1 0\|\x1b\[0m x\n", said)
    logs.Lines(look("web1")).put([at_nine("\x1b[31mx")])
    assert capsys.readouterr().out == said


def test_programs_get_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.Lines(look("web1", format="json")).put([at_nine("\x1b[31mx", kind="err")])
    [said] = map(json.loads, capsys.readouterr().out.splitlines())
    assert said["time"].startswith(str(datetime.now().date()))
    assert {key: said[key] for key in ("event", "host", "process", "worker", "stream", "text", "by")} == {
        "event": "line", "host": "web1", "process": "shop", "worker": 0, "stream": "err", "text": "x", "by": "line",
    }


class Flaky:
    """A fleet of one host whose link is lost twice."""

    def __init__(self, view: logs.Logs) -> None:
        self.view, self.asked = view, []
        self.stopping = SimpleNamespace(is_set=lambda: len(self.asked) > 2, wait=lambda seconds: False)
        self.lines = {"web1": SimpleNamespace(close=lambda: None)}

    def run(self, phase: str, host: str, steps: list[Any]) -> Outcome:
        self.asked.append(json.loads(steps[1].command.split("'{")[1].split("}'")[0].join("{}")))
        self.view.hear("logs", host, {"event": "entries", "lines": [], "places": {"file": {"ino": 1, "at": len(self.asked)}}})
        return Outcome(None, tail=["connection lost"])

    def reach(self, host: str) -> str:
        return ""


def test_a_lost_link_is_told_and_taken_up_where_it_was() -> None:
    view = logs.Logs(look("web1"), {"follow": True})
    view.fleet = fleet = Flaky(view)
    view.listen("web1")
    events = []
    while True:
        try:
            events.append(view.heard.get_nowait()[1]["event"])
        except queue.Empty:
            break
    assert events == ["entries", "lost", "back", "entries", "lost", "back", "entries", "over"]
    assert [asked["places"] for asked in fleet.asked] == [None, {"file": {"ino": 1, "at": 1}}, {"file": {"ino": 1, "at": 2}}]


# ---------------------------------------------------------------------- exec


def said(*lines: str, code: int | None = 0, why: str = "") -> execute.Said:
    each = execute.Said(code=code, why=why)
    for line in lines:
        each.add(line)
    return each


def test_same_answers_are_one_group_the_largest_first() -> None:
    answers = {"web1": said("a"), "web2": said("b"), "web3": said("b"), "web4": said("b", code=1), "web5": said("b")}
    assert [names for names, _ in execute.groups(answers)] == [["web2", "web3", "web5"], ["web1"], ["web4"]]
    assert execute.named([f"web{n}" for n in range(29)]) == "29 hosts"


def test_what_a_host_says_is_bounded_and_says_so() -> None:
    many = said(*(str(n) for n in range(10_000)))
    assert (len(many.output), many.output[0], many.output[-1]) == (2 * execute.HALF + 1, "0", "9999")
    assert many.output[execute.HALF] == f"[{10_000 - 2 * execute.HALF} lines are left out here]"


def execution(policy: str, unknown: bool = False, **answers: int | None) -> execute.Execution:
    order = execute.order("true", "60s", 10, policy, False)
    made = execute.Execution(look(*answers), order)
    made.said = {name: said(code=code) for name, code in answers.items()}
    made.unknown = {name for name, code in answers.items() if code is None and unknown}
    return made


@pytest.mark.parametrize("policy, ends, error", [
    ("any", (0, 0), None), ("any", (0, 1), RunFailed), ("any", (0, None), RunFailed), ("all", (0, 1), None), ("all", (2, 1), RunFailed),
    ("none", (1, 1), None),
])
def test_the_policy_makes_the_exit_code(policy: str, ends: tuple[int | None, int | None], error: type[Exception] | None) -> None:
    made = execution(policy, web1=ends[0], web2=ends[1])
    if error is None:
        made.judge()
        return
    with pytest.raises(error):
        made.judge()


def test_an_end_that_nobody_knows_is_not_called_a_failure() -> None:
    with pytest.raises(Unsettled):
        execution("any", unknown=True, web1=0, web2=None).judge()


def test_groups_and_their_verdicts_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    made = execution("any", web1=0, web2=0, web3=3)
    made.said = {"web1": said("up \x1b[31m1"), "web2": said("up 1"), "web3": said(code=3)}
    made.show()
    assert capsys.readouterr().out.splitlines() == ["web1 said:", "  up 1", "web2 said:", "  up 1", "web3 said (exit code 3): nothing"]


# ---------------------------------------------------------------------- monit

WORKER = {
    "id": 0, "name": "shop", "pid": 7, "release": "0001-aaaaaaa", "status": "online", "state": "open", "restarts": 3, "died": 1, "up_ms": 3_700_000,
    "cpu": 1.5, "memory": 104_000_000, "lag_ms": 0.2, "lag_p95_ms": 1.04, "requests_per_s": 12.34, "latency_p50_ms": 1, "latency_p95_ms": 3,
    "health": {"status": 200, "ms": 3},
}


def test_a_worker_is_one_row_and_what_is_not_known_is_no_zero() -> None:
    front = {"sessions": 2, "rate": 25, "status": "UP"}
    assert monit.row("web1", WORKER, front) == [
        "web1", "0", "0001-aaaaaaa", "healthy", "2%", "104 MB", "1.0 ms", "12.3", "3 ms", "3 (1 died)", "1h 1m", "in, 25 req/s, 2 now",
    ]
    bare = {**WORKER, "cpu": None, "memory": None, "lag_p95_ms": None, "requests_per_s": None, "latency_p95_ms": None, "up_ms": None, "died": 0}
    assert monit.row("web1", bare, None)[4:] == ["-", "-", "-", "-", "-", "3", "-", "-"]


@pytest.mark.parametrize("change, word", [
    ({}, "healthy"), ({"status": "errored"}, "errored"), ({"state": "held"}, "held"), ({"health": None}, "open"), ({"state": None, "health": None}, "online"),
    ({"health": {"status": 500}}, "unhealthy (500)"), ({"health": {"status": 0, "why": "ECONNREFUSED"}}, "unhealthy (ECONNREFUSED)"),
])
def test_the_state_of_a_worker_is_the_worst_that_is_known(change: dict[str, Any], word: str) -> None:
    assert monit.state({**WORKER, **change}) == word


def test_a_host_without_workers_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    view = monit.Monit(look("web1", "web2"))
    view.hear("monit", "web1", {"event": "sample", "machine": {}, "trouble": "PM2's daemon is not running", "workers": []})
    view.lost = {"web2": "no answer"}
    view.show()
    out = capsys.readouterr().out
    assert "PM2's daemon is not running" in out and "no answer" in out


# ---------------------------------------------------------------------- ssh


def test_ssh_is_told_what_hosts_yaml_says(tmp_path: Path) -> None:
    strict = ["-o", "StrictHostKeyChecking=yes"]
    assert ssh.arguments(host("web1"), tmp_path) == strict
    full = ssh.arguments(host("web1", port=2222, user="deploy", key="/k", ssh_config="/c"), tmp_path)
    assert full == ["-F", "/c", "-p", "2222", "-l", "deploy", "-i", "/k", *strict, "-o", "IdentitiesOnly=yes"]
    assert list(tmp_path.iterdir()) == []


def test_a_pinned_key_alone_counts(tmp_path: Path) -> None:
    words = ssh.arguments(host("web1.example.com", host_key="ssh-ed25519 AAAA comment"), tmp_path)
    file = tmp_path / "web1.example.com.known_hosts"
    assert file.read_text() == "gapless-pinned ssh-ed25519 AAAA\n"
    assert words[3::2] == [f'UserKnownHostsFile="{file}"', "GlobalKnownHostsFile=/dev/null", "HostKeyAlias=gapless-pinned"]


def test_a_file_of_host_keys_counts_for_jump_hosts_too(tmp_path: Path) -> None:
    words = ssh.arguments(host("web1", known_hosts="/k n", ssh_config="/c"), tmp_path)
    config = tmp_path / "web1.config"
    assert words[:2] == ["-F", str(config)]
    assert config.read_text().splitlines() == [
        "Host *", 'UserKnownHostsFile "/k n"', "GlobalKnownHostsFile /dev/null", "StrictHostKeyChecking yes", 'Include "/c"',
    ]


def test_a_shell_is_on_one_host() -> None:
    targets = look("web1", "web2").targets
    with pytest.raises(UsageError, match="names 2 hosts, and a shell is on one: web1, web2"):
        ssh.only(targets)
    assert ssh.only(look("web1").targets).name == "web1"
