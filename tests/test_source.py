"""A ref becomes one commit, or a refusal that names what was meant."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fabfile.errors import UsageError
from fabfile.source import Clone, Unreadable, resolve


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


# ---------------------------------------------------------------------- between two commits


@pytest.fixture
def history(tmp_path: Path) -> dict[str, str]:
    """Make a repository of two branches that part, with migrations, and words that are no good manners."""
    where = tmp_path / "app.git"
    who = {f"GIT_{role}_{what}": "Ana" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    stream = []
    for mark, parent, subject, file in (
        (1, "", "Sell items", "prisma/migrations/1_init/migration.sql"), (2, ":1", "A\x1b[31m \rred\u2028 one", "src/migrations/2-note.ts"),
        (3, ":2", "Third", "src/migrations.ts"), (4, ":1", "Elsewhere", "x"),
    ):
        text = subject.encode()
        stream.append(b"commit refs/heads/m%d\nmark :%d\ncommitter Ana <a@x> %d +0000\ndata %d\n%s\n" % (mark, mark, mark * 90000, len(text), text))
        stream.append(f"from {parent}\n".encode() if parent else b"")
        stream.append(f"M 100644 inline {file}\ndata 1\nx\n".encode())
    subprocess.run(["git", "init", "-q", "--bare", where], check=True)
    subprocess.run(["git", "-C", where, "fast-import", "--quiet"], input=b"".join(stream), check=True, env={**os.environ, **who})
    told = subprocess.run(["git", "-C", where, "for-each-ref", "--format=%(refname:short) %(objectname)"], check=True, capture_output=True, text=True)
    return {"url": f"file://{where}", "dir": str(where), **dict(line.split() for line in told.stdout.splitlines())}


def objects(clone: Clone) -> str:
    return subprocess.run(["git", f"--git-dir={clone.dir}", "cat-file", "--batch-all-objects", "--batch-check=%(objecttype)"],
                          check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("allowed", ["true", "false"])
def test_what_lies_between_two_commits_is_read(history, tmp_path, allowed):
    subprocess.run(["git", "-C", history["dir"], "config", "uploadpack.allowFilter", allowed], check=True)
    clone = Clone(tmp_path / "state", history["url"])
    clone.fetch([history["m1"], history["m3"], history["m4"]])
    assert ("blob" in objects(clone), "tree" in objects(clone)) == (allowed == "false", allowed == "false")
    count, commits = clone.commits(history["m1"], history["m3"])
    assert (count, [each["commit"] for each in commits]) == (2, [history["m3"], history["m2"]])
    assert (commits[0]["author"], commits[0]["day"], commits[0]["subject"]) == ("Ana", "1970-01-04", "Third")
    assert clone.commits(history["m4"], history["m3"])[0] == 2
    assert clone.commits(history["m3"], history["m4"])[0] == 1
    assert clone.named(history["m4"])[0]["subject"] == "Elsewhere"
    assert clone.migrations(history["m1"]) == ["prisma/migrations/1_init/migration.sql"]
    assert clone.migrations(history["m3"]) == ["prisma/migrations/1_init/migration.sql", "src/migrations/2-note.ts"]
    assert "blob" not in objects(clone) or allowed == "false"


def test_what_was_fetched_before_asks_nobody(history, tmp_path):
    Clone(tmp_path / "state", history["url"]).fetch([history["m3"]])
    Path(history["dir"]).rename(tmp_path / "gone")
    again = Clone(tmp_path / "state", history["url"])
    again.fetch([history["m3"], history["m1"]])
    assert again.commits(history["m1"], history["m3"])[0] == 2
    with pytest.raises(Unreadable, match="does not appear to be a git repository"):
        again.fetch([history["m4"]])


def test_a_commit_that_nobody_has_any_more_is_named(history, tmp_path):
    with pytest.raises(Unreadable, match="no commit fffffff any more"):
        Clone(tmp_path / "state", history["url"]).fetch([history["m1"], "f" * 40])


@pytest.mark.timeout(40)
def test_reading_ends_in_time(tmp_path):
    silent = tmp_path / "ssh"
    silent.write_text("#!/bin/sh\nexec sleep 90\n")
    silent.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Unreadable, match="takes longer"):
        patch.setenv("GIT_SSH_COMMAND", str(silent))
        Clone(tmp_path / "state", "git@nowhere.example:x.git", limit=1).fetch(["a" * 40])


def test_an_option_is_no_repository_to_read_either(tmp_path: Path):
    with pytest.raises(Unreadable):
        Clone(tmp_path / "state", f"--upload-pack=touch {tmp_path}/owned").fetch(["a" * 40])
    with pytest.raises(Unreadable):
        Clone(tmp_path / "state", f"ext::sh -c touch% {tmp_path}/owned").fetch(["a" * 40])
    assert [each.name for each in tmp_path.iterdir()] == ["state"]
