"""`fab` and `inv` as a user types them: help, refusals with their exit code, and not a word to a host before its time."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent
PROGRAMS = {"fab": "fabric", "inv": "invoke"}
WRITING = ("deploy", "build", "migrate", "reload", "rolling", "rollback", "unlock", "scale")
LOOKING = ("status", "health", "releases", "history", "diff", "lock", "logs", "monit", "ssh", "env", "drain", "restore", "doctor")

HOSTS = """\
app:
  name: shop
  repo: ./repo.git
  root: /srv/shop
  script: dist/main.js
groups:
  web:
    hosts: [{{host: 127.0.0.1, port: {port}}}, {{host: localhost, port: {port}}}]
    ssh_config: ./ssh_config
  jobs:
    hosts: [{{host: 127.0.0.2, port: {port}}}]
    ssh_config: ./ssh_config
    protected: true
  forked:
    hosts: [{{host: 127.0.0.3, port: {port}}}]
    app: {{exec_mode: fork}}
"""


class Listener:
    """Stand where a host's sshd would, and count who comes."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.came = 0
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        with suppress(OSError):
            while True:
                self.listener.accept()[0].close()
                self.came += 1


class Desk:
    """A directory with a hosts.yaml, and the programs to type in it."""

    def __init__(self, place: Path, listener: Listener) -> None:
        self.place = place
        self.listener = listener
        self.env = {"PATH": os.environ["PATH"], "HOME": str(place), "LANG": "C.UTF-8"}
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", place / "repo.git"], check=True)
        tree = subprocess.run(
            ["git", "-C", place / "repo.git", "hash-object", "-w", "-t", "tree", "/dev/null"], check=True, capture_output=True, text=True)
        who = {f"GIT_{role}_{what}": "x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        commit = subprocess.run(["git", "-C", place / "repo.git", "commit-tree", "-m", "x", tree.stdout.strip()],
                                check=True, capture_output=True, text=True, env={**os.environ, **who}).stdout.strip()
        for ref in ("heads/main", "heads/feature", "tags/v1"):
            subprocess.run(["git", "-C", place / "repo.git", "update-ref", f"refs/{ref}", commit], check=True)
        (place / "ssh_config").write_text("")
        self.hosts(HOSTS.format(port=listener.port))

    def hosts(self, text: str) -> None:
        (self.place / "hosts.yaml").write_text(text)

    def command(self, program: str, *words: str) -> list[str]:
        return [sys.executable, "-c", STARTED.format(PROGRAMS[program]), "-r", str(HOME), *words]

    def say(self, program: str, *words: str, typed: str | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.command(program, *words), cwd=self.place, env=self.env, capture_output=True, text=True, check=False, input=typed, timeout=60)
        assert "Traceback" not in done.stderr + done.stdout
        return done

    def refused(self, program: str, *words: str) -> str:
        """Type words that must end in exit code 2 before any host hears of it; give what was said."""
        before = self.listener.came
        done = self.say(program, *words)
        assert (done.returncode, self.listener.came) == (2, before), done.stderr
        return done.stderr


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    listener = Listener()
    yield Desk(tmp_path, listener)
    listener.listener.close()


both = pytest.mark.parametrize("program", PROGRAMS)


# Who starts tests in the background has them ignore Ctrl-C, and what they start would too.
STARTED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from {}.main import program; program.run()"
MANY = f"""\
import contextlib, io, json, sys
from fabric.main import program
said = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["fab", "-r", "{HOME}", *words]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            program.run(sys.argv)
            code = 0
        except SystemExit as end:
            code = end.code
    said.append([words, code, out.getvalue(), err.getvalue()])
print(json.dumps(said))
"""


