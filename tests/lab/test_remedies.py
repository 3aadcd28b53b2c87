"""Hosts that are really broken: doctor names each fault, and what it says to type is typed here and mends it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.nemesis.sshd import environment, login_shell, sshd_with
from tests.faults.nemesis.tools import NVM, node_by_nvm
from tests.lab import making
from tests.lab.conftest import Site
from tests.lab.test_doctor import Found, calm, examined, wait, wrong

__all__ = ["calm"]  # the fixture

pytestmark = [pytest.mark.lab, pytest.mark.operate]

ONE_PROCESS = "      script: dist/main.js\n      instances: 2\n      port: 3000"
HEALTH = "      health: {path: /health}\n"
Changes = dict[str, dict[str, str]]  # host to what its text in hosts.yaml says instead


@pytest.fixture
def fleet(calm: Site) -> Site:
    """Give the fleet where its hosts have file systems, addresses and users of their own."""
    calm.needs_mounts()
    return calm


def apart(site: Site, changes: Changes) -> None:
    """Write a hosts.yaml that has a group and an app for each host, so that one look sees several that are wrong."""
    body = site.configure().read_text().removeprefix("groups:\n")
    balancer = re.search(r"    balancer: .*\n", body)
    assert balancer
    text = "groups:\n"
    for host, pairs in changes.items():
        one = body.replace("  lab:", f"  only-{host}:").replace("[lab1, lab2, lab3]", f"[{host}]")
        for old, new in {**pairs, **({balancer[0]: ""} if pairs.get("balancer") == "" else {})}.items():
            assert old in one, old
            one = one.replace(old, new) if old != "balancer" else one
        text += one
    site.inventory.write_text(f"{text}  lab: {{groups: [{', '.join(f'only-{host}' for host in changes)}]}}\n")


def commands(fix: str) -> list[str]:
    """Take the commands out of a remedy: words for people stand three spaces away, or before a colon."""
    parts = [part for line in fix.splitlines() for part in line.split("   ")]
    return [re.sub(r"^[^'\"]*?: (?=ssh |fab )", "", part) for part in parts if re.search(r"\b(ssh|fab) ", part)]


def typed(site: Site, fix: str, which: int = 0) -> str:
    """Type one of the commands of a remedy as it stands; we are root on the lab's hosts and have no terminal, so without sudo and -t."""
    command = commands(fix)[which].replace("sudo ", "").replace("ssh -t ", "ssh ")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", command], env={**site.environment(), "PATH": path}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )
    print(f"$ {command}\n{done.stdout}{done.stderr}")
    assert done.returncode == 0, command
    return done.stdout


def said(found: Found, host: str, check: str, words: str, fix: str) -> str:
    """Check what is said of a fault, and give the remedy."""
    one = found[host, check]
    assert words in one["words"], one
    assert fix in one["fix"], one
    return str(one["fix"])


@pytest.fixture
def git_by_ssh(fleet: Site) -> Iterator[Site]:
    """Have hosts fetch from each other's sshd; what they know and what they are known by goes with the test."""
    yield fleet
    for host in fleet.lab.names:
        fleet.lab.run(host, "rm -rf ~/.ssh")
        (fleet.lab.host(host).folder / "authorized_keys").write_text((fleet.lab.dir / "id_ed25519.pub").read_text())


