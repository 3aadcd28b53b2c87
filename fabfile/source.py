"""The repository as this machine sees it: a ref becomes a commit, and what lies between two commits is read."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

from . import local
from .errors import UsageError

LIMIT = 30  # seconds
MOST = 20   # commits that are named; the others are counted
EVERYTHING = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


def resolve(repo: str, ref: str) -> str:
    """Return the full commit of a branch, tag or commit; raise UsageError when there is none, or two."""
    if re.fullmatch(r"[0-9a-f]{40}", ref):
        return ref
    known = _refs(repo)
    exact = {name: known[name] for name in (f"refs/heads/{ref}", f"refs/tags/{ref}", ref) if name in known}
    if len(set(exact.values())) > 1:
        raise UsageError(f"{ref} is a branch and a tag of {repo}, and they differ; say refs/heads/{ref} or refs/tags/{ref}")
    if exact:
        return next(iter(exact.values()))
    if re.fullmatch(r"[0-9a-f]{7,39}", ref):
        starts = {commit for commit in known.values() if commit.startswith(ref)}
        if len(starts) == 1:
            return starts.pop()
        raise UsageError(f"{ref} is no branch or tag of {repo}, nor the start of exactly one of their commits; give all 40 digits")
    import difflib

    names = [re.sub(r"^refs/(heads|tags)/", "", name) for name in known]
    close = difflib.get_close_matches(ref, names, n=3)
    raise UsageError(f"{repo} has no branch or tag {ref!r}" + (f"; did you mean {', '.join(close)}?" if close else ""))


def _refs(repo: str) -> dict[str, str]:
    """List branches and tags with their commits; an annotated tag stands for the commit it points at."""
    try:
        done = local.run(["git", "ls-remote", "--heads", "--tags", "--", repo], LIMIT, env=_environment())
    except FileNotFoundError:
        raise UsageError("git is not installed on this machine; it is needed to turn a ref into a commit") from None
    if done.code == local.LATE:
        raise UsageError(f"{repo} gave no answer within {LIMIT} s")
    if not done.ok:
        raise UsageError(f"{repo} can't be read: {done.err.strip().splitlines()[0] if done.err.strip() else 'git failed'}")
    pairs = [line.split("\t", 1) for line in done.out.splitlines()]
    refs = {name: commit for commit, name in pairs if not name.endswith("^{}")}
    return refs | {name[:-3]: commit for commit, name in pairs if name.endswith("^{}")}


def _environment() -> dict[str, str]:
    """Have git ask nobody: what it would ask for is missing, and it says so."""
    return {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")}


class Unreadable(Exception):
    """Tell why commits can't be read here; whoever wanted to show them does without."""


class Clone:
    """
    Hold a bare copy of a repository for reading its commits, kept in `place`; all its calls together end within `limit` seconds.

    Where the server allows it, neither files nor directories are fetched: of a long history that is a hundredth.
    """

    def __init__(self, place: Path, repo: str, limit: float = LIMIT) -> None:
        self.dir = place / hashlib.sha256(repo.encode()).hexdigest()[:16]
        self.end = time.monotonic() + limit
        # The url is told each time, so that it is read as nothing but a url, and stands in no file.
        self.settings = [f"remote.origin.url={repo}", "gc.auto=0", "remote.origin.promisor=true", "remote.origin.partialclonefilter=tree:0"]

    def fetch(self, commits: Iterable[str]) -> None:
        """Bring these commits here, with all that led to them."""
        self.dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (self.dir / "HEAD").exists():
            self._git("init", "-q", "--bare", "--template=")
        if not (missing := [commit for commit in dict.fromkeys(commits) if not self._has(commit)]):
            return
        order = ["fetch", "-q", "--no-tags", "--no-write-fetch-head", "origin"]
        try:
            self._git(*order, *missing)
        except Unreadable:
            self._git(*order, *EVERYTHING)  # not every server gives a bare commit; all give their branches and tags
        if lost := [commit[:7] for commit in missing if not self._has(commit)]:
            raise Unreadable(f"the repository has no commit {', '.join(lost)} any more")

    def commits(self, old: str, new: str) -> tuple[int, list[dict[str, str]]]:
        """Count the commits that `new` has and `old` has not; name the newest."""
        span = f"{old}..{new}"
        return int(self._git("rev-list", "--count", "--end-of-options", span)), self.named(span, MOST)

    def named(self, span: str, most: int = 1) -> list[dict[str, str]]:
        """Name the newest commits of a span, or up to a commit: commit, author, day, subject."""
        told = self._git("log", f"--max-count={most}", "--format=%H%x00%an%x00%as%x00%s", "--end-of-options", span)
        names = ("commit", "author", "day", "subject")
        return [dict(zip(names, line.split("\0"), strict=True)) for line in told.split("\n") if line]

    def migrations(self, commit: str) -> list[str]:
        """List the SQL and the code that lie in a commit's directory called migrations: Prisma, TypeORM and Knex all have one."""
        names = self._git("ls-tree", "-r", "-z", "--name-only", "--end-of-options", commit).split("\0")
        return [name for name in names if "migrations" in name.split("/")[:-1] and name.endswith((".sql", ".ts", ".js", ".cjs", ".mjs"))]

    def _has(self, commit: str) -> bool:
        # As if there were no remote: asked about what is not here, git would fetch it, one by one and with its directories.
        try:
            self._git("rev-list", "--quiet", "--max-count=1", "--end-of-options", commit, alone=True)
        except Unreadable:
            return False
        return True

    def _git(self, *words: str, alone: bool = False) -> str:
        settings = [word for setting in self.settings if not alone for word in ("-c", setting)]
        try:
            done = local.run(["git", f"--git-dir={self.dir}", *settings, *words], max(0.1, self.end - time.monotonic()), env=_environment())
        except FileNotFoundError:
            raise Unreadable("git is not installed on this machine") from None
        except OSError as err:
            raise Unreadable(str(err)) from None
        if done.code == local.LATE:
            raise Unreadable(f"reading them takes longer than {LIMIT} s")
        if not done.ok:
            raise Unreadable((done.err.strip() or "git failed").split("\n")[0])
        return done.out
