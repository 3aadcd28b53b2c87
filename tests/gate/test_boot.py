"""From boot to open: what is held back, for how long, and what is written when it does not come up."""


from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import load
import pytest
from conftest import MINIMAL_ENV, Pm2, Site, UnixConnection, alive, eventually, fetch

SOON = {"healthy_deadline_ms": 800}
CRASHES = {
    "rejection": ("plain.cjs", "throws", {}, r"^rejection: Error: JWT_SECRET is not set\n", "behaviour.cjs"),
    "nest bootstrap": ("nest.cjs", "throws", {}, r"^rejection: Error: JWT_SECRET is not set\n", "nest.cjs"),
    "exception": ("esm.mjs", "throws", {}, r"^exception: Error: JWT_SECRET is not set\n", "esm.mjs"),
    "require": ("absent.cjs", "good", {}, r"^exception: Error: Cannot find module 'not-installed'\n", "absent.cjs"),
    "exit": ("plain.cjs", "exits", {}, r"^exit: the app called process.exit\(3\)\n", "behaviour.cjs"),
    "no-listen": ("plain.cjs", "never", SOON, r"^no-listen: .* 800 ms\n", "--- last output ---"),
    "health": ("express.cjs", "health-500", SOON, r"^health: GET /health answered 500, want 200", "database is away"),
    "redirect": ("plain.cjs", "redirects", SOON, r"^health: GET /health answered 302 to /login", ""),
    "hangs": ("plain.cjs", "hangs", {**SOON, "health": {"path": "/slow", "timeout_ms": 300}},
              r"^health: GET /slow gave no answer within 300 ms", ""),
    "release": ("plain.cjs", "wrong-release", {}, r'^release: GET /health named release "9999-deadbee"', "deadbee"),
    "config": ("gone.cjs", "good", {}, r"^config: Error: ENOENT", "gone.cjs"),
}  # fmt: skip


@pytest.mark.parametrize("case", CRASHES)
def test_a_crash_leaves_its_reason(site: Site, case: str) -> None:
    script, mode, settings, headline, inside = CRASHES[case]
    text = site.break_with(site.release(1, script, mode, **settings))
    assert re.match(headline, text), text
    assert inside in text
    [log] = site.run.glob("crash-*.log")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    with pytest.raises(OSError):
        site.get()


def test_an_app_that_ends_by_itself_is_named(site: Site) -> None:
    """Without PM2, whose channel keeps every worker alive."""
    release = site.release(1, "behaviour.cjs")
    env = {**MINIMAL_ENV, "name": site.name, "pm_id": "0"}
    gate, home = site.root / ".gapless/gate.cjs", site.root / "releases" / release
    subprocess.run(["node", str(gate)], cwd=home, env=env, timeout=10, check=True)
    assert site.crash().startswith("exit: nothing kept the app alive (code 0)\n")


def test_the_last_output_is_in_the_crash_log(site: Site) -> None:
    text = site.break_with(site.release(1, mode="exits"))
    _, _, output = text.partition("--- last output ---\n")
    assert output == "connecting to the database\ncannot start: no database\n\n"


def test_a_port_in_use_is_named(site: Site) -> None:
    with socket.create_server(("127.0.0.1", site.port)):
        text = site.break_with(site.release(1))
    assert re.match(r"^listen: Error: .*EADDRINUSE", text), text


def test_a_release_without_marker_does_not_start(site: Site) -> None:
    release = site.release(1)
    (site.root / "releases" / release / ".gapless.json").unlink()
    assert site.break_with(release).startswith("config: Error: ENOENT")


def test_a_root_that_is_too_long_is_refused(pm2: Pm2, site: Site) -> None:
    long = Site(pm2.home.parent / ("x" * 80), pm2, site.node_modules, "long")
    try:
        assert "unix sockets end at 107" in long.break_with(long.release(1))
    finally:
        long.remove()


