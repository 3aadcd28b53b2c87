"""Each check by itself: one broken fixture, named with its fix; and a good host of which nothing is said."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from fabfile.checks import front, here, machine, matrix, reach, repo
from fabfile.checks.front import Front
from fabfile.checks.reach import Way
from fabfile.checks.verdict import Known, Verdict, worst
from fabfile.inventory.values import App, Balancer, Group, Host, Process, Ssh
from fabfile.look.doctor import FRONT_CHECKS, HOST_CHECKS

ROOT = "/srv/shop"
RELEASE = "0002-abc"
PROCESS = Process("shop", "dist/main.js", 2, 3000)
APP = App("shop", "git@git.example:acme/shop.git", ROOT, (PROCESS,), shared_files=(".env",), shared_dirs=("uploads",))
BALANCER = Balancer("haproxy", "lb", "/run/haproxy.sock", "api", "http://lb")
HOST = Host("web1", Ssh("web1"), APP, "web1")
GROUP = Group("web", (HOST, HOST._replace(name="web2", ssh=Ssh("web2"), server="web2")), balancer=BALANCER)


def place(path: str, **changes: Any) -> dict[str, Any]:
    return {"path": path, "dangling": False, "dir": False, "mode": "600", "owner": "deploy", "mine": True, "size": 9, "readable": True, "writable": True, **changes}


def worker(id: int) -> dict[str, Any]:
    return {
        "id": id, "pid": 100 + id, "name": "shop", "status": "online", "mode": "cluster", "restarts": 0, "script": f"{ROOT}/.gapless/gate.cjs", "cwd": f"{ROOT}/current",
        "errors": "/home/deploy/.pm2/logs/shop-error-0.log", "gated": True, "release": RELEASE, "up_ms": 9_000_000, "died": 0, "state": "open", "ports": [3000],
        "health": {"status": 200, "ms": 3},
    }


EVENTS: list[dict[str, Any]] = [
    {"event": "room", "root": ROOT, "place": ROOT, "user": "deploy", "writable": True, "mb": 9000, "inodes": 900_000},
    {"event": "free"},
    {"event": "unit", "path": "/etc/systemd/system/pm2-deploy.service", "home": "/home/deploy/.pm2", "enabled": True},
    {"event": "startup", "systemd": True},
    {"event": "tool", "name": "node", "how": "path", "path": "/usr/bin/node", "version": "20.20.2"},
    {"event": "tool", "name": "pm2", "how": "path", "path": "/usr/bin/pm2", "version": "7.0.4"},
    {"event": "tool", "name": "git", "how": "path", "path": "/usr/bin/git", "version": "2.40"},
    {"event": "node", "path": "/usr/bin/node", "version": "20.20.2"},
    {"event": "sought", "in": "/usr/bin"},
    {"event": "repo", "code": 0, "said": ""},
]
FACTS: dict[str, Any] = {
    "node": "20.20.2", "pm2": "/usr/lib/pm2", "version": "7.0.4", "cpus": 2, "root": ROOT, "daemon": {"pid": 9, "home": "/home/deploy/.pm2", "version": "7.0.4"},
    "current": {"state": "ok", "release": RELEASE}, "processes": [worker(0), worker(1)], "strays": [], "trouble": None, "migrations": [], "driving": [], "saved": ["shop", "shop"],
    "releases": [{"id": RELEASE, "complete": True, "bad": False, "stable": True}],
}
MORE: dict[str, Any] = {
    "user": "deploy", "root": False, "addresses": ["192.0.2.1"], "readonly": False, "noexec": False, "foreign": [], "leftovers": [], "gods": [{"pid": 9, "user": "deploy", "home": "/home/deploy/.pm2", "version": "7.0.4", "runs": 2}],
    "places": {"root": place(ROOT, dir=True, mode="755"), ".gapless": place(f"{ROOT}/.gapless", dir=True, mode="700"), "shared": None, "releases": None},
    "shared": [{"name": ".env", "kind": "file", "path": f"{ROOT}/shared/.env", "linked": "link", "is": place(f"{ROOT}/shared/.env")},
               {"name": "uploads", "kind": "dir", "path": f"{ROOT}/shared/uploads", "linked": "link", "is": place(f"{ROOT}/shared/uploads", dir=True)}],
    "envs": [{"name": "shop", "path": f"{ROOT}/shared/.env", "is": place(f"{ROOT}/shared/.env"), "wrong": [], "port": None, "count": 4}],
    "dump": {"path": "/home/deploy/.pm2/dump.pm2", "is": place("/home/deploy/.pm2/dump.pm2"), "broken": False},
    "god": {"state": "S", "binary": "/usr/bin/node", "gone": False, "report": {"node": "20.20.2"}},
    "workers": [{"id": 0, "name": "shop", "listen_timeout": 150_000, "kill_timeout": 30_000, "interpreter": "node", "wrapper": None}],
    "boots": {"count": 4, "longest": {"ms": 2000, "release": RELEASE, "run": "r1"}}, "ports": [{"name": "shop", "port": 3000, "holder": {"pid": 9, "command": "PM2", "user": "deploy", "ours": True}}],
    "health": [{"name": "shop", "id": 0, "status": 200, "ms": 4}],
}
ROW = {"svname": "web1", "status": "UP", "addr": "192.0.2.1:3000", "ttime_max": "900", "check_status": "L7OK", "cookie": ""}


def known(change: Callable[[Any, Any, Any], None] = lambda *_: None, **fields: Any) -> Known:
    """Give a good host, changed: events by name, facts, more."""
    events, facts, more = copy.deepcopy((EVENTS, FACTS, MORE))
    named = {f"{each['event']}{' ' + each['name'] if each['event'] == 'tool' else ''}": each for each in events}
    change(named, facts, more)
    given = {"offset": 0.1, "rows": {"web1": ROW, "web2": {**ROW, "svname": "web2", "addr": "192.0.2.2:3000"}}, **fields}
    return Known(given.pop("host", HOST), given.pop("group", GROUP), list(named.values()), facts, more, **given)


def test_nothing_is_said_of_a_good_host():
    assert {name: worst(check(known())) for name, check in HOST_CHECKS.items()} == dict.fromkeys(HOST_CHECKS, "ok")


def test_an_app_in_another_pm2_is_no_dead_app_and_no_stray():
    def change(events: Any, facts: Any, more: Any) -> None:
        facts["daemon"].update(pid=None)
        facts["strays"].append({"pid": 77, "release": RELEASE})
        facts["processes"].clear()
        more["gods"][0].update(home="/opt/.pm2", user="root")
    told = {name: HOST_CHECKS[name](known(change)) for name in ("owner", "daemon", "workers")}
    assert {name: worst(found) for name, found in told.items()} == {"owner": "bad", "daemon": "unknown", "workers": "ok"}


def test_a_daemon_is_not_to_be_killed_for_want_of_its_module():
    def change(events: Any, facts: Any, more: Any) -> None:
        events["tool pm2"].update(path="", version="")
        facts.update(trouble="The argument 'id' must be a non-empty string")
    assert worst(HOST_CHECKS["daemon"](known(change))) == "unknown"


def test_nothing_is_claimed_of_what_was_not_read():
    nothing = Known(HOST, GROUP)
    assert {name: worst(check(nothing)) for name, check in HOST_CHECKS.items()} == dict.fromkeys(HOST_CHECKS, "unknown")


Change = Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], object]


def said(text: str, code: int = 128) -> Change:
    return lambda e, f, m: e["repo"].update(code=code, said=text)


def of_worker(**changes: Any) -> Change:
    return lambda e, f, m: f["processes"][0].update(changes)


def answered(**changes: Any) -> Change:
    return lambda e, f, m: m["health"][0].update(changes)


def linked(state: str) -> Change:
    return lambda e, f, m: (f["current"].update(state=state), f.update(processes=[]))


def held(phase: str, quiet: int, owner: bool = True) -> Change:
    who = {"run": "x1", "verb": "deploy", "who": "eve", "from": "ci", "pid": 1, "at": 1, "boot": "", "start": "", "ci": ""}
    return lambda e, f, m: (e.pop("free"), e.update(held={"event": "held", "owner": who if owner else None, "phase": phase, "quiet": quiet}))


def elsewhere(what: str, **changes: int) -> Change:
    return lambda e, f, m: e.update(place={"event": "place", "what": what, "path": "/elsewhere", "mb": 900, "inodes": 9000, **changes})


FAULTS: list[tuple[str, str, Change, str, str]] = [
    ("node", "bad", lambda e, f, m: (e["tool node"].update(path="", version=""), e.pop("node")), "no node on this host; looked in /usr/bin", "nvm install 20"),
    ("node", "bad", lambda e, f, m: (e["tool node"].update(version="16.1.0"), e["node"].update(path="/opt/n/bin/node", version="22.1.0")), "node is 16.1.0", "node_bin: /opt/n/bin"),
    ("node", "bad", lambda e, f, m: (e["tool node"].update(version="20.1.0"), e["node"].update(version="20.1.0")), "20.12 or newer", "nvm"),
    ("node", "warn", lambda e, f, m: e["tool node"].update(how="found", path="/home/d/.nvm/versions/node/v20/bin/node"), "not in the PATH", "node_bin: /home/d/.nvm/versions/node/v20/bin"),
    ("node", "warn", lambda e, f, m: e.update(other={"event": "node", "path": "/opt/node18/bin/node", "version": "18.0.0"}), "several nodes: 18.0.0 (/opt/node18/bin/node)", "node_bin: /usr/bin"),
    ("pm2", "bad", lambda e, f, m: e["tool pm2"].update(path="", version=""), "no pm2", "ssh -t web1 'sudo /usr/bin/npm install -g pm2'"),
    ("pm2", "bad", lambda e, f, m: e["tool pm2"].update(version=""), "its module was not found", "npm install -g pm2"),
    ("git", "bad", lambda e, f, m: e["tool git"].update(path="", version=""), "no git", "apt-get install -y git"),
    ("repo", "bad", said("git@git.example: Permission denied (publickey)."), "login refused", "deploy key"),
    ("repo", "bad", said("@@@@@@@@@ WARNING: UNPROTECTED PRIVATE KEY FILE! @@@@@@@@@ Permissions 0644 for '/home/d/.ssh/id' are too open. Permission denied (publickey)."), "key open to others", "ssh web1 'chmod 600 /home/d/.ssh/id'"),
    ("repo", "bad", said('Load key "/home/d/.ssh/id": error in libcrypto git@git.example: Permission denied (publickey).'), "key damaged", "mv /home/d/.ssh/id"),
    ("repo", "bad", said('Load key "/home/d/.ssh/id": Permission denied git@git.example: Permission denied (publickey).'), "key unreadable", "sudo chown"),
    ("repo", "bad", said("SSL certificate problem: unable to get local issuer certificate"), "certificate refused", "ca-certificates"),
    ("repo", "bad", said("fatal: could not read Username for 'https://x': terminal prompts disabled"), "login refused", "id_ed25519.pub"),
    ("repo", "bad", said("Host key verification failed."), "host key unknown", "ssh -t web1 'ssh -o StrictHostKeyChecking=ask -T git@git.example'"),
    ("repo", "bad", said("WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! Host key verification failed."), "host key changed", "ssh-keygen -R git.example"),
    ("repo", "bad", said("ssh: Could not resolve hostname git.example: Name or service not known"), "no such name", "getent hosts git.example"),
    ("repo", "bad", said("", 124), "not reached", "git ls-remote"),
    ("repo", "bad", said("connect to host git.example port 22: Connection refused"), "not reached", "git ls-remote"),
    ("repo", "bad", said("fatal: detected dubious ownership in repository"), "owner", "safe.directory"),
    ("repo", "bad", said("ERROR: Repository not found."), "no such repository", "app.repo"),
    ("disk", "bad", lambda e, f, m: e["room"].update(mb=100), "100 MB free", "du -xsm"),
    ("disk", "warn", lambda e, f, m: e["room"].update(mb=700), "700 MB free", "du -xsm"),
    ("disk", "bad", elsewhere("pm2", mb=3), "3 MB free at /elsewhere (PM2's home)", "ssh web1 'truncate -s 0 /home/deploy/.pm2/logs/*.log'"),
    ("disk", "bad", elsewhere("tmp", mb=3), "3 MB free at /elsewhere (temporary files)", "du -xsm /elsewhere/*"),
    ("inodes", "bad", elsewhere("tmp", inodes=3), "3 inodes free at /elsewhere", "du -xsm /elsewhere/*"),
    ("disk", "bad", lambda e, f, m: e["room"].update(mb=100), "100 MB free", "rm -rf /srv/shop/.gapless/deps"),
    ("inodes", "bad", lambda e, f, m: e["room"].update(inodes=10), "10 inodes free", "find /srv/shop"),
    ("rights", "bad", lambda e, f, m: e["room"].update(writable=False), "not writable for deploy", "ssh -t web1 'sudo chown -hR deploy /srv/shop'"),
    ("rights", "bad", lambda e, f, m: m.update(readonly=True), "read-only", "dmesg"),
    ("rights", "bad", lambda e, f, m: m.update(noexec=True), "noexec", "remount,exec"),
    ("rights", "bad", lambda e, f, m: m["foreign"].append({"path": "/home/deploy/.pm2/rpc.sock", "owner": "root", "blocks": True}), "rpc.sock (root's)", "sudo chown -hR deploy /home/deploy/.pm2/rpc.sock"),
    ("rights", "warn", lambda e, f, m: m["foreign"].append({"path": "/srv/shop/shared/a", "owner": "root", "blocks": False}), "shared/a (root's)", "sudo chown -hR deploy"),
    ("rights", "warn", lambda e, f, m: m["places"][".gapless"].update(mode="755"), "mode 0755, not 0700", "chmod 700 /srv/shop/.gapless"),
    ("shared", "bad", lambda e, f, m: m["shared"][0].update({"is": None}), ".env is missing", "cat >/srv/shop/shared/.env' <.env"),
    ("shared", "bad", lambda e, f, m: m["shared"][0]["is"].update(dangling=True), "leads nowhere", "<.env"),
    ("shared", "bad", lambda e, f, m: m["shared"][1].update({"is": None}), "uploads is missing", "mkdir -p /srv/shop/shared/uploads"),
    ("shared", "warn", lambda e, f, m: m["shared"][0].update(linked="own"), "current/.env is not the link", "ln -sfn /srv/shop/shared/.env /srv/shop/current/.env"),
    ("env file", "bad", lambda e, f, m: m["envs"][0]["wrong"].append({"line": 3, "why": "is no NAME=value"}), ".env:3 is no NAME=value", "+3 /srv/shop/shared/.env"),
    ("env file", "bad", lambda e, f, m: m["envs"][0]["is"].update(size=0), "is empty", "<.env"),
    ("env file", "bad", lambda e, f, m: m["envs"][0]["is"].update(readable=False, owner="root"), "(root's) can't be read", "chown"),
    ("env file", "warn", lambda e, f, m: m["envs"][0]["is"].update(mode="640"), "mode 0640", "chmod 600 /srv/shop/shared/.env"),
    ("env file", "warn", lambda e, f, m: m["envs"][0].update(port=4000), "PORT=4000", "port: 4000"),
    ("leftovers", "warn", lambda e, f, m: m["leftovers"].append("/srv/shop/.gapless/x.next"), "x.next", "rm -r /srv/shop/.gapless/x.next"),
    ("lock", "warn", held("build 1-x", 5), "eve@ci has been at deploy", "fab unlock --hosts web1 --id x1"),
    ("lock", "warn", held("build 1-x", 900), "left it", "fab unlock --hosts web1 --id x1"),
    ("lock", "bad", held("reload 1-x", 900), "left it", "fab resume --hosts web1"),
    ("lock", "bad", held("", 900, owner=False), "unknown owner", "rm -r /srv/shop/.gapless/lock"),
    ("migration", "bad", lambda e, f, m: f["migrations"].append({"run": "r1", "release": "0002-abc", "outcome": "unknown"}), "is unknown", "fab migrate --resolved done --hosts web1"),
    ("link", "bad", linked("dangling"), "which is gone", "ln -sfn releases/0002-abc /srv/shop/current"),
    ("link", "bad", linked("directory"), "is a directory", "mv /srv/shop/current /srv/shop/current.aside; ln -sfn"),
    ("link", "bad", linked("outside"), "leads out of", "ln -sfn"),
    ("link", "bad", lambda e, f, m: (f["current"].update(state="incomplete"), f.update(processes=[], releases=[])), "not complete", "rm /srv/shop/current"),
    ("link", "bad", lambda e, f, m: f["current"].update(state="absent"), "current is gone", "ln -sfn releases/0002-abc"),
    ("daemon", "bad", lambda e, f, m: (f["daemon"].update(pid=None), m.update(gods=[])), "does not run", "fab reload --hosts web1"),
    ("daemon", "bad", lambda e, f, m: (f["daemon"].update(pid=None), f.update(saved=[]), m.update(gods=[])), "saved list lacks the app", "--allow-downtime"),
    ("daemon", "bad", lambda e, f, m: f["daemon"].update(pid=None), "(pid 9) runs, but /home/deploy/.pm2/pm2.pid does not say so", "ssh web1 'echo 9 >/home/deploy/.pm2/pm2.pid'"),
    ("daemon", "bad", lambda e, f, m: f.update(trouble="PM2's daemon (pid 9): its socket /home/deploy/.pm2/rpc.sock is gone"), "rpc.sock is gone", "fab drain --hosts web1 && ssh web1 'kill -9 9' && fab reload --hosts web1 && fab restore --hosts web1"),
    ("daemon", "bad", lambda e, f, m: (f.update(trouble="no answer within 10 s"), m["god"].update(state="T")), "is stopped", "kill -CONT 9"),
    ("daemon", "bad", lambda e, f, m: f.update(trouble="no answer within 10 s"), "no answer", "kill -9 9"),
    ("daemon", "bad", lambda e, f, m: m["god"].update(gone=True, binary="/opt/old/node (deleted)"), "/opt/old/node, which is gone", "/usr/bin/pm2 update"),
    ("daemon", "bad", lambda e, f, m: m["god"]["report"].update(node="16.0.0"), "runs on node 16.0.0", "/usr/bin/pm2 update"),
    ("daemon", "warn", lambda e, f, m: f["daemon"].update(version="5.4.3"), "daemon is 5.4.3, its command 7.0.4", "/usr/bin/pm2 update"),
    ("owner", "bad", lambda e, f, m: m["gods"].append({"pid": 5, "user": "root", "home": "/opt/.pm2", "version": "7", "runs": 1}), "the PM2 of root (/opt/.pm2", "{host: web1, user: root}"),
    ("owner", "bad", lambda e, f, m: m["gods"].append({"pid": 5, "user": "deploy", "home": "/home/deploy/.pm2", "version": "7", "runs": 1}), "pid 5 has the app, pid 9 is the one", "ssh web1 'kill -9 5' && fab reload --hosts web1 --allow-downtime && fab restore"),
    ("owner", "bad", lambda e, f, m: m["gods"].append({"pid": 5, "user": "deploy", "home": "/opt/pm2", "version": "7", "runs": 1}), "/opt/pm2", "{host: web1, pm2_home: /opt/pm2}"),
    ("mode", "bad", of_worker(mode="fork"), "hosts.yaml wants cluster", "fab deploy --hosts web1 --allow-downtime"),
    ("script", "bad", lambda e, f, m: (f["processes"][0].update(gated=False, script="/usr/bin/npm"), m["workers"][0].update(wrapper="npm")), "`pm2 start npm`", "--allow-downtime"),
    ("script", "bad", of_worker(gated=False, script=f"{ROOT}/releases/0001-a/dist/main.js", cwd=f"{ROOT}/releases/0001-a"), "a resolved release path", "--allow-downtime"),
    ("script", "bad", of_worker(gated=False, script="/var/www/app/dist/main.js", cwd="/var/www/app"), "not the gate", "--allow-downtime"),
    ("script", "bad", of_worker(cwd="/srv/other"), "stands in /srv/other", "--allow-downtime"),
    ("workers", "bad", of_worker(status="errored"), "worker 0 of shop is errored", "tail -n 50"),
    ("workers", "bad", of_worker(release="0001-a"), "runs 0001-a, current is 0002-abc", "fab reload --hosts web1"),
    ("workers", "warn", of_worker(died=3, up_ms=1000), "died 3 times", "shop-error-0.log"),
    ("workers", "warn", lambda e, f, m: f["processes"].pop(), "1 of 2 workers", "fab reload --hosts web1"),
    ("workers", "warn", lambda e, f, m: f["processes"].append({**f["processes"][0], "id": 9}), "3 of 2 workers", "fab reload --hosts web1"),
    ("workers", "bad", lambda e, f, m: f.update(processes=[]), "0 of 2 workers", "--allow-downtime"),
    ("workers", "bad", lambda e, f, m: f["strays"].append({"pid": 77, "release": "0001-a"}), "pid 77 runs 0001-a, unknown to PM2", "fab reload"),
    ("port", "bad", lambda e, f, m: (f.update(processes=[]), m["ports"][0].update(holder={"pid": 7, "command": "python x", "user": "root", "ours": False})), "pid 7 of root: python x", "sudo kill 7"),
    ("port", "bad", lambda e, f, m: (f.update(processes=[]), m["ports"][0].update(holder={"pid": None, "command": "a process of another user"})), "another user", "sudo ss -ltnp"),
    ("health", "bad", answered(status=302, location="/login"), "a redirect to /login", "without a login"),
    ("health", "bad", answered(status=404), "gave 404", "health: {path: /"),
    ("health", "bad", answered(status=401), "gave 401", "without a login"),
    ("health", "bad", answered(status=500), "gave 500", "tail -n 50"),
    ("health", "bad", answered(status=0, why="no answer within 5000 ms"), "no answer", "tail -n 50"),
    ("health", "warn", answered(ms=4000), "took 4000 ms", "cheaper"),
    ("boot time", "bad", lambda e, f, m: m["boots"]["longest"].update(ms=130_000), "took 130.0 s", "healthy_deadline: 390s"),
    ("boot time", "warn", lambda e, f, m: m["boots"]["longest"].update(ms=100_000), "took 100.0 s", "healthy_deadline: 300s"),
    ("boot time", "bad", lambda e, f, m: m["workers"][0].update(listen_timeout=1000), "listen_timeout of shop is 1000 ms", "fab reload"),
    ("drain time", "warn", lambda e, f, m: m["workers"][0].update(kill_timeout=1600), "PM2 kills shop after 1600 ms", "fab reload --hosts web1   sets it"),
    ("saved list", "warn", lambda e, f, m: m["dump"]["is"].update(readable=False, owner="root"), "(root's) can't be read", "sudo chown deploy /home/deploy/.pm2/dump.pm2"),
    ("rights", "bad", lambda e, f, m: m["foreign"].extend({"path": f"/srv/shop/shared/{name}", "owner": "root", "blocks": True} for name in "abcd"), "and 1 more", "sudo chown -hR deploy /srv/shop'"),
    ("saved list", "warn", lambda e, f, m: f.update(saved=[]), "lacks shop", "ssh web1 '/usr/bin/pm2 save && chmod 600 /home/deploy/.pm2/dump.pm2'"),
    ("saved list", "warn", lambda e, f, m: m["dump"].update(broken=True), "can't be read as PM2's list", "pm2 save"),
    ("saved list", "warn", lambda e, f, m: m["dump"]["is"].update(mode="644"), "mode 0644", "chmod 600 /home/deploy/.pm2/dump.pm2"),
    ("startup", "warn", lambda e, f, m: e.pop("unit"), "no unit of systemd starts PM2", "startup systemd -u deploy"),
    ("startup", "warn", lambda e, f, m: e["unit"].update(enabled=False), "not enabled", "sudo systemctl enable pm2-deploy.service"),
    ("startup", "warn", lambda e, f, m: e["unit"].update(home="/opt/.pm2"), "starts the PM2 of /opt/.pm2", "startup systemd -u deploy"),
]


@pytest.mark.parametrize("check, state, change, words, fix", FAULTS, ids=[f"{check}: {words}" for check, _, _, words, _ in FAULTS])
def test_each_fault_is_named_with_its_fix(check, state, change, words, fix):
    found = HOST_CHECKS[check](known(change))
    assert worst(found) == state, found
    assert any(words in each.words and fix in each.fix and each.means for each in found), found


def test_each_check_has_a_fault_that_it_names():
    assert set(HOST_CHECKS) - {check for check, *_ in FAULTS} == {"clock"}  # it is below


@pytest.mark.parametrize("count, means", [(0, "The app is down there."), (1, "Less capacity than is meant."), (3, "More than is meant; a reload goes by hosts.yaml.")])
def test_more_workers_than_are_meant_are_not_called_fewer(count, means):
    found = HOST_CHECKS["workers"](known(lambda e, f, m: f.update(processes=[{**f["processes"][0], "id": each} for each in range(count)])))
    assert means in [each.means for each in found]


def test_a_clock_that_is_off_is_a_warning():
    found, = HOST_CHECKS["clock"](known(offset=-3600.0))
    assert (found.state, found.words) == ("warn", "3600.0 s behind this machine")
    assert "set-ntp true" in found.fix


def test_the_longest_request_is_compared_with_both_limits():
    found = HOST_CHECKS["drain time"](known(rows={"web1": {**ROW, "ttime_max": "45000"}}))
    assert [(each.state, each.fix.split("  ")[0]) for each in found] == [("warn", "drain_timeout: 68s"), ("warn", "kill_timeout: 68s")]
    alone = HOST_CHECKS["drain time"](known(group=GROUP._replace(balancer=None)))
    assert worst(alone) == "unknown"


def test_a_host_without_systemd_is_no_false_alarm():
    def change(events: Any, facts: Any, more: Any) -> None:
        events.pop("unit")
        events["startup"].update(systemd=False)
    assert worst(HOST_CHECKS["startup"](known(change))) == "ok"


def test_fork_mode_with_nothing_in_front_is_refused_and_so_named():
    host = HOST._replace(app=APP._replace(processes=(PROCESS._replace(exec_mode="fork"),)))
    found = HOST_CHECKS["mode"](known(lambda e, f, m: f.update(processes=[]), host=host, group=GROUP._replace(balancer=None)))
    assert (worst(found), found[0].fix[:18]) == ("bad", "exec_mode: cluster")


# ---------------------------------------------------------------------- the balancer

SOCKET = {"event": "socket", "path": "/run/haproxy.sock", "there": True, "writable": True, "mode": "660", "group": "haproxy", "client": "socat", "user": "deploy"}
ADMIN = {"event": "admin", "said": "No such server."}
BACKENDS = {"event": "backends", "names": "api other"}
SERVERS = {"web1": ROW, "web2": {**ROW, "svname": "web2"}}


def behind(*changes: dict[str, Any], **fields: Any) -> Front:
    events = {each["event"]: each for each in (SOCKET, ADMIN, BACKENDS)}
    for change in changes:
        events[change["event"]] = {**events.get(change["event"], {}), **change}
    return Front(GROUP, BALANCER, list(events.values()), **{"answer": (200, ""), "servers": SERVERS, **fields})


def test_nothing_is_said_of_a_good_balancer():
    assert {name: worst(check(behind())) for name, check in FRONT_CHECKS.items()} == dict.fromkeys(FRONT_CHECKS, "ok")


@pytest.mark.parametrize("check, state, front_, words, fix", [
    ("socket", "bad", behind({"event": "socket", "there": False}), "there is no socket", "stats socket /run/haproxy.sock"),
    ("socket", "bad", behind({"event": "socket", "writable": False}), "deploy may not write", "sudo usermod -aG haproxy deploy"),
    ("socket", "bad", behind({"event": "socket", "writable": False, "mode": "600", "group": "root"}), "deploy may not write", "mode 660 group haproxy level admin"),
    ("socket", "bad", behind({"event": "socket", "client": ""}), "no socat", "apt-get install -y socat"),
    ("socket", "bad", behind({"event": "silent", "said": "Connection refused"}), "Connection refused", "systemctl status haproxy"),
    ("socket", "bad", behind({"event": "admin", "said": "Permission denied"}), "level is not admin", "level admin"),
    ("servers", "bad", behind({"event": "backends", "names": "apis"}), "no backend api; it has apis", "backend: apis"),
    ("servers", "warn", behind(servers={**SERVERS, "web9": ROW}), "web9", "server: web9"),
    ("servers", "warn", behind(servers={**SERVERS, "web1": {**ROW, "status": "no check"}}), "no health check for web1", "check   in backend api"),
    ("servers", "warn", behind(servers={**SERVERS, "web1": {**ROW, "cookie": "s1"}}), "stick to servers by a cookie: web1", "cookie"),
    ("url", "bad", behind(answer=(0, "ConnectionError")), "ConnectionError", "url:"),
    ("url", "bad", behind(answer=(503, "")), "503", "fab status --hosts web"),
    ("url", "warn", behind(answer=(302, "/login")), "302, /login", "url:"),
])
def test_each_fault_of_a_balancer_is_named(check, state, front_, words, fix):
    found = FRONT_CHECKS[check](front_)
    assert worst(found) == state
    assert any(words in each.words and fix in each.fix for each in found), found


ADDRESSES = {"web1": ["192.0.2.1"], "web2": ["192.0.2.2"]}


@pytest.mark.parametrize("rows, state, words, fix", [
    ({"web1": ROW}, "ok", "in rotation", ""),
    ({"other": ROW}, "bad", "no server web1; it has other", "{host: web1, server: other}"),
    ({"web1": {**ROW, "addr": "192.0.2.2:3000"}, "web2": ROW}, "bad", "web1 is 192.0.2.2, which is web2", "server: web2"),
    ({"web1": {**ROW, "addr": "192.0.2.1:8080"}}, "bad", "asked at port 8080, the app listens at 3000", "port of server web1"),
    ({"web1": {**ROW, "addr": "203.0.113.9:3000"}}, "ok", "in rotation", ""),  # behind NAT nobody knows
    ({"web1": {**ROW, "status": "DOWN", "check_status": "L7STS"}}, "bad", "DOWN L7STS", "fab status"),
    ({"web1": {**ROW, "status": "MAINT"}}, "warn", "MAINT", "fab restore --hosts web1"),
    ({"web1": {**ROW, "weight": "0"}}, "warn", "weight at HAProxy is 0", "set server api/web1 weight 100%"),
    ({}, "unknown", "could not be read", ""),
])
def test_a_hosts_server_is_compared_with_the_host(rows, state, words, fix):
    found, = front.server(known(rows=rows), ADDRESSES)
    assert (found.state, words in found.words, fix in found.fix) == (state, True, True), found


def test_rows_are_read_with_commas_in_them():
    lines = ["# pxname,svname,status,last_chk", 'api,web1,UP,"a, b"', "api,BACKEND,UP,"]
    read = front.rows({"event": "row", "text": line} for line in lines)
    assert (list(read), read["web1"]["last_chk"]) == (["web1"], "a, b")


# ---------------------------------------------------------------------- here, and the way there


WAY = Way(Ssh("web1"), "[web1]:2222", "/k", user="eve", key="~/.ssh/id", jump="eve@bastion:2222")


@pytest.mark.parametrize("kind, text, fix", [
    ("refused", "", "sudo systemctl start ssh"), ("timeout", "", "ssh -v -o ConnectTimeout=5 web1"), ("no route", "", "ssh -v -o ConnectTimeout=5 web1"),
    ("name", "", "HostName"), ("auth", "", "ssh-copy-id web1"), ("auth", "Private key file is encrypted", "ssh-add '~/.ssh/id'"),
    ("key file", "", "IdentityFile of web1"), ("algorithms", "no acceptable kex algorithm", "KexAlgorithms +curve25519-sha256"),
    ("algorithms", "no acceptable ciphers", "Ciphers +aes256-ctr"), ("jump", "can't reach 192.0.2.1:22: x", "ssh -p 2222 eve@bastion 'nc -vz 192.0.2.1 22'"),
    ("key unknown", "", "StrictHostKeyChecking=ask web1"), ("key changed", "", "ssh-keygen -R '[web1]:2222' -f /k && ssh -o"),
    ("key revoked", "REVOKED in /k:3: x", "sed -i 3d /k"), ("other", "", "ssh -v web1"),
])
def test_each_way_not_to_reach_a_host_has_its_own_fix(kind, text, fix):
    found = reach.ssh(kind, text, WAY)
    assert (found.state, fix in found.fix) == ("bad", True), found.fix


def test_the_trouble_of_a_jump_host_is_not_the_hosts():
    found = reach.ssh("refused", "jump host connection refused", WAY._replace(target=Ssh("bastion"), hop=True))
    assert found.words == "jump host bastion: refused: connection refused"
    assert "correct ProxyJump in ssh config" in found.fix


def test_a_user_is_named_as_ssh_copy_id_wants_it():
    target = Ssh("web1", user="eve", port=2222, key="/id")
    assert "ssh-copy-id -p 2222 -i /id eve@web1 " in reach.ssh("auth", "", WAY._replace(target=target)).fix


def test_a_host_that_runs_nothing_is_named():
    found = reach.blind("This account is currently not available.", WAY)
    assert (found.state, "not available" in found.words, "ssh web1 'sh -c id'" in found.fix) == ("bad", True, True)


@pytest.mark.parametrize("url, login, port", [
    ("git@git.example:acme/shop.git", "-T git@git.example", "22"), ("ssh://me@git.example:2222/shop.git", "-T -p 2222 me@git.example", "2222"),
    ("ssh://git.example/shop.git", "-T git@git.example", "22"),
])
def test_the_server_of_a_repository_is_read_from_its_url(url, login, port):
    assert login in repo.here(url, "Host key verification failed.").fix
    assert f"port {port};" in repo.here(url, "Connection refused").fix


def test_the_first_line_of_a_warning_is_taken_for_no_more_than_that():
    assert repo.here("git@git.example:x.git", "@" * 59).words.startswith("warning of ssh: ")


def test_git_by_https_wants_a_token_and_not_a_key():
    found = repo.here("https://me:hunter2@git.example/shop.git", "remote: HTTP 403 denied")
    assert "credential.helper store && git ls-remote https://git.example/shop.git" in found.fix
    assert "hunter2" not in found.words + found.fix


def test_the_versions_wanted_are_those_of_the_package(monkeypatch):
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    for name, (least, below) in here.PINS.items():
        assert f'"{name}>={".".join(map(str, least))},<{".".join(map(str, below))}"' in text
    assert worst(here.versions()) == "ok"
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
    assert "pip install 'fabric>=3.2.3,<4'" in here.versions()[0].fix


def test_this_machine_is_judged_by_its_files(tmp_path):
    known_hosts = tmp_path / "known_hosts"
    ssh = Ssh("web1", known_hosts=str(known_hosts))
    assert worst(here.known_hosts([(ssh, [str(known_hosts)])])) == "bad"
    known_hosts.write_text("")
    known_hosts.chmod(0o600)
    assert worst(here.known_hosts([(ssh, [str(known_hosts)])])) == "ok"
    known_hosts.chmod(0o666)
    assert here.known_hosts([(ssh, [str(known_hosts)])])[0].fix == f"chmod go-w {known_hosts}"
    assert worst(here.known_hosts([(ssh, ["/dev/null", str(tmp_path / "none")])])) == "bad"
    (tmp_path / "file").write_text("")
    assert worst(here.state(tmp_path / "file" / "gapless")) == "bad"
    assert worst(here.state(tmp_path / "new" / "gapless")) == "ok"
    assert worst(here.source("no such ref", "", "repo", "main")) == "bad"


# ---------------------------------------------------------------------- the matrix


def fleet(count: int, odd: str = "") -> dict[str, dict[str, list[Verdict]]]:
    bad = [Verdict("bad", "it is broken", "it means harm", "fab reload --hosts {}")]
    return {
        name: {"ssh": [Verdict("ok", "")], "disk": [bad[0]._replace(fix=f"fab reload --hosts {name}")] if name == odd or not odd else [Verdict("ok", "")]}
        for name in (f"web{number}.example.com" for number in range(count))
    }


@pytest.mark.parametrize("count", [1, 3, 4, 30, 400])
@pytest.mark.parametrize("width", [80, 200])
def test_the_matrix_stays_within_the_width(count, width):
    lines = matrix.grid(fleet(count, "web0.example.com"), width)
    assert all(len(line) <= width or line.startswith("web1.example.com +") for line in lines)
    assert any("BAD" in line for line in lines)


def test_what_could_not_be_read_is_told_in_a_line():
    lost = {name: {check: [Verdict("unknown", "could not be read")] for check in ("link", "port")} for name in ("web1", "web2")}
    assert matrix.findings(lost, 80) == ["", "?     web1, web2: link, port: could not be read"]


def test_hosts_that_fare_alike_share_a_column_and_a_finding():
    lines = matrix.grid(fleet(30, "web7.example.com"), 80)
    assert "web0.example.com +28" in lines[1]
    told = matrix.findings(fleet(3), 80)
    assert [line for line in told if "fix:" in line] == ["  fix: fab reload --hosts web0.example.com,web1.example.com,web2.example.com"]
    assert sum("it is broken" in line for line in told) == 1


def test_a_host_that_node_can_not_look_at_is_named():
    found = machine.node(Known(HOST, GROUP, [*EVENTS, {"event": "unlooked", "why": "ports is not iterable"}]))
    assert [(each.state, "ports is not iterable" in each.words) for each in found] == [("bad", True)]
