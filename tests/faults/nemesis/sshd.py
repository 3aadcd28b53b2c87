"""Break what lets us in: ssh daemons and login shells."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Iterator

from tests.faults import look
from tests.lab import loopback, making, texts
from tests.lab.fleet import Lab, greets, wait_until


@contextlib.contextmanager
def sessions_killed(lab: Lab, host: str) -> Iterator[None]:
    """Kill sshd's child of every connection; what it had started is left to itself."""
    for pid in lab.pids(host):
        if is_session(pid, lab.inits[host]):
            loopback.kill(pid, signal.SIGKILL)
    yield


def is_session(pid: int, init: int) -> bool:
    """Tell whether this is OpenSSH's or dropbear's process of one connection, and not the one that listens."""
    line = loopback.command_line(pid)
    return (line.startswith(b"sshd: ") and b"listener" not in line) or (b"/dropbear\0" in line and look.parent(pid) != init)


@contextlib.contextmanager
def sshd_with(lab: Lab, host: str, *lines: str) -> Iterator[None]:
    """Run a host's sshd with these settings; the first of a keyword is the one that counts."""
    file = lab.host(host).folder / "sshd_config"
    kept = file.read_text()
    file.write_text("".join(f"{line}\n" for line in lines) + kept)
    restart_sshd(lab, host)
    try:
        yield
    finally:
        file.write_text(kept)
        restart_sshd(lab, host)


@contextlib.contextmanager
def environment(lab: Lab, host: str, **changes: str) -> Iterator[None]:
    """Give the sessions of a host other variables; those that are not named stay."""
    values = {**making.host_env(lab.host(host)), **changes}
    with sshd_with(lab, host, texts.setenv(values)):
        yield


@contextlib.contextmanager
def dropbear(lab: Lab, host: str, program: str) -> Iterator[None]:
    """Have dropbear let us in instead of OpenSSH, with the same keys; of the environment it keeps nothing, so .profile must name PM2."""
    there = lab.host(host)
    home, keys = lab.path(host, there.home), there.folder
    (home / ".ssh").mkdir(mode=0o700)
    (home / ".ssh/authorized_keys").write_text((keys / "authorized_keys").read_text())
    (home / ".profile").write_text(f"PATH={making.host_env(there)['PATH']}\n")
    lab.run(host, f"chmod go-w ~ && dropbearconvert openssh dropbear {keys}/hostkey {keys}/hostkey.dropbear")
    lab.stop_sshd(host)
    lab.run(host, f"setsid {program} -F -E -s -P /dev/null -r {keys}/hostkey.dropbear -p {there.address}:{there.ssh_port} </dev/null >~/dropbear.log 2>&1 &")
    wait_until("dropbear to answer", lambda: greets(there), log=home / "dropbear.log")
    try:
        yield
    finally:
        for pid in lab.pids(host):
            if loopback.command_line(pid).startswith(program.encode()):
                loopback.kill(pid, signal.SIGKILL)
        lab.start_sshd(host)
        shutil.rmtree(home / ".ssh")
        (home / ".profile").unlink()


def restart_sshd(lab: Lab, host: str) -> None:
    lab.stop_sshd(host)
    lab.start_sshd(host)


@contextlib.contextmanager
def login_shell(lab: Lab, host: str, shell: str, files: dict[str, str]) -> Iterator[None]:
    """Give the user of a host another login shell, with these files in the home directory."""
    passwd = lab.host(host).folder / "passwd"
    kept = passwd.read_text()
    home = lab.path(host, lab.host(host).home)
    # Written in place: the host has this very inode mounted as /etc/passwd.
    passwd.write_text("".join(f"{line.rpartition(':')[0]}:{shell}\n" if line.startswith("root:") else f"{line}\n" for line in kept.splitlines()))
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    try:
        yield
    finally:
        passwd.write_text(kept)
        for name in files:
            (home / name).unlink()
