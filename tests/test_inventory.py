"""hosts.yaml: what loads, what is refused and where, and whom a selector means."""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile.errors import InventoryError, UsageError
from fabfile.inventory import words
from fabfile.inventory.loading import Inventory, find, load, parse
from fabfile.inventory.values import App, Balancer, Health, Process, Ssh, Update
from fabfile.inventory.yamltext import BREAK

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "hosts.yaml"

APP = """\
app:
  name: shop
  repo: git@example.com:acme/shop.git
  root: /srv/shop
  script: dist/main.js
"""
WEB = "groups:\n  web: {hosts: [web1, web2]}\n"
PROCESSES = """\
app:
  name: shop
  repo: git@example.com:acme/shop.git
  root: /srv/shop
  processes:
    api:    {script: dist/main.js, instances: max, port: 3000, health: {path: /health}}
    worker: {script: dist/worker.js, instances: 1, health: none}      # no HTTP: ready = started and stable
groups:
  web:  {hosts: [web1, web2], run: [api]}
  jobs: {hosts: [job1], run: [worker]}
"""


def read(text: str | bytes) -> Inventory:
    return parse(text if isinstance(text, bytes) else text.encode(), Path("/etc/acme/hosts.yaml"))


def refusal(text: str | bytes) -> str:
    with pytest.raises(InventoryError) as caught:
        read(text)
    assert caught.value.exit_code == 2
    return str(caught.value.message)


def findings(text: str | bytes) -> list[str]:
    """Give what is wrong, each as `line:column: message`."""
    return re.findall(r"^hosts\.yaml:(\d+:\d+: .*)$", refusal(text), re.MULTILINE)


def app(line: str) -> str:
    """Put one line into the app, as line 6, or in place of the line with the same key."""
    key = line.partition(":")[0]
    lines = APP.splitlines()
    at = next((number for number, old in enumerate(lines) if old.startswith(f"  {key}:")), len(lines))
    lines[at : at + 1] = [f"  {line}"]
    return "\n".join(lines) + "\n" + WEB


def host(entry: str) -> str:
    """Put one host into the only group: line 7, column 17."""
    return f"{APP}groups:\n  web: {{hosts: [{entry}]}}\n"


def group(line: str) -> str:
    """Put one line into the only group: line 9, column 5."""
    return f"{APP}groups:\n  web:\n    hosts: [web1, web2]\n    {line}\n"


def first(inventory: Inventory) -> App:
    return inventory.groups[0].hosts[0].app


# What loads


def test_the_short_form_is_one_process_called_like_the_app() -> None:
    inventory = load(EXAMPLE)
    [process] = first(inventory).processes
    assert process == Process("competition-backend", "dist/main.js", "max", 3000, Health("/health", 5.0))
    assert first(inventory).shared_dirs == ("uploads",)
    assert first(inventory).build[-1] == "npm prune --omit=dev"
    assert [each.name for each in inventory.groups] == ["web", "worker", "lab"]
    assert inventory.composed[0].leaves == ("web", "worker")


@pytest.mark.parametrize("build, expected", [
    ("[a, b]", (("a", "b"), "each")), ("{run: [a, b]}", (("a", "b"), "each")), ("{run: [a], on: first}", (("a",), "first")), ("[]", ((), "each")),
])
def test_a_build_is_a_list_or_says_where_too(build: str, expected: tuple[tuple[str, ...], str]) -> None:
    found = parse(app(f"build: {build}").encode(), EXAMPLE).groups[0].hosts[0].app
    assert (found.build, found.build_on) == expected


def test_a_group_replaces_the_whole_build() -> None:
    text = app("build: {run: [a], on: first}") + "  other: {hosts: [o1], app: {build: [b]}}\n"
    web, other = (group.hosts[0].app for group in parse(text.encode(), EXAMPLE).groups)
    assert ((web.build, web.build_on), (other.build, other.build_on)) == ((("a",), "first"), (("b",), "each"))


def test_the_defaults_written_in_the_example_are_the_real_ones() -> None:
    assert load(EXAMPLE).groups[0].update == Update()


def test_a_group_without_http_has_no_health() -> None:
    assert load(EXAMPLE).groups[1].hosts[0].app.processes[0].health is None


def test_the_lab_is_an_app_of_its_own_found_from_the_files_directory() -> None:
    lab = load(EXAMPLE).groups[2]
    shop = lab.hosts[0].app
    assert (shop.name, shop.root, shop.repo) == ("shop", "~/shop", str(EXAMPLE.parent / ".lab/repo.git"))
    assert (shop.shared_files, shop.shared_dirs) == ((".env",), ())
    assert lab.hosts[0].ssh == Ssh("lab1", ssh_config=str(EXAMPLE.parent / ".lab/ssh_config"))
    assert lab.balancer == Balancer(
        "haproxy", "lablb", "~/haproxy/admin.sock", "shop", "http://lablb:8080", str(EXAMPLE.parent / ".lab/ssh_config")
    )
    assert lab.balancer.ssh == Ssh("lablb", ssh_config=str(EXAMPLE.parent / ".lab/ssh_config"))
    assert (lab.update.min_healthy_time, lab.update.healthy_deadline, lab.update.kill_timeout) == (4.0, 15.0, 15.0)


def test_groups_run_some_of_the_processes() -> None:
    web, jobs = read(PROCESSES).groups
    assert web.hosts[0].app.processes == (Process("api", "dist/main.js", "max", 3000),)
    assert jobs.hosts[0].app.processes == (Process("worker", "dist/worker.js", 1, health=None),)


