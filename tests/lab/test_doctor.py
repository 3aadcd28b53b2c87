"""Doctor on the real fleet: each broken fixture is named with the fix that mends it, and none is invented on a good host."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab.conftest import Done, Site

pytestmark = [pytest.mark.lab, pytest.mark.operate]

Found = dict[tuple[str, str], dict[str, Any]]  # host and check


def examined(site: Site, *words: str) -> tuple[Done, Found]:
    """Give what doctor says of each host and check, and how it ended."""
    done = site.fab("doctor", "--format", "json", *words)
    events = [json.loads(line) for line in done.out.splitlines() if line.startswith("{")]
    assert events[-1]["event"] == "summary", done.out
    assert events[-1]["exit"] == done.code
    return done, {(each["host"], each["check"]): each for each in events if each["event"] == "check"}


def wait(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def wrong(found: Found) -> dict[tuple[str, str], str]:
    return {key: each["state"] for key, each in found.items() if each["state"] != "ok"}


@dataclass(frozen=True)
class Fault:
    """One thing to break on a host, how to heal it, and what doctor must say of it."""

    name: str
    breaks: str
    heals: str
    check: str
    state: str
    words: str
    fix: str
    also: tuple[str, ...] = ()  # checks that may rightly speak up too


PARKED = "cp -a ~/shop/shared/.env ~/env.kept; "
BACK = "cp -a ~/env.kept ~/shop/shared/.env; "
LOCK = ('{"run": "x1", "verb": "deploy", "who": "eve", "from": "ci-7", "pid": 1, "boot": "", "start": "", "at": 1, "ci": "", "resumes": []}')
HELD = f"mkdir ~/shop/.gapless/lock; printf '%s\\n' '{LOCK}' >~/shop/.gapless/lock/owner.json; touch -d '1 hour ago' ~/shop/.gapless/lock/beat; "
FREE = "rm -rf ~/shop/.gapless/lock"
OTHER = (  # a second PM2 that has the app
    "mkdir -p ~/other; printf 'setInterval(() => {}, 1000)' >~/shop/alien.js; "
    "cd ~/shop && PM2_HOME=~/other pm2 start alien.js --name shop >/dev/null"
)
LISTENER = "nohup node -e 'require(\"net\").createServer().listen(4999)' >/dev/null 2>&1 & echo $! >~/listener; sleep 0.5"

# Each column breaks one host in several independent ways at once: one look names them all.
FAULTS = {
    "lab1": (
        Fault("env file is open to all", f"{PARKED}chmod 644 ~/shop/shared/.env", BACK, "env file", "warn", ".env has mode 0644", "chmod 600"),
        Fault("saved list is open to all", "chmod 644 ~/.pm2/dump.pm2", "chmod 600 ~/.pm2/dump.pm2", "saved list", "warn", "mode 0644", "chmod 600"),
        Fault("our directory is open to all", "chmod 755 ~/shop/.gapless", "chmod 700 ~/shop/.gapless", "rights", "warn", "mode 0755", "chmod 700"),
        Fault("a torn rename", "touch ~/shop/.gapless/owner.next", "rm -f ~/shop/.gapless/*.next", "leftovers", "warn", "owner.next", "rm -r"),
        Fault("a lock of a dead build", f"{HELD}echo 'build 0009-x' >~/shop/.gapless/lock/phase", FREE, "lock", "warn", "eve@ci-7", "fab unlock --hosts lab1 --id x1"),
    ),
    "lab2": (
        Fault("a line that is none", f"{PARKED}echo 'JWT SECRET' >>~/shop/shared/.env", BACK, "env file", "bad", "is no NAME=value", "+"),
        Fault("a saved list without the app", "cp -p ~/.pm2/dump.pm2 ~/dump.kept; printf '[]' >~/.pm2/dump.pm2", "cp -p ~/dump.kept ~/.pm2/dump.pm2",
              "saved list", "warn", "lacks shop", "save"),
        Fault("somebody else's file", "touch ~/shop/shared/alien; chown 65534 ~/shop/shared/alien", "rm ~/shop/shared/alien", "rights", "warn", "shared/alien", "chown -hR"),
        Fault("a link to nowhere", "readlink ~/shop/current >~/link; ln -sfn releases/9999-gone ~/shop/current", 'ln -sfn "$(cat ~/link)" ~/shop/current',
              "link", "bad", "leads to 9999-gone, which is gone", "ln -sfn releases/", ("env file", "shared")),
        Fault("a lock of a dead reload", f"{HELD}echo 'reload 0009-x' >~/shop/.gapless/lock/phase", FREE, "lock", "bad", "eve@ci-7", "fab resume --hosts lab2"),
        Fault("another PM2 has the app", OTHER, "PM2_HOME=~/other pm2 kill >/dev/null; rm -rf ~/other ~/shop/alien.js", "owner", "bad",
              "/other, pid ", "/other}"),
    ),
    "lab3": (
        Fault("no env file", "mv ~/shop/shared/.env ~/env.kept", "mv ~/env.kept ~/shop/shared/.env", "shared", "bad", "shared/.env is missing", "<.env", ("env file",)),
    ),
}


def each() -> Iterator[tuple[str, Fault]]:
    """List what can be broken here: only root can make a file somebody else's."""
    return ((host, fault) for host, faults in FAULTS.items() for fault in faults if os.geteuid() == 0 or "chown" not in fault.breaks)