def test_a_repository_that_git_can_not_read(git_by_ssh: Site) -> None:
    site, lab = git_by_ssh, git_by_ssh.lab
    url = {host: f"ssh://root@{lab.host(host).address}/srv/repo.git" for host in lab.names}
    known = (lab.dir / "known_hosts").read_text()
    for host in ("lab2", "lab3"):
        lab.run(host, f"umask 077; mkdir ~/.ssh; cat >~/.ssh/known_hosts <<'X'\n{known}X")
    apart(site, {"lab1": {str(lab.repo): url["lab2"]}, "lab2": {str(lab.repo): url["lab3"]}, "lab3": {str(lab.repo): "ssh://git@nowhere.invalid/x.git"}})
    _, found = examined(site)
    said(found, "lab1", "repo", "host key unknown: ", "ssh -o StrictHostKeyChecking=ask -T root@")
    login = said(found, "lab2", "repo", "login refused: ", "ssh-keygen -q -t ed25519")
    said(found, "lab3", "repo", "no such name: ", "getent hosts nowhere.invalid")
    assert "has never been told the key" in found["this machine", "ref"]["means"]

    with (lab.host("lab3").folder / "authorized_keys").open("a") as keys:
        keys.write(typed(site, login))  # the host's new key, added as a deploy key would be
    lab.run("lab1", f"umask 077; mkdir ~/.ssh; cat >~/.ssh/known_hosts <<'X'\n{known}X\ncp {lab.dir}/id_ed25519 ~/.ssh/id_ed25519; chmod 644 ~/.ssh/id_ed25519")
    other = (lab.host("lab2").folder / "hostkey.pub").read_text().split()[1]
    lab.run("lab3", f"echo '{lab.host('lab1').address} ssh-ed25519 {other}' >~/.ssh/known_hosts")
    apart(site, {"lab1": {str(lab.repo): url["lab2"]}, "lab2": {str(lab.repo): url["lab3"]}, "lab3": {str(lab.repo): url["lab1"]}})
    _, found = examined(site)
    loose = said(found, "lab1", "repo", "key open to others: ", "chmod 600 /srv/.ssh/id_ed25519")
    assert found["lab2", "repo"]["state"] == "ok"
    said(found, "lab3", "repo", "host key changed: ", f"ssh-keygen -R {lab.host('lab1').address}; ssh -o StrictHostKeyChecking=ask")

    typed(site, loose)
    lab.run("lab3", "node -e 'require(\"http\").createServer((q, s) => s.writeHead(401, {\"www-authenticate\": \"Basic\"}).end()).listen(4998)' >/dev/null 2>&1 & echo $! >~/http; sleep 0.5")
    apart(site, {"lab1": {str(lab.repo): url["lab2"]}, "lab2": {str(lab.repo): f"ssh://root@{lab.host('lab3').address}/srv/none.git"}, "lab3": {str(lab.repo): "http://127.0.0.1:4998/x.git"}})
    _, found = examined(site)
    lab.run("lab3", "kill $(cat ~/http); rm ~/http")
    assert found["lab1", "repo"]["state"] == "ok"
    said(found, "lab2", "repo", "no such repository: ", "correct app.repo")
    said(found, "lab3", "repo", "login refused: ", "credential.helper store")


SMALL = "mkdir ~/small; mount -t tmpfs -o {options} lab ~/small; mkdir -p ~/small/shared; cp -p ~/shop/shared/.env ~/small/shared/; "
FILL = "mkdir -p {0}; dd if=/dev/zero of={0}/filler bs=64k 2>/dev/null || true; "
EMPTY = {"balancer": "", "name: shop": "name: other", "root: ~/shop": "root: ~/small", "port: 3000": "port: 3999", "migrate: npx prisma migrate deploy": "min_free_mb: 20"}


def test_a_machine_without_room_time_or_rights(fleet: Site) -> None:
    lab = fleet.lab
    date = lab.run("lab3", "readlink -f $(command -v date)").stdout.strip()
    try:
        lab.run("lab1", f"{SMALL.format(options='size=40m')}{FILL.format('/srv/small/.gapless/deps')}")
        lab.run("lab2", f"{SMALL.format(options='size=90m,nr_inodes=200')}i=0; while touch ~/small/$i 2>/dev/null; do i=$((i + 1)); done; mkdir ~/full; mount -t tmpfs -o size=1m lab ~/full; {FILL.format('/srv/full/logs')}")
        lab.run("lab2", "mv ~/full/logs/filler ~/full/logs/a.log")
        lab.run("lab3", f"{SMALL.format(options='size=90m,noexec')}printf '#!/bin/sh\\nperl -e \"print time - 3600\"\\n' >~/date; chmod 755 ~/date; mount --bind ~/date {date}")
        apart(fleet, {"lab1": EMPTY, "lab2": {**EMPTY, "[lab2]": "[{host: lab2, pm2_home: /srv/full}]"}, "lab3": EMPTY})
        done, found = examined(fleet)
        assert done.code == 4
        disk = said(found, "lab1", "disk", "0 MB free at /srv/small", "rm -rf /srv/small/.gapless/deps")
        said(found, "lab2", "inodes", "0 inodes free at /srv/small", "rm -rf /srv/small/.gapless/deps")
        logs = said(found, "lab2", "disk", "0 MB free at /srv/full (PM2's home)", "truncate -s 0 /srv/full/logs/*.log")
        said(found, "lab3", "clock", "s behind this machine", "set-ntp true")
        rights = said(found, "lab3", "rights", "(noexec)", "remount,exec")
        assert abs(float(found["lab3", "clock"]["words"].split()[0]) - 3600) < 20
        for fix in (disk, logs, rights):
            typed(fleet, fix)
        lab.run("lab2", "umount ~/full; rmdir ~/full")
        lab.run("lab3", f"umount {date}; mount -o remount,ro ~/small")
        apart(fleet, {"lab1": EMPTY, "lab3": EMPTY})
        _, found = examined(fleet)
        assert {key for key, state in wrong(found).items() if state == "bad"} == {("lab3", "rights")}
        said(found, "lab3", "rights", "read-only", "remount,rw")
    finally:
        for host in lab.names:
            lab.run(host, f"for place in {date} ~/full ~/small; do umount $place 2>/dev/null; done; rm -rf ~/date ~/full ~/small")