def test_the_hold_time_is_kept_and_ready_is_the_gates_to_say(site: Site) -> None:
    release = site.release(1, mode="early-ready")
    site.settings(hold_ms=1000)
    site.start(release, wait=False)
    settling = site.state(release, "settling")
    with pytest.raises(ConnectionRefusedError):
        site.get()
    assert site.health(settling["pid"])[0] == 200
    assert site.workers()[0]["status"] == "launching"
    opened = site.state(release, "open")
    assert 1000 <= opened["since"] - settling["since"] < 1600
    assert opened["ports"] == [site.port] and opened["health"]["status"] == 200 and opened["why"] == ""
    eventually(lambda: site.workers()[0]["status"] == "online")


def test_a_release_that_was_withdrawn_meanwhile_never_opens(site: Site) -> None:
    withdrawn, good = site.release(1), site.release(2)
    site.settings(hold_ms=1000)
    site.start(withdrawn, wait=False)
    late = site.state(withdrawn, "settling")
    site.switch(good)
    site.settings(withdrawn=withdrawn)
    site.state(good, "open")
    assert not alive(late["pid"]) and not list(site.run.glob("crash-*.log"))
    assert site.get()[1]["x-release"] == good


def test_a_bad_answer_starts_the_hold_again(site: Site) -> None:
    release = site.release(1, mode="flaps")
    site.settings(hold_ms=700)
    began = time.time()
    site.start(release)
    assert time.time() - began > 0.9 + 0.7
    assert site.states()[0]["state"] == "open"


def test_what_dies_during_the_hold_is_never_exposed(site: Site) -> None:
    quick = {"SLOW_MS": "1000"}
    first, dying = site.release(1, env=quick), site.release(2, mode="dies-in-hold", env=quick)
    site.start(first)
    site.settings(hold_ms=800)
    with load.running(site.url, rate=60, slow=1) as tally:
        site.switch(dying)
        reload = site.reload()
        assert site.crash().startswith("exception: Error: the queue went away\n")
        eventually(lambda: len(list(site.run.glob("crash-*.log"))) > 1)  # PM2 tries again, the old worker serves
        site.switch(first)
        reload.result(30)
    assert (tally.lost, set(tally.versions)) == (0, {first}), tally.summary()


def test_the_environment_is_exact(site: Site) -> None:
    first = site.release(1, env={"CHANGED": "1", "REMOVED": "1", "OVERRULED": "by the file"})
    second = site.release(2, env={"CHANGED": "2"})
    (site.root / "releases" / first / ".env").write_text("OVERRULED=yes\nREMOVED_TOO=1\n")
    (site.root / "releases" / second / ".env").write_text('ADDED="with # and spaces"\nTRICKY=a=b\n')

    def env() -> dict[str, str]:
        return json.loads(site.get("/env")[2])

    site.start(first)
    assert env().items() >= {"CHANGED": "1", "REMOVED": "1", "OVERRULED": "yes", "REMOVED_TOO": "1"}.items()
    site.deploy(second)
    now = env()
    commit = json.loads((site.root / "releases" / second / ".gapless.json").read_text())["commit"]
    assert now.items() >= {
        "CHANGED": "2", "ADDED": "with # and spaces", "TRICKY": "a=b", "PORT": str(site.port),
        "GAPLESS_RELEASE": second, "GAPLESS_COMMIT": commit, "NODE_APP_INSTANCE": "0",
    }.items()  # fmt: skip
    machine = {"PATH", "HOME", "USER", "LANG", "PM2_HOME", "NODE_APP_INSTANCE", "pm_id"}
    release = {"PORT", "CHANGED", "MODE", "KEEP_ALIVE_MS", "WITNESS", "ADDED", "TRICKY"}
    allowed = machine | release | {"GAPLESS_RELEASE", "GAPLESS_COMMIT"}
    assert set(now) <= allowed


