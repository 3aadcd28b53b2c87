"""Ssh daemons that drop or limit us, and login shells that talk."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from tests.faults import nemesis
from tests.faults.case import Case
from tests.faults.ground import Ground
from tests.faults.history import begun, event

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


def test_session_killed_in_build(case: Callable[..., Case], fleet: Ground) -> None:
    play = case("sshd's child killed in the build", 1)
    with play.playing(), play.fault(nemesis.sessions_killed(fleet.lab, "lab2"), event("step", "lab2", name="npm ci"), most=0):
        pass


def test_session_killed_in_reload(case: Callable[..., Case], fleet: Ground) -> None:
    play = case("sshd's child killed in the reload", 0)
    with play.playing(), play.fault(nemesis.sessions_killed(fleet.lab, "lab1"), event("begin", "lab1"), most=0):
        pass


def test_balancers_session_killed_while_it_drains(case: Callable[..., Case], fleet: Ground) -> None:
    play = case("sshd's child on the balancer killed while it drains", 0)
    with play.playing(), play.fault(nemesis.sessions_killed(fleet.lab, "lablb"), event("step", "balancer lablb", name="drain"), most=0):
        pass


def test_sshd_allows_one_session(case: Callable[..., Case], fleet: Ground) -> None:
    play = case("sshd with MaxSessions 1 and MaxStartups 2", 0)
    with nemesis.sshd_with(fleet.lab, "lab1", "MaxSessions 1", "MaxStartups 2"), play.playing(), play.fault(nemesis.nothing(), begun):
        pass


TALK = 'echo "Welcome to $(hostname)"; printf "\\033[31mdo not reboot\\033[0m\\n" >&2\n'
SHELLS = {
    "dash": ("dash", {}),
    "bash that prints on stderr only": ("bash", {".bashrc": "echo 'do not reboot' >&2\n"}),
    "bash that prints": ("bash", {".bashrc": TALK}),
    "fish that prints": ("fish", {".config/fish/config.fish": "echo Welcome; echo 'do not reboot' >&2\n"}),
}


@pytest.mark.parametrize("name", SHELLS)
def test_login_shell(case: Callable[..., Case], fleet: Ground, name: str) -> None:
    fleet.needs_mounts()
    program, files = SHELLS[name]
    shell = shutil.which(program) or fleet.needs_program(program)
    play = case(f"login shell: {name}", 0)
    with nemesis.login_shell(fleet.lab, "lab1", shell, files), play.playing(), play.fault(nemesis.nothing(), begun):
        pass


def test_login_shell_that_exits(case: Callable[..., Case], fleet: Ground) -> None:
    fleet.needs_mounts()
    play = case("login shell that exits in .bashrc", 4)
    with play.playing(), play.fault(nemesis.login_shell(fleet.lab, "lab1", "/bin/bash", {".bashrc": "echo bye; exit 0\n"}), begun):
        pass


def test_sh_is_busybox(case: Callable[..., Case], fleet: Ground) -> None:
    fleet.needs_mounts()
    program = fleet.needs_program("busybox")
    play = case("a host whose sh and small programs are busybox's", 0)
    with nemesis.busybox(fleet.lab, "lab1", program), play.playing(), play.fault(nemesis.nothing(), begun):
        pass


@pytest.mark.parametrize("breaks", [False, True], ids=["whole", "session-killed-in-reload"])
def test_dropbear(case: Callable[..., Case], fleet: Ground, breaks: bool) -> None:
    fleet.needs_mounts()
    program = fleet.needs_program("dropbear")
    play = case(f"dropbear instead of OpenSSH{', its session killed in the reload' if breaks else ''}", 0)
    fault = nemesis.sessions_killed(fleet.lab, "lab1") if breaks else nemesis.nothing()
    with nemesis.dropbear(fleet.lab, "lab1", program), play.playing(), play.fault(fault, event("begin", "lab1") if breaks else begun, most=0):
        pass
