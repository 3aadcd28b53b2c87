"""Be the first process of a lab host: start its services, reap its orphans, take all of it along.

Run as `python -I init.py SPEC`; SPEC is a JSON file: {"mounts": [[source, target], …], "tmpfs": [[size, target], …],
"hostname": str|null, "services": {name: argv}, "env": {…}, "log": path, "owner_fd": int}.
In a PID namespace the kernel ends everything when this process ends. Elsewhere it is a subreaper and does so itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
STOP_SSHD, START_SSHD = signal.SIGUSR1, signal.SIGUSR2
HEARD = {signal.SIGCHLD, signal.SIGTERM, STOP_SSHD, START_SSHD}
OWNER_CHECK_SECONDS = 0.5


def main(spec_path: str) -> None:
    """Set the host up and stay until told to end, or until the owner is gone."""
    spec = json.loads(Path(spec_path).read_text())
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    prepare(spec)
    services = {name: start(argv, spec) for name, argv in spec["services"].items()}
    owner = Owner(spec["owner_fd"])
    while owner.lives():
        heard = signal.sigtimedwait(HEARD, OWNER_CHECK_SECONDS)
        reap()
        if heard is None:
            continue
        if heard.si_signo == signal.SIGTERM:
            break
        if heard.si_signo == STOP_SSHD:
            end(services["sshd"])
        if heard.si_signo == START_SSHD and not alive(services["sshd"]):
            services["sshd"] = start(spec["services"]["sshd"], spec)
    if os.getpid() != 1:
        end_host(f"GAPLESS_LAB={spec['env']['GAPLESS_LAB']}\0".encode())


def prepare(spec: dict[str, Any]) -> None:
    """Give the host its own view of the file system and its own name."""
    for source, target in spec["mounts"]:
        subprocess.run(["mount", "--bind", source, target], check=True)
    for size, target in spec["tmpfs"]:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "lab", target], check=True)
    if spec["hostname"]:
        subprocess.run(["hostname", spec["hostname"]], check=True)


def start(argv: list[str], spec: dict[str, Any]) -> int:
    """Start a service in a session of its own and return its pid."""
    with open(spec["log"], "ab") as log:
        return subprocess.Popen(
            argv,
            env=spec["env"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=unblock_signals,
        ).pid


def unblock_signals() -> None:
    """Undo our own mask, which a child would otherwise inherit and be deaf with."""
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def reap() -> None:
    """Collect every child that has ended; orphans of the host land here."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def alive(pid: int) -> bool:
    """Tell whether a child still runs; it was reaped if not."""
    return Path(f"/proc/{pid}").exists()


def end(pid: int) -> None:
    """End one child; sessions that it forked go on, as with a service manager."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


class Owner:
    """The process that this host must not outlive: it holds the other end of a pipe.

    A byte sets this host free; the end of the pipe without one means that the owner is dead.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.bound = True

    def lives(self) -> bool:
        """Tell whether this host may go on."""
        if self.bound and select.select([self.fd], [], [], 0)[0]:
            if not os.read(self.fd, 1):
                return False
            self.bound = False
        return True


def end_host(mark: bytes) -> None:
    """Kill all that descends from us or carries the host's mark; as the subreaper we inherit what they leave behind."""
    while pids := family([os.getpid(), *marked(mark)]) - {os.getpid()}:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
        reap()


def family(roots: list[int]) -> set[int]:
    """List these processes and all that descends from them."""
    return {pid for root in roots for pid in (root, *descendants(root))}


def marked(entry: bytes) -> list[int]:
    """List the live processes that were started with this environment entry; sshd wipes its own."""
    return [pid for pid in parents_by_pid() if environ_holds(pid, entry)]


def environ_holds(pid: int, entry: bytes) -> bool:
    """Tell whether a process was started with this environment entry."""
    try:
        return entry in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def descendants(root: int) -> list[int]:
    """List the live pids below a process, nearest first."""
    parents = parents_by_pid()
    found: list[int] = []
    level = {root}
    while level := {pid for pid, parent in parents.items() if parent in level}:
        found.extend(level)
    return found


def parents_by_pid() -> dict[int, int]:
    """Read every process's parent; the name in `stat` may hold spaces, so split behind it."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                state, parent = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    parents[int(entry)] = int(parent)
    return parents


if __name__ == "__main__":
    main(sys.argv[1])