WAYS = {"redirects": 4101, "missing": 4102, "breaks": 4103, "hangs": 4104, "wants-login": 4105}
SERVER = """\
const [way, port] = process.argv.slice(2);
const status = { redirects: 302, missing: 404, breaks: 500, 'wants-login': 401 }[way];
require('http').createServer((q, s) => status && s.writeHead(status, way === 'redirects' ? { location: '/login?next=1' } : {}).end()).listen(+port);
"""


def test_a_health_route_that_is_none(fleet: Site) -> None:
    lab = fleet.lab
    lab.run("lab1", f"cat >~/way.js <<'X'\n{SERVER}X\n" + "; ".join(f"pm2 start ~/way.js --name {way} -i 1 -- {way} {port} >/dev/null" for way, port in WAYS.items()))
    lines = "".join(f"        {way}: {{script: dist/main.js, instances: 1, port: {port}, health: {{path: /health, timeout: 1s}}}}\n" for way, port in WAYS.items())
    apart(fleet, {"lab1": {"balancer": "", ONE_PROCESS: f"      processes:\n{lines}", HEALTH: ""}})
    try:
        _, found = examined(fleet)
    finally:
        lab.run("lab1", f"pm2 delete {' '.join(WAYS)} >/dev/null; rm ~/way.js")
    told = found["lab1", "health"]["words"]
    for words in ("redirects: GET /health gave 302, a redirect to /login", "missing: GET /health gave 404", "breaks: GET /health gave 500, want 200",
                  "hangs: GET /health: no answer within 1000 ms", "wants-login: GET /health gave 401"):
        assert words in told
    assert "next=1" not in told
    for fix in ("answer 200 on /health without a login", "health: {path: /", "fab rollback --hosts lab1", "fab reload --hosts lab1", "breaks-error-"):
        assert fix in found["lab1", "health"]["fix"]


BASHRC = "case $- in *i*) ;; *) return ;; esac\n. ~/.nvm/nvm.sh\n"


def test_a_node_that_is_hidden_too_old_or_none(fleet: Site) -> None:
    lab = fleet.lab
    path = making.host_env(lab.host("lab2"))["PATH"]
    lab.run("lab2", "mkdir -p ~/old; printf '#!/bin/sh\\n[ \"$1\" != -v ] || exec echo v16.20.2\\nexec %s \"$@\"\\n' $(command -v node) >~/old/node; chmod 755 ~/old/node")
    files = {".profile": '[ -z "$BASH" ] || . ~/.bashrc\n', ".bashrc": BASHRC, ".nvm/nvm.sh": f"PATH={NVM}/bin:$PATH\n"}
    with (node_by_nvm(lab, "lab1"), login_shell(lab, "lab1", "/bin/bash", files), environment(lab, "lab2", PATH=f"/srv/old:{path}"),
          environment(lab, "lab3", PATH="/usr/sbin:/sbin")):
        _, found = examined(fleet)
        hidden = said(found, "lab1", "node", "is not in the PATH of a plain ssh command", f"node_bin: {NVM}/bin")
        old = said(found, "lab2", "node", "node is 16.20.2 (/srv/old/node); the gate needs 20.12 or newer", "{host: lab2, node_bin: /")
        said(found, "lab3", "ssh", "logged in, but nothing could be run there", "PATH of the session")
        entries = [fix.partition("  in hosts.yaml")[0] for fix in (hidden, old)]
        fleet.inventory.write_text(fleet.inventory.read_text().replace("[lab1, lab2, lab3]", f"[{', '.join(entries)}, lab3]"))
        _, found = examined(fleet)
        assert [found[host, "node"]["state"] for host in ("lab1", "lab2")] == ["ok", "ok"]
    lab.run("lab2", "rm -r ~/old")
    wait(lambda: fleet.rotation() == set(lab.names))


