"""One connection to one host, against a real sshd: whom it trusts, what it hears, how it tells what went wrong."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import paramiko
import pytest

from fabfile import transport
from fabfile.commands.shell import Shell, Step, cmd, script
from fabfile.errors import PreflightFailed, UsageError
from fabfile.fleet import Fleet
from fabfile.inventory.values import Ssh
from fabfile.sshconfig import Unreachable, origins
from fabfile.transport import Broken, Gateways, Line, Outcome

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = pytest.mark.skipif(not SSHD, reason="sshd is not installed")

MARK = "@gapless-test"
CONFIG = """\
ListenAddress 127.0.0.1:{port}
HostKey {place}/host_key
HostKey {place}/ecdsa_key
PidFile none
AuthorizedKeysFile {place}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
PermitUserEnvironment yes
MaxStartups 100
LogLevel VERBOSE
"""


def keygen(file: Path, kind: str = "ed25519") -> str:
    """Make a key; return its public half without the comment."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", file], check=True)
    return file.with_suffix(".pub").read_text().strip()


def fingerprint(file: Path) -> str:
    return subprocess.run(["ssh-keygen", "-lf", file], check=True, capture_output=True, text=True).stdout.split()[1]


class Sshd:
    """A real sshd on loopback, with a key for each kind of login shell."""

    def __init__(self, place: Path, keys: Path, more: str = "") -> None:
        place.mkdir()
        self.place = place
        self.key = keygen(place / "host_key")
        self.ecdsa = keygen(place / "ecdsa_key", "ecdsa")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (place / "sshd_config").write_text(CONFIG.format(port=self.port, place=place) + more)
        (place / "authorized_keys").write_text("".join(f"{line}\n" for line in authorized(keys)))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self.log = place / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", place / "sshd_config"], stderr=log, stdin=subprocess.DEVNULL)
        wait(lambda: "Server listening" in self.log.read_text())

    def logins(self) -> int:
        return self.log.read_text().count("Accepted publickey")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


KINDS = {
    "plain": "",
    "noisy": 'environment="HOME={home}" ',
    "fish": 'command="exec fish -c \\"$SSH_ORIGINAL_COMMAND\\"" ',
    "dash": 'command="exec dash -c \\"$SSH_ORIGINAL_COMMAND\\"" ',
    "csh": 'command="exec csh -c \\"$SSH_ORIGINAL_COMMAND\\"" ',
}


def authorized(keys: Path) -> Iterator[str]:
    home = keys / "home"
    home.mkdir(exist_ok=True)
    (home / ".bashrc").write_text(f"echo 'Welcome to {MARK}'\necho '{MARK} {{\"event\": \"forged\"'\nprintf 'no end of line'\necho oops >&2\n")
    for kind, options in KINDS.items():
        if not (keys / kind).exists():
            keygen(keys / kind)
        yield options.format(home=home) + (keys / f"{kind}.pub").read_text().strip()


def wait(true: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


class Relay:
    """Pass bytes on to a port until the link is cut; it can also drop the first connections, as a crowded sshd does."""

    def __init__(self, port: int, drops: int = 0) -> None:
        self.to = port
        self.drops = drops
        self.seen = 0
        self.ends: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                self.seen += 1
                if self.seen <= self.drops:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self.to))
                self.ends += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        for end in self.ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.ends.clear()

    def close(self) -> None:
        self.cut()
        self.listener.close()