@contextmanager
def broken(site: Site, faults: Iterator[tuple[str, Fault]]) -> Iterator[None]:
    with ExitStack() as heal:
        for host, fault in faults:
            heal.callback(site.lab.run, host, fault.heals)
            site.lab.run(host, fault.breaks)
        yield


@pytest.fixture
def calm(site: Site) -> Site:
    """Forget the longest requests of the tests before: nobody's fault here."""
    site.lab.haproxy("clear counters all")
    return site


def test_nothing_is_invented_on_a_good_fleet(calm: Site) -> None:
    done, found = examined(calm)
    assert wrong(found) == {}
    assert done.code == 0
    assert {host for host, _ in found} == {"this machine", "lab1", "lab2", "lab3", "lablb/shop"}
    plain = calm.fab("doctor")
    assert plain.code == 0
    assert all(len(line) <= 80 for line in plain.out.splitlines() if not line.startswith("this machine")), plain.out


def test_each_fault_is_named_with_its_fix_and_the_safe_ones_are_mended(calm: Site) -> None:
    with broken(calm, each()):
        done, found = examined(calm)
        assert done.code == 4, done.out
        for host, fault in each():
            said = found[host, fault.check]
            assert fault.words in said["words"], fault.name
            assert said["state"] == max(fault.state, "bad" if said["state"] == "bad" and sharing(host, fault) else fault.state), fault.name
            assert fault.fix in said["fix"], fault.name
        allowed = {(host, check) for host, fault in each() for check in (fault.check, *fault.also)}
        assert set(wrong(found)) <= allowed, set(wrong(found)) - allowed
        assert "Secret" not in done.out and "JWT SECRET" not in done.out
        plain = calm.fab("doctor", "--fix")
        assert plain.code == 4
        done, found = examined(calm)
    healed = [key for key in (("lab1", fault.check) for fault in FAULTS["lab1"]) if found[key]["state"] != "ok"]
    assert healed == []
    assert plain.out.count("fixed  lab1:") == len(FAULTS["lab1"])
    assert "not mended: lab2: eve@ci-7 began a deploy" in plain.out  # its run died with something in hand
    mended = [json.loads(line) for line in calm.fab("history", "--format", "json").out.splitlines() if '"doctor"' in line][-1]
    assert ("lab1" in mended["hosts"], "lab2" in mended["hosts"], "env mode" in mended["what"]) == (True, False, True), mended
    assert wrong(examined(calm)[1]) == {}


def sharing(host: str, fault: Fault) -> bool:
    return any(other.state == "bad" and fault.check in (other.check, *other.also) for other in FAULTS[host])


def test_a_live_run_is_left_alone_by_fix(calm: Site) -> None:
    alive = LOCK.replace('"at": 1', '"at": 1790000000')
    calm.lab.run("lab1", f"mkdir ~/shop/.gapless/lock; printf '%s\\n' '{alive}' >~/shop/.gapless/lock/owner.json; touch ~/shop/.gapless/lock/beat; chmod 755 ~/shop/.gapless")
    try:
        done = calm.fab("doctor", "--fix")
        assert "not mended: lab1: eve@ci-7" in done.out
        assert calm.lab.run("lab1", "stat -c %a ~/shop/.gapless").stdout.strip() == "755"
    finally:
        calm.lab.run("lab1", f"{FREE}; chmod 700 ~/shop/.gapless")


@pytest.mark.parametrize("app, check, words, fix", [
    ("exec_mode: fork", "mode", "runs in cluster mode, hosts.yaml wants fork", "--allow-downtime"),
    ("shared: {files: [.env, missing.json]}", "shared", "shared/missing.json is missing", "umask 077"),
], ids=["mode", "shared file"])
def test_hosts_yaml_that_wants_something_else(calm: Site, app: str, check: str, words: str, fix: str) -> None:
    if app.startswith("shared"):
        text = calm.configure().read_text().replace("shared: {files: [.env]}", app)
        calm.inventory.write_text(text)
    else:
        calm.configure(app=app)
    done, found = examined(calm)
    assert done.code == 4
    for host in calm.lab.names:
        assert words in found[host, check]["words"]
        assert fix in found[host, check]["fix"]