OLDER = "top=$(dirname $(dirname $(readlink -f $(command -v pm2)))); cp -r $top ~/older; ln -s $(dirname $top) ~/node_modules; sed -i 's/\"version\": \"[0-9.]*\"/\"version\": \"5.4.3\"/' ~/older/package.json; "


def test_a_daemon_that_nobody_finds_and_one_of_another_version(fleet: Site) -> None:
    """Three ways to lose PM2's daemon; no look starts a second one, and each remedy is typed."""
    lab = fleet.lab
    lab.run("lab1", "rm ~/.pm2/pm2.pid")
    lab.run("lab2", "rm ~/.pm2/rpc.sock")
    lab.run("lab3", f"{OLDER}pm2 kill >/dev/null; ~/older/bin/pm2 resurrect >/dev/null; rm -r ~/older ~/node_modules")
    wait(lambda: fleet.rotation() == set(lab.names))
    done, found = examined(fleet)
    assert done.code == 4
    assert [len(fleet.commanded(host, b"God Daemon")) for host in lab.names] == [1, 1, 1]
    fixes = [
        said(found, "lab1", "daemon", "runs, but /srv/.pm2/pm2.pid does not say so", ">/srv/.pm2/pm2.pid"),
        said(found, "lab2", "daemon", "its socket /srv/.pm2/rpc.sock is gone", "fab drain --hosts lab2 && ssh"),
        said(found, "lab3", "daemon", "PM2's daemon is 5.4.3, its command ", "pm2 update' && fab restore --hosts lab3"),
    ]
    assert set(wrong(found)) <= {("lab1", "daemon"), *(("lab2", check) for check in ("daemon", "mode", "script", "workers", "health")), ("lab3", "daemon")}
    for fix in fixes:
        typed(fleet, fix)
    assert wrong(examined(fleet)[1]) == {}


def test_limits_of_time_that_are_too_short(fleet: Site) -> None:
    lab = fleet.lab
    lab.run("lab1", "pm2 reload shop --listen-timeout 100 --kill-timeout 500 >/dev/null")
    lab.run("lab2", "pm2 stop 0 >/dev/null")
    for _ in lab.names:
        urllib.request.urlopen(f"{lab.url}/slow?ms=3000", timeout=20).close()
    short = {"kill_timeout: 8s": "kill_timeout: 2s", "drain_timeout: 15s": "drain_timeout: 2s", "min_healthy_time: 1s": "min_healthy_time: 100ms", "healthy_deadline: 20s": "healthy_deadline: 200ms"}
    apart(fleet, {"lab1": {}, "lab2": {}, "lab3": short})
    _, found = examined(fleet)
    said(found, "lab1", "boot time", "PM2's listen_timeout of shop is 100 ms", "fab reload --hosts lab1")
    reload = said(found, "lab1", "drain time", "PM2 kills shop after 500 ms (its kill_timeout), hosts.yaml says 8 s", "fab reload --hosts lab1")
    stopped = said(found, "lab2", "workers", "worker 0 of shop is stopped", "fab reload --hosts lab2")
    said(found, "lab3", "boot time", "healthy_deadline is 0.2 s", "healthy_deadline: ")
    drain = said(found, "lab3", "drain time", "the longest request took 3.", "kill_timeout: ")
    assert "drain_timeout is 2 s" in found["lab3", "drain time"]["words"]
    typed(fleet, reload)
    typed(fleet, stopped, 1)
    typed(fleet, drain)
    _, found = examined(fleet)
    assert {key: one["words"] for key, one in found.items() if one["state"] == "bad"}.keys() == {("lab3", "boot time")}
    assert found["lab1", "drain time"]["state"] == "ok"
    assert "longest request took 3" not in found["lab3", "drain time"]["words"]
    lab.run("lab2", "pm2 save >/dev/null; chmod 600 ~/.pm2/dump.pm2")


