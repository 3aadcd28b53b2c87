"""A ref to a commit, asked once of the repository itself, so that every host builds the same thing."""

from __future__ import annotations

import difflib
import os
import re

from . import local
from .errors import UsageError

LIMIT = 30  # seconds


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
    names = [re.sub(r"^refs/(heads|tags)/", "", name) for name in known]
    close = difflib.get_close_matches(ref, names, n=3)
    raise UsageError(f"{repo} has no branch or tag {ref!r}" + (f"; did you mean {', '.join(close)}?" if close else ""))


def _refs(repo: str) -> dict[str, str]:
    """List branches and tags with their commits; an annotated tag stands for the commit it points at."""
    environment = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")}
    try:
        done = local.run(["git", "ls-remote", "--heads", "--tags", "--", repo], LIMIT, env=environment)
    except FileNotFoundError:
        raise UsageError("git is not installed on this machine; it is needed to turn a ref into a commit") from None
    if done.code == local.LATE:
        raise UsageError(f"{repo} gave no answer within {LIMIT} s")
    if not done.ok:
        raise UsageError(f"{repo} can't be read: {done.err.strip().splitlines()[0] if done.err.strip() else 'git failed'}")
    pairs = [line.split("\t", 1) for line in done.out.splitlines()]
    refs = {name: commit for commit, name in pairs if not name.endswith("^{}")}
    return refs | {name[:-3]: commit for commit, name in pairs if name.endswith("^{}")}