class Ground:
    """Two servers, and ssh config files that name them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.keys = place / "keys"
        self.keys.mkdir()
        self.sshd = Sshd(place / "one", self.keys)
        self.jump = Sshd(place / "two", self.keys)
        self.stranger = keygen(place / "stranger")
        self.written = 0

    def known(self, *pairs: tuple[int, str]) -> Path:
        self.written += 1
        file = self.place / f"known_{self.written}"
        file.write_text("".join(f"[127.0.0.1]:{port} {key}\n" for port, key in pairs))
        return file

    def config(self, text: str, known: Path | None = None, kind: str = "plain") -> str:
        """Write an ssh config; every host in it is on loopback, and known unless said otherwise."""
        self.written += 1
        known = known or self.known((self.sshd.port, self.sshd.key), (self.jump.port, self.jump.key))
        file = self.place / f"config_{self.written}"
        file.write_text(f"{text}\nHost *\n  HostName 127.0.0.1\n  User {getpass.getuser()}\n  IdentityFile {self.keys / kind}\n"
                        f"  IdentitiesOnly yes\n  UserKnownHostsFile {known}\n")
        return str(file)

    def ssh(self, port: int | None = None, known: Path | None = None, kind: str = "plain", **more: str) -> Ssh:
        return Ssh("web1", ssh_config=self.config(f"Host web1\n  Port {port or self.sshd.port}", known, kind), **more)


@pytest.fixture(scope="module")
def ground(tmp_path_factory) -> Iterator[Ground]:
    ground = Ground(tmp_path_factory.mktemp("ssh"))
    yield ground
    ground.sshd.close()
    ground.jump.close()


@pytest.fixture
def opened() -> Iterator[Callable[..., Line]]:
    lines: list[Line] = []

    def opened(ssh: Ssh, gateways: Gateways | None = None, timeout: float = 10) -> Line:
        lines.append(Line("web1", ssh, gateways, timeout))
        lines[-1].open()
        return lines[-1]

    yield opened
    for line in lines:
        line.close()
        line.gateways.close()


def ran(line: Line, *steps: Shell | Step) -> Outcome:
    named = [step if isinstance(step, Step) else Step(f"s{number}", step) for number, step in enumerate(steps)]
    return line.run(lambda: script("", named, MARK), MARK, lambda event: None)


def refusal(ssh: Ssh, timeout: float = 10, gateways: Gateways | None = None) -> str:
    with pytest.raises(Unreachable) as caught:
        Line("web1", ssh, gateways, timeout).open()
    return str(caught.value)


# ---------------------------------------------------------------------- what is heard


def test_events_and_tail_come_apart(ground, opened):
    heard = []
    line = opened(ground.ssh())
    text = script("", [Step("one", cmd("echo", "a")), Step("two", Shell("echo b >&2; exit 3"))], MARK)
    outcome = line.run(lambda: text, MARK, heard.append)
    assert [event.get("name") or event["text"] for event in heard] == ["one", "a", "two", "b"]
    steps = [event for event in heard if event["event"] == "step"]
    assert (outcome.code, outcome.ok, outcome.tail, outcome.step, outcome.events) == (3, False, ["a", "b"], "two", steps)
    assert 0 < outcome.seconds < 10


def test_events_come_while_the_script_runs(ground, opened):
    line, times = opened(ground.ssh()), []
    text = script("", [Step("one", cmd("sleep", 1)), Step("two", cmd("true"))], MARK)
    line.run(lambda: text, MARK, lambda event: times.append(time.monotonic()))
    assert times[1] - times[0] > 0.9


def test_characters_split_between_packets_stay_whole(ground, opened):
    outcome = ran(opened(ground.ssh()), Shell("awk 'BEGIN { for (i = 0; i < 40000; i++) printf \"é\"; print \"\" }'"))
    assert outcome.tail == ["é" * 40_000]
    outcome = ran(opened(ground.ssh()), Shell("awk 'BEGIN { for (i = 0; i < 4000; i++) print \"xé→😀\" }'"))
    assert outcome.tail == ["xé→😀"] * 40


def test_much_output_costs_little_memory_and_time(ground, opened):
    line = opened(ground.ssh())
    for command in ("head -c 5000000 /dev/zero | tr '\\0' x", "yes 'a line of some length' | head -n 200000"):
        tracemalloc.start()
        begun = time.monotonic()
        outcome = ran(line, Shell(command))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert outcome.code == 0
        assert len("".join(outcome.tail)) <= 65_536
        assert peak < 16_000_000  # Paramiko's own window is 2 MB
        assert time.monotonic() - begun < 20


# ---------------------------------------------------------------------- streams of bytes


def fleet_of(**hosts: Ssh) -> Fleet:
    fleet = Fleet(hosts, lambda *_: None)
    fleet.open()
    return fleet


def test_bytes_go_from_one_host_to_others_whole_and_are_never_kept(ground, tmp_path):
    fleet = fleet_of(a=ground.ssh(kind="noisy"), b=ground.ssh(kind="noisy"), c=ground.ssh())
    (tmp_path / "from").write_bytes(os.urandom(1 << 20) * 24)
    try:
        tracemalloc.start()
        chunks = fleet.draw("a", lambda mark: Shell(f"echo {mark}; exec cat {tmp_path}/from"))
        # One of them takes its time: the others wait for it, and nothing piles up here.
        orders = {"b": Shell(f"exec cat >{tmp_path}/b"), "c": Shell(f"sleep 2; exec cat >{tmp_path}/c")}
        assert fleet.pour(chunks, orders) == {}
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    finally:
        fleet.close()
    assert (tmp_path / "from").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()
    assert peak < 8_000_000  # Paramiko's own window is 2 MB


def test_a_script_runs_beside_a_stream(ground, tmp_path):
    fleet = fleet_of(a=ground.ssh())

    def chunks() -> Iterator[bytes]:
        yield b"x" * 100_000
        assert ran(fleet.lines["a"], cmd("echo", "beside")).tail == ["beside"]
        yield b"y"

    try:
        assert fleet.pour(chunks(), {"a": Shell(f"exec cat >{tmp_path}/a")}) == {}
    finally:
        fleet.close()
    assert (tmp_path / "a").stat().st_size == 100_001


def test_a_host_that_fails_drops_out_with_its_own_words_and_the_others_go_on(ground, tmp_path):
    fleet = fleet_of(a=ground.ssh(), b=ground.ssh(), c=ground.ssh(), d=ground.ssh())
    fleet.lines["d"].close()
    orders = {
        "a": Shell("head -c 5 >/dev/null; echo 'no space left' >&2; exit 1"), "b": Shell("cat >/dev/null; echo at the end >&2; exit 3"),
        "c": Shell(f"exec cat >{tmp_path}/c"), "d": Shell("exec cat"),
    }
    try:
        failed = fleet.pour((b"x" * 32768 for _ in range(200)), orders)
    finally:
        fleet.close()
    assert failed.pop("d").startswith("connection lost")
    assert failed == {"a": "no space left", "b": "at the end"}
    assert (tmp_path / "c").stat().st_size == 200 * 32768


@pytest.mark.parametrize("words, told", [("exit 3", "exit code 3"), ("echo gone >&2; exit 1", "gone"), ("kill -9 $$", "connection lost")])
def test_a_source_that_breaks_off_is_no_end(ground, words, told):
    fleet = fleet_of(a=ground.ssh())
    try:
        with pytest.raises(Broken, match=told):
            list(fleet.draw("a", lambda mark: Shell(f"echo {mark}; head -c 100000 /dev/zero; {words}")))
    finally:
        fleet.close()


def test_a_link_that_is_cut_ends_its_stream(ground, tmp_path):
    relay = Relay(ground.sshd.port)
    ssh = ground.ssh(relay.port, ground.known((relay.port, ground.sshd.key)))
    fleet = fleet_of(a=ssh, b=ground.ssh())

    def chunks() -> Iterator[bytes]:
        for number in range(400):
            if number == 100:
                relay.cut()
            yield b"x" * 32768

    try:
        failed = fleet.pour(chunks(), {"a": Shell("exec cat >/dev/null"), "b": Shell(f"exec cat >{tmp_path}/b")})
    finally:
        fleet.close()
        relay.close()
    assert list(failed) == ["a"]
    assert (tmp_path / "b").stat().st_size == 400 * 32768


def test_what_has_no_end_is_heard_and_not_kept(ground, opened):
    heard = []
    step = Shell("""for n in 1 2 3; do say '{"event": "entries"}'; done; say '{"event": "told"}'""")
    outcome = opened(ground.ssh()).run(lambda: script("", [Step("one", step)], MARK), MARK, heard.append)
    assert [event["event"] for event in heard] == ["step"] + ["entries"] * 3 + ["told"]
    assert [event["event"] for event in outcome.events] == ["step", "told"]


def test_a_long_event_arrives_whole(ground, opened):
    outcome = ran(opened(ground.ssh()), Shell("""say "{\\"event\\":\\"facts\\",\\"x\\":\\"$(head -c 300000 /dev/zero | tr '\\0' x)\\"}" """))
    assert len(outcome.last("facts")["x"]) == 300_000


@pytest.mark.parametrize("torn", ['{"event": "facts", "x', "[]", '"text"', "{}", ""])
def test_a_torn_event_is_only_text(ground, opened, torn):
    outcome = ran(opened(ground.ssh()), cmd("echo", f"{MARK} {torn}"))
    assert (outcome.code, outcome.last("facts"), len(outcome.tail)) == (0, None, 1)


def test_bytes_that_are_no_text_are_no_error(ground, opened):
    assert ran(opened(ground.ssh()), Shell("printf '\\377\\376 x\\n'")).tail == ["�� x"]


def test_a_long_script_arrives_whole(ground, opened):
    assert ran(opened(ground.ssh()), cmd("true", "x" * 100_000), cmd("echo", "end")).tail == ["end"]


@pytest.mark.parametrize("kind", ["noisy", "fish", "dash", "csh"])
def test_any_login_shell_will_do(ground, opened, kind):
    if kind != "noisy" and not shutil.which(kind):
        pytest.skip(f"{kind} is not installed")
    outcome = ran(opened(ground.ssh(kind=kind)), cmd("echo", "it's $HOME"), Shell("exit 4"))
    assert (outcome.code, [event["name"] for event in outcome.events]) == (4, ["s0", "s1"])
    assert "it's $HOME" in outcome.tail  # what .bashrc says on stderr may come later
    assert ("Welcome" in "".join(outcome.tail)) == (kind == "noisy")


def test_a_shell_that_was_killed_leaves_the_outcome_unknown(ground, opened):
    assert ran(opened(ground.ssh()), Shell("kill -9 $$; sleep 5")).code is None


# ---------------------------------------------------------------------- the link


def test_an_outcome_that_is_unknown_names_no_exit_code():
    assert Outcome(code=3, step="npm ci").last_words == "exit code 3 in npm ci"
    assert Outcome(code=None, step="driver").last_words == "nothing more was heard in driver"


def test_one_login_serves_the_whole_run(ground):
    before = ground.sshd.logins()
    fleet = Fleet({name: ground.ssh() for name in ("web1", "web2", "web3")}, lambda *_: None)
    fleet.open()
    for _ in range(3):
        assert all(outcome.ok for outcome in fleet.each("x", {name: [Step("x", cmd("true"))] for name in fleet.lines}).values())
    fleet.close()
    assert ground.sshd.logins() == before + 3


def shell_of(line: Line) -> int:
    """Give the process that reads one script after another on the host."""
    outcome = ran(line, Shell('say "{\\"event\\":\\"pid\\",\\"pid\\":$$}"'))
    return int(outcome.last("pid")["pid"])


def test_one_shell_reads_one_script_after_another(ground, opened):
    """A session costs the host a login shell, which may read a long profile, and us two round trips."""
    line = opened(ground.ssh())
    first = shell_of(line)
    failed = ran(line, Shell("cd /; PATH=/none; umask 0; exit 7"))
    assert (failed.code, shell_of(line)) == (7, first)
    assert ran(line, Shell('case $PWD:$PATH in /:*|*/none) exit 1; esac; command -v sh >/dev/null; cat')).code == 0  # nothing is left of it
    assert ran(line, Shell("(sleep 0.3; echo late) &")).code == 0
    assert (ran(line, cmd("sleep", "0.6")).code, shell_of(line)) == (0, first)  # what still talks disturbs nobody


def test_a_host_that_waits_for_another_has_its_shell_already(ground, opened, monkeypatch):
    begun: list[Line] = []
    start = Line._shell
    monkeypatch.setattr(Line, "_shell", lambda line: (begun.append(line), start(line))[1])
    line = opened(ground.ssh())
    line.warm()
    assert begun == [line]
    assert ran(line, cmd("true")).code == 0
    assert begun == [line]  # it was this one that read the script
    line.close()
    line.warm()  # a link that is gone is told by who sends something


def test_two_scripts_at_once_have_a_shell_each(ground, opened):
    line = opened(ground.ssh())
    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(lambda _: shell_of(line), range(2)))) <= 2
        both = [pool.submit(ran, line, cmd("sleep", "0.5")) for _ in range(2)]
        begun = time.monotonic()
        assert [each.result().code for each in both] == [0, 0]
        assert time.monotonic() - begun < 0.95


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_shell_that_died_while_it_waited_is_replaced(ground, opened, sign):
    line = opened(ground.ssh())
    first = shell_of(line)
    os.kill(first, sign)
    wait(lambda: not Path(f"/proc/{first}").exists())
    time.sleep(0.3)  # until the news is here
    assert shell_of(line) != first


def test_bytes_get_through_where_one_session_is_all_that_is_allowed(ground, opened, tmp_path):
    narrow = Sshd(tmp_path / "narrow", ground.keys, "MaxSessions 1\n")
    try:
        line = opened(ground.ssh(narrow.port, ground.known((narrow.port, narrow.key))))
        assert ran(line, cmd("true")).code == 0
        for number in range(20):  # sshd frees a session a moment after its end
            with line.pipe(Shell(f"cat >{cmd(tmp_path / 'sent')}")) as pipe:
                pipe.send(b"%d" % number)
                pipe.end()
            assert ((tmp_path / "sent").read_bytes(), ran(line, cmd("true")).code) == (b"%d" % number, 0)
    finally:
        narrow.close()


def test_who_waits_costs_no_processor(ground, opened):
    line = opened(ground.ssh())
    before = time.process_time()
    assert ran(line, cmd("sleep", "2")).code == 0
    assert time.process_time() - before < 0.02  # ten looks a second would cost that


def test_commands_are_not_delayed(ground, opened):
    line = opened(ground.ssh())
    sock = line.connection.transport.sock
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


def test_a_link_lost_in_the_middle_means_unknown_and_ends_the_step(ground, opened, tmp_path):
    relay = Relay(ground.sshd.port)
    line = opened(ground.ssh(relay.port, ground.known((relay.port, ground.sshd.key))))
    threading.Thread(target=lambda: (wait((tmp_path / "pid").exists), time.sleep(0.2), relay.cut()), daemon=True).start()
    begun = time.monotonic()
    outcome = ran(line, cmd("echo", "first"), cmd("sh", "-c", f"echo $$ >{tmp_path}/pid; exec sleep 60"), cmd("touch", tmp_path / "went-on"))
    assert (outcome.code, outcome.ok, outcome.step, outcome.tail[:1]) == (None, False, "s1", ["first"])
    assert time.monotonic() - begun < 10
    pid = (tmp_path / "pid").read_text().strip()
    wait(lambda: not Path(f"/proc/{pid}").exists(), 5)
    assert not (tmp_path / "went-on").exists()
    assert ran(line, cmd("true")).code is None
    line.close()
    line.open()
    assert ran(line, cmd("true")).code == 0
    relay.close()


class NoCommands(paramiko.ServerInterface):
    """Let everybody in, give sessions, and refuse every command."""

    def check_auth_publickey(self, username, key):
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        return False


@pytest.mark.parametrize("warm", [False, True])
def test_a_server_that_refuses_commands_is_no_reason_to_wait(ground, opened, tmp_path, warm):
    own = paramiko.ECDSAKey.generate()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            near, _ = listener.accept()
            server = paramiko.Transport(near)
            server.add_server_key(own)
            server.start_server(server=NoCommands())

        threading.Thread(target=serve, daemon=True).start()
        line = opened(ground.ssh(port, ground.known((port, f"{own.get_name()} {own.get_base64()}"))))
        begun = time.monotonic()
        if warm:
            line.warm()
        assert ran(line, cmd("true")).code is None
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("beats", [False, True], ids=["silent", "with heartbeats"])
def test_a_host_that_hangs_is_given_up_though_its_kernel_acknowledges_every_packet(ground, opened, monkeypatch, beats):
    monkeypatch.setattr(transport, "PULSE", 0.3)
    line, ends = opened(ground.ssh()), []
    assert ran(line, cmd("sleep", "2")).code == 0  # who answers is asked again and again
    thread = threading.Thread(target=lambda: ends.append(ran(line, cmd("sleep", "60"))))
    sessions = offspring(ground.sshd.process.pid)
    thread.start()
    time.sleep(0.5)
    try:
        for pid in sessions:
            os.kill(pid, signal.SIGSTOP)
        begun = time.monotonic()
        while thread.is_alive() and time.monotonic() - begun < 10:
            if beats:
                line.beat(lambda: script("", [], MARK), MARK)
            thread.join(0.1)
        assert (time.monotonic() - begun < 5, [end.code for end in ends]) == (True, [None])
    finally:
        for pid in sessions:
            os.kill(pid, signal.SIGCONT)


def offspring(pid: int) -> list[int]:
    """Give the processes that descend from one."""
    children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [found for child in children for found in (child, *offspring(child))]


def test_hanging_up_ends_the_step_in_hand(ground, opened, tmp_path):
    line = opened(ground.ssh())
    ends = []
    script = cmd("sh", "-c", f"echo $$ >{tmp_path}/pid; exec sleep 60")
    thread = threading.Thread(target=lambda: ends.append(ran(line, script)))
    thread.start()
    wait(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    line.close()
    thread.join(10)
    assert ends[0].code is None
    wait(lambda: not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists(), 5)


def test_a_heartbeat_reaches_a_script_that_runs_and_a_host_that_idles(ground, opened, tmp_path):
    line = opened(ground.ssh())
    busy, idle = Shell(f"echo busy >>{tmp_path}/beats"), script("", [Step("beat", Shell(f"echo idle >>{tmp_path}/beats"))], MARK)
    ends = []
    body = script("", [Step("wait", Shell(f": >{tmp_path}/begun; while [ ! -e {tmp_path}/stop ]; do sleep 0.05; done"))], MARK, busy)
    thread = threading.Thread(target=lambda: ends.append(line.run(lambda: body, MARK, lambda event: None)))
    thread.start()
    wait((tmp_path / "begun").exists)
    for _ in range(3):
        line.beat(lambda: idle, MARK)
    wait(lambda: (tmp_path / "beats").exists() and (tmp_path / "beats").read_text() == "busy\n" * 3)
    (tmp_path / "stop").touch()
    thread.join(10)
    line.beat(lambda: idle, MARK)
    assert (ends[0].code, (tmp_path / "beats").read_text()) == (0, "busy\n" * 3 + "idle\n")
    line.close()
    line.beat(lambda: idle, MARK)  # nobody is there to be told


def test_the_heartbeat_and_a_script_share_the_one_session_that_may_be_open(ground, opened):
    line = opened(ground.ssh())
    idle = script("", [Step("beat", cmd("sleep", 1))], MARK)
    beating = threading.Thread(target=lambda: line.beat(lambda: idle, MARK))
    beating.start()
    time.sleep(0.1)
    assert ran(line, cmd("true")).code == 0
    assert not beating.is_alive()  # it waited for its turn: sshd may allow one session (MaxSessions 1)
    beating.join(5)


# ---------------------------------------------------------------------- whom it trusts


def test_an_unknown_host_key_is_refused(ground):
    told = refusal(ground.ssh(known=ground.known()))
    assert f"127.0.0.1:{ground.sshd.port} is not in known_hosts" in told


def test_a_changed_host_key_is_refused_with_both_fingerprints(ground):
    told = refusal(ground.ssh(known=ground.known((ground.sshd.port, ground.stranger))))
    assert "CHANGED" in told
    assert fingerprint(ground.sshd.place / "host_key.pub") in told
    assert fingerprint(ground.place / "stranger.pub") in told


def test_a_pinned_key_is_all_that_counts(ground, opened):
    assert ran(opened(ground.ssh(known=ground.known(), host_key=ground.sshd.key)), cmd("true")).ok
    told = refusal(ground.ssh(host_key=ground.stranger))
    assert "CHANGED" in told
    assert told.endswith(f"put the key into host_key: in hosts.yaml as [127.0.0.1]:{ground.sshd.port}.")


def test_a_file_of_pinned_keys_is_all_that_counts(ground, opened):
    right, wrong = (str(ground.known((ground.sshd.port, key))) for key in (ground.sshd.key, ground.stranger))
    assert ran(opened(ground.ssh(known=Path(wrong), known_hosts=right)), cmd("true")).ok
    told = refusal(ground.ssh(known=Path(right), known_hosts=wrong))
    assert "CHANGED" in told
    assert all(each in told for each in (fingerprint(ground.sshd.place / "host_key.pub"), fingerprint(ground.place / "stranger.pub"), f"{wrong}:1"))
    assert "is not in known_hosts" in refusal(ground.ssh(known=Path(right), known_hosts=str(ground.known())))


def test_a_file_of_pinned_keys_must_be_there(ground):
    with pytest.raises(UsageError, match=r"web1: there is no /none \(known_hosts: in hosts.yaml\)"):
        Fleet({"web1": ground.ssh(known_hosts="/none")}, lambda *_: None)


def test_a_refused_host_got_no_login(ground):
    """Ask the server's own log how far we came: a user that it does not know would stand there, were its name ever said."""
    wrong = [{"known": ground.known()}, {"known": ground.known((ground.sshd.port, ground.stranger))}, {"host_key": ground.stranger}]
    ended = len(re.findall("Connection (?:closed|reset) by", ground.sshd.log.read_text()))
    for each in wrong:
        refusal(ground.ssh(user="canary", **each))
    with pytest.raises(PreflightFailed) as caught:
        Fleet({"web1": ground.ssh(user="canary", **wrong[-1])}, lambda *_: None).open()
    assert (caught.value.exit_code, "CHANGED" in str(caught.value)) == (4, True)
    wait(lambda: len(re.findall("Connection (?:closed|reset) by", ground.sshd.log.read_text())) >= ended + 4)
    assert "canary" not in ground.sshd.log.read_text()
    refusal(ground.ssh(user="canary"))
    wait(lambda: "Invalid user canary" in ground.sshd.log.read_text())


