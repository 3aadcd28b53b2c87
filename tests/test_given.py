"""What is given for an env file: read past any command line, refused by line number and never by its words."""

from __future__ import annotations

import io
import os
import sys
from types import SimpleNamespace

import pytest

from fabfile import given, programs
from fabfile.errors import UsageError
from fabfile.given import Change, change, text
from fabfile.inventory.values import App, Group, Host, Process, Ssh, Targets

SECRET = "c4n4ry"


def test_a_text_comes_as_node_reads_it():
    assert text(b"\xef\xbb\xbfA=1\r\nB=2", "x") == "A=1\nB=2\n"


@pytest.mark.parametrize("data, told", [
    (b"A=1\nB=c4n4ry\xff\n", "x:2: it is not UTF-8"), (b"A=1\nB=2\nC=c4n4ry\0\n", "x:3: a NUL"), (b"A=c4n4ry\rB=2\n", "x:1: a carriage return"),
    (b"A=" + b"c4n4ry" * 50000, "x is larger than 256 KiB"), (b" \n\n", "x is empty"), (b"", "x is empty"),
])
def test_what_cant_be_sent_is_named_by_its_line(data, told):
    with pytest.raises(UsageError) as err:
        text(data, "x")
    assert told in str(err.value) and SECRET not in str(err.value)


@pytest.mark.parametrize("flags, told", [
    ({}, "say what"), ({"file": "a", "command": "b"}, "--file and --command at once"), ({"file": "a", "set": "B"}, "at once"),
    ({"set": "A", "unset": "B,A"}, "A is to be set and unset"), ({"set": "A=c4n4ry"}, "takes names alone"), ({"unset": "1A"}, "is no name"),
    ({"file": "/nowhere/at/all"}, "can't be read"), ({"set": "NOT_THERE_AT_ALL", "from_env": True}, "not in this environment"),
])
def test_flags_that_make_no_sense_are_refused(flags, told):
    with pytest.raises(UsageError) as err:
        change(**flags)
    assert told in str(err.value) and SECRET not in str(err.value)


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False))


def test_a_value_comes_by_stdin(monkeypatch):
    piped(monkeypatch, b"two words\n")
    assert change(set="A", unset="B, C") == Change(set={"A": "two words"}, unset=("B", "C"))


@pytest.mark.parametrize("names, data, told", [("A,B", b"x", "stdin holds one value"), ("A", b"", "nothing on stdin"), ("A", b"a\0", "a NUL")])
def test_a_value_that_stdin_does_not_hold_is_refused(monkeypatch, names, data, told):
    piped(monkeypatch, data)
    with pytest.raises(UsageError, match=told):
        change(set=names)


def test_values_come_from_the_environment_if_that_is_said(monkeypatch):
    monkeypatch.setenv("ONE", "1 1")
    monkeypatch.setenv("TWO", "2")
    assert change(set="ONE,TWO", from_env=True).set == {"ONE": "1 1", "TWO": "2"}


def test_a_change_does_not_show_its_values():
    assert SECRET not in repr(Change(text=SECRET, set={"A": SECRET}))


# ---------------------------------------------------------------- programs


def test_a_program_is_heard_without_a_shell(tmp_path):
    assert programs.output(f"printf '%s;%s' '$HOME' {tmp_path}/*") == f"$HOME;{tmp_path}/*".encode()


def test_a_program_hears_nothing_of_what_is_on_our_stdin():
    kept, (reading, writing) = os.dup(0), os.pipe()
    os.write(writing, b"c4n4ry")
    os.close(writing)
    try:
        os.dup2(reading, 0)
        assert programs.output("cat") == b""
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(reading)


@pytest.mark.parametrize("command, told", [
    ("'", "can't be read"), (" ", "names no program"), ("/nowhere/at/all", "can't be started"), ("sh -c 'echo c4n4ry; exit 7'", "exit code 7"),
])
def test_a_program_that_fails_sends_nothing(command, told):
    with pytest.raises(UsageError) as err:
        programs.output(command)
    assert told in str(err.value) and SECRET not in str(err.value)


def test_a_programs_errors_are_seen_and_its_output_is_not(capfd):
    programs.output("sh -c 'echo c4n4ry; echo locked >&2'")
    assert capfd.readouterr() == ("", "locked\n")


def test_a_program_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(programs, "LIMIT", 0.1)
    with pytest.raises(UsageError, match="no answer"):
        programs.output("sleep 30")


# ---------------------------------------------------------------- which file


def targets(*processes: Process, shared: tuple[str, ...] = (".env",)) -> Targets:
    host = Host("web1", Ssh("web1"), App("shop", "r", "/srv/shop", processes, shared_files=shared), "web1")
    group = Group("web", (host,))
    return Targets("web", (group,), (group,))


API, JOBS, BARE = Process("api", "a.js"), Process("jobs", "b.js", env_file="jobs.env"), Process("bare", "c.js", env_file=None)


@pytest.mark.parametrize("processes, shared, flags, found", [
    ([API], [".env"], ("", ""), ".env"), ([API, BARE], [".env"], ("", ""), ".env"), ([API, JOBS], [".env", "jobs.env"], ("jobs", ""), "jobs.env"),
    ([API, JOBS], [".env", "jobs.env"], ("", ".env"), ".env"), ([BARE], [".env.local"], ("", ".env.local"), ".env.local"),
])
def test_the_file_is_found(processes, shared, flags, found):
    assert given.shared_files(targets(*processes, shared=tuple(shared)), *flags) == {"web1": found}


@pytest.mark.parametrize("processes, shared, flags, told", [
    ([API, JOBS], [".env", "jobs.env"], ("", ""), "read .env, jobs.env; say which"), ([API], [".env"], ("x", ""), "no process x reads one"),
    ([BARE], [".env"], ("", ""), "no process reads one"), ([API], [], ("", ""), "is no shared file"), ([API], [".env"], ("", "x.env"), "x.env is no shared file"),
])
def test_a_file_that_no_release_links_is_refused(processes, shared, flags, told):
    with pytest.raises(UsageError) as err:
        given.shared_files(targets(*processes, shared=tuple(shared)), *flags)
    assert told in str(err.value)
