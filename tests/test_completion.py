"""Completion: what a line may become, in Python and behind a real TAB; and what a TAB costs."""

from __future__ import annotations

import resource
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from fabfile import completion
from fabfile.inventory.loading import parse
from tests.test_inventory import APP, PROCESSES, WEB, host

HOME = Path(__file__).parent.parent
FILE = HOME / "fabfile/completion.py"
HOSTS = """\
groups:
  web: {hosts: [web1, web2, {host: h, port: 2201}, {host: h, port: 2202}], bad: }
  jobs: {hosts: [job1.example.com, "$(touch pwned)", "a b"]}
  prod: {groups: [web, jobs]}
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a hosts.yaml that is half wrong."""
    (tmp_path / "hosts.yaml").write_text(HOSTS)
    monkeypatch.delenv("GAPLESS_INVENTORY", raising=False)
    return tmp_path


@pytest.mark.parametrize("line, expected", [
    ("fab deploy --hosts ", "web jobs prod web1 web2 h:2201 h:2202 job1.example.com"),
    ("fab deploy --hosts we", "web web1 web2"),
    ("fab deploy --hosts web,", "web,jobs web,prod web,web1 web,web2 web,h:2201 web,h:2202 web,job1.example.com"),
    ("fab deploy --hosts prod,!w", "prod,!web prod,!web1 prod,!web2"),
    ("fab deploy --hosts 'prod,!j", "prod,!jobs prod,!job1.example.com"),
    ("fab deploy --hosts=jo", "--hosts=jobs --hosts=job1.example.com"),
    ("fab -H pr", "prod"), ("fab -Hpr", "-Hprod"), ("fab deploy --hosts h:", "h:2201 h:2202"),
    ("inv status --format ", "plain live json"), ("inv status --format=j", "--format=json"),
    ("fab deploy --hosts nothing-like-it", ""),
])
def test_a_value_is_completed(desk: Path, line: str, expected: str) -> None:
    assert completion.values(line, desk) == expected.split()


@pytest.mark.parametrize("line", ["", "fab", "fab ", "fab de", "fab deploy --ho", "fab deploy --hosts web ", "fab deploy --ref ma", "fab deploy -"])
def test_what_is_no_value_is_left_to_invoke(desk: Path, line: str) -> None:
    assert completion.values(line, desk) is None


@pytest.mark.parametrize("text", ["", "groups:", "groups: [a]", "groups: {a: {hosts: b}}", "app: [", "\0", "groups: &a {b: *a}", "[" * 5000, "groups: {a: {hosts: [{port: 1}, [x], {host: [y]}]}}"])
def test_a_file_that_is_wrong_ends_in_silence(desk: Path, text: str) -> None:
    (desk / "hosts.yaml").write_text(text)
    assert set(completion.names(desk)) <= {"a", "b"}
    (desk / "hosts.yaml").unlink()
    assert completion.names(desk) == []


@pytest.mark.parametrize("text", [
    APP + WEB, PROCESSES, (HOME / "hosts.yaml").read_text(), host("{host: 127.0.0.1, port: 2201}, {host: 127.0.0.1, port: 2202}, web1"),
    host("{host: web1, port: 22}, {host: web1, port: 23}, web2"),
])
def test_it_names_what_a_selector_may_name(desk: Path, text: str) -> None:
    """It reads the file by itself, so it could drift away from the reader that counts."""
    (desk / "hosts.yaml").write_text(text)
    inventory = parse(text.encode(), desk / "hosts.yaml")
    assert set(completion.names(desk)) == set(inventory._members())


