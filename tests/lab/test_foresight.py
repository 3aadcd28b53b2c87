"""Plans of the real fleet: nothing is written, what was planned is done, and what has moved since is refused."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import Done, Site

pytestmark = [pytest.mark.lab, pytest.mark.operate]

# What the last deploy copies for the next one is not what a plan writes.
LISTING = "while pgrep -f '[d]eps.cjs' >/dev/null; do sleep 0.2; done; find . -xdev -printf '%p %i %T@ %C@ %s %m\\n' | sort"
LOCK = '{"run": "other-run", "verb": "deploy", "who": "eve", "from": "ci-7", "pid": 1, "at": 1, "ci": ""}'


def listing(site: Site, host: str) -> list[str]:
    """List all that a host's user has, with inode, both times and size of each: whatever is written shows."""
    return site.lab.run(host, LISTING).stdout.splitlines()


def everything(site: Site) -> dict[str, list[str]]:
    return {host: listing(site, host) for host in (*site.lab.names, "lablb")}


def here(site: Site) -> set[Path]:
    """List the files on the controller, beside hosts.yaml and in the state directory; but for the copy of the repository's commits."""
    return {file for file in site.folder.rglob("*") if file.is_file() and "git" not in file.relative_to(site.folder).parts}


def planned(site: Site, *words: str, hosts: str | None = "lab") -> dict[str, Any]:
    """Make a plan and give the one object that programs read."""
    done = site.fab(*words, "--plan", "--format", "json", hosts=hosts)
    (line,) = [line for line in done.out.splitlines() if line.startswith("{")]
    plan: dict[str, Any] = json.loads(line)
    assert plan["exit"] == done.code
    return plan


@contextlib.contextmanager
def edited_env(site: Site, host: str) -> Iterator[None]:
    """Edit the shared env file of a host: one variable is new, one is gone, one has another value."""
    edit = "cp -p .env .env.was && sed -i -e /^DEMO_OLD=/d -e 's/^JWT_EXPIRES=.*//' .env && printf 'DEMO_NEW=hunter2-new\\n' >>.env"
    site.lab.run(host, f"cd ~/shop/shared && {edit} && sed -i 's|^DATABASE_URL=.*|&?hunter2=1|' .env")
    try:
        yield
    finally:
        site.lab.run(host, "cd ~/shop/shared && mv .env.was .env")


def test_a_plan_reads_the_real_hosts_and_writes_nothing(site: Site) -> None:
    with edited_env(site, "lab2"):
        before, mine = everything(site), here(site)
        told = site.fab("deploy", "--ref", "v2", "--plan")
        plan = planned(site, "deploy", "--ref", "v2")
        assert everything(site) == before
        assert {file.name for file in here(site) - mine} == {f"{plan['plan_id']}.json"}
    live = site.link("lab1")
    assert told.code == 0, told.out
    assert "hunter2" not in told.out + json.dumps(plan)
    assert f"plan {plan['plan_id']}: deploy on lab, 3 hosts" in told.out
    assert f"  now      {live} on all 3 hosts" in told.out
    assert "wave 1: lab1 · drained; 2 of 3 keep serving" in told.out
    assert "added DEMO_NEW; changed DATABASE_URL; removed DEMO_OLD on lab2" in told.out
    assert "npx prisma migrate deploy on lab1, once" in told.out
    assert "ad4ac5e (v2) \"Add a note to items\", Lena Lab, 2026-11-01" in told.out
    assert told.out.splitlines()[-1] == f"Next:  fab deploy --hosts lab --plan-id {plan['plan_id']}"
    assert plan["hosts"]["lab2"]["env"]["shop"] == {"added": ["DEMO_NEW"], "changed": ["DATABASE_URL"], "removed": ["DEMO_OLD"]}
    assert plan["time"]["phases"]["build"] > 1
    assert plan["time"]["phases"]["reload"] > 1


def test_a_plan_is_applied_and_refused_once_the_fleet_has_moved(site: Site) -> None:
    plan = planned(site, "deploy", "--ref", "hooks", hosts="lab1")
    was, release = plan["hosts"]["lab1"]["current"], plan["hosts"]["lab1"]["release"]
    assert plan["waves"] == {"lab": [{"hosts": ["lab1"], "how": "drained", "serving": 2, "of": 3}]}
    done = site.fab("deploy", "--plan-id", plan["plan_id"], hosts=None)
    assert done.code == 0, done.out
    assert site.link("lab1") == release
    before = everything(site)
    again = site.fab("deploy", "--plan-id", plan["plan_id"], hosts="lab1")
    assert again.code == 4, again.out
    assert f"plan {plan['plan_id']} does not hold any more; nothing was touched." in again.out
    assert f"  lab1: current was {was}, is {release}\n" in again.out
    assert f"  lab1: its release was {release}, is " in again.out
    # The lock was there for a moment: the directory that held it has another time, and that is all.
    assert {host: changed(before[host], listing(site, host)) for host in before} == {
        "lab1": {"./shop/.gapless"}, "lab2": set(), "lab3": set(), "lablb": set()}
    back = planned(site, "rollback", hosts="lab1")
    assert (back["hosts"]["lab1"]["release"], back["commits"][0]["ahead"] + back["commits"][0]["behind"] > 0) == (was, True)
    assert site.fab("rollback", "--plan-id", back["plan_id"], hosts=None).code == 0
    assert site.link("lab1") == was