HAPROXY = """\
global
    stats socket /srv/haproxy/oper.sock mode 600 level operator
    stats socket /srv/haproxy/odd.sock mode 600 level admin
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
backend oper
    server lab1 {lab1}:3000 check
backend loose
    cookie SRV insert indirect nocache
    server lab2 {lab2}:3000 cookie s2
backend odd
    server web3 {lab3}:3000 check
"""


def test_a_balancer_that_is_set_up_another_way(fleet: Site) -> None:
    lab = fleet.lab
    text = HAPROXY.format(**{host: lab.host(host).address for host in lab.names})
    lab.run("lablb", f"cat >~/haproxy/odd.cfg <<'X'\n{text}X\nhaproxy -D -p ~/haproxy/odd.pid -f ~/haproxy/odd.cfg")
    front = {host: {"admin.sock": f"{socket}.sock", "backend: shop": f"backend: {backend}"} for host, socket, backend in (
        ("lab1", "oper", "oper"), ("lab2", "odd", "loose"), ("lab3", "odd", "odd"))}
    apart(fleet, front)
    try:
        _, found = examined(fleet)
        said(found, "lablb/oper", "socket", "its level is not admin", "stats socket ~/haproxy/oper.sock mode 660 level admin")
        loose = said(found, "lablb/loose", "servers", "no health check for lab2", f"server lab2 {lab.host('lab2').address}:3000 check")
        assert "sessions stick to servers by a cookie: lab2" in found["lablb/loose", "servers"]["words"]
        assert "systemctl reload haproxy" in loose
        name = said(found, "lab3", "balancer", "backend odd has no server lab3; it has web3", "{host: lab3, server: web3}")
        fleet.inventory.write_text(fleet.inventory.read_text().replace("hosts: [lab3]", f"hosts: [{name.partition('  in')[0]}]"))
        assert examined(fleet)[1]["lab3", "balancer"]["state"] == "ok"
        lab.run("lablb", "kill -9 $(cat ~/haproxy/odd.pid)")
        said(examined(fleet)[1], "lablb/odd", "socket", "Connection refused", "systemctl start haproxy")
    finally:
        lab.run("lablb", "kill -9 $(cat ~/haproxy/odd.pid) 2>/dev/null; rm ~/haproxy/odd.* ~/haproxy/oper.sock")


def test_a_server_that_somebody_took_out(fleet: Site) -> None:
    fleet.lab.haproxy("set server shop/lab1 state maint")
    fleet.lab.haproxy("set server shop/lab2 weight 0")
    _, found = examined(fleet)
    out = said(found, "lab1", "balancer", "out of rotation: MAINT", "fab restore --hosts lab1")
    weight = said(found, "lab2", "balancer", "its weight at HAProxy is 0", "set server shop/lab2 weight 100%")
    typed(fleet, out)
    typed(fleet, weight)
    assert wrong(examined(fleet)[1]) == {}


def test_groups_behind_one_backend_are_no_strangers_to_each_other(fleet: Site) -> None:
    apart(fleet, {"lab1": {}, "lab2": {}, "lab3": {}})
    assert wrong(examined(fleet)[1]) == {}


def test_a_host_that_does_not_let_us_in(fleet: Site) -> None:
    lab, folder = fleet.lab, fleet.folder
    keys = lab.host("lab1").folder / "authorized_keys"
    kept = keys.read_text()
    try:
        keys.write_text("")
        lab.cut("lab2")
        fleet.inventory.write_text(fleet.inventory.read_text().replace("[lab1, lab2, lab3]", "[lab1, lab2, {host: lab3, key: /none/id}, lab9.invalid]"))
        _, found = examined(fleet)
        said(found, "lab1", "ssh", "auth: ", "ssh-copy-id -F ")
        assert "for user root it takes none of our keys" in found["lab1", "ssh"]["means"]
        assert found["lab2", "ssh"]["words"].startswith(("timeout: ", "no route: "))
        assert "ssh -v -o ConnectTimeout=5" in found["lab2", "ssh"]["fix"]
        said(found, "lab3", "ssh", "key file: /none/id: No such file", "correct key: of lab3")
        said(found, "lab9.invalid", "ssh", "name: ", "HostName ADDRESS")
    finally:
        keys.write_text(kept)
        lab.heal("lab2")
    known = (lab.dir / "known_hosts").read_text().splitlines()
    at = {host: lab.host(host).address for host in lab.names}
    mine = folder / "known_hosts"
    mine.write_text("".join(f"{line}\n" for line in known if line.split()[0] != at["lab1"]))
    second = (lab.host("lab2").folder / "hostkey.pub").read_text().split()[:2]
    with mine.open("a") as file:
        file.write(f"@revoked {at['lab2']} {' '.join(second)}\n")
    config = folder / "ssh_known"
    config.write_text(lab.ssh_config.read_text().replace(str(lab.dir / "known_hosts"), str(mine)))
    fleet.configure(ssh_config=config)
    with sshd_with(lab, "lab3", "KexAlgorithms sntrup761x25519-sha512@openssh.com"):
        _, found = examined(fleet)
    said(found, "lab1", "ssh", "key unknown: ", "StrictHostKeyChecking=ask")
    revoked = said(found, "lab2", "ssh", "key revoked: ", f"sed -i {len(known)}d {mine}")
    said(found, "lab3", "ssh", "algorithms: ", "KexAlgorithms +curve25519-sha256")
    subprocess.run(["sh", "-c", revoked.rpartition(": ")[2]], check=True)
    assert examined(fleet)[1]["lab2", "ssh"]["state"] == "ok"