def test_script_and_port_change_with_the_release(site: Site) -> None:
    common, module = site.release(1), site.release(2, "esm.mjs", port=site.port + 1)
    site.start(common)
    about = json.loads(site.get()[2])
    assert about["main"] == about["argv1"] == str(site.root / "releases" / common / "plain.cjs")
    site.deploy(module)
    site.port += 1
    about = json.loads(site.get()[2])
    assert (about["release"], about["argv1"]) == (module, str(site.root / "releases" / module / "esm.mjs"))


def owns_socket(pid: int, path: str) -> bool:
    table = (line.split() for line in Path("/proc/net/unix").read_text().splitlines())
    inodes = {f"socket:[{fields[6]}]" for fields in table if fields[-1] == path}
    open_files = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            open_files.add(os.readlink(entry))
    return bool(inodes & open_files)


def test_each_worker_answers_on_its_own_socket(site: Site) -> None:
    release = site.release(1, mode="short-commit")
    site.start(release, instances=2)
    pids = site.pids()
    assert len(pids) == 2
    for pid in pids:
        status, headers, body = site.health(pid, "/")
        assert (status, json.loads(body)["pid"]) == (200, pid)
        assert "x-release" not in headers  # there only what the app says of itself counts
        assert owns_socket(pid, str(site.run / f"health-{pid}.sock"))  # not the daemon, which would share it out
    assert stat.S_IMODE(site.run.stat().st_mode) == 0o700


def test_answers_carry_the_release_unless_the_app_names_its_own(site: Site) -> None:
    release = site.release(1)
    site.start(release)
    assert site.get()[1]["x-release"] == release
    assert site.get("/named")[1]["x-release"] == "mine"
    site.deploy(site.release(2))
    assert site.get()[1]["x-release"] != release


def test_two_instances_reloaded_twice_under_load(site: Site) -> None:
    first, second, third = (site.release(number, "express.cjs", env={"SLOW_MS": "1000"}) for number in (1, 2, 3))
    site.start(first, instances=2)
    with load.running(site.url, rate=100, slow=1) as tally:
        site.deploy(second)
        site.deploy(third)
        assert {state["release"] for state in site.states()} == {third}
    print(tally.summary())
    assert (tally.lost, set(tally.versions)) == (0, {first, second, third}), tally.failures[:5]


def test_a_killed_worker_is_respawned_through_the_gate(site: Site) -> None:
    release = site.release(1)
    site.start(release)
    [pid] = site.pids()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: site.pids() not in ([pid], [0]))
    site.state(release, "open")
    assert site.get()[0] == 200
    assert site.health(site.pids()[0])[0] == 200


def test_a_process_without_health_is_ready_when_it_stays_alive(site: Site) -> None:
    took = site.start(site.release(1, "job.cjs", health=None, port=None))
    assert took > 0.5
    [state] = site.states()
    assert (state["state"], state["ports"], state["health"]) == ("open", [], None)


def test_a_process_without_health_that_dies_is_not_ready(site: Site) -> None:
    text = site.break_with(site.release(1, "job.cjs", "dies-in-hold", health=None, port=None))
    assert text.startswith("exception: Error: the queue went away\n")


def test_a_second_server_waits_for_the_first(site: Site) -> None:
    release = site.release(1, mode="two-servers")
    site.settings(hold_ms=600)
    site.start(release, wait=False)
    site.state(release, "settling")
    for port in (site.port, site.port + 1):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
    assert sorted(site.state(release, "open")["ports"]) == [site.port, site.port + 1]


def test_an_app_on_a_unix_socket_is_held_too(site: Site) -> None:
    path = str(site.root / "app.sock")
    first, second = (site.release(number, port=None, env={"LISTEN_PATH": path}) for number in (1, 2))
    site.start(first)
    assert fetch(UnixConnection(path), "/")[1]["x-release"] == first
    site.deploy(second)
    assert fetch(UnixConnection(path), "/")[1]["x-release"] == second