def changed(before: list[str], after: list[str]) -> set[str]:
    return {line.split()[0] for line in set(before) ^ set(after)}


def git(site: Site, *words: str) -> str:
    return subprocess.run(["git", "-C", site.lab.repo, *words], check=True, capture_output=True, text=True).stdout.strip()


def test_a_plan_whose_branch_has_moved_is_refused(site: Site) -> None:
    git(site, "update-ref", "refs/heads/moving", "v1")
    try:
        plan = planned(site, "deploy", "--ref", "moving")
        git(site, "update-ref", "refs/heads/moving", "v2")
        done = site.fab("deploy", "--plan-id", plan["plan_id"])
    finally:
        git(site, "update-ref", "-d", "refs/heads/moving")
    assert done.code == 4, done.out
    assert f"moving moved from {plan['commit'][:7]} to {git(site, 'rev-parse', '--short=7', 'v2')}" in done.out
    assert "current was" not in done.out


def test_a_plan_ends_as_the_command_would(site: Site) -> None:
    free = planned(site, "reload")
    site.lab.run("lab2", f"mkdir ~/shop/.gapless/lock && printf '%s\\n' '{LOCK}' > ~/shop/.gapless/lock/owner.json")
    try:
        held = planned(site, "reload")
        told = site.fab("reload", "--plan")
        real = site.fab("reload", "--plan-id", free["plan_id"])
    finally:
        site.lab.run("lab2", "rm -r ~/shop/.gapless/lock")
    assert (held["exit"], told.code, real.code) == (3, 3, 3)
    assert "lab2: eve@ci-7 has been at deploy for" in held["message"]
    assert ("lab2: eve@ci-7" in told.out, "--plan-id" in told.out) == (True, False)
    stale = site.fab("reload", "--plan-id", held["plan_id"])
    assert (stale.code, "lab2: its lock was other-run, is none" in stale.out) == (4, True), stale.out
    site.lab.run("lab3", "mv ~/shop/shared/.env ~/shop/shared/.env.away")
    try:
        unfit = planned(site, "deploy")
    finally:
        site.lab.run("lab3", "mv ~/shop/shared/.env.away ~/shop/shared/.env")
    assert unfit["exit"] == 4
    assert "lab3: /srv/shop/shared/.env is missing" in unfit["message"] or "shared/.env is missing" in unfit["message"]
    assert unfit["hosts"]["lab1"]["unfit"] == []


def test_a_protected_group_is_shown_what_is_ahead_and_asked_for_its_name(site: Site) -> None:
    site.configure(more="protected: true")
    current = site.link("lab1")
    before = everything(site)
    refused = at_terminal(site, "not lab", "deploy", "--ref", "v2", "--hosts", "lab")
    assert refused.code == 2, refused.out
    assert "that was another name; nothing was done" in refused.out
    assert "(v2) \"Add a note to items\"" in refused.out
    assert "npx prisma migrate deploy on lab1, once" in refused.out
    assert "lab is protected. Type its name to go on:" in refused.out
    assert site.fab("deploy", "--ref", "v2").code == 2
    assert at_terminal(site, "lab", "deploy", "--hosts", "lab", CI="1").code == 2
    assert everything(site) == before
    done = at_terminal(site, "lab", "migrate", "--release", current, "--hosts", "lab", "--format", "plain")
    assert (done.code, "done before for this release" in done.out, "── migrate" in done.out) == (0, True, True), done.out
    assert site.fab("migrate", "--release", current, "--yes").code == 0


def at_terminal(site: Site, answer: str, *words: str, **more: str) -> Done:
    """Type a command at a terminal of its own, and an answer into it."""
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in site.environment().items() if key != "CI"} | {"TERM": "xterm"} | more
    process = subprocess.Popen(site.command("fab", words, None), stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True)
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    said = b""
    with contextlib.suppress(OSError):  # a terminal without a program says so
        while data := os.read(ours, 65_536):
            said += data
    os.close(ours)
    text = said.decode(errors="replace").replace("\r\n", "\n")
    print(text)
    return Done(process.wait(60), text, 0.0)