def test_a_jump_host_that_is_down(fleet: Site) -> None:
    lab = fleet.lab
    config = fleet.folder / "ssh_jump"
    config.write_text(f"Host lab1\n  ProxyJump lab3\nHost lab2\n  ProxyJump lab3\n{lab.ssh_config.read_text()}")
    fleet.configure(ssh_config=config)
    with contextlib.ExitStack() as heal:
        lab.stop_sshd("lab1")
        heal.callback(lab.start_sshd, "lab1")
        _, found = examined(fleet)
        said(found, "lab1", "ssh", "jump: ", f"lab3 'nc -vz {lab.host('lab1').address} 22'")
        assert found["lab2", "ssh"]["state"] == "ok"
        lab.stop_sshd("lab3")
        heal.callback(lab.start_sshd, "lab3")
        _, found = examined(fleet)
        said(found, "lab2", "ssh", "jump host lab3: refused: ", "correct ProxyJump in ssh config")
        said(found, "lab3", "ssh", "refused: ", "{host: lab3, port: N}")


def test_a_user_to_whom_nothing_belongs(fleet: Site) -> None:
    """PM2 and the app are root's, and hosts.yaml says somebody else: that is one fault, and not a dead app, a stray and a taken port."""
    lab = fleet.lab
    with contextlib.ExitStack() as heal:
        for host in lab.names[:2]:
            folder = lab.host(host).folder
            for file, line in (("passwd", "deploy:x:1777:1777::/srv:/bin/sh\n"), ("shadow", "deploy:*:19000::::::\n")):
                if line not in (folder / file).read_text():
                    with (folder / file).open("a") as users:
                        users.write(line)
            keys = lab.path(host, lab.host(host).home) / "keys"
            keys.write_text((lab.dir / "id_ed25519.pub").read_text())
            heal.callback(keys.unlink)
            heal.enter_context(sshd_with(lab, host, "AuthorizedKeysFile /srv/keys"))
        heal.callback(lab.run, "lab2", "chown -hR root ~/shop; rm -r ~/mine")
        lab.run("lab2", "mkdir ~/mine; chown deploy ~/mine; chown -hR deploy ~/shop; chown root ~/shop/shared/.env")
        apart(fleet, {"lab1": {"[lab1]": "[{host: lab1, user: deploy}]"}, "lab2": {"[lab2]": "[{host: lab2, user: deploy, pm2_home: /srv/mine}]"}})
        _, found = examined(fleet)
        said(found, "lab1", "rights", "/srv/shop is not writable for deploy", "sudo chown -hR deploy /srv/shop")
        assert found["lab1", "link"]["state"] == "unknown"
        said(found, "lab1", "owner", "the app runs in the PM2 of root", "user: root}")
        said(found, "lab2", "owner", "the app runs in the PM2 of root (/srv/.pm2, ", "{host: lab2, user: root}")
        said(found, "lab2", "env file", ".env (root's) can't be read", "sudo chown deploy /srv/shop/shared/.env && chmod 600")
        said(found, "lab2", "rights", "not deploy's, and in the way: /srv/shop/shared/.env", "sudo chown -hR deploy /srv/shop/shared/.env")
        for host in lab.names[:2]:
            assert [found[host, check]["state"] for check in ("daemon", "workers", "port")] == ["unknown", "ok", "ok"], host
