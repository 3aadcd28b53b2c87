"""The lab's git repository: one bare repository with a tag per release of the demo app."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
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
    reason: str | None = None  # REASON in the crash log; None when good, or when no worker starts or dies held
    migrates: bool = True  # has Prisma: `npx prisma migrate deploy` works

    @property
    def good(self) -> bool:
        return self.fails is None


def _boot(name: str, about: str, version: str, reason: str) -> Release:
    return Release(name, about, version, fails="boot", reason=reason)


RELEASES: dict[str, Release] = {
    release.name: release
    for release in (
        Release("v1", "Sell items", "1.0.0", parent=None),
        Release("v2", "Add a note to items", "2.0.0", parent="v1"),
        _boot("v3-throws", "Sign tokens: throws at boot, JWT_SECRET is not set", "3.0.0", "exception"),
        _boot("health-500", "Ask the payment service in /health: always 500", "4.0.0", "health"),
    )
}


def build_repo(dest: Path) -> Path:
    """Make the bare repository at `dest`, or leave it when it is there already. Same sources, same commit ids."""
    stream = _stream()
    digest = hashlib.sha256(stream).hexdigest()
    if _digest_of(dest) == digest:
        return dest
    dest.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{dest.name}.", dir=dest.parent))
    try:
        _git("init", "--quiet", "--bare", "--template=", "--initial-branch=main", str(made))
        _git("-C", str(made), "fast-import", "--quiet", stdin=stream)
        (made / STAMP).write_text(digest)
        made.chmod(0o755)
        _put(made, dest, digest)
    finally:
        shutil.rmtree(made, ignore_errors=True)
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


def _git(*words: str, stdin: bytes = b"") -> None:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env = clean | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", *words], input=stdin, env=env, check=True)  # noqa: S603, S607


def _digest_of(repo: Path) -> str | None:
    stamp = repo / STAMP
    return stamp.read_text() if stamp.is_file() else None


def _put(made: Path, dest: Path, digest: str) -> None:
    """Move `made` to `dest`; whoever else makes the same one at the same time may win."""
    if dest.exists():
        old = made.with_name(made.name + ".old")
        dest.rename(old)
        shutil.rmtree(old)
    try:
        made.rename(dest)
    except OSError:
        if _digest_of(dest) != digest:
            raise