@both
def test_list_and_help_are_clean(desk, program):
    done = desk.say(program, "--list")
    assert (done.returncode, done.stderr) == (0, "")
    for verb in (*WRITING, *LOOKING):
        assert any(line.split()[:1] == [verb] and len(line.split()) > 2 for line in done.stdout.splitlines()), verb
    assert all(len(line) < 100 for line in done.stdout.splitlines())
    for words in (["--help", "deploy"], ["deploy", "--help"], ["deploy", "-h"]):
        done = desk.say(program, *words)
        assert (done.returncode, done.stderr) == (0, "")
        for flag in ("--hosts", "--ref", "--max-parallel", "--allow-downtime", "--yes"):
            assert flag in done.stdout, words
    assert desk.listener.came == 0


@both
def test_what_is_folded_is_one_line_and_all_of_it_can_be_called(desk, program):
    listed = desk.say(program, "--list").stdout
    assert [line.split()[0] for line in listed.splitlines() if line.strip().startswith("env")] == ["env"]
    assert [line.split()[0] for line in desk.say(program, "--list", "env").stdout.splitlines() if line.startswith("  ")] == [".diff", ".push"]
    assert {"env", "env.push", "env.diff"} <= set(desk.say(program, "--complete", "--", program).stdout.split())
    assert "env.push" in json.dumps([f"env.{each['name']}" for each in json.loads(
        desk.say(program, "--list", "--list-format", "json").stdout)["collections"][0]["tasks"]])
    for verb, flag in (("env", "--show"), ("env.push", "--from-env"), ("env.diff", "--command")):
        assert flag in desk.say(program, "--help", verb).stdout
        assert "no hosts named" in desk.refused(program, verb)


@pytest.mark.parametrize("words, told", [
    (["drain", "--hosts", "web"], "names no balancer"), (["restore", "--hosts", "web"], "names no balancer"),
    (["scale", "--hosts", "web"], "no number of workers"), (["env.push", "--hosts", "web", "--set", "A"], "no shared file"),
    (["env", "--hosts", "jobs", "--show"], "jobs is protected"), (["env.push", "--hosts", "web", "--file", "x", "--file-name", "y"], "no shared file"),
])
def test_what_is_done_by_hand_is_refused_before_any_host_hears_of_it(desk, words, told):
    assert told in desk.refused("inv", *words)


@both
def test_alone_it_does_nothing(desk, program):
    desk.say(program)
    assert desk.listener.came == 0


@pytest.mark.parametrize("verb", WRITING + LOOKING)
def test_no_verb_has_a_default_group(desk, verb):
    assert "no hosts named" in desk.refused("inv", verb)


def test_fab_has_no_default_group_either(desk):
    assert "no hosts named" in desk.refused("fab", "deploy")


@pytest.mark.parametrize("words", [
    ("fab", "deploy", "--hosts", "wbe"), ("inv", "deploy", "--hosts", "wbe"), ("fab", "-H", "wbe", "deploy"), ("fab", "deploy", "-H", "wbe"),
    ("inv", "status", "--hosts", "web,wbe"), ("inv", "deploy", "--hosts", "web,!wbe"),
])
def test_an_unknown_group_is_refused_with_the_one_that_was_meant(desk, words):
    assert 'no group or host is called "wbe"; did you mean "web"?' in desk.refused(*words)


@pytest.mark.parametrize("selector", ["web,!web", "web,,jobs", ",", "!web", "*", "all", "web jobs"])
def test_a_selector_that_matches_nothing_is_refused(desk, selector):
    assert "--hosts" in desk.refused("inv", "deploy", "--hosts", selector)


@both
def test_a_missing_hosts_yaml_is_refused(desk, program):
    (desk.place / "hosts.yaml").unlink()
    assert "hosts.yaml: not found" in desk.refused(program, "deploy", "--hosts", "web")


@pytest.mark.parametrize("text, where", [("app: [\n", "hosts.yaml:2:1"), ("app:\n  nme: shop\ngroups: {}\n", "hosts.yaml:2:3"), ("a: \t- b\n", "hosts.yaml:1:")])
def test_a_bad_hosts_yaml_is_refused_at_its_place(desk, text, where):
    desk.hosts(text)
    for program in PROGRAMS:
        assert where in desk.refused(program, "deploy", "--hosts", "web")


