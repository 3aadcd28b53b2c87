"""The script that carries the steps: who is named, what is killed, what reaches whom. Run by real shells."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from fabfile import fleet
from fabfile.commands import balancer, journal, lock, node, releases
from fabfile.commands.shell import Shell, Step, call, cmd, script

LIBRARIES = {part.__name__.rsplit(".", 1)[1]: part.LIBRARY for part in (balancer, journal, lock, node, releases)}
NAMES = re.findall(r"^(\w+)\(\)", fleet.LIBRARY, re.MULTILINE)
WHOLE = "".join(script(fleet.LIBRARY, [Step("nothing", cmd("true", *NAMES))], "@mark"))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_steps_run_in_order_and_are_named(sh):
    ran = sh.run(Step("one", cmd("echo", "a")), Step("two", cmd("echo", "b")))
    assert (ran.code, ran.names(), ran.text) == (0, ["one", "two"], "a\nb")


@pytest.mark.parametrize("code", [1, 3, 42, 137])
def test_the_last_name_is_the_step_that_failed_and_its_code_is_kept(sh, code):
    ran = sh.run(Step("drain", cmd("true")), Step("probe", cmd("sh", "-c", f"exit {code}")), Step("restore", cmd("echo", "too far")))
    assert (ran.code, ran.names(), ran.text) == (code, ["drain", "probe"], "")


def test_a_quick_step_is_named_together_with_what_is_said_next(sh):
    """In one write, so that it is one packet: a word that it prints itself comes before its name."""
    quick = [Step(name, cmd("echo", f"of {name}"), quick=True) for name in ("own", "tools")]
    with sh.start(*quick, Step("fetch", cmd("echo", "of fetch")), Step("last", cmd("true"), quick=True)) as process:
        lines = [line for line in process.stdout.read().decode().splitlines() if line]
    assert [told["name"] if (told := json.loads(line.partition(" ")[2])) and "name" in told else told for line in lines[2:5]] \
        == ["own", "tools", "fetch"]
    assert (lines[:2], lines[5]) == (["of own", "of tools"], "of fetch")
    assert [json.loads(line.partition(" ")[2])["event"] for line in lines[6:]] == ["step", "exit"]


@pytest.mark.parametrize("failing", ["false", "exit 1", "fail 'no such thing'", "x=$no_such_thing", "(exit 1)", "true | false"])
def test_a_quick_step_that_fails_is_named(sh, failing):
    ran = sh.run(Step("own", cmd("true"), quick=True), Step("tools", Shell(failing), quick=True), Step("next", cmd("echo", "too far")))
    assert ran.code != 0
    assert (ran.names(), "too far" in ran.text) == (["own", "tools"], False)


def test_what_no_step_calls_is_not_sent(sh):
    """Every function is found, and what one calls goes with it: a name that is missing would fail on the host, in the middle."""
    for name in NAMES:
        sent = set(re.findall(r"^(\w+)\(\)", "".join(script(fleet.LIBRARY, [Step("one", call(name))], "@mark")), re.MULTILINE))
        assert name in sent
        body = re.search(rf"^{name}\(\) .*?(?=^\w+\(\)|\Z)", fleet.LIBRARY, re.MULTILINE | re.DOTALL)[0]
        assert {each for each in NAMES if re.search(rf"\b{each}\b", re.sub("#.*", "", body))} <= sent, name
    text = "".join(script(fleet.LIBRARY, [Step("unlock", lock.drop("/srv/shop", "r1"))], "@mark", lock.beat("/srv/shop", "r1")))
    assert set(re.findall(r"^(\w+)\(\)", text, re.MULTILINE)) == {
        "say", "say_soon", "say_now", "fail", "ended", "work", "whole", "drop_lock", "is_owner", "is_my_turn", "beat", "touch_beat",
    }


def test_an_unset_variable_ends_the_step(sh):
    ran = sh.run(Step("typo", Shell('echo "$NO_SUCH_THING"')), Step("next", cmd("echo", "too far")))
    assert ran.code != 0
    assert ran.names() == ["typo"]


@pytest.mark.parametrize("name", ['node -e "1"', "back\\slash \\n", "it's", "two\nlines", "größer → $HOME `id`", "%s %d", "a" * 3000])
def test_any_step_name_comes_back_as_it_was(sh, name):
    ran = sh.run(Step(name, cmd("true")))
    assert (ran.code, ran.names()) == (0, [name])


@pytest.mark.parametrize("greedy", ["cat", "read -r line || true", "head -c 100000", "sh -s"])
def test_a_body_that_reads_stdin_cant_eat_the_script(sh, greedy):
    ran = sh.run(Step("greedy", cmd("sh", "-c", greedy)), Step("next", cmd("echo", "still here")), chunk=500)
    assert (ran.code, ran.names(), ran.text) == (0, ["greedy", "next"], "still here")


def test_a_long_script_in_small_pieces_arrives_whole(sh):
    """Shells read a pipe block by block: the text must be read to its end before the first step runs."""
    texts = [f"{number}-" + "x" * 20_000 for number in range(8)]
    ran = sh.run(*(Step(f"s{number}", cmd("echo", text)) for number, text in enumerate(texts)), chunk=997)
    assert ran.code == 0
    assert ran.text.splitlines() == texts


def test_a_here_document_of_a_whole_program_arrives_whole(sh):
    body = "".join(f"line {number} \\ $HOME `id` '\n" for number in range(5000))
    ran = sh.run(Step("big", Shell(f"cat >copy <<'@END@'\n{body}@END@")), chunk=4096)
    assert ran.code == 0
    assert (sh.home / "copy").read_text() == body


def test_an_event_stands_on_its_own_line_whatever_was_printed_before(sh):
    ran = sh.run(Step("half", cmd("printf", "no end of line")), Step("told", Shell('say \'{"event":"x"}\'')))
    assert ran.heard("x")
    assert ran.text == "no end of line"


def test_both_outputs_come_in_the_order_they_were_written(sh):
    ran = sh.run(Step("mixed", Shell("for n in 1 2 3 4 5; do echo out$n; echo err$n >&2; done")))
    assert ran.text.split() == [f"{kind}{number}" for number in range(1, 6) for kind in ("out", "err")]


def test_both_outputs_are_one_stream_already_on_the_host(one):
    """Two streams would be put together from packets: a warning could fall into the middle of a long event."""
    process = subprocess.Popen(
        ["sh", "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, cwd=one.home)
    warning = "".join(script("", [Step("warn", Shell("echo warning >&2"))], "@m"))
    process.stdin.write(f"{{\n{warning}exit\n}}\n".encode())
    process.stdin.flush()
    out, err = process.stdout.read(), process.stderr.read()
    process.stdin.close()
    assert process.wait(10) == 0
    assert (b"warning" in out, err) == (True, b"")


@pytest.mark.parametrize("sleeper", ["sleep 60", "sleep 60 & wait", "(sleep 60; true) | cat", "sh -c 'sleep 60; echo no'"])
def test_when_stdin_ends_the_step_in_hand_ends_soon(sh, until, sleeper):
    process = sh.start(Step("long", cmd("sh", "-c", f"echo $$ >pid; {sleeper}")), Step("next", Shell("touch went-on")))
    assert until(lambda: (sh.home / "pid").exists() and (sh.home / "pid").read_text().strip())
    pid = int((sh.home / "pid").read_text())
    assert alive(pid)
    begun = time.monotonic()
    process.stdin.close()
    process.stdout.read()  # ends when the last process that holds it has ended
    assert time.monotonic() - begun < 5  # of the 60 that it would sleep
    assert process.wait(5) != 0
    assert until(lambda: not alive(pid))
    assert not (sh.home / "went-on").exists()


def test_what_was_detached_outlives_the_end_of_stdin(sh, until):
    detach = "setsid sh -c 'echo $$ >pid; sleep 1; touch finished' >/dev/null 2>&1 & sleep 60"
    process = sh.start(Step("detach", cmd("sh", "-c", detach)))
    assert until((sh.home / "pid").exists)
    process.stdin.close()
    process.wait(5)
    assert until((sh.home / "finished").exists)


def test_after_its_end_a_script_kills_nothing_any_more(sh, until):
    process = sh.start(Step("leave", cmd("sh", "-c", "(sleep 1; touch finished) >/dev/null 2>&1 &")))
    assert process.stdout.read()
    assert process.wait(5) == 0
    process.stdin.close()
    assert until((sh.home / "finished").exists)


def test_the_end_is_not_delayed_by_open_stdin(sh):
    begun = time.monotonic()
    assert sh.run(Step("quick", cmd("true"))).code == 0
    assert time.monotonic() - begun < 3


def test_the_mark_reaches_our_own_programs(sh):
    ran = sh.run(Step("ask", cmd("sh", "-c", 'printf "%s %s\\n" "$GAPLESS_MARK" \'{"event":"mine"}\'')))
    assert ran.heard("mine")


@pytest.mark.parametrize("text", [*LIBRARIES.values(), WHOLE], ids=[*LIBRARIES, "whole"])
def test_every_shell_can_parse_it(sh, text):
    done = subprocess.run([*sh.words, "-n"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say():
    # 2030/2031: PATH is changed in the work's subshell on purpose. 2174: only the deepest directory wants the mode.
    # 2010: ls is the one way to read every link that may be read, and the names in it are only searched.
    found = subprocess.run(
        ["shellcheck", "--shell=sh", "--severity=warning", "--exclude=SC2030,SC2031,SC2174,SC2010", "--format=json", "-"],
        input=WHOLE, text=True, capture_output=True, check=False,
    )
    lines = WHOLE.splitlines()
    assert [(each["code"], lines[each["line"] - 1].strip()) for each in json.loads(found.stdout)] == [
        (2046, "set -- $(stat -f -c '%a %S %c %d' \"$1\")"),                                  # its words are to be split
        (3013, '[ ! "$real/$release" -ef "$root/current" ] || continue'),                     # POSIX has -ef since 2024, shells had it before
        (3044, 'complete "$1" "$2" "{\\"artifact\\": \\"$artifact\\", ${3#?}"'),              # a function of ours
        (3013, '[ ! "$dir/pm2" -ef "$pm2_dir/bin/pm2" ] || [ ! -f "$pm2_dir/lib/API.js" ] || return 0'),
    ]


def test_the_names_of_the_library_are_called_nothing_else(sh):
    """Two rooms that define the same function would silently take each other's."""
    names = [line.split("(")[0] for text in LIBRARIES.values() for line in text.splitlines() if line[:1].isalpha() and "() {" in line]
    assert sorted(names) == sorted(set(names))
