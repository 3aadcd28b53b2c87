"""Signals as a real process gets them: the first asks for an orderly end, another one has us leave, and after the end none counts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent
SCRIPT = """\
import os, signal, sys, time
from fabfile.run import signals
signals.GRACE = 0.3
def get(name):
    os.kill(os.getpid(), getattr(signal, name))
    time.sleep(0.01)
with signals.stopped_by(lambda code: os._exit(code)) as stop:
    try:
        get(sys.argv[1])
        time.sleep(5)
    except KeyboardInterrupt:
        pass
    stop.ending = True
    if sys.argv[2] == "end":
        stop.end()
    for name in sys.argv[3:]:
        get(name)
    time.sleep(0.6)  # longer than CI waits
    print("told to the end", stop.code)
"""


def hears() -> None:
    """Undo what a shell's `&` and nohup have their children ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def process(*words: str) -> tuple[int, str]:
    env = {**os.environ, "PYTHONPATH": str(HOME)}
    done = subprocess.run([sys.executable, "-c", SCRIPT, *words], env=env, capture_output=True, text=True, check=False, timeout=30,
                          preexec_fn=hears)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("first, code", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_after_the_end_no_signal_is_heard(first: str, code: int) -> None:
    """Neither what comes then, nor the alarm that the first one had set."""
    assert process(first, "end", "SIGINT", "SIGTERM", "SIGINT", "SIGHUP", "SIGTERM") == (0, f"told to the end {code}\n")


@pytest.mark.parametrize("words, code", [
    (["SIGINT", "", "SIGINT"], 130), (["SIGINT", "", "SIGTERM"], 130), (["SIGINT", "", "SIGHUP"], 130), (["SIGTERM", ""], 143), (["SIGHUP", ""], 129),
])
def test_before_the_end_a_second_one_or_the_alarm_has_us_leave(words: list[str], code: int) -> None:
    assert process(*words) == (code, "")


def test_who_asked_once_by_hand_is_waited_for() -> None:
    assert process("SIGINT", "") == (0, "told to the end 130\n")
