"""Releases on a host, with real git: exactly the commit's files, links that stay inside, nothing live is ever pruned."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from fabfile.commands import releases
from fabfile.commands.shell import Step, cmd

FILES = {
    "plain.txt": "one\n",
    "with space/and 'quote'.txt": "two\n",
    "ünïcode/größe →.txt": "three\n",
    "new\nline.txt": "four\n",
    "-n": "five\n",
    "dir/--option": "six\n",
    "back\\slash $HOME `id`": "seven\n",
    ".hidden": "",
}


def git(where: Path, *words: str) -> str:
    settings = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@x", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@x"}
    return subprocess.run(
        ["git", "-c", "init.defaultBranch=main", "-C", where, *words], env={**os.environ, **settings},
        check=True, capture_output=True, text=True,
    ).stdout.strip()


@pytest.fixture(scope="module")
def repo(tmp_path_factory) -> dict[str, str]:
    """Make a repository of three commits; the first is the tip of nothing."""
    where = tmp_path_factory.mktemp("repo")
    git(where, "init", "-q")
    for name, text in FILES.items():
        (where / name).parent.mkdir(exist_ok=True)
        (where / name).write_text(text)
    (where / "run.sh").write_text("#!/bin/sh\n")
    (where / "run.sh").chmod(0o755)
    (where / "link").symlink_to("plain.txt")
    git(where, "add", "-A")
    git(where, "commit", "-qm", "one")
    first = git(where, "rev-parse", "HEAD")
    (where / "plain.txt").write_text("changed\n")
    (where / ".gapless.json").write_text("{}")
    (where / ".gapless-stable").write_text("")
    git(where, "add", "-A")
    git(where, "commit", "-qm", "two")
    git(where, "tag", "-a", "v1", "-m", "v1")
    return {"url": str(where), "first": first, "tip": git(where, "rev-parse", "HEAD"), "tag": git(where, "rev-parse", "v1")}


def fetched(root: Path, repo: dict[str, str], commit: str = "first") -> Step:
    return Step("fetch", releases.fetch(str(root), repo["url"], repo[commit]))


def checked_out(root: Path, repo: dict[str, str], release: str = "0001-abc", commit: str = "first") -> Step:
    """Check out as a run does, which holds the lock."""
    (root / ".gapless/lock").mkdir(parents=True, exist_ok=True)
    return Step("check out", releases.check_out(str(root), release, repo[commit]))


def files(place: Path) -> dict[str, str]:
    return {str(file.relative_to(place)): file.read_text() for file in place.rglob("*") if file.is_file() and not file.is_symlink()}


def made(root: Path, *names: str, complete: bool = True) -> None:
    for name in names:
        (root / "releases" / name / "sub").mkdir(parents=True)
        if complete:
            (root / "releases" / name / ".gapless.json").write_text("{}")


def there(root: Path) -> list[str]:
    return sorted(each.name for each in (root / "releases").iterdir())


# ---------------------------------------------------------------------- fetch and check out


def test_exactly_the_files_of_the_commit_are_there(sh, root, repo):
    ran = sh.run(fetched(root, repo), checked_out(root, repo))
    assert (ran.code, ran.text) == (0, "")
    release = root / "releases" / "0001-abc"
    assert files(release) == {**FILES, "run.sh": "#!/bin/sh\n"}
    assert os.readlink(release / "link") == "plain.txt"
    assert os.access(release / "run.sh", os.X_OK)
    assert not os.access(release / "plain.txt", os.X_OK)
    assert not (release / ".git").exists()
    assert sorted(each.name for each in (root / ".gapless").iterdir()) == ["lock", "mirror.git"]


def test_a_server_that_refuses_bare_commits_is_asked_for_its_branches(sh, root, repo):
    # Protocol 0 gives out what a branch or tag points at, and nothing else.
    sh.env |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.version", "GIT_CONFIG_VALUE_0": "0"}
    bare = ["git", "-C", repo["url"], "-c", "protocol.version=0", "fetch", "-q", f"file://{repo['url']}", repo["first"]]
    elsewhere = sh.home / "elsewhere"
    git(sh.home, "init", "-q", "elsewhere")
    refused = subprocess.run([*bare[:2], elsewhere, *bare[3:]], capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    ran = sh.run(Step("fetch", releases.fetch(str(root), f"file://{repo['url']}", repo["first"])), checked_out(root, repo))
    assert (ran.code, files(root / "releases" / "0001-abc")["plain.txt"]) == (0, "one\n")
    assert sh.run(Step("fetch", releases.fetch(str(root), "/nowhere/at/all", repo["first"]))).code == 0


@pytest.mark.parametrize("packed", [False, True], ids=["as fetched", "packed by gc"])
def test_a_commit_that_is_there_is_not_fetched_again(sh, root, repo, packed):
    again = Step("fetch", releases.fetch(str(root), "/nowhere/at/all", repo["first"]))
    assert sh.run(fetched(root, repo)).code == 0
    if packed:
        git(root / ".gapless/mirror.git", "gc", "-q")
    assert sh.run(again).code == 0
    for pack in (root / ".gapless/mirror.git/objects").rglob("*"):
        if pack.is_file():
            pack.unlink()
    assert sh.run(again).code != 0  # a name without what it names is nothing that is there


def test_git_tidies_the_mirror_up_at_every_tenth_commit(one, root, repo):
    trace = one.home / "trace"
    one.env["GIT_TRACE"] = str(trace)
    assert one.run(fetched(root, repo)).code == 0
    assert "maintenance run" not in trace.read_text()
    for number in range(9):
        git(root / ".gapless/mirror.git", "update-ref", f"refs/gapless/x{number}", repo["first"])
    assert one.run(fetched(root, repo, "tip")).code == 0
    assert "maintenance run" in trace.read_text()


def test_only_what_is_new_is_fetched(one, root, repo):
    """Without a ref git would say that it has nothing, and get the whole history each time."""
    trace = one.home / "packets"
    there = {**repo, "url": f"file://{repo['url']}"}
    assert one.run(fetched(root, there)).code == 0
    one.env["GIT_TRACE_PACKET"] = str(trace)
    assert one.run(fetched(root, there, "tip")).code == 0
    assert f"fetch> have {repo['first']}" in trace.read_text()


def test_gc_leaves_what_was_deployed(one, root, repo):
    assert one.run(fetched(root, repo)).code == 0
    mirror = root / ".gapless/mirror.git"
    git(mirror, "gc", "-q", "--prune=now")
    assert git(mirror, "cat-file", "-t", repo["first"]) == "commit"


@pytest.mark.parametrize("url, commit", [("{url}", "f" * 40), ("/nowhere/at/all", "{first}")])
def test_what_cant_be_fetched_ends_the_step_with_gits_words(sh, root, repo, url, commit):
    ran = sh.run(Step("fetch", releases.fetch(str(root), url.format(**repo), commit.format(**repo))), Step("next", cmd("echo", "too far")))
    assert ran.code != 0
    assert "fatal" in ran.text
    assert "too far" not in ran.text


def test_a_mirror_that_was_cut_short_is_made_anew(sh, root, repo):
    (root / ".gapless" / "mirror.git.new").mkdir(parents=True)
    assert sh.run(fetched(root, repo), checked_out(root, repo)).code == 0


def test_a_release_is_never_written_twice(sh, root, repo):
    assert sh.run(fetched(root, repo), checked_out(root, repo)).code == 0
    ran = sh.run(checked_out(root, repo), Step("next", cmd("echo", "too far")))
    assert ran.code != 0
    assert "too far" not in ran.text


def test_a_repository_cant_call_itself_complete(sh, root, repo):
    assert sh.run(fetched(root, repo, "tip"), checked_out(root, repo, commit="tip")).code == 0
    assert not [name for name in files(root / "releases" / "0001-abc") if name.startswith(".gapless")]


def test_what_a_killed_git_left_behind_is_in_nobodys_way(sh, root, repo):
    (root / ".gapless/lock").mkdir(parents=True)
    (root / ".gapless/lock/index.0001-abc").write_text("half an ind")
    (root / ".gapless/lock/index.0001-abc.lock").write_text("")
    assert sh.run(fetched(root, repo), checked_out(root, repo)).code == 0
    assert "plain.txt" in files(root / "releases" / "0001-abc")


def test_a_full_disk_ends_the_check_out(sh, small_disk, repo, fill):
    assert sh.run(fetched(small_disk, repo)).code == 0
    checked = checked_out(small_disk, repo)
    fill(small_disk)
    ran = sh.run(checked, Step("next", cmd("echo", "too far")))
    assert ran.code != 0
    assert "No space left" in ran.text or "Out of diskspace" in ran.text  # git has its own word for it
    assert "too far" not in ran.text
    assert sh.run(Step("discard", releases.discard(str(small_disk), "0001-abc"))).code == 0
    assert there(small_disk) == []
    assert sorted(each.name for each in (small_disk / ".gapless").iterdir()) == ["lock", "mirror.git"]


# ---------------------------------------------------------------------- shared


def test_shared_files_and_directories_are_linked(sh, root):
    made(root, "0001-abc")
    release = root / "releases" / "0001-abc"
    (release / "uploads").mkdir()
    (release / "uploads" / "from-git").write_text("x")
    ran = sh.run(
        Step("links", releases.link_shared(str(root), "0001-abc", [".env", "config/a b.json", "a key.pem"], ["uploads", "var/cache", "tmp", ".env"])),
    )
    assert (ran.code, ran.text) == (0, "")
    for name in (".env", "config/a b.json", "a key.pem", "uploads", "var/cache", "tmp"):
        assert os.readlink(release / name) == str(root / "shared" / name)
    assert (root / "shared" / "uploads").is_dir()
    assert sorted(each.name for each in (root / "shared").iterdir()) == ["tmp", "uploads", "var"]


def test_linking_again_changes_nothing(sh, root):
    made(root, "0001-abc")
    (root / "shared" / "uploads").mkdir(parents=True)
    (root / "shared" / "uploads" / "precious").write_text("x")
    for _ in range(2):
        assert sh.run(Step("dirs", releases.link_shared(str(root), "0001-abc", [], ["uploads"]))).code == 0
    assert (root / "shared" / "uploads" / "precious").read_text() == "x"


@pytest.mark.parametrize("target", ["../../victim", "/", "..", "{victim}"])
def test_a_link_in_the_repository_cant_lead_the_rm_out(sh, root, target):
    made(root, "0001-abc")
    victim = root / "victim"
    (victim / "etc").mkdir(parents=True)
    (victim / "etc" / "precious").write_text("x")
    (root / "releases" / "0001-abc" / "out").symlink_to(target.format(victim=victim))
    ran = sh.run(Step("files", releases.link_shared(str(root), "0001-abc", ["out/gapless-test-precious"], [])))
    assert (ran.code, "leads out of the release" in ran.text) == (1, True)
    ran = sh.run(Step("dirs", releases.link_shared(str(root), "0001-abc", [], ["out/etc"])))
    assert ran.code == 1
    assert (victim / "etc" / "precious").read_text() == "x"
    assert not (victim / "etc").is_symlink()


def test_nothing_is_made_outside_either(sh, root):
    made(root, "0001-abc")
    (root / "victim").mkdir()
    (root / "releases" / "0001-abc" / "out").symlink_to("../../victim")
    ran = sh.run(Step("files", releases.link_shared(str(root), "0001-abc", ["out/deep/er/.env"], [])))
    assert (ran.code, list((root / "victim").iterdir())) == (1, [])


def test_a_release_without_its_script_is_refused(sh, root):
    made(root, "0001-abc")
    (root / "releases" / "0001-abc" / "dist").mkdir()
    (root / "releases" / "0001-abc" / "dist" / "a b.js").write_text("")
    assert sh.run(Step("script", releases.scripts_are_there(str(root), "0001-abc", ["dist/a b.js"]))).code == 0
    ran = sh.run(Step("script", releases.scripts_are_there(str(root), "0001-abc", ["dist/a b.js", "dist/main.js"])))
    assert (ran.code, "there is no dist/main.js in the release" in ran.text) == (1, True)


def test_a_neighbour_whose_name_begins_alike_is_outside(sh, root):
    made(root, "0001-abc", "0001-abcd")
    (root / "releases" / "0001-abc" / "out").symlink_to("../0001-abcd")
    ran = sh.run(Step("files", releases.link_shared(str(root), "0001-abc", ["out/.env"], [])))
    assert (ran.code, there(root / "releases" / "..")) == (1, ["0001-abc", "0001-abcd"])
    assert not (root / "releases" / "0001-abcd" / ".env").is_symlink()


def test_a_missing_shared_file_is_named(sh, root):
    (root / "shared").mkdir()
    (root / "shared" / ".env").write_text("")
    assert sh.run(Step("shared", releases.shared_is_there(str(root), [".env"]))).code == 0
    assert sh.run(Step("shared", releases.shared_is_there(str(root), []))).code == 0
    ran = sh.run(Step("shared", releases.shared_is_there(str(root), [".env", "keys/a b.pem"])))
    assert (ran.code, f"{root}/shared/keys/a b.pem is missing" in ran.text) == (1, True)


# ---------------------------------------------------------------------- complete, discard, prune, room


def test_the_marker_arrives_as_it_was(sh, root):
    made(root, "0001-abc", complete=False)
    marker = json.dumps({"it's": 'a "marker" $HOME `id` \\n %s', "ü": "→"}, ensure_ascii=False)
    assert sh.run(Step("complete", releases.complete(str(root), "0001-abc", marker))).code == 0
    release = root / "releases" / "0001-abc"
    assert (release / ".gapless.json").read_text() == marker + "\n"
    assert (release / ".gapless.json").stat().st_mode & 0o777 == 0o600  # the app's env is in it
    assert sorted(each.name for each in release.iterdir()) == [".gapless.json", "sub"]


def test_a_marker_that_has_no_room_makes_no_release(sh, small_disk, fill):
    made(small_disk, "0001-abc", complete=False)
    fill(small_disk)
    ran = sh.run(Step("complete", releases.complete(str(small_disk), "0001-abc", "{}")), Step("next", cmd("echo", "too far")))
    assert ran.code != 0
    assert "o space left" in ran.text
    assert not (small_disk / "releases" / "0001-abc" / ".gapless.json").exists()


def test_only_what_is_incomplete_is_discarded(sh, root):
    made(root, "0001-abc", complete=True)
    made(root, "0002-def", complete=False)
    for name in ("0001-abc", "0002-def", "0003-none"):
        assert sh.run(Step("discard", releases.discard(str(root), name))).code == 0
    assert there(root) == ["0001-abc"]


def test_prune_spares_what_lives(sh, root):
    made(root, "0001-aaa", "0002-bbb", "0003-ccc", "0004-ddd")
    (root / "current").symlink_to("releases/0002-bbb")
    with subprocess.Popen(["sleep", "30"], cwd=root / "releases" / "0003-ccc" / "sub") as living:
        ran = sh.run(Step("prune", releases.prune(str(root), ["0001-aaa", "0002-bbb", "0003-ccc"])))
        living.kill()
    assert (ran.code, there(root)) == (0, ["0002-bbb", "0003-ccc", "0004-ddd"])


def test_prune_spares_what_lives_behind_a_linked_root(sh, root):
    made(root, "0001-aaa", "0002-bbb")
    (root.parent / "alias").symlink_to(root)
    with subprocess.Popen(["sleep", "30"], cwd=root / "releases" / "0001-aaa") as living:
        ran = sh.run(Step("prune", releases.prune(str(root.parent / "alias"), ["0001-aaa", "0002-bbb"])))
        living.kill()
    assert (ran.code, there(root)) == (0, ["0001-aaa"])


def test_prune_has_nothing_to_do(sh, root):
    assert sh.run(Step("prune", releases.prune(str(root), ["0001-aaa"]))).code == 0
    made(root, "0002-bbb")
    assert sh.run(Step("prune", releases.prune(str(root), []))).code == 0
    assert sh.run(Step("prune", releases.prune(str(root), ["0001-gone", "0002-bbb"]))).code == 0
    assert there(root) == []


def test_a_root_that_is_not_there_yet_can_be_written_to(sh, root):
    assert sh.run(Step("write access", releases.write_access(str(root / "not" / "yet" / "there")))).code == 0


# ---------------------------------------------------------------------- what lies between


SUBJECT = 'say "no" to d\'or \\n $HOME `id` ü\t→'


def test_the_commits_between_two_are_told_both_ways(sh, root, repo, tmp_path):
    work = tmp_path / "work"
    git(tmp_path, "clone", "-q", repo["url"], str(work))
    git(work, "commit", "-q", "--allow-empty", "-m", SUBJECT)
    tip = git(work, "rev-parse", "HEAD")
    sh.run(Step("fetch", releases.fetch(str(root), str(work), tip)))
    before = sorted(str(file) for file in root.rglob("*"))
    ran = sh.run(Step("log", releases.log(str(root), repo["first"], tip, 1)))
    counts = {event["kind"]: event["count"] for event in ran.events if event["event"] == "between"}
    [commit] = [event for event in ran.events if event["event"] == "commit"]
    assert (ran.code, counts) == (0, {"new": 2, "gone": 0})
    assert (commit["id"], commit["kind"], commit["who"], commit["subject"]) == (tip, "new", "a", SUBJECT.replace("\t", " "))
    back = sh.run(Step("log", releases.log(str(root), tip, repo["tip"], 9)))
    assert [(event["kind"], event["id"]) for event in back.events if event["event"] == "commit"] == [("gone", tip)]
    assert sorted(str(file) for file in root.rglob("*")) == before


def test_commits_that_a_host_does_not_know_are_unknown(sh, root, repo):
    assert sh.run(Step("log", releases.log(str(root), repo["first"], "0" * 40, 9))).heard("unknown")
    sh.run(fetched(root, repo))
    ran = sh.run(Step("log", releases.log(str(root), repo["first"], "0" * 40, 9)))
    assert (ran.code, ran.heard("unknown"), ran.heard("between")) == (0, True, False)