def lines_of(ground: Ground, text: str) -> Path:
    """Write a known_hosts in which NAME, KEY, ECDSA and OTHER stand for the real ones."""
    words = {"NAME": f"[127.0.0.1]:{ground.sshd.port}", "KEY": ground.sshd.key, "ECDSA": ground.sshd.ecdsa, "OTHER": ground.stranger}
    file = ground.known()
    file.write_text(re.sub("(?<![A-Za-z0-9+/])(NAME|KEY|ECDSA|OTHER)", lambda found: words[found[0]], text))
    return file


@pytest.mark.parametrize("text", [
    "NAME KEY comment here\n",
    "# note\n\nother.example,NAME KEY\n",
    "NAME\tKEY\r\n",
    "[127.0.0.*]:* KEY\n",
    "*,!other KEY\n",
    "NAME ECDSA\n",
    "NAME OTHER\nNAME KEY\n",
    "@cert-authority NAME OTHER\nNAME KEY\n",
    "@revoked * OTHER\nNAME KEY\n",
    "@revoked elsewhere KEY\nNAME KEY\n",
    "NAME ssh-ed25519 torn\n|1|torn KEY\n|1|=|= KEY\n|| KEY\nNAME\nNAME KEY\n",
])
def test_known_hosts_is_read_as_ssh_reads_it(ground, opened, text):
    assert ran(opened(ground.ssh(known=lines_of(ground, text))), cmd("true")).ok