def test_a_group_adjusts_instances_and_health_of_what_it_runs() -> None:
    text = PROCESSES.replace("run: [api]", "run: [api], instances: 4, health: /up")
    assert read(text).groups[0].hosts[0].app.processes == (Process("api", "dist/main.js", 4, 3000, Health("/up")),)


def test_update_settings_of_a_group_win_over_defaults() -> None:
    text = f"{APP}defaults: {{max_parallel: 2, auto_revert: false}}\n" + WEB.replace("]}", "], max_parallel: [1, 25%]}")
    assert read(text).groups[0].update == Update(max_parallel=("1", "25%"), auto_revert=False)


def test_the_app_may_be_absent_where_every_group_has_one() -> None:
    own = "{name: a, repo: /srv/a.git, root: ~/a, script: a.js}"
    assert first(read(f"groups:\n  web: {{hosts: [web1], app: {own}}}\n")).repo == "/srv/a.git"


def test_a_groups_app_replaces_keys_and_changes_the_form() -> None:
    short = "{hosts: [web1], app: {ref: next, script: other.js}}"
    text = PROCESSES.replace("{hosts: [web1, web2], run: [api]}", short)
    assert first(read(text)).processes == (Process("shop", "other.js"),)
    assert first(read(text)).ref == "next"
    several = WEB.replace("]}", "], app: {processes: {a: {script: a.js}, b: {script: b.js}}}}")
    assert [process.name for process in first(read(APP + several)).processes] == ["a", "b"]


HOST_KEY = f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43}"


def test_a_host_says_more_than_its_name() -> None:
    entry = (
        "{host: web1, port: 2222, user: deploy, key: keys/id, host_key: "
        + f'"{HOST_KEY} root@web1", server: w1, node_bin: /opt/node/bin, pm2_home: ~/.pm2}}'
    )
    one = read(host(entry)).groups[0].hosts[0]
    assert one.ssh == Ssh("web1", 2222, "deploy", "/etc/acme/keys/id", HOST_KEY)
    assert (one.name, one.server, one.node_bin, one.pm2_home) == ("web1", "w1", "/opt/node/bin", "~/.pm2")


def test_known_hosts_hold_for_a_groups_hosts_and_its_balancer() -> None:
    pinned = f"known_hosts: ci/known_hosts\n{WEB}  api: {{hosts: [api1], known_hosts: ~/kh, balancer: {BALANCER}}}\n"
    web, api = read(APP + pinned).groups
    assert web.hosts[0].ssh == Ssh("web1", known_hosts="/etc/acme/ci/known_hosts")
    own = str(Path("~/kh").expanduser())
    assert api.hosts[0].ssh == Ssh("api1", known_hosts=own)
    assert api.balancer and api.balancer.ssh == Ssh("lb1", known_hosts=own)


def test_one_machine_with_two_ports_is_two_hosts_named_by_port() -> None:
    hosts = read(host("{host: 127.0.0.1, port: 2201}, {host: 127.0.0.1, port: 2202}, '::1'")).groups[0].hosts
    assert [each.name for each in hosts] == ["127.0.0.1:2201", "127.0.0.1:2202", "::1"]


@pytest.mark.parametrize("name", ["web1", "web-1.example.com", "web_1", "10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"])
def test_host_names_and_addresses(name: str) -> None:
    assert read(host(f'"{name}"')).groups[0].hosts[0].ssh.host == name