@pytest.mark.parametrize("ref, told", [
    ("featrue", "did you mean feature"), ("nothing-like-it", "has no branch or tag"), ("-x", "has no branch or tag"),
    ("--upload-pack=touch x", "has no branch or tag"), ("abcdef0", "give all 40 digits"), ("refs/heads/nope", "has no branch or tag"),
])
def test_a_bad_ref_is_refused(desk, ref, told):
    assert told in desk.refused("inv", "deploy", "--hosts", "web", f"--ref={ref}")


@pytest.mark.parametrize("words, told", [
    (("history", "--lines", "0"), "--lines 0"), (("diff", "--ref", "featrue"), "did you mean feature"),
    (("diff", "--ref", "v1", "--to", "0001-abc"), "say one of them"),
])
def test_what_only_looks_is_refused_before_anyone_is_asked_too(desk, words, told):
    assert told in desk.refused("inv", *words, "--hosts", "web")


def test_a_bad_ref_is_refused_for_a_build_too(desk):
    assert "did you mean feature" in desk.refused("fab", "build", "--hosts", "web", "--ref=featrue")


def test_a_repository_that_cant_be_read_is_refused(desk):
    desk.hosts(HOSTS.format(port=desk.listener.port).replace("./repo.git", "./nothing.git"))
    assert "can't be read" in desk.refused("inv", "deploy", "--hosts", "web")


@pytest.mark.parametrize("width", ["0", "-1", "x", "1,x", "0%", "101%", "1.5", "50 %", "%", "1;2", "٣"])
def test_a_width_that_is_none_is_refused(desk, width):
    assert "--max-parallel" in desk.refused("inv", "reload", "--hosts", "web", f"--max-parallel={width}")


def test_a_width_that_is_none_is_refused_for_a_deploy_too(desk):
    assert "--max-parallel" in desk.refused("inv", "deploy", "--hosts", "web", "--max-parallel=1,x")


def test_a_protected_group_wants_yes_where_nobody_can_be_asked(desk):
    assert "jobs is protected: say --yes" in desk.refused("inv", "deploy", "--hosts", "jobs")


@both
@pytest.mark.parametrize("words, told", [
    (("--hosts", "web"), "say what to run"), (("--hosts", "web", "--", "uptime"), "--command 'uptime'"), (("--command", "true"), "no hosts named"),
    (("--hosts", "jobs", "--command", "true"), "jobs is protected: say --yes"), (("--hosts", "web", "--command", "x", "--timeout", "5"), "--timeout"),
])
def test_a_command_for_hosts_is_refused_before_any_hears_of_it(desk, program, words, told):
    assert told in desk.refused(program, "exec", *words)


def test_what_follows_two_dashes_is_refused_with_hosts_named_for_fab_too(desk):
    assert "--command 'uptime'" in desk.refused("fab", "-H", "web", "exec", "--", "uptime")


@pytest.mark.parametrize("words, told", [
    (("logs", "--since", "yesterday"), "--since"), (("logs", "--grep", "("), "--grep"), (("ssh",), "names 2 hosts, and a shell is on one"),
])
def test_a_look_that_cant_be_meant_is_refused(desk, words, told):
    assert told in desk.refused("inv", *words, "--hosts", "web")


NUMBERS = [("logs", "--lines"), ("history", "--lines"), ("exec", "--limit"), ("exec", "--timeout"), ("logs", "--since"), ("scale", "--instances"),
           ("deploy", "--wait"), ("reload", "--max-parallel"), ("status", "--format")]
NONSENSE = ["abc", "-1", "1e9", "9" * 30, "٣", "½", " ", "\udcff", "1\n2", "1.5", "nan", "0.0.1s", "9999-12-31T23:59:59.x", "0001-01-01", "'"]