@pytest.mark.parametrize("text, told", [
    ("127.0.0.1 KEY\n", "is not in known_hosts; it shows ssh-ed25519 SHA256:"),
    ("# NAME KEY\n", "is not in known_hosts"),
    ("[127.0.0.1]:1 KEY\n", "is not in known_hosts"),
    ("*,!NAME KEY\n", "is not in known_hosts"),
    ("NAME KEYx\n", "is not in known_hosts"),
    ("NAME OTHER\n", "CHANGED"),
    ("* OTHER\n", "CHANGED"),
    ("NAME KEY\n@revoked * KEY\n", "the host key is REVOKED in "),
    ("@revoked NAME KEY\n", "the host key is REVOKED in "),
    ("@cert-authority * KEY\n", "by the certificate authority in "),
    ("@strange NAME KEY\n", "is not in known_hosts"),
])
def test_what_known_hosts_does_not_say_is_refused_in_words(ground, text, told):
    assert told in refusal(ground.ssh(known=lines_of(ground, text)))


def test_hashed_names_are_known(ground, opened):
    file = lines_of(ground, "NAME KEY\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    assert file.read_text().startswith("|1|")
    assert ran(opened(ground.ssh(known=file)), cmd("true")).ok
    file.write_text(file.read_text().replace(ground.sshd.key, ground.stranger))
    assert "CHANGED" in refusal(ground.ssh(known=file))


def test_an_alias_is_looked_up_in_place_of_name_and_port(ground, opened):
    text = f"Host web1\n  Port {ground.sshd.port}\n  HostKeyAlias the-web"
    assert ran(opened(Ssh("web1", ssh_config=ground.config(text, lines_of(ground, "the-web KEY\nNAME OTHER\n")))), cmd("true")).ok
    assert "CHANGED" in refusal(Ssh("web1", ssh_config=ground.config(text, lines_of(ground, "the-web OTHER\nNAME KEY\n"))))


def test_ssh_configs_own_files_are_read(ground, opened):
    place = ground.place / "with space"
    place.mkdir()
    lines_of(ground, "NAME KEY\n").rename(place / "known")
    text = f"Host web1\n  Port {ground.sshd.port}\n  {{}}"
    for line in (f'GlobalKnownHostsFile "{place}/known"', f'UserKnownHostsFile /none "{place}/known"'):
        assert ran(opened(Ssh("web1", ssh_config=ground.config(text.format(line), ground.known()))), cmd("true")).ok
    told = refusal(Ssh("web1", ssh_config=ground.config(text.format(f"RevokedHostKeys {place}/known"))))
    assert "RevokedHostKeys, which is not read here" in told
    assert "Is a directory" in refusal(ground.ssh(known=ground.place))


def test_groups_that_trust_different_files_share_no_jump_host(ground, opened):
    gateways, extra = Gateways(), f"  HostKeyAlias web\nHost jump\n  HostKeyAlias jump\n  Port {ground.jump.port}\n"
    text = f"Host web1\n  Port {ground.sshd.port}\n  ProxyJump jump\n{extra}"
    config = ground.config(text)
    right = lines_of(ground, f"web KEY\njump {ground.jump.key}\n")
    wrong = lines_of(ground, "web KEY\njump OTHER\n")
    opened(Ssh("web1", ssh_config=config, known_hosts=str(right)), gateways)
    told = refusal(Ssh("web1", ssh_config=config, known_hosts=str(wrong)), gateways=gateways)
    assert told.startswith("jump host the host key CHANGED: ")


def test_the_wrong_user_key_is_told_as_such(ground):
    told = refusal(ground.ssh(key=str(ground.place / "stranger")))
    assert re.search(r"127\.0\.0\.1:\d+ refused our login", told)


# ---------------------------------------------------------------------- what went wrong


def test_a_refused_port_is_told(ground):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert refusal(ground.ssh(port)) == f"connection refused at 127.0.0.1:{port}: is sshd running there?"


def test_an_unknown_name_is_told(ground):
    assert refusal(Ssh("no-such-host.invalid")) == "no such name: no-such-host.invalid."


def test_a_mute_listener_is_given_up_on_in_time(ground):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        begun = time.monotonic()
        told = refusal(ground.ssh(mute.getsockname()[1]), timeout=1)
    assert told.startswith("no answer from 127.0.0.1:")
    assert told.endswith("within 1 s.")
    assert time.monotonic() - begun < 3


def kind(ssh: Ssh, timeout: float = 10) -> str:
    line = Line("web1", ssh, None, timeout)
    with pytest.raises(Unreachable) as caught:
        line.open()
    assert line.trouble is caught.value
    return caught.value.kind


def test_each_way_to_fail_has_its_kind(ground):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        assert kind(ground.ssh(port), 1) == "timeout"
    assert kind(ground.ssh(port)) == "refused"
    assert kind(Ssh("no-such-host.invalid")) == "name"
    assert kind(ground.ssh(known=ground.known())) == "key unknown"
    assert kind(ground.ssh(known=ground.known((ground.sshd.port, ground.stranger)))) == "key changed"
    assert kind(ground.ssh(known=ground.known(), host_key=ground.stranger)) == "key changed"
    keygen(ground.place / "kind-stranger")
    assert kind(ground.ssh()._replace(key=str(ground.place / "kind-stranger"))) == "auth"


def test_the_origin_of_each_setting_is_told(ground):
    config = ground.config("Host web1\n  HostName 127.0.0.1\n  User sam\n")
    told = origins(Ssh("web1", port=2222, ssh_config=config))
    assert told["port"] == ("2222", "hosts.yaml")
    assert told["user"] == ("sam", config)
    assert told["hostname"] == ("127.0.0.1", config)


def test_a_crowded_sshd_is_asked_again(ground, opened):
    relay = Relay(ground.sshd.port, drops=2)
    assert ran(opened(ground.ssh(relay.port, ground.known((relay.port, ground.sshd.key)))), cmd("true")).ok
    assert relay.seen == 3
    relay.close()
    relay = Relay(ground.sshd.port, drops=100)
    refusal(ground.ssh(relay.port))
    assert relay.seen == 3
    relay.close()


def test_logins_at_the_same_instant_share_no_settings(ground):
    """Fabric writes into a config that it reads from; some threads then found it empty, once in hundreds of runs."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ssh = ground.ssh(port)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            told = set(pool.map(lambda _: refusal(ssh), range(200)))
    finally:
        sys.setswitchinterval(usual)
    assert told == {f"connection refused at 127.0.0.1:{port}: is sshd running there?"}


def test_the_fleet_names_every_host_out_of_reach(ground):
    fleet = Fleet({"good": ground.ssh(), "stranger": ground.ssh(known=ground.known()), "lost": Ssh("no-such-host.invalid")}, lambda *_: None)
    with pytest.raises(PreflightFailed) as caught:
        fleet.open()
    told = str(caught.value)
    assert told.startswith("2 of 3 hosts can't be worked on; nothing was touched.")
    assert "stranger: 127.0.0.1" in told
    assert "lost: no such name" in told
    assert "good:" not in told


# ---------------------------------------------------------------------- through a jump host


def behind(ground: Ground, jump: str, known: Path | None = None, extra: str = "") -> Ssh:
    text = f"Host web1\n  Port {ground.sshd.port}\n  ProxyJump {jump}\nHost jump\n  Port {ground.jump.port}\n{extra}"
    return Ssh("web1", ssh_config=ground.config(text, known))


def test_hosts_share_one_login_at_the_jump_host(ground, opened):
    ssh, gateways = behind(ground, "jump"), Gateways()
    before = ground.jump.logins(), ground.sshd.logins()
    lines = [opened(ssh, gateways) for _ in range(3)]
    assert all(ran(line, cmd("true")).ok for line in lines)
    assert (ground.jump.logins(), ground.sshd.logins()) == (before[0] + 1, before[1] + 3)


@pytest.mark.parametrize("jump", ["{user}@127.0.0.1:{port}", "ssh://{user}@127.0.0.1:{port}", "jump,jump2", "jump2, {user}@127.0.0.1:{port}"])
def test_jumps_are_written_in_many_ways(ground, opened, jump):
    written = jump.format(user=getpass.getuser(), port=ground.jump.port)
    before = ground.jump.logins()
    line = opened(behind(ground, written, extra=f"Host jump2\n  Port {ground.jump.port}\n"))
    assert ran(line, cmd("true")).ok
    assert ground.jump.logins() - before == written.count(",") + 1


def test_a_jump_host_may_lie_behind_another(ground, opened):
    extra = f"  ProxyJump jump2\nHost jump2\n  Port {ground.jump.port}\n"
    assert ran(opened(behind(ground, "jump", extra=extra)), cmd("true")).ok


def test_a_jump_host_that_matches_its_own_pattern_is_reached_directly(ground, opened):
    text = f"Host jump\n  Port {ground.jump.port}\nHost web1\n  Port {ground.sshd.port}\nHost web1 jump\n  ProxyJump jump"
    # The name decides, not the address: here all are on loopback.
    ssh = Ssh("web1", ssh_config=ground.config(text))
    before = ground.jump.logins()
    assert ran(opened(ssh), cmd("true")).ok
    assert ground.jump.logins() == before + 1


def test_jump_none_means_none(ground, opened):
    before = ground.jump.logins()
    assert ran(opened(behind(ground, "none")), cmd("true")).ok
    assert ground.jump.logins() == before


def test_both_host_keys_are_checked(ground):
    told = refusal(behind(ground, "jump", ground.known((ground.sshd.port, ground.sshd.key))))
    assert told.startswith(f"jump host 127.0.0.1:{ground.jump.port} is not in known_hosts")
    told = refusal(behind(ground, "jump", ground.known((ground.jump.port, ground.jump.key))))
    assert told.startswith(f"127.0.0.1:{ground.sshd.port} is not in known_hosts")
    told = refusal(behind(ground, "jump", ground.known((ground.jump.port, ground.stranger))))
    assert "CHANGED" in told


def test_who_waits_in_line_for_a_silent_jump_host_shares_the_first_ones_wait(ground):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        text = f"Host web1\n  ProxyJump jump\nHost jump\n  Port {silent.getsockname()[1]}\n"
        ssh, gateways, begun = Ssh("web1", ssh_config=ground.config(text)), Gateways(), time.monotonic()
        with ThreadPoolExecutor(6) as pool:
            told = set(pool.map(lambda _: refusal(ssh, timeout=1, gateways=gateways), range(6)))
        assert [text.startswith("jump host no answer from 127.0.0.1:") for text in told] == [True]
        assert time.monotonic() - begun < 3


def test_what_the_jump_host_cant_reach_is_told(ground):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = f"Host web1\n  Port {port}\n  ProxyJump jump\nHost jump\n  Port {ground.jump.port}"
    told = refusal(Ssh("web1", ssh_config=ground.config(text)))
    assert told == f"the jump host can't reach 127.0.0.1:{port}: Connect failed."


def test_a_jump_host_that_was_lost_is_opened_again(ground, opened):
    relay = Relay(ground.jump.port)
    known = ground.known((relay.port, ground.jump.key), (ground.sshd.port, ground.sshd.key))
    text = f"Host web1\n  Port {ground.sshd.port}\n  ProxyJump jump\nHost jump\n  Port {relay.port}"
    line = opened(Ssh("web1", ssh_config=ground.config(text, known)))
    relay.cut()
    assert ran(line, cmd("true")).code is None
    line.close()
    line.open()
    assert ran(line, cmd("true")).code == 0
    relay.close()