def test_text_stays_text() -> None:
    env = "env: {A: no, B: 0755, C: 12:30:45, D: 1.10, E: on, F: 2026-01-01, G: null, H: '', on: yes, I: 1e3}"
    expected = {"A": "no", "B": "0755", "C": "12:30:45", "D": "1.10", "E": "on", "F": "2026-01-01", "G": "null"}
    assert dict(first(read(app(env))).processes[0].env) == {**expected, "H": "", "on": "yes", "I": "1e3"}
    assert first(read(app("ref: 1.10"))).ref == "1.10"
    assert first(read(app("ref: no"))).ref == "no"


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("2m", 120), ("500ms", 0.5), ("1h", 3600), ("1.5s", 1.5), ("0s", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert read(group(f"drain_timeout: {text}")).groups[0].update.drain_timeout == seconds


@pytest.mark.parametrize("text", ["none", "null", "~"])
def test_none_switches_off(text: str) -> None:
    assert first(read(app(f"header: {text}"))).header is None
    assert first(read(app(f"env_file: {text}"))).processes[0].env_file is None


def test_bom_crlf_and_anchors_load() -> None:
    text = (APP + WEB).replace("\n", "\r\n")
    assert read(b"\xef\xbb\xbf" + text.encode()) == read(APP + WEB)
    web, api = f"{{hosts: [web1], balancer: &lb {BALANCER}}}", "{hosts: [api1], balancer: *lb}"
    groups = read(f"{APP}groups: {{web: {web}, api: {api}}}\n").groups
    assert groups[1].balancer == groups[0].balancer


def test_a_leading_dot_slash_is_dropped() -> None:
    assert first(read(app("script: ./dist/main.js"))).processes[0].script == "dist/main.js"


# What is refused, and where

BALANCER = "{kind: haproxy, host: lb1, socket: /run/haproxy.sock, backend: api}"
LONG = "/" + "x" * 60

WRONG = [
    # keys
    (app("helath: {path: /health}"), '6:3: unknown key "helath"; did you mean "health"?'),
    (app("health: {pth: /health}"), '6:12: health: unknown key "pth"; did you mean "path"?'),
    (app("zzz: 1"), '6:3: unknown key "zzz"; known here: name, repo, ref,'),
    (app("ref: a\n  ref: b"), '7:3: the key "ref" is there already, on line 6'),
    (APP + WEB + "hots: []\n", '8:1: unknown key "hots"; did you mean "hooks"?'),
    (group("max_paralel: 1"), '9:5: unknown key "max_paralel"; did you mean "max_parallel"?'),
    (f"{APP}defaults: {{port: 1}}\n{WEB}", '6:12: unknown key "port"; known here: max_parallel'),
    (APP, '1:1: the key "groups" is missing'),
    (WEB, "2:8: no app; say what to deploy"),
    ("app: {name: shop}\n" + WEB, '1:6: the key "repo" is missing'),
    ("app: {name: shop}\n" + WEB, '1:6: the key "root" is missing'),
    ("app: {name: shop}\n" + WEB, '1:6: the key "script" is missing (or "processes"'),
    (group("app: {name: other, script: }"), "9:31: script: has no value"),
    (group(f"balancer: {BALANCER.replace(', backend: api', '')}"), '9:15: balancer: the key "backend" is missing'),
    (host("{port: 22}"), '7:17: hosts: the key "host" is missing'),
    (app("? [a, b]\n  : c"), "6:5: a list as a key"),
    # types
    (app("port: [80]"), "6:9: port: wants one value, not a list"),
    (app("build: npm ci"), "6:10: build: wants a list, not a value; put it in [ ]"),
    (app("shared: [.env]"), "6:11: shared: wants keys below it, not a list"),
    (app("ref:"), "6:7: ref: has no value"),
    (app("processes: {}"), "6:14: processes: is empty"),
    ("app: shop\n" + WEB, "1:6: app: wants keys below it, not a value"),
    (APP + "groups: {web: [web1]}\n", "6:15: groups: wants keys below it, not a list"),
    (APP + "groups: {}\n", "6:9: groups: is empty"),
    ("- a\n", "1:1: a list alone; the file wants the keys app and groups"),
    # names
    (app("name: all"), '2:9: name: "all" can\'t be a name; PM2 gives it a meaning'),
    (app("name: default"), '2:9: name: "default" can\'t be a name'),
    (app("name: 0"), '2:9: name: "0" can\'t be a name'),
    (app("name: 1e5"), '2:9: name: "1e5" can\'t be a name'),
    (app("name: -1"), '2:9: name: "-1" is not a name'),
    (app("name: Shop"), '2:9: name: "Shop" is not a name'),
    (app("name: /x/"), '2:9: name: "/x/" is not a name'),
    (app(f"name: {'a' * 65}"), "2:9: name: "),
    (PROCESSES.replace("worker: {s", "all: {s"), '7:5: processes: "all": "all" can\'t be a name'),
    (f"{APP}groups:\n  we b: {{hosts: [web1]}}\n", '7:3: groups: "we b" is not a group name'),
    (f"{APP}groups:\n  '!web': {{hosts: [web1]}}\n", '7:3: groups: "!web" is not a group name'),
    (f"{APP}groups:\n  web1: {{hosts: [web1]}}\n", '7:3: groups: "web1" is a host too'),
    # app
    (app("repo: -x"), '3:9: repo: "-x" is not a repository'),
    (app("repo: ssh://-oProxyCommand=id/x"), "3:9: repo: "),
    (app("repo: ssh://git@-oProxyCommand=id/x"), "3:9: repo: "),
    (app("repo: ext::sh -c id"), "3:9: repo: "),
    (app("repo: https://u:secret@example.com/x"), "3:9: repo: the address holds a password"),
    (app("ref: --upload-pack=x"), '6:8: ref: "--upload-pack=x" is not a branch, tag or commit'),
    (app("ref: a..b"), "6:8: ref: "),
    (app("ref: a.lock"), "6:8: ref: "),
    (app("ref: a/.b"), "6:8: ref: "),
    (app("ref: a@{1}"), "6:8: "),
    (app("ref: a/"), "6:8: ref: "),
    (app("root: srv/shop"), '4:9: root: "srv/shop" is not a path on a host'),
    (app("root: /srv/../etc"), "4:9: root: "),
    (app("root: /srv/shop/"), "4:9: root: "),
    (app("root: /"), "4:9: root: "),
    (app("root: ~root/x"), "4:9: root: "),
    (app("root: /srv/a b"), "4:9: root: "),
    (app("root: /srv/$(id)"), "4:9: root: "),
    (app(f"root: {LONG}"), "4:9: root: "),
    (app("script: /dist/main.js"), '5:11: script: "/dist/main.js" is not a path inside the release'),
    (app("script: ../main.js"), "5:11: script: "),
    (app("script: npm run start:prod"), '5:11: script: "npm run start:prod" is a command; name the file'),
    (app("shared: {files: [/etc/passwd]}"), "6:20: shared: files: "),
    (app("shared: {dirs: [a/../../b]}"), "6:19: shared: dirs: "),
    (app("shared: {files: [.env, ./.env]}"), '6:26: shared: files: ".env" is in the list twice'),
    (app("port: 0"), '6:9: port: "0" is not a whole number from 1 to 65535'),
    (app("port: 65536"), "6:9: port: "),
    (app("port: 22:22"), "6:9: port: "),
    (app("port: 0x50"), "6:9: port: "),
    (app("port: +80"), "6:9: port: "),
    (app("port: ８０"), "6:9: port: "),
    (app("instances: 0"), '6:14: instances: "0" is not a number of workers'),
    (app("instances: -1"), "6:14: instances: "),
    (app("exec_mode: clustr"), '6:14: exec_mode: "clustr" is not one of cluster, fork; did you mean "cluster"?'),
    (app("health: health"), '6:11: health: "health" is not a health path; it begins with /'),
    (app("health: {timeout: 0s}"), '6:21: health: timeout: "0s" is no time at all'),
    (app('build: [npm ci, " "]'), "6:19: build: is empty"),
    (app("build: {run: npm ci}"), "6:16: build: run: wants a list, not a value; put it in [ ]"),
    (app("build: {on: first}"), '6:10: build: the key "run" is missing'),
    (app("build: {run: [npm ci], on: frist}"), '6:30: build: on: "frist" is not one of each, first; did you mean "first"?'),
    (app("env: {1A: x}"), '6:9: env: "1A": "1A" is not a name for a variable'),
    (app("env: {A: }"), '6:11: env: "A": has no value'),
    (app("env: {PORT: 1}"), '6:9: env: "PORT": "PORT" is set by Gapless; say port: instead'),
    (app("env: {A: [x]}"), '6:12: env: "A": wants one value, not a list'),
    (app("keep_releases: 1"), '6:18: keep_releases: "1" is not a whole number of 2 or more'),
    (app("header: 'x release'"), "6:11: header: "),
    (PROCESSES.replace("  processes", "  script: x.js\n  processes"), "5:3: script: belongs to a process"),
    (PROCESSES.replace("script: dist/worker.js, ", ""), '7:13: processes: "worker": the key "script" is missing'),
    # hosts
    (host("-oProxyCommand=x"), '7:17: hosts: "-oProxyCommand=x" is not a host name'),
    (host("deploy@web1"), '7:17: hosts: "deploy@web1" is not a host name; write {host: web1, user: deploy}'),
    (host("'u@web1:22'"), "7:17: hosts: \"u@web1:22\" is not a host name; write {host: web1, user: u, port: 22}"),
    (host("'[::1]:22'"), '7:17: hosts: "[::1]:22" is not a host name; write {host: ::1, port: 22}'),
    (host("bücher.example"), '7:17: hosts: "bücher.example" is not a host name; write it as xn--bcher-kva.example'),
    (host("10.0.0.256"), '7:17: hosts: "10.0.0.256" is not an IP address'),
    (host("'1:2:3'"), '7:17: hosts: "1:2:3" is not an IP address'),
    (host("web1, web1"), '7:23: hosts: "web1" is there already, in group "web" on line 7'),
    (host("web1, {host: WEB1, port: 22}"), '7:23: hosts: "WEB1" is there already'),
    (host("'::1', '0:0:0:0:0:0:0:1'"), '7:24: hosts: "0:0:0:0:0:0:0:1" is there already'),
    (f"{APP}groups: {{a: {{hosts: [x]}}, b: {{hosts: [x]}}}}\n", '6:39: hosts: "x" is there already, in group "a"'),
    (host(""), "7:16: hosts: is empty"),
    (host("[a]"), "7:17: hosts: wants keys below it, not a list"),
    (host("{host: web1, host_key: AAAA}"), '7:40: hosts: host_key: "AAAA" is not a host key'),
    (host(f"{{host: web1, host_key: ssh-ed25519 {'A' * 68}}}"), '7:40: hosts: host_key: "ssh-ed25519 AAAA'),
    (host(f"{{host: web1, host_key: {HOST_KEY.replace('ssh-ed25519', 'ssh-rsa')}}}"), "7:40: hosts: host_key: "),
    (host(f"{{host: web1, host_key: {HOST_KEY}A}}"), "7:40: hosts: host_key: "),
    (group("known_hosts: -x"), '9:18: known_hosts: "-x" is not a path'),
    (host("{host: web1, user: -l}"), "7:36: hosts: user: "),
    (host("{host: web1, key: -x}"), "7:35: hosts: key: "),
    (host("{host: web1, pm2_home: x}"), "7:40: hosts: pm2_home: "),
    # balancer
    (group(f"balancer: {BALANCER.replace('haproxy,', 'nginx,')}"), '9:22: balancer: kind: "nginx" is not one of'),
    (group(f"balancer: {BALANCER.replace('/run', 'run')}"), '9:50: balancer: socket: "run/haproxy.sock" is not a path'),
    (group(f"balancer: {BALANCER.replace('api', 'a/b')}"), '9:78: balancer: backend: "a/b" is not a name that HAProxy'),
    (group(f"balancer: {BALANCER.replace('api', 'api, url: lb1')}"), '9:88: balancer: url: "lb1" is not an address'),
    (f"{APP}groups: {{a: {{hosts: ['::1'], balancer: {BALANCER}}}}}\n", '6:22: hosts: "::1" is not a name that'),
    (group(f"balancer: {BALANCER}").replace("web2", "{host: b, server: web1}"), "8:19: hosts: a second server"),
    # groups
    (group("run: [shp]"), '9:11: run: no process is called "shp"; did you mean "shop"?'),
    (PROCESSES.replace("worker:", "work\U00018d09er:"), '10:31: run: no process is called "worker"; did you mean "work\\x18d09er"?'),
    (group("run: []"), "9:10: run: is empty"),
    (group("run: [shop, shop]"), '9:17: run: "shop" is in the list twice'),
    (f"{APP}{WEB}  prod: {{groups: [wbe]}}\n", '8:19: groups: no group is called "wbe"; did you mean "web"?'),
    (f"{APP}{WEB}  prod: {{groups: []}}\n", "8:18: groups: is empty"),
    (f"{APP}{WEB}  prod: {{groups: [prod]}}\n", '8:19: groups: "prod" would hold itself'),
    (f"{APP}{WEB}  a: {{groups: [b]}}\n  b: {{groups: [web, a]}}\n", '9:21: groups: "b" would hold itself'),
    (f"{APP}{WEB}  prod: {{groups: [web], hosts: [x]}}\n", "8:25: hosts: a group names hosts or groups, not both"),
    (f"{APP}{WEB}  prod: {{groups: [web], run: [shop]}}\n", '8:25: unknown key "run"'),
    (group("protected: yes"), '9:16: protected: "yes" is neither true nor false'),
    # update settings
    (group("kill_timeout: 1s"), '9:19: kill_timeout: "1s" is too short'),
    (group("healthy_deadline: 10s"), "9:23: healthy_deadline must be longer than min_healthy_time; "),
    (group("min_healthy_time: 3m"), "9:23: healthy_deadline must be longer than min_healthy_time; "),
    (group("healthy_deadline: 1h"), "9:23: progress_deadline must be longer than healthy_deadline; "),
    (group("drain_timeout: 5 minutes"), '9:20: drain_timeout: "5 minutes" is not a duration'),
    (group("drain_timeout: 4"), '9:20: drain_timeout: "4" has no unit; write 4s or 4ms'),
    (group("kill_timeout: 1600"), '9:19: kill_timeout: "1600" has no unit; write 1600s or 1600ms'),
    (group("min_healthy_time: 0"), '9:23: min_healthy_time: "0" has no unit'),
    (app("health: {timeout: 5}"), '6:21: health: timeout: "5" has no unit'),
    (group("drain_timeout: 25h"), '9:20: drain_timeout: "25h" is more than a day'),
    (group("drain_timeout: -1"), "9:20: drain_timeout: "),
    (group("max_parallel: 0"), '9:19: max_parallel: "0" is not a width; write 1 or more, or 1% to 100%'),
    (group("max_parallel: 101%"), "9:19: max_parallel: "),
    (group("max_parallel: [1, half]"), '9:23: max_parallel: "half" is not a width'),
    (group("max_parallel: []"), "9:19: max_parallel: is empty"),
    (group("on_failure: rollback"), '9:17: on_failure: "rollback" is not one of rollback_all'),
    # YAML
    ("", "1:1: the file is empty"),
    ("# only a comment\n", "1:1: the file is empty"),
    (app("<<: {ref: x}"), "6:3: a merge key; it is not read here"),
    (app("ref: !!python/object:os.system x"), "6:8: the tag "),
    (app("ref: !x y"), '6:8: the tag "!x"; tags are not read here'),
    (app("ref: *x"), '6:8: the alias "x" has no anchor that ends before it'),
    (app("build: &x [*x]"), '6:14: the alias "x" has no anchor'),
    (app("ref: &x a\n  migrate: &x b"), '7:12: the anchor "x" is there already'),
    (APP + WEB + "---\na: b\n", "8:1: a second document; one file holds one"),
    (APP + "\tgroups: x\n", "6:1: a tab; YAML wants spaces here"),
    (app("ref: a: b"), '6:9: a ":" where no key can be'),
    (app("ref: a\x00b"), "6:9: the character U+0000 is not allowed here"),
    (app('ref: "a\\0b"'), "6:8: the character U+0000 is in this value"),
    (app('migrate: "\\ud800"'), "6:12: the character U+D800 is in this value"),
    (app('migrate: "\\UFFFFFFFF"'), "6:"),
    (app("build: [a, b"), "7:7: expected ',' or ']', but got ':', while parsing a flow sequence that begins on line 6"),
    (host("web1, ::1"), '7:23: a ":" where a value begins; put the value in quotes, as in "::1"'),
    (APP.encode() + b"\xff\n", "6:1: this is not UTF-8"),
    (b"\xff\xfe" + APP.encode("utf-16-le"), "1:1: this is not UTF-8"),
    (app("oops"), '6:3: a key without ":"; write key: value'),
    ("%YAML 9" + "9" * 5000 + ".1\n---\na: b\n", "1:"),
]


@pytest.mark.parametrize(("text", "expected"), WRONG, ids=[expected[:60] for _, expected in WRONG])
def test_each_mistake_is_named_where_it_is(text: str | bytes, expected: str) -> None:
    assert any(found.startswith(expected) for found in findings(text)), refusal(text)


def test_a_finding_looks_like_a_compilers() -> None:
    assert refusal(app("helath: {path: /health}")) == (
        'hosts.yaml:6:3: unknown key "helath"; did you mean "health"?\n'
        "      helath: {path: /health}\n"
        "      ^\n"
        "hosts.yaml: 1 error; no host was contacted."
    )


def test_all_mistakes_are_said_at_once_in_the_order_of_the_file() -> None:
    text = app("port: 0\n  helath: x\n  keep_releases: 0") + "  a: {hosts: [-x, u@h], run: 1}\n  b: {groups: [c]}\n"
    found = findings(text)
    places = [tuple(map(int, each.split(":")[:2])) for each in found]
    assert [line for line, _ in places] == [6, 7, 7, 8, 11, 11, 11, 12]
    assert places == sorted(places)


BELOW = [
    (app("port: 0").replace("groups:", "gruops:").replace("web2", "-x"), ["6:9: port: ", "7:1: unknown key", "8:23: hosts: "]),
    (app("port: 0").replace("app:", "aap:"), ["1:1: unknown key", "6:9: port: "]),
    (app("helath: {pth: /x}"), ["6:3: unknown key", "6:12: health: unknown key"]),
    (app("helath: x").replace("script:", "scirpt:"), ["5:3: unknown key", "6:3: unknown key", "6:11: health: "]),
    (f"{APP}groups:\n  we b: {{hosts: [-x], run: [shp]}}\n", ["7:3: groups: ", "7:18: hosts: ", "7:29: run: "]),
    (f"{APP}groups:\n  web: {{host: [-x]}}\n", ["7:9: unknown key", "7:16: hosts: "]),
    (f"{APP}defualts: {{kill_timeout: 1}}\n{WEB}", ["6:1: unknown key", "6:26: kill_timeout: "]),
    (app("build: ['', x, '']"), ["6:11: build: ", "6:18: build: "]),
    (group("max_parallel: [0, 101%]"), ["9:20: max_parallel: ", "9:23: max_parallel: "]),
    (app("env: {1A: [x]}"), ["6:9: env: ", "6:13: env: "]),
    (PROCESSES.replace("/main.js", "/../x").replace("[api]", "[ap]"), ["6:22: processes: ", "9:37: run: no process"]),
    (app("helath: {}\n  port: 0\n  health: x"), ["6:3: unknown key", "7:9: port: ", "8:11: health: "]),
]


@pytest.mark.parametrize(("text", "expected"), BELOW, ids=[text.splitlines()[-1] for text, _ in BELOW])
def test_a_mistake_hides_no_other(text: str, expected: list[str]) -> None:
    found = findings(text)
    assert len(found) == len(expected), found
    assert all(map(str.startswith, found, expected)), found


def test_a_mistake_in_the_app_is_said_once_however_many_groups_use_it() -> None:
    assert len(findings(app("port: 0") + "  a: {hosts: [a1]}\n  b: {hosts: [b1], app: {ref: x}}\n")) == 1


def test_hundreds_of_mistakes_are_cut_short() -> None:
    message = refusal(app("\n  ".join(f"key{number}: x" for number in range(300))))
    assert len(message.splitlines()) == 40 * 3 + 1
    assert message.endswith("hosts.yaml: 300 errors, the first 40 are shown; no host was contacted.")


def test_the_source_line_can_not_disturb_a_terminal() -> None:
    message = refusal(app("ref: a\u202eb\u200b" + "x" * 500))
    assert "\u202e" not in message
    assert max(map(len, message.splitlines())) < 200


SECRET = "hunter2-canary"


@pytest.mark.parametrize(
    "text",
    [
        app(f"repo: https://deploy:{SECRET}@example.com/shop.git"),
        app(f"repo: https://{SECRET}@example.com/shop.git"),
        app(f"repo: 'https://deploy:{SECRET}/x@example.com/shop.git'"),
        app(f"repo: 'https://deploy:{SECRET} x@example.com/shop.git'"),
        app(f"repo: ssh://git:{SECRET}@example.com/shop.git"),
        app(f"repo: [https://deploy:{SECRET}@example.com/shop.git]"),
        app(f"repo: 'https://deploy:{SECRET}@example.com/shop.git\n  ref: x"),
        group(f"balancer: {BALANCER.replace('api', f'api, url: http://admin:{SECRET}@lb1')}"),
        app(f"env: {{1A: {SECRET}, B: {SECRET}}}"),
        app(f"env: {{TOKEN: [{SECRET}]}}"),
        app(f"env: {SECRET}"),
        app(f"env:\n    A: {SECRET}\n    1A: {SECRET}"),
        app(f"env:\n    A:\n      - {SECRET}"),
        app(f"env:\n    A: |\n      {SECRET}\n\n      {SECRET}\n    1A: x\n   B: {SECRET}"),
        app(f"env:\n    A: {SECRET}: {SECRET}"),
        app(f"env:\n    A: {SECRET}\n    A: {SECRET}"),
        app(f"env:\n    A: '{SECRET}' {SECRET}"),
        app(f"env:\n    A: !secret {SECRET}"),
        app(f"env: {{A: {SECRET}, B: [}}"),
        PROCESSES.replace("port: 3000", f"env: {{A: {SECRET}}}, port: 0"),
        PROCESSES.replace("port: 3000", f"'env': {{A: {SECRET}}}, port: 0"),
    ],
)
def test_a_finding_tells_no_password_and_no_value_of_env(text: str) -> None:
    assert SECRET not in refusal(text)


def test_what_is_no_secret_is_shown() -> None:
    message = refusal(app("env:\n    A: x\n  helath: x\n  environment: y"))
    assert ("helath: x" in message, "environment: y" in message) == (True, True)
    assert "*" not in message
    # Stars are as long as what they hide, or the caret would point elsewhere.
    assert words.veiled("a: http://u:pw@lb, b: x") == "a: http://****@lb, b: x"


def test_the_caret_stands_below_a_column_behind_tabs_and_far_to_the_right() -> None:
    _, source, caret, _ = refusal(app('build: ["a\tb", {x: y}]')).splitlines()
    assert source.expandtabs()[caret.expandtabs().index("^")] == "{"
    _, source, caret, _ = refusal(app(f"build: [{'x' * 300}, {{x: y}}]")).splitlines()
    assert source[caret.index("^")] == "{"


NASTY = [f"a{char}b" for char in ";|&><'\"\\\n *\u202e"] + ["$(id)", "`id`", "-x", "é", ""]
NAMES = [
    words.process_name,
    words.group_name,
    words.host_name,
    words.git_ref,
    words.root_path,
    words.inner_path,
    words.script_path,
    words.repo_url,
    words.user_name,
    words.env_name,
    words.header_name,
    words.remote_path,
    words.health_path,
    words.web_url,
    words.host_key,
]
METACHARACTERS = set(" \t\n\r;|<>`$\"'\\(){}*!^")


@pytest.mark.parametrize("check", NAMES)
@pytest.mark.parametrize("text", NASTY)
def test_no_name_holds_what_a_shell_would_act_on(check: object, text: str) -> None:
    for candidate in (text, f"/{text}", f"https://example.com/{text}", f"a/{text}"):
        assert not _accepts(check, candidate) or not METACHARACTERS & set(candidate)


@given(st.sampled_from(NAMES), st.text(st.sampled_from("a0-_./~@:;$`'\"|&<>(){}*!\\ \n\té\u202e"), max_size=12))
def test_no_mix_of_characters_gets_through(check: object, text: str) -> None:
    if _accepts(check, text):
        assert not METACHARACTERS - {" "} & set(text)
        assert text.isascii() and not text.startswith("-")


def _accepts(check: object, text: str) -> bool:
    try:
        check(text)  # type: ignore[operator]
    except ValueError:
        return False
    return True


# Limits

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 11))
TOO_MUCH = {
    "bomb": (BOMB, "values once the aliases are followed"),
    "aliases": (f"a: &a x\nb: [{', '.join(['*a'] * 101)}]\n", "more than 100 aliases"),
    "brackets": ("[" * 100_000, "more than 50 levels deep"),
    "braces": ("{a: " * 100_000, "more than 50 levels deep"),
    "dashes": ("- " * 100_000, "more than 50 levels deep"),
    "questions": ("? " * 100_000, "more than 50 levels deep"),
    "indents": ("".join(f"{' ' * n}a:\n" for n in range(1000)), "more than 50 levels deep"),
    "size": ("#" * (1 << 20) + "#", "larger than 1 MiB"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_a_file_made_to_hurt_is_refused_at_once(name: str) -> None:
    text, expected = TOO_MUCH[name]
    begun = time.process_time()
    assert expected in refusal(text)
    assert time.process_time() - begun < 1


WOVEN = f"{APP}groups:\n  w: {{hosts: [a]}}\n" + "".join(
    f"  g{number}: {{groups: [{', '.join(f'g{other}' for other in range(number + 1, min(number + 40, 400)))}{', ' * (number < 399)}w]}}\n"
    for number in range(400)
)
PATIENCE = {
    "woven groups": WOVEN,
    "one long line": app(f"migrate: {'a' * 1_000_000}"),
    "a million breaks": APP + "\r" * 1_000_000 + WEB,
    "open quotes": app("build: " + "['" * 500_000),
    "addresses": app("repo: " + "://@" * 250_000),
    "misspelt keys": app("\n  ".join(f"key{number}: x" for number in range(4_000))),
    "hosts": host(", ".join(f"h{number}" for number in range(10_000))),
    "a value of env for each line": app("env:\n" + "".join(f"    1K{number}: v\n" for number in range(5_000))),
}


@pytest.mark.parametrize("name", PATIENCE)
def test_a_file_of_the_largest_size_is_judged_in_seconds(name: str) -> None:
    begun = time.process_time()
    with contextlib.suppress(InventoryError):
        read(PATIENCE[name])
    assert time.process_time() - begun < 5


def test_a_million_values_are_refused_before_they_are_read() -> None:
    begun = time.process_time()
    assert "more than 50000 values" in refusal("[" + "a," * 500_000 + "]")
    assert time.process_time() - begun < 15


def test_a_file_of_any_size_is_not_read_to_its_end(tmp_path: Path) -> None:
    huge = tmp_path / "hosts.yaml"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InventoryError, match="larger than 1 MiB"):
        load(huge)


def test_a_thousand_hosts_load() -> None:
    hosts = ", ".join(f"{{host: web{number}, port: 2222}}" for number in range(1000))
    assert len(read(host(hosts)).groups[0].hosts) == 1000


@settings(max_examples=300, deadline=None)
@given(st.text() | st.text(st.sampled_from("ab:-[]{}&*!|>'\"%#?,.\n \t\\0")) | st.binary())
def test_any_text_gives_an_inventory_or_its_errors(text: str | bytes) -> None:
    _loads_or_is_refused(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_damage_to_a_good_file_gives_an_inventory_or_its_errors(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([EXAMPLE.read_text(), PROCESSES, APP + WEB]))
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(begin, min(len(text), begin + 20)))
        text = text[:begin] + data.draw(st.text(st.sampled_from("ab:-[]{}&*!'\"#,0\n \\~%@")) | st.text()) + text[end:]
    _loads_or_is_refused(text.encode("utf-8", "surrogatepass"))


KEYS = "app groups hosts name repo root script processes run health balancer env shared max_parallel a web".split()
SHAPES = st.recursive(
    st.sampled_from(["a", "web", "", "none", "1", "/x", "~/x", "x.js", "git@h:x", "true", "10s", "~", "[]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None)
@given(app=SHAPES, groups=st.dictionaries(st.sampled_from(["a", "web", "b"]), SHAPES, max_size=3) | SHAPES)
def test_any_shape_gives_an_inventory_or_its_errors(app: object, groups: object) -> None:
    _loads_or_is_refused(json.dumps({"app": app, "groups": groups}).encode())


def _loads_or_is_refused(data: bytes) -> None:
    try:
        assert read(data).groups
    except InventoryError as error:
        message = str(error.message)
        assert re.match(r"hosts\.yaml:\d+:\d+: ", message)
        assert all(char.isprintable() for char in message.replace("\n", "").replace("\t", "")), "it could drive a terminal"
        lines = BREAK.split(data.decode("utf-8-sig", "replace"))
        for line, column in re.findall(r"^hosts\.yaml:(\d+):(\d+): ", message, re.MULTILINE):
            assert int(line) <= len(lines)
            assert int(column) <= len(lines[int(line) - 1]) + 1, "it points past the end of its line"


# Words that YAML 1.1 takes for something else, and what a shell, a terminal or Python would act on.
WORDS = (
    "no", "off", "Yes", "y", "0755", "0o17", "0x1f", "22:22", "12:30:45", "1.10", "1e3", ".inf", ".nan", "2026-01-01", "null", "~", "=", "<<", "+1",
    "1_000", "$(touch canary)", "`touch canary`", "!!python/object/apply:os.system [touch canary]", "!!binary aGk=", "\u202eabc", "\U0001f4a5", "a\tb",
    "a\nb", "'", '"', "\\", "{}", "[]", "# x", "%x", "@x", "&x", "*x", "- x", "? x", ": x", "| x", " x ", "{{x}}", "%s{0}", "\u2028", "\x85", "\ufeff",
)


def quoted(text: str) -> str:
    plain = (char if char.isascii() and char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}" for char in text)
    return f'"{"".join(plain)}"'


@given(st.lists(st.sampled_from(WORDS) | st.text(st.characters(exclude_categories=["Cs", "Cc"])), min_size=1, max_size=5))
def test_a_quoted_string_stays_what_it_is(texts: list[str]) -> None:
    env = {f"K{number}": text for number, text in enumerate(texts)}
    found = first(read(app(f"env: {{{', '.join(f'{key}: {quoted(text)}' for key, text in env.items())}}}"))).processes[0].env
    assert dict(found) == env
    assert all(type(value) is str for _, value in found)


@given(st.sampled_from(WORDS), st.sampled_from(["ref", "name", "repo", "root", "port", "health", "build", "env", "instances", "migrate", "header"]))
def test_a_word_with_a_meaning_runs_nothing_wherever_it_stands(tmp_path_factory: pytest.TempPathFactory, word: str, key: str) -> None:
    place = tmp_path_factory.getbasetemp()
    with contextlib.chdir(place):
        for text in (app(f"{key}: {word}"), app(f"{key}: [{word}]"), app(f"{key}: {json.dumps(word)}"), app(f"{word}: {key}")):
            _loads_or_is_refused(text.encode())
    assert not list(place.glob("canary*"))


# Selectors

FLEET = f"""\
{APP}groups:
  web: {{hosts: [web1, web2, web3]}}
  jobs: {{hosts: [job1], protected: true}}
  idle: {{hosts: [idle1]}}
  prod: {{groups: [all-web, jobs], protected: true}}
  all-web: {{groups: [web]}}
"""


def chosen(selector: str) -> list[str]:
    return [host.name for host in read(FLEET).select(selector).hosts]


@pytest.mark.parametrize(
    ("selector", "hosts"),
    [
        ("web", "web1 web2 web3"),
        ("prod", "web1 web2 web3 job1"),
        ("jobs,web", "web1 web2 web3 job1"),
        ("web2,web,all-web", "web1 web2 web3"),
        ("web3,web1", "web1 web3"),
        ("prod,!web", "job1"),
        ("!web2,prod", "web1 web3 job1"),
        (" web , ! web1 ", "web2 web3"),
    ],
)
def test_a_selector_means_hosts_in_the_order_of_the_file(selector: str, hosts: str) -> None:
    assert chosen(selector) == hosts.split()


def test_targets_keep_the_whole_groups_beside_the_narrowed_ones() -> None:
    targets = read(FLEET).select("web2,job1")
    assert [len(group.hosts) for group in targets.groups] == [1, 1]
    assert [len(group.hosts) for group in targets.fleet] == [3, 1]
    assert targets.selector == "web2,job1"


def test_one_host_of_a_protected_group_is_enough_to_touch_it() -> None:
    assert read(FLEET).select("web1").protected == ("prod",)
    assert read(FLEET).select("prod").protected == ("jobs", "prod")
    assert read(FLEET).select("idle").protected == ()


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("wbe", 'no group or host is called "wbe"; did you mean "web"?'),
        ("zzzz", "Groups: web, jobs, idle, prod, all-web. Hosts: web1, web2, web3, job1, idle1."),
        ("web,!wbe1", 'no group or host is called "wbe1"'),
        ("web*", 'no group or host is called "web*"'),
        ("", "an empty name"),
        ("  ", "an empty name"),
        ("web,", "an empty name"),
        ("!", "an empty name"),
        ("!web", "leaves no host"),
        ("web1,!web", "leaves no host"),
    ],
)
def test_a_selector_that_means_nobody_is_an_error(selector: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(FLEET).select(selector)
    assert message in str(caught.value.message)
    assert not isinstance(caught.value, InventoryError)


# The file


def test_the_file_is_found_upward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAPLESS_INVENTORY", raising=False)
    deep = tmp_path / "a/b"
    (deep / "hosts.yaml").mkdir(parents=True)  # a directory of that name is not it
    (tmp_path / "hosts.yaml").write_text("")
    assert find(deep) == tmp_path / "hosts.yaml"


def test_the_variable_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hosts.yaml").write_text("")
    (tmp_path / "other.yaml").write_text("")
    monkeypatch.setenv("GAPLESS_INVENTORY", "other.yaml")
    assert find(tmp_path) == tmp_path / "other.yaml"
    monkeypatch.setenv("GAPLESS_INVENTORY", "absent.yaml")
    with pytest.raises(InventoryError, match=r"GAPLESS_INVENTORY: there is no file .*absent\.yaml"):
        find(tmp_path)


def test_a_missing_file_says_where_was_looked_and_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GAPLESS_INVENTORY", raising=False)
    with pytest.raises(InventoryError) as caught:
        find(tmp_path)
    assert str(tmp_path) in str(caught.value.message)
    assert "Run `gapless init`" in str(caught.value.message)
    assert caught.value.exit_code == 2


def test_a_file_that_can_not_be_read_is_an_inventory_error(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="Is a directory"):
        load(tmp_path)
