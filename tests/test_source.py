"""A ref becomes one commit, or a refusal that names what was meant."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fabfile.errors import UsageError
from fabfile.source import resolve


@pytest.fixture(scope="module")
def repo(tmp_path_factory) -> dict[str, str]:
    where = tmp_path_factory.mktemp("source") / "repo with space.git"
    who = {f"GIT_{role}_{what}": "x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", where.parent, *words], check=True, capture_output=True, text=True,
                              env={**os.environ, **who}).stdout.strip()

    git("init", "-q", "--bare", where.name)
    at = ["-C", str(where)]
    tree = git(*at, "hash-object", "-w", "-t", "tree", "/dev/null")
    one, two = (git(*at, "commit-tree", "-m", name, tree) for name in ("one", "two"))
    for ref, commit in (("heads/main", one), ("heads/feature/x", two), ("tags/v1", one), ("tags/both", one), ("heads/both", two), ("tags/same", one),
                        ("heads/same", one), (f"heads/{'f' * 40}x", two)):
        git(*at, "update-ref", f"refs/{ref}", commit)
    git(*at, "tag", "-a", "-m", "x", "annotated", two)
    return {"url": str(where), "one": one, "two": two}


@pytest.mark.parametrize("ref, commit", [
    ("main", "one"), ("feature/x", "two"), ("v1", "one"), ("annotated", "two"), ("same", "one"), ("refs/heads/both", "two"), ("refs/tags/both", "one"),
])
def test_branches_and_tags_become_commits(repo, ref, commit):
    assert resolve(repo["url"], ref) == repo[commit]


def test_a_commit_is_itself_and_asks_nobody():
    assert resolve("/nowhere", "a" * 40) == "a" * 40


def test_the_start_of_a_commit_is_enough(repo):
    assert resolve(repo["url"], repo["two"][:7]) == repo["two"]


@pytest.mark.parametrize("ref, told", [
    ("both", "is a branch and a tag"), ("mian", "did you mean main?"), ("0000000", "give all 40 digits"), ("HEAD", "no branch or tag"), ("", "no branch or tag"),
])
def test_what_is_no_commit_is_refused(repo, ref, told):
    with pytest.raises(UsageError, match=told.replace("?", r"\?")):
        resolve(repo["url"], ref)


def test_a_repository_that_is_none_is_told_in_gits_words(tmp_path: Path):
    with pytest.raises(UsageError, match="can't be read: fatal"):
        resolve(str(tmp_path), "main")


def test_an_option_is_no_repository(tmp_path: Path):
    with pytest.raises(UsageError):
        resolve(f"--upload-pack=touch {tmp_path}/owned", "main")
    assert not list(tmp_path.iterdir())