def swapped(text: str) -> str:
    return text.replace("hosts: [lab1, lab2, lab3]", "hosts: [{host: lab1, server: lab2}, {host: lab2, server: lab1}, {host: lab3, node_bin: /opt/none}]")


YAMLS: dict[str, tuple[Callable[[str], str], str, str, str, str]] = {
    "servers swapped": (swapped, "lab1", "balancer", "which is lab2", "server: lab1"),
    "no such node_bin": (swapped, "lab3", "node", "node_bin: /opt/none has no node", "node_bin: /"),
    "no such backend": (lambda text: text.replace("backend: shop", "backend: shpo"), "lablb/shpo", "servers", "no backend shpo", "backend: shop"),
    "no such socket": (lambda text: text.replace("admin.sock", "none.sock"), "lablb/shop", "socket", "there is no socket", "stats socket"),
    "no such repository": (lambda text: text.replace("repo.git", "nothing.git"), "lab1", "repo", "no such repository", "app.repo"),
    "nobody at the url": (lambda text: text.replace("lablb:", "127.0.0.1:1"), "lablb/shop", "url", "ConnectionError", "url:"),
    "a host too few": (lambda text: text.replace("[lab1, lab2, lab3]", "[lab1, lab2]"), "lablb/shop", "servers", "has not: lab3", "server: lab3"),
    "an unhealthy route": (lambda text: text.replace("path: /health", "path: /nothing-there"), "lab2", "health", "gave 404", "health: {path: /"),
}


@pytest.mark.parametrize("case", YAMLS.values(), ids=YAMLS)
def test_hosts_yaml_that_is_not_what_is(calm: Site, case: tuple[Callable[[str], str], str, str, str, str]) -> None:
    change, host, check, words, fix = case
    calm.inventory.write_text(change(calm.inventory.read_text()))
    _, found = examined(calm)
    assert words in found[host, check]["words"], found[host, check]
    assert fix in found[host, check]["fix"], found[host, check]


def test_what_stands_between_us_and_a_host(calm: Site) -> None:
    calm.lab.stop_sshd("lab1")
    calm.lab.change_host_key("lab2")
    calm.lab.run("lab3", "kill -STOP $(cat ~/.pm2/pm2.pid)")
    try:
        done, found = examined(calm)
    finally:
        calm.lab.run("lab3", "kill -CONT $(cat ~/.pm2/pm2.pid)")
        calm.lab.start_sshd("lab1")
        calm.lab.restore_host_key("lab2")
    assert done.code == 4
    assert found["lab1", "ssh"]["words"].startswith("refused:")
    assert "systemctl start ssh" in found["lab1", "ssh"]["fix"]
    assert found["lab2", "ssh"]["words"].startswith("key changed:")
    assert "ssh-keygen -R" in found["lab2", "ssh"]["fix"]
    assert found["lab1", "disk"]["state"] == "unknown"
    assert "is stopped (state T)" in found["lab3", "daemon"]["words"]
    assert "kill -CONT" in found["lab3", "daemon"]["fix"]
    assert found["lab3", "workers"]["state"] == "unknown"
    wait(lambda: calm.rotation() == set(calm.lab.names))


def test_the_guides_way_and_a_taken_port(calm: Site) -> None:
    """`pm2 start npm`, a resolved path, a port that is somebody else's: on a host that had nothing of ours."""
    lab = calm.lab
    host = "lab3"
    name = lab.run(host, "readlink ~/shop/current").stdout.strip()
    text = calm.inventory.read_text()
    calm.inventory.write_text(text.replace("      script: dist/main.js\n      instances: 2\n      port: 3000", (
        "      processes:\n        wrapped: {script: dist/main.js, health: none}\n        resolved: {script: dist/main.js, health: none}\n"
        "        blocked: {script: dist/main.js, port: 4999}")).replace("      health: {path: /health}\n", ""))
    lab.run(host, f"cd ~/shop/{name} && pm2 start npm --name wrapped -- run nothing >/dev/null; printf 'setInterval(() => {{}}, 1000)' >idle.js; pm2 start idle.js --name resolved >/dev/null")
    lab.run(host, LISTENER)
    try:
        _, found = examined(calm)
    finally:
        lab.run(host, f"pm2 delete wrapped resolved >/dev/null; kill $(cat ~/listener); rm -f ~/shop/{name}/idle.js")
    assert "wrapped was started as `pm2 start npm`" in found[host, "script"]["words"]
    assert "a resolved release path" in found[host, "script"]["words"]
    assert "--allow-downtime" in found[host, "script"]["fix"]
    assert "hosts.yaml wants cluster" in found[host, "mode"]["words"]
    assert "port 4999 of blocked is held by pid" in found[host, "port"]["words"]
    assert "kill " in found[host, "port"]["fix"]
