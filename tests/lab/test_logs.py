"""The app's own words, what its workers use, and a person's commands, on the real fleet; and nothing of it stays there."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.lab.conftest import Done, Site

pytestmark = [pytest.mark.lab, pytest.mark.operate]

LOADER = b"Run scripts without a file on the host"


def eventually(check: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.1)


def left(site: Site, word: bytes = LOADER) -> dict[str, list[int]]:
    """Name the processes that we have left on hosts."""
    return {host: pids for host in site.lab.names if (pids := site.commanded(host, word))}


def objects(done: Done) -> list[dict]:
    return [json.loads(line) for line in done.out.splitlines() if line.startswith("{")]


def cut_sessions(site: Site, host: str) -> None:
    """Kill what sshd runs for each login: the link is lost as when sshd dies."""
    for pid in site.commanded(host, b"sshd: ") + site.commanded(host, b"sshd-session: "):
        if b"[listener]" not in site.command_line(pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_following_goes_through_a_reload_and_a_lost_link_and_leaves_nothing(site: Site) -> None:
    following = site.begin("logs", "-f", "--lines", "1")
    for _ in site.lab.names:
        following.until("Nest")
    eventually(lambda: left(site).keys() == set(site.lab.names))
    assert site.fab("reload").code == 0
    cut_sessions(site, "lab3")
    following.until("note: lab3: can't be heard, and is tried again")
    site.lab.run("lab3", "echo 'while nobody listened' >> ~/.pm2/logs/shop-out-0.log")
    following.until("while nobody listened")
    following.process.send_signal(signal.SIGINT)
    done = following.done(within=30)
    assert done.code == 130
    assert "note: lab3: can be heard again" in done.out
    starts = [line.split()[1] for line in done.out.splitlines() if "Starting Nest application" in line]
    assert sorted(starts) == sorted(2 * site.lab.names), done.out
    assert starts == sorted(starts), "hosts are reloaded one after another"
    assert done.out.count("while nobody listened") == 1
    eventually(lambda: not left(site))


def test_errors_and_releases_are_found_after_a_failed_deploy(site: Site) -> None:
    before = site.link("lab1")
    failed = site.fab("deploy", "--ref", "v3-throws", hosts="lab1")
    assert failed.code == 1
    bad = site.release_of(failed)
    errors = site.fab("logs", "--errors", "--since", "deploy", hosts="lab1").out
    assert re.search(r"^\S+ lab1 -! exception: Error: JWT_SECRET is not set$", errors, re.M)
    assert "LOG [" not in errors
    assert "JWT_SECRET is not set" in site.fab("logs", "--release", bad, hosts="lab1").out
    good = objects(site.fab("logs", "--release", before, "--since", "deploy", "--format", "json", hosts="lab1"))
    pids = {line["text"].split()[1] for line in good if line.get("stream") == "out"}
    assert pids == {str(pid) for pid in worker_pids(site, "lab1", since_deploy=True)}
    assert not [line for line in good if "JWT_SECRET" in line.get("text", "")]
    merged = [line["time"] for line in objects(site.fab("logs", "--lines", "20", "--format", "json")) if line["event"] == "line"]
    assert merged == sorted(merged) and len(merged) == 60


def worker_pids(site: Site, host: str, since_deploy: bool) -> list[int]:
    """Read from the last journal which workers it saw open."""
    text = site.lab.run(host, "cat $(ls -d ~/shop/.gapless/runs/*/driver.jsonl | tail -n 1)").stdout
    events = [json.loads(line) for line in text.splitlines()]
    return [event["pid"] for event in events if event["event"] == "worker" and event["state"] == "open"]


def test_secrets_and_escape_sequences_of_the_app_are_made_harmless(site: Site) -> None:
    secret = site.lab.run("lab1", "sed -n s/^DATABASE_URL=//p ~/shop/shared/.env").stdout.strip().strip("'\"")
    # With a time of its own: without one it counts as written with the line before it, and another worker may have had its say since.
    line = f"printf '%s at {secret} \\033]0;owned\\007\\033[2Jend\\n' \"$(date -u +%Y-%m-%dT%H:%M:%S.999Z)\""
    site.lab.run("lab1", f"{line} >> ~/.pm2/logs/shop-out-0.log")
    shown = [site.fab("logs", "--lines", "3", hosts="lab1").out, site.fab("logs", "--lines", "3", "--format", "json", hosts="lab1").out,
             site.fab("exec", "--command", "tail -n 1 ~/.pm2/logs/shop-out-0.log; cat shared/.env >&2", hosts="lab1").out]
    for out in shown:
        assert secret not in out and "[hidden DATABASE_URL]" in out and "end" in out
        assert "\x1b" not in out and "\\u001b" not in out


def test_same_answers_are_grouped_and_the_exit_code_follows_the_policy(site: Site) -> None:
    command = "echo same; pwd >&2; printf x; [ $(hostname) != lab2 ] || exit 3"
    done = site.fab("exec", "--command", command)
    root = site.lab.root("lab1")
    if site.lab.mode == "namespace":
        assert f"lab1, lab3 said:\n  same\n  {root}\n  x\nlab2 said (exit code 3):\n" in done.out
    assert (done.code, "1 of 3 hosts failed: lab2: exit code 3" in done.out) == (1, True)
    assert site.fab("exec", "--policy", "all", "--command", command).code == 0
    records = {each["host"]: each for each in objects(site.fab("exec", "--format", "json", "--command", command)) if each["event"] == "host"}
    assert {host: each["code"] for host, each in records.items()} == {"lab1": 0, "lab2": 3, "lab3": 0}
    streamed = site.fab("exec", "--stream", "--command", "echo out; echo err >&2", "--limit", "1")
    assert sorted(streamed.out.splitlines()) == sorted(f"{host}{sign}" for host in site.lab.names for sign in ("! err", "| out"))


STUBBORN = "trap '' TERM HUP INT; (trap '' TERM; sleep 4242) & sleep 4242; sleep 4242"


def test_what_takes_too_long_is_ended_with_all_that_it_started(site: Site) -> None:
    done = site.fab("exec", "--timeout", "1s", "--command", STUBBORN)
    assert (done.code, done.out.count("ended after 1 s (--timeout)") > 0, done.seconds < 20) == (1, True, True)
    eventually(lambda: not left(site, b"4242"))
    running = site.begin("exec", "--stream", "--command", f"echo begun; {STUBBORN}")
    for _ in site.lab.names:
        running.until("begun")
    assert left(site, b"4242").keys() == set(site.lab.names)
    running.process.send_signal(signal.SIGINT)
    assert running.done(within=30).code == 130
    eventually(lambda: not left(site, b"4242") and not left(site))


def test_an_end_that_nobody_saw_is_not_called_one(site: Site) -> None:
    running = site.begin("exec", "--stream", "--command", "echo begun; sleep 3")
    for _ in site.lab.names:
        running.until("begun")
    cut_sessions(site, "lab2")
    done = running.done()
    assert (done.code, "lab2: its link was lost, and how it ended is unknown" in done.out) == (5, True)


def test_monit_tells_what_workers_do_and_what_the_balancer_sees(site: Site) -> None:
    with site.load(slow=0) as tally:
        time.sleep(6)
        done = site.fab("monit", "--format", "json")
        table = site.fab("monit")
    assert (done.code, table.code, tally.lost) == (0, 0, 0)
    workers = [each for each in objects(done) if each["event"] == "worker"]
    assert [(each["host"], each["worker"]) for each in workers] == [(host, id) for host in site.lab.names for id in (0, 1)]
    for each in workers:
        assert (each["status"], each["state"], each["health"]["status"], each["balancer"]["status"]) == ("online", "open", 200, "UP"), each
        assert each["memory"] > 10e6 and each["lag_p95_ms"] > 0 and each["latency_p95_ms"] > 0
    # An average over a minute after 6 s or more of 120 a second, on 6 workers: PM2 calls it req/min, and 2 to 20 a second it is.
    assert 6 < sum(each["requests_per_s"] for each in workers) < 240
    assert sum(each["balancer"]["rate"] for each in workers) > 60
    assert table.out.splitlines()[0].split()[:8] == ["host", "worker", "release", "state", "cpu", "memory", "lag", "req/s"]
    assert table.out.count(" healthy ") == 6


def in_terminal(site: Site, *words: str, typed: bytes, when: bytes) -> tuple[int, str]:
    """Type at a command in a terminal of its own; give its exit code and what it said."""
    pid, fd = pty.fork()
    if not pid:
        os.execve(site.command("fab", words, None)[0], site.command("fab", words, None), {**site.environment(), "TERM": "xterm"})
    said = b""
    with suppress(OSError):
        while data := os.read(fd, 4096):
            said += data
            if typed and when in said:
                os.write(fd, typed)
                typed = b""
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode(errors="replace")


def test_ssh_is_the_real_one_where_the_app_is(site: Site) -> None:
    code, said = in_terminal(site, "ssh", "--hosts", "lab2", typed=b"pwd -P; test -t 0 && stty size; exit 7\n", when=b"# ")
    assert (code, f"{site.lab.root('lab2')}/releases/{site.link('lab2')}" in said) == (7, True), said
    assert "names 3 hosts, and a shell is on one" in site.fab("ssh").out
    text = site.inventory.read_text()
    other = (site.lab.known_hosts.read_text().splitlines()[-1]).split(maxsplit=1)[1]
    mine = next(line for line in site.lab.known_hosts.read_text().splitlines() if site.lab.host("lab2").address in line.split()[0]).split(maxsplit=1)[1]
    for key, words in ((mine, "exit 7"), (other, "REMOTE HOST IDENTIFICATION HAS CHANGED")):
        site.inventory.write_text(text.replace("hosts: [lab1, lab2, lab3]", f"hosts: [lab1, {{host: lab2, host_key: {key}}}, lab3]"))
        code, said = in_terminal(site, "ssh", "--hosts", "lab2", typed=b"exit 7\n", when=b"# ")
        assert (code, words in said) == (7 if key == mine else 255, True), said