@pytest.mark.parametrize("verb, flag", NUMBERS)
def test_nonsense_is_refused_in_words_and_programs_are_told(desk, verb, flag):
    """In one process each, for there are many: fab is slow to start."""
    typed = [[verb, "--hosts", "web", f"{flag}={text}", *(["--command", "true"] if verb == "exec" else []), *how]
             for text in NONSENSE for how in ([], ["--format", "json"]) if not (how and flag == "--format")]
    done = subprocess.run(
        [sys.executable, "-c", MANY, json.dumps(typed)], cwd=desk.place, env=desk.env, capture_output=True, text=True, check=False, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    for words, code, said, told in json.loads(done.stdout):
        assert (code, bool(told.strip())) == (2, True), (words, code, said, told)
        if words[-1] == "json":
            [line] = said.splitlines()
            assert {**json.loads(line), "message": ""} == {"event": "summary", "schema": 1, "exit": 2, "message": ""}, words
    assert desk.listener.came == 0


@pytest.mark.parametrize("verb", ["deploy", "reload", "rolling", "rollback"])
def test_who_is_refused_for_downtime_can_allow_it(desk, verb):
    """A flag that is named must be there: else the way back from a bad release is shut."""
    assert "--allow-downtime" in desk.refused("fab", verb, "--hosts", "forked")
    done = desk.say("fab", verb, "--hosts", "forked", "--allow-downtime")
    assert (done.returncode, "127.0.0.3" in done.stderr) == (4, True), done.stderr  # it went there, and nobody was


@pytest.mark.parametrize("verb", ["build", "migrate"])
def test_what_replaces_no_worker_needs_no_leave_for_it(desk, verb):
    done = desk.say("fab", verb, "--hosts", "forked")
    assert (done.returncode, "127.0.0.3" in done.stderr) == (4, True), done.stderr


def test_a_lock_that_nobody_could_read_is_not_called_free(desk):
    for words in (("lock",), ("unlock", "--id", "r1")):
        done = desk.say("fab", *words, "--hosts", "web")
        assert (done.returncode, done.stderr.count("can't be read, and may be locked")) == (5, 2), done.stderr


def test_downtime_is_refused_before_anyone_is_asked(desk):
    assert "--allow-downtime" in desk.refused("inv", "deploy", "--hosts", "forked")


class Silent(Listener):
    """Stand where a host hangs: it lets one in, and says nothing until it is told to let go."""

    def __init__(self) -> None:
        self.held: list[socket.socket] = []
        self.someone = threading.Event()
        super().__init__()

    def _count(self) -> None:
        with suppress(OSError):
            while True:
                self.held.append(self.listener.accept()[0])
                self.someone.set()

    def let_go(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for each in self.held:
            each.close()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [["status"], ["logs", "--follow"], ["reload", "--plan"], ["resume"]], ids=" ".join)
def test_a_look_that_is_interrupted_tells_programs_of_its_end(tmp_path, words, number, times):
    silent = Silent()
    desk = Desk(tmp_path, silent)
    with subprocess.Popen(desk.command("fab", *words, "--hosts", "web", "--format", "json"), cwd=desk.place, env=desk.env, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert silent.someone.wait(20)
        for _ in range(times):
            time.sleep(0.2)
            process.send_signal(number)
        if times == 1:
            time.sleep(0.2)
            silent.let_go()
        out, err = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in err) == (128 + number, False), err
    [line] = out.splitlines()
    assert json.loads(line) == {"event": "summary", "schema": 1, "exit": 128 + number, "message": "interrupted" + ", and left at once" * (times - 1)}


def test_a_missing_ssh_config_is_refused(desk):
    (desk.place / "ssh_config").unlink()
    assert "there is no" in desk.refused("inv", "deploy", "--hosts", "web")


def test_both_ways_to_name_hosts_at_once_are_refused(desk):
    """fab would call the verb once for each of -H, and each call would act on all of --hosts."""
    assert "say it once" in desk.refused("fab", "-H", "web,jobs", "deploy", "--hosts", "web")


def test_a_state_directory_that_cant_be_made_is_refused(desk):
    (desk.place / "file").write_text("")
    desk.env["XDG_STATE_HOME"] = str(desk.place / "file")
    assert "XDG_STATE_HOME" in desk.refused("inv", "deploy", "--hosts", "web")


def test_a_good_command_does_contact_the_hosts(desk):
    """The listener is worth something: a command that nothing stands against comes to it."""
    done = desk.say("inv", "deploy", "--hosts", "web", "--ref", "v1")
    assert done.returncode == 4
    assert "2 of 2 hosts can't be worked on; nothing was touched." in done.stderr
    assert desk.listener.came > 0


def runs(desk: Desk) -> list[str]:
    """Give the selectors that runs claimed, from their logs."""
    files = sorted((desk.place / ".local/state/gapless").glob("*/run.jsonl"))
    return [json.loads(file.read_text().splitlines()[0])["selector"] for file in files]


@pytest.mark.parametrize("words", [["-H", "web,jobs", "deploy"], ["deploy", "-H", "web,jobs"], ["--hosts=web,jobs", "deploy"], ["-H=web,jobs", "deploy"]])
def test_fab_with_many_hosts_acts_once_on_all(desk, words):
    done = desk.say("fab", *words, "--yes") if words[-1] == "deploy" else desk.say("fab", "deploy", "--yes", *words[1:])
    assert done.returncode == 4
    assert "3 of 3 hosts can't be worked on" in done.stderr
    assert runs(desk) == ["web,jobs"]


CALLS = """\
from gapless_cli import selector
from invoke import task
def say(name):
    def body(c):
        print(name, repr(selector(c, "")))
    return body
build, reload = task(say("build"), name="build"), task(say("reload"), name="reload")
"""


@pytest.mark.parametrize("given, lines", [
    (["-H", "a,b", "build"], ["build 'a,b'", "build ''"]),
    (["-H", "a,b", "build", "reload"], ["build 'a,b'", "build ''", "reload 'a,b'", "reload ''"]),
    (["-H", "a,b", "build", "build"], ["build 'a,b'", "build ''", "build 'a,b'", "build ''"]),
    (["-H", "a,a", "build", "reload"], ["build 'a,a'", "build ''", "reload 'a,a'", "reload ''"]),
    (["-H", "web,!a", "build"], ["build 'web,!a'", "build ''"]),
    (["-H", "a", "build", "reload"], ["build 'a'", "reload 'a'"]),
])
def test_each_verb_of_a_line_acts_once(tmp_path, given, lines):
    (tmp_path / "fabfile.py").write_text(CALLS.replace("gapless_cli", "fabfile_home.cli"))
    (tmp_path / "fabfile_home").symlink_to(HOME / "fabfile")
    run = [sys.executable, "-c", "from fabric.main import program; program.run()", *given]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout.splitlines(), done.returncode) == (lines, 0), done.stderr


