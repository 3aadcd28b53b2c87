"""The lab itself: what every other live test stands on."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import claim, loopback, namespaces
from tests.lab.fleet import Lab, LabError, sweep_dead, take_down
from tests.lab.making import CHECKOUT, lab_dir
from tests.lab.system import path_of

pytestmark = [pytest.mark.lab, pytest.mark.timeout(60)]
NAMESPACES = namespaces.allowed()
MODES = ["namespace", "loopback"] if NAMESPACES else ["loopback"]
needs_namespaces = pytest.mark.skipif(not NAMESPACES, reason="needs root and namespaces")
# Names hold our pid, so that two checkouts may test at the same time.
TAG = f"{os.getpid() % 10_000}"


@pytest.fixture(scope="module", params=MODES)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    mode = request.param
    disk = "16m" if mode == "namespace" else None
    with Lab.up(f"t{mode[0]}{TAG}", 2, mode, disk=disk, bound=True) as standing:
        yield standing


@pytest.fixture(scope="module")
def apart(lab: Lab) -> Lab:
    if lab.mode != "namespace":
        pytest.skip("a loopback host has no network and no disk of its own")
    return lab


def ssh(lab: Lab, host: str, script: str) -> subprocess.CompletedProcess[str]:
    command = [path_of("ssh"), "-F", str(lab.ssh_config), "-o", "ConnectTimeout=2", host, script]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def start_server(lab: Lab, host: str) -> None:
    """Serve 200 on every path, without PM2."""
    serve = "require('http').createServer((q, s) => s.end('hi')).listen(process.env.PORT)"
    lab.run(host, f'. ~/shop/shared/.env; export PORT; setsid node -e "{serve}" </dev/null >/dev/null 2>&1 &')


def wait_for(what: object, seconds: float = 20) -> float:
    begun = time.monotonic()
    while not what():  # type: ignore[operator]
        assert time.monotonic() - begun < seconds, "waited in vain"
        time.sleep(0.01)
    return time.monotonic() - begun


def status(lab: Lab, host: str) -> str:
    return str(lab.servers()[host]["status"])


@pytest.mark.parametrize("host", ["lab1", "lab2", "lablb"])
def test_each_host_answers_openssh_with_its_own_home(lab: Lab, host: str) -> None:
    said = ssh(
        lab, host, 'echo "$HOME" "$PM2_HOME" "$GAPLESS_LAB" ~; for each in pm2 node npm git; do command -v $each; done'
    )
    home = str(lab.host(host).home)
    assert said.stdout.split()[:4] == [home, f"{home}/.pm2", str(lab.dir / host), home], said.stderr
    assert len(said.stdout.splitlines()) == 5


def test_keys_suit_paramiko(lab: Lab) -> None:
    paramiko = pytest.importorskip("paramiko")
    host = lab.host("lab1")
    client = paramiko.SSHClient()
    client.load_host_keys(str(lab.known_hosts))
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    key = paramiko.Ed25519Key.from_private_key_file(str(lab.dir / "id_ed25519"))
    user = Path(lab.dir).owner()
    client.connect(host.address, host.ssh_port, user, pkey=key, look_for_keys=False, allow_agent=False)
    with contextlib.closing(client):
        assert client.exec_command("echo $PM2_HOME")[1].read().decode().strip() == f"{host.home}/.pm2"


def test_paths_are_the_same_on_every_host(apart: Lab) -> None:
    assert [apart.root(host) for host in apart.names] == ["/srv/shop", "/srv/shop"]
    apart.run("lab1", "echo one > ~/mine; echo common > ~/db/ours")
    assert apart.run("lab2", "ls ~/mine 2>/dev/null; cat ~/db/ours").stdout == "common\n"
    assert apart.run("lab2", "hostname").stdout.strip() == "lab2"


def test_the_operators_env_file_is_private(lab: Lab) -> None:
    env = lab.path("lab2", lab.root("lab2")) / "shared/.env"
    assert env.stat().st_mode & 0o777 == 0o600
    assert {"HOST_NAME=lab2", f"PORT={lab.host('lab2').http_port}"} <= set(env.read_text().split())


def test_the_repository_is_there_on_the_hosts(lab: Lab) -> None:
    assert ssh(lab, "lab1", "git -C ~/repo.git rev-parse v1^{commit}").stdout.strip() == lab.ref("v1")


def test_haproxy_sees_health_come_and_go(lab: Lab) -> None:
    assert status(lab, "lab1") == "DOWN"
    start_server(lab, "lab1")
    wait_for(lambda: lab.run("lab1", probe(lab, "lab1"), check=False).returncode == 0)
    assert wait_for(lambda: status(lab, "lab1") == "UP") < 2.5
    lab.haproxy("set server shop/lab1 state drain")
    assert status(lab, "lab1").startswith("DRAIN")
    lab.haproxy("set server shop/lab1 state ready")
    assert status(lab, "lab1") == "UP"
    lab.reset("lab1")
    assert status(lab, "lab1") == "DOWN"


def probe(lab: Lab, host: str) -> str:
    return f"node -e \"fetch('{lab.host_url(host)}').catch(() => process.exit(1))\""


def test_a_script_that_hangs_is_ended_on_the_host(lab: Lab) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        lab.run("lab1", "sleep 4711", timeout=0.3)
    assert not [pid for pid in lab.pids("lab1") if b"4711" in loopback.command_line(pid)]


def test_a_failing_script_says_why(lab: Lab) -> None:
    with pytest.raises(LabError, match=r"lab1: exit 3 from: .*\nno such thing"):
        lab.run("lab1", "echo no such thing >&2; exit 3")


def test_reset_ends_pm2_and_keeps_the_env_file(lab: Lab) -> None:
    lab.pm2("lab1", "ping")
    lab.run("lab1", "mkdir -p ~/shop/releases/0001; ln -s releases/0001 ~/shop/current")
    daemons = [pid for pid in lab.pids("lab1") if b"God" in loopback.command_line(pid)]
    lab.reset("lab1")
    assert daemons and not any(loopback.command_line(pid) for pid in daemons)
    assert lab.run("lab1", "cd ~/shop; find . -type f; ls -d ~/.pm2 2>/dev/null; true").stdout == "./shared/.env\n"
    assert ssh(lab, "lab1", "true").returncode == 0


def test_sshd_stops_and_starts_and_sessions_survive(lab: Lab) -> None:
    command = [path_of("ssh"), "-F", str(lab.ssh_config), "lab2", "echo in; read line; echo $line"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as session:
        assert session.stdout and session.stdout.readline() == "in\n"
        lab.stop_sshd("lab2")
        assert "refused" in ssh(lab, "lab2", "true").stderr
        assert session.communicate("still here\n", timeout=10)[0] == "still here\n"
    lab.start_sshd("lab2")
    assert ssh(lab, "lab2", "true").returncode == 0


def test_a_changed_host_key_is_refused(lab: Lab) -> None:
    lab.change_host_key("lab2")
    assert "Host key verification failed" in ssh(lab, "lab2", "true").stderr
    lab.restore_host_key("lab2")
    assert ssh(lab, "lab2", "true").returncode == 0


def test_a_cut_host_is_gone_until_healed(apart: Lab) -> None:
    address = (apart.host("lab2").address, 22)
    apart.cut("lab2")
    with pytest.raises(OSError):
        socket.create_connection(address, timeout=0.5)
    assert apart.run("lab2", "echo alive").stdout == "alive\n"
    apart.heal("lab2")
    wait_for(lambda: ssh(apart, "lab2", "true").returncode == 0)


def test_a_full_disk_is_full_only_there(apart: Lab) -> None:
    apart.fill_disk("lab1")
    assert apart.run("lab1", "echo x > ~/shop/x", check=False).returncode != 0
    assert apart.run("lab2", "echo x > ~/shop/x").returncode == 0
    apart.free_disk("lab1")
    assert apart.run("lab1", "echo x > ~/shop/x").returncode == 0


def test_the_name_is_refused_with_who_holds_it(lab: Lab) -> None:
    with pytest.raises(LabError, match=f"lab '{lab.name}' is up; started .* by pid {os.getpid()}"):
        Lab.up(lab.name, 1, lab.mode)
    assert ssh(lab, "lab1", "true").returncode == 0


def test_npm_gets_packages_that_no_cache_has(lab: Lab) -> None:
    """Where this machine itself can't reach the registry, the host is told so in the relay's words."""
    ours = [path_of("npm"), "ping", "--fetch-retries=0"]
    online = subprocess.run(ours, cwd="/", capture_output=True, timeout=30, check=False).returncode == 0
    home = "mkdir -p ~/try && cd ~/try && export npm_config_cache=$PWD/cache npm_config_fetch_retries=0 &&"
    viewed = ssh(lab, "lab1", f"{home} npm view left-pad version")
    added = ssh(lab, "lab1", f"{home} npm init -y >/dev/null && npm i is-odd && ls node_modules")
    lab.run("lab1", "rm -r ~/try")
    if online:
        assert viewed.stdout.strip() == "1.3.0", viewed.stderr
        assert {"is-number", "is-odd"} <= set(added.stdout.split()), added.stderr
    elif lab.mode == "namespace":
        assert "relay: this machine" in viewed.stderr
    else:
        assert viewed.returncode == added.returncode == 1


def test_a_host_gets_out_to_nothing_else(apart: Lab) -> None:
    out = "npm_config_fetch_retries=0 npm_config_cache=~/none npm view x --registry"
    assert "relay: 10.0.0.1 is refused; it is a private" in ssh(apart, "lab1", f"{out} https://10.0.0.1").stderr
    assert "relay: port 22 is refused" in ssh(apart, "lab1", f"{out} https://127.0.0.1:22").stderr
    assert "relay: this machine finds no" in ssh(apart, "lab1", f"{out} https://nosuch.invalid").stderr
    past = "require('net').connect(443, '192.0.2.1').on('error', why => console.log(why.code))"
    assert ssh(apart, "lab1", f'rm -r ~/none; node -e "{past}"').stdout == "ENETUNREACH\n"


def test_another_process_can_attach(lab: Lab) -> None:
    same = Lab.attach(lab.name)
    assert (same.url, same.root("lab1"), same.mode) == (lab.url, lab.root("lab1"), lab.mode)
    assert same.run("lab1", "echo $HOME").stdout.strip() == str(lab.host("lab1").home)


# -- ends -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def name() -> Iterator[str]:
    yield f"e{TAG}"
    take_down(f"e{TAG}")


@pytest.mark.parametrize("mode", MODES)
def test_down_leaves_nothing_behind(name: str, mode: str) -> None:
    lab = Lab.up(name, 1, mode)
    ssh(lab, "lab1", "pm2 ping; setsid sleep 999 </dev/null >/dev/null 2>&1 &")
    lab.pm2("lab1", "ping")
    lab.pm2("lablb", "ping")
    pids = lab.pids("lab1") + lab.pids("lablb")
    assert len(pids) >= 8
    lab.down()
    assert_nothing_left(name, pids)


@pytest.mark.parametrize("mode", MODES)
def test_a_bound_lab_dies_with_its_owner_and_its_name_is_free(name: str, mode: str) -> None:
    code = f"from tests.lab.fleet import Lab; Lab.up('{name}', 1, '{mode}', bound=True); print('up'); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT, stdin=pipe, stdout=pipe, text=True) as owner:
        assert owner.stdout and any(line == "up\n" for line in owner.stdout)
        standing = Lab.attach(name)
        standing.pm2("lab1", "ping")
        pids = standing.pids("lab1") + standing.pids("lablb")
        owner.kill()
    wait_for(lambda: not any(loopback.command_line(pid) for pid in pids))
    wait_for(lambda: name_is_free(name))  # a process that ends lets go of its files after its command line
    Lab.up(name, 1, mode).down()
    assert_nothing_left(name, pids)


@needs_namespaces
def test_what_a_killed_run_left_in_memory_is_taken_down_by_the_next(name: str) -> None:
    code = f"from tests.lab import namespaces; namespaces.MEMORY = 1 << 28; from tests.lab.fleet import Lab; Lab.up('{name}', 1, bound=True, in_memory=True); print('up'); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT, stdin=pipe, stdout=pipe, text=True) as owner:
        assert owner.stdout and any(line == "up\n" for line in owner.stdout)
        assert lab_dir(name).is_mount()
        sweep_dead(name)
        assert Lab.attach(name).run("lab1", "true").returncode == 0, "it lives, and was swept"
        owner.kill()
    wait_for(lambda: name_is_free(name))
    sweep_dead(name)
    assert_nothing_left(name, [])


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_an_up_that_is_interrupted_leaves_no_process(name: str, stop: signal.Signals) -> None:
    command = [sys.executable, "-m", "tests.lab", "up", "--name", name, "--hosts", "3"]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as starting:
        wait_for((lab_dir(name) / "lab1/init.json").exists)
        starting.send_signal(stop)
    wait_for(lambda: name_is_free(name))
    if stop == signal.SIGKILL:
        subprocess.run(
            [sys.executable, "-m", "tests.lab", "down", "--name", name], cwd=CHECKOUT, check=True, timeout=20
        )
    assert_nothing_left(name, [])


def name_is_free(name: str) -> bool:
    try:
        os.close(claim.take(name))
    except LabError:
        return False
    claim.lock_path(name).unlink(missing_ok=True)
    return True


def assert_nothing_left(name: str, pids: list[int]) -> None:
    assert not [pid for pid in pids if loopback.command_line(pid)]
    assert not loopback.marked(loopback.mark(lab_dir(name)) + b"/")
    assert not lab_dir(name).exists()
    assert not claim.lock_path(name).exists()
    assert not Path(f"/sys/class/net/gl-{name}").exists()
    assert not list(Path("/run/netns").glob(f"gl-{name}-*"))


@needs_namespaces
def test_two_labs_live_side_by_side() -> None:
    with Lab.up(f"x{TAG}", 1, bound=True) as one, Lab.up(f"y{TAG}", 1, bound=True) as two:
        assert one.url != two.url
        assert [each.run("lab1", "hostname -i 2>/dev/null; pwd").returncode for each in (one, two)] == [0, 0]


@pytest.mark.parametrize("name", ["", "Lab", "a-b", "ninechars", "../x"])
def test_names_that_do_not_fit_are_refused(name: str) -> None:
    with pytest.raises(LabError, match="1 to 8"):
        Lab.up(name)