def test_it_finds_the_file_that_counts(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = desk / "a/b"
    below.mkdir(parents=True)
    assert "web1" in completion.names(below)
    (desk / "other.yaml").write_text("groups: {x: {hosts: [y]}}")
    monkeypatch.setenv("GAPLESS_INVENTORY", "../../other.yaml")
    assert completion.names(below) == ["x", "y"]


def test_a_tab_imports_next_to_nothing(desk: Path) -> None:
    code = f"import runpy, sys\nsys.argv = ['', 'values', 'fab deploy --hosts ']\ntry: runpy.run_path({str(FILE)!r}, run_name='__main__')\nexcept SystemExit: pass\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=desk, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"yaml", "web1"} <= loaded
    assert not {"invoke", "fabric", "paramiko", "requests", "asyncio", "fabfile"} & loaded


def cost(*words: str, where: Path) -> float:
    """Give the least CPU time that a program took, of several times."""
    times = []
    for _ in range(7):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-P", *words], cwd=where, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def test_a_tab_costs_less_than_twice_what_python_and_yaml_cost(desk: Path) -> None:
    assert cost(str(FILE), "values", "fab deploy --hosts ", where=desk) < 2 * cost("-c", "import yaml", where=desk)


# ---------------------------------------------------------------------- real shells


@pytest.fixture
def shell(desk: Path) -> Path:
    """The same directory, with programs to type: fab and gapless, found in bin/."""
    (desk / "bin").mkdir()
    (desk / "home").mkdir()
    (desk / "lib").mkdir()
    (desk / "lib/gapless").symlink_to(HOME / "fabfile")
    (desk / "fabfile.py").write_text("from gapless import namespace\n")
    for name, code in {"gapless": "from gapless.program import main; main()", "fab": "from fabric.main import program; program.run()"}.items():
        file = desk / "bin" / name
        file.write_text(f'#!{sys.executable} -P\nimport sys; sys.path.insert(0, "{desk}/lib"); sys.argv[0] = "{name}"\n{code}\n')
        file.chmod(0o755)
    for name in completion.SCRIPTS:
        done = subprocess.run([sys.executable, "-m", "gapless.completion", name], cwd=desk / "lib", capture_output=True, text=True, check=True)
        (desk / f"script.{name}").write_text(done.stdout)
    return desk


def environment(place: Path) -> dict[str, str]:
    return {"PATH": f"{place}/bin:/usr/local/bin:/usr/bin:/bin", "HOME": f"{place}/home", "LANG": "C.UTF-8", "TERM": "xterm"}


BASH = r"""
source script.bash
t() {
    COMP_LINE=$1 COMP_POINT=${#1}
    read -ra COMP_WORDS <<<"$1"; [[ $1 != *' ' ]] || COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _gapless "${COMP_WORDS[0]}" "${2-${COMP_WORDS[COMP_CWORD]}}" x 2>/dev/null
    echo "${COMPREPLY[*]}"
}
"""


@pytest.mark.parametrize("program", ["gapless", "fab"])
@pytest.mark.parametrize("line, word, expected", [
    ("deploy --hosts we", "we", "web web1 web2"), ("deploy --hosts=we", "we", "web web1 web2"), ("deploy --hosts h:22", "22", "2201 2202"),
    ("deploy --hosts 'web,!j", "'web,!j", "web,!jobs web,!job1.example.com"), ("de", "de", "deploy"), ("deploy --allow", "--allow", "--allow-downtime"),
    ("deploy --format j", "j", "json"),
])
def test_bash_completes(shell: Path, program: str, line: str, word: str, expected: str) -> None:
    text = f"{BASH}t {shlex.quote(f'{program} {line}')} {shlex.quote(word)}\n"
    done = subprocess.run(["bash", "--norc"], input=text, cwd=shell, env=environment(shell), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
    assert not (shell / "pwned").exists()


SHELLS = {"bash": ["bash", "--norc"], "zsh": ["zsh", "-f"], "fish": ["fish", "--private", "--no-config"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHELLS)
def test_a_real_tab_completes(shell: Path, name: str) -> None:
    if not shutil.which(name) or not shutil.which("tmux"):
        pytest.skip(f"there is no {name}, or no tmux")
    tmux = ["tmux", "-L", f"gapless-{uuid.uuid4().hex[:8]}"]

    def say(*words: str) -> str:
        return subprocess.run([*tmux, *words], cwd=shell, env=environment(shell), capture_output=True, text=True, check=True).stdout

    def until(text: str) -> None:
        screen = ""
        for _ in range(300):
            screen = say("capture-pane", "-p")
            if text in screen:
                return
            time.sleep(0.1)
        raise AssertionError(f"{text!r} did not come:\n{screen}")

    say("new-session", "-d", "-x", "120", "-y", "20", *SHELLS[name])
    try:
        say("send-keys", f"source script.{name}; echo 're'ady", "Enter")
        until("ready")
        for typed, expected in (("gapless depl", "gapless deploy"), (" --hosts jobs,pr", "--hosts jobs,prod"), (" --allow", " --allow-downtime")):
            say("send-keys", "-l", typed)
            say("send-keys", "Tab")
            until(expected)
    finally:
        say("kill-server")