STREAM = "from pathlib import Path; from fabfile.report.plain import Plain; from fabfile.report.stream import Stream"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_what_stdout_cant_show_silences_nothing(tmp_path, encoding):
    code = (
        f"{STREAM}; stream = Stream(Path('x'), Plain(True))\n"
        "stream('reload', '', {'event': 'phase', 'what': 'größe → all'})\nstream.say('the end')"
    )
    env = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(HOME)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    first, last = done.stdout.decode(encoding).splitlines()
    assert "reload: gr" in first
    assert last == "the end"


def test_a_reader_who_leaves_ends_no_deploy(tmp_path):
    code = (
        f"{STREAM}; stream = Stream(Path('x'), Plain(True))\n"
        "for n in range(2000): stream.say('x' * 200)\n"
        "Path('reached').touch()"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(HOME)},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(10)
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, b"")
    assert (tmp_path / "reached").exists()
    assert len((tmp_path / "x/run.jsonl").read_text().splitlines()) == 2000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_here_ends_no_deploy_there(tmp_path):
    (tmp_path / "run.jsonl").symlink_to("/dev/full")
    code = f"{STREAM}; stream = Stream(Path(), Plain())\nstream.say('one')\nstream.say('two')\nstream.close()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(HOME)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\ntwo\n", "")
