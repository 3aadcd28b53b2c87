"""The lab's git repository: one bare repository with a tag per release of the demo app."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

APPS = Path(__file__).parent / "apps"
MADE_HERE = {"node_modules", "dist", "generated", ".env"}
STAMP = "gapless-lab"
AUTHOR = "Lena Lab <lena@lab.example>"
FIRST_COMMIT = 1_793_523_600  # 2026-11-01 09:00 UTC


@dataclass(frozen=True)
class Release:
    """One tag: what it is, and how a deploy of it must end."""

    name: str
    about: str
    version: str
    parent: str | None = "v2"  # its files are laid over the parent's
    base: str = "base"  # the directory below, for a release without parent
    fails: str | None = None  # "build", "migrate", "boot" (never open) or "later" (dies while it serves)
    reason: str | None = None  # REASON in the crash log; None when no worker ends before it is open
    migrates: bool = True  # has Prisma: `npx prisma migrate deploy` works

    @property
    def good(self) -> bool:
        return self.fails is None


def _boot(name: str, about: str, version: str, reason: str) -> Release:
    return Release(name, about, version, fails="boot", reason=reason)


def _plain(name: str, about: str, version: str, reason: str | None = None) -> Release:
    return Release(name, about, version, "no-signal", fails=reason and "boot", reason=reason, migrates=False)


RELEASES: dict[str, Release] = {
    release.name: release
    for release in (
        Release("v1", "Sell items", "1.0.0", parent=None),
        Release("v2", "Add a note to items", "2.0.0", parent="v1"),
        Release("slow-boot", "Warm the caches: boots in 8 s", "2.1.0"),
        Release("slow-requests", "Compute the greeting: GET / takes 3 s", "2.2.0"),
        Release("hooks", "Enable Nest's shutdown hooks", "2.3.0"),
        Release("fastify", "Move to Fastify: another lockfile", "2.4.0"),
        _boot("v3-throws", "Sign tokens: throws at boot, JWT_SECRET is not set", "3.0.0", "exception"),
        _boot("rejects", "Use a queue: an await in bootstrap rejects, nobody catches it", "3.1.0", "rejection"),
        _boot("crash-exit", "Check the database password: bootstrap is caught, process.exit(1)", "3.2.0", "exit"),
        _boot("provider-throws", "Take payments: a constructor throws, Nest logs it and exits 1", "3.3.0", "exit"),
        _boot("health-500", "Ask the payment service in /health: always 500", "4.0.0", "health"),
        _boot("wrong-release", "Cache /health: 200 with the id of another release", "4.1.0", "release"),
        _boot("login-redirect", "Protect all routes: /health answers 302 to /login", "4.2.0", "health"),
        _boot("env-rename", "Rename DEMO_OLD to DEMO_NEW: /health is 500 until DEMO_OLD is gone", "4.3.0", "health"),
        _boot("dies", "Leak connections: exits 5 s after /health was first asked", "5.0.0", "exit"),
        Release("dies-late", "Lose the broker: exits 5 s after its listen callback", "5.1.0", fails="later"),
        Release("build-fails", "Lower the release's case: tsc finds a type error", "6.0.0", fails="build"),
        Release("migration-fails", "Give items an owner: updates a missing table", "6.1.0", fails="migrate"),
        Release("no-signal", "Plain http, no dependency, no signal handler", "7.0.0", None, "plain", migrates=False),
        _plain("plain-cjs", "Stop in order on SIGTERM", "7.1.0"),
        _plain("plain-v2", "Change nothing but the version", "7.2.0"),
        _plain("plain-throws", "Sign tokens: throws at boot", "7.3.0", "exception"),
        _plain("plain-health-500", "Ask the payment service in /health: always 500", "7.4.0", "health"),
        _plain("esm", "Move to ECMAScript modules, with a top-level await", "7.5.0"),
        _plain("express", "Move to Express", "7.6.0"),
    )
}


def build_repo(dest: Path) -> Path:
    """Make the bare repository at `dest`, or leave it when it is there already. Same sources, same commit ids."""
    stream = _stream()
    digest = hashlib.sha256(stream).hexdigest()
    dest.parent.mkdir(parents=True, exist_ok=True)
    with _alone_in(dest.parent):
        if not _is_made(dest, digest):
            _make(dest, stream, digest)
    return dest


def files_of(name: str) -> dict[str, bytes]:
    """Path and content of every file in a release."""
    release = RELEASES[name]
    files = files_of(release.parent) if release.parent else _read(APPS / release.base)
    return files | _read(APPS / "releases" / name)


def _read(directory: Path) -> dict[str, bytes]:
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    names = {path: path.relative_to(directory) for path in found}
    return {name.as_posix(): path.read_bytes() for path, name in names.items() if not MADE_HERE & set(name.parts)}


def _stream() -> bytes:
    """Everything as one `git fast-import` stream."""
    marks = {name: number for number, name in enumerate(RELEASES, start=1)}
    parts = [_commit(release, marks) for release in RELEASES.values()]
    return b"".join(parts) + f"reset refs/heads/main\nfrom :{marks['v1']}\n\n".encode()


def _commit(release: Release, marks: dict[str, int]) -> bytes:
    mark = marks[release.name]
    head = f"commit refs/tags/{release.name}\nmark :{mark}\n"
    head += f"committer {AUTHOR} {FIRST_COMMIT + 3600 * mark} +0000\n"
    parts = [head.encode(), _data(release.about.encode())]
    if release.parent:
        parts.append(f"from :{marks[release.parent]}\n".encode())
    parts.append(b"deleteall\n")
    for path, content in files_of(release.name).items():
        parts += [f"M 100644 inline {path}\n".encode(), _data(content)]
    return b"".join(parts)


def _data(content: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(content), content)


def _make(dest: Path, stream: bytes, digest: str) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{dest.name}.", dir=dest.parent) as scratch:
        made = Path(scratch) / "made.git"
        _git("init", "--quiet", "--bare", "--template=", "--initial-branch=main", str(made))
        _git("-C", str(made), "fast-import", "--quiet", stdin=stream)
        (made / STAMP).write_text(digest)
        if dest.exists():
            dest.rename(Path(scratch) / "old.git")
        made.rename(dest)


def _is_made(dest: Path, digest: str) -> bool:
    stamp = dest / STAMP
    return stamp.is_file() and stamp.read_text() == digest


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _git(*words: str, stdin: bytes = b"") -> None:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env = clean | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", *words], input=stdin, env=env, check=True)
