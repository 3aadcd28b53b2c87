"""Env files on a host, by a real shell and a real node: what node reads is what counts, and nobody else reads any of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabfile.commands import envfile
from fabfile.commands.shell import Step

KEY = "00" * 32


def ask(shell: Any, root: Path, **order: Any) -> Any:
    return shell.run(Step("env", envfile.order(str(root), {"key": KEY, "show": False, **order})))


def changing(text: str | None = None, file: str = ".env", **names: Any) -> dict[str, Any]:
    return {"file": file, "text": text, "set": {}, "unset": [], **names}


def change(shell: Any, root: Path, *, write: bool = True, **given: Any) -> dict[str, Any]:
    """Carry out a change and give what was said of it."""
    ran = ask(shell, root, change=changing(**given), write=write)
    assert ran.code == 0, ran.text
    return dict(ran.event("env")["change"])


def parsed(file: Path) -> dict[str, str]:
    """Read an env file as node does."""
    code = "console.log(JSON.stringify(require('util').parseEnv(require('fs').readFileSync(process.argv[1], 'utf8'))))"
    return dict(json.loads(subprocess.run(["node", "-e", code, str(file)], capture_output=True, text=True, check=True).stdout))


def mode(file: Path) -> int:
    return file.stat().st_mode & 0o777


def test_a_file_is_put_where_none_was_and_nobody_else_may_read_it(sh, root):
    said = change(sh, root, text="A=1\nB='two words'\n")
    assert (said["added"], said["changed"], said["removed"], said["same"]) == (["A", "B"], [], [], False)
    file = root / "shared/.env"
    assert (file.read_text(), mode(file)) == ("A=1\nB='two words'\n", 0o600)
    assert sorted(each.name for each in file.parent.iterdir()) == [".env"]


def test_the_version_of_before_is_kept_once(one, root):
    for text in ("A=1\n", "A=2\n", "A=3\n", "A=3\n"):
        said = change(one, root, text=text)
    assert said["same"]
    kept = root / ".gapless/env/.env.before"
    assert (kept.read_text(), mode(kept), mode(kept.parent)) == ("A=2\n", 0o600, 0o700)


def test_a_check_writes_nothing(one, root):
    assert change(one, root, text="A=1\n", write=False)["added"] == ["A"]
    assert list(root.iterdir()) == []


def test_a_mode_that_is_too_wide_is_narrowed_though_the_text_is_the_same(one, root):
    (root / "shared").mkdir()
    (root / "shared/.env").write_text("A=1\n")
    change(one, root, text="A=1\n")
    assert mode(root / "shared/.env") == 0o600


OLD = "# ours\nexport A=1\nB=\"x\ny\"\n\nA=2 # again\nC=`q`\n"


@pytest.mark.parametrize("names, text", [
    ({"set": {"A": "3"}}, "# ours\nB=\"x\ny\"\n\nA=3\nC=`q`\n"), ({"unset": ["B"]}, "# ours\nexport A=1\n\nA=2 # again\nC=`q`\n"),
    ({"set": {"B": "it's"}, "unset": ["A"]}, '# ours\nB="it\'s"\n\nC=`q`\n'), ({"set": {"D": "a b"}}, OLD + "D='a b'\n"), ({"unset": ["X"]}, OLD),
])
def test_single_names_are_changed_and_all_else_stays(one, root, names, text):
    (root / "shared").mkdir()
    (root / "shared/.env").write_text(OLD)
    change(one, root, **names)
    assert (root / "shared/.env").read_text() == text


def test_a_file_in_which_node_reads_something_else_is_not_patched(one, root):
    """To node this file has one name, of two lines: no line of it can be changed alone."""
    (root / "shared").mkdir()
    (root / "shared/.env").write_text("foo\nA=1\n")
    ran = ask(one, root, change=changing(set={"A": "2"}), write=True)
    assert (ran.code, "send it whole" in ran.text, (root / "shared/.env").read_text()) == (1, True, "foo\nA=1\n")


nasty = st.text(alphabet="'\"`$\\#= \t\naß→:/.-_0", min_size=1, max_size=12)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(nasty, min_size=4, max_size=4))
def test_what_is_set_is_read_back_by_node_or_refused(one, root, values):
    for number, value in enumerate(values):
        before = parsed(root / "shared/.env") if (root / "shared/.env").exists() else {}
        ran = ask(one, root, change=changing(set={f"N{number}": value}), write=True)
        if ran.code == 0 and not ran.event("env")["change"]["unread"]:
            assert parsed(root / "shared/.env") == {**before, f"N{number}": value}
        else:
            assert value.strip("0") not in ran.text or len(value) < 6
            assert (parsed(root / "shared/.env") if before else {}) == before


@pytest.mark.parametrize("text, lines", [
    ("A=1\nc4n4ry\nB=2\n", [2]), ("A=1\nB='c4n4ry\nC=3\n", [2]), ("A=1\n\n# c\nc4 n4ry=2\n", [4]), ('A="c4\\"n4ry"\n', [1]), ("=c4n4ry\n", [1]),
    ("A='x\ny'\nB=2\n", []), ("export A = 1\n#\n\nB=\"#x\" # c\nC=\n", []), ("A=it's\nB=x#y'\n", []),
])
def test_lines_that_node_would_not_read_are_named_and_nothing_is_written(one, root, text, lines):
    ran = ask(one, root, change=changing(text), write=True)
    assert [each["line"] for each in ran.event("env")["change"]["unread"]] == lines
    assert (root / "shared/.env").exists() == (not lines)
    if lines:
        assert "c4n4ry" not in json.dumps(ran.event("env")["change"]["unread"]) + ran.text


def test_a_link_is_not_replaced(one, root, tmp_path):
    (root / "shared").mkdir()
    (tmp_path / "real.env").write_text("A=1\n")
    (root / "shared/.env").symlink_to(tmp_path / "real.env")
    ran = ask(one, root, change=changing("A=2\n"), write=True)
    assert (ran.code, "is a link" in ran.text, (tmp_path / "real.env").read_text()) == (1, True, "A=1\n")


def test_a_file_that_would_be_too_large_is_refused(one, root):
    (root / "shared").mkdir()
    (root / "shared/.env").write_text("A=" + "x" * 262_000 + "\n")
    ran = ask(one, root, change=changing(set={"B": "y" * 500}), write=True)
    assert (ran.code, "larger than 256 KiB" in ran.text) == (1, True)


def test_a_full_disk_leaves_the_old_file(one, small_disk, fill):
    (small_disk / "shared").mkdir()
    (small_disk / ".gapless/env").mkdir(parents=True)
    (small_disk / "shared/.env").write_text("A=1\n")
    (small_disk / ".gapless/env/.env.before").write_text("A=0\n")
    fill(small_disk)
    ran = ask(one, small_disk, change=changing("A=" + "c4n4ry" * 2000 + "\n"), write=True)
    assert (ran.code, "ENOSPC" in ran.text, "c4n4ry" in ran.text) == (1, True, False)
    assert (small_disk / "shared/.env").read_text() == "A=1\n"
    assert not list(small_disk.rglob("*.next"))


def test_the_largest_file_arrives_whole(sh, root):
    text = "".join(f"N{number}='{'x' * 90} @END@ $HOME `id`'\n" for number in range(2100))
    change(sh, root, text=text)
    assert (root / "shared/.env").read_text() == text


# ---------------------------------------------------------------- looking


def released(root: Path, env: str, good: str | None) -> None:
    """Lay out a release that runs."""
    home = root / "releases/0001-abc"
    home.mkdir(parents=True)
    (root / "shared").mkdir()
    (root / "shared/.env").write_text(env)
    (home / ".env").symlink_to(root / "shared/.env")
    (home / ".gapless.json").write_text(json.dumps({"processes": {"shop": {"env_file": ".env", "env": {"MODE": "x", "A": "0"}}}}))
    (root / "current").symlink_to("releases/0001-abc")
    (root / ".gapless/env").mkdir(parents=True)
    if good is not None:
        (root / ".gapless/env/shop.good").write_text(good)


def look(shell: Any, root: Path, **order: Any) -> dict[str, Any]:
    ran = ask(shell, root, processes={"shop": {"env_file": ".env"}}, **order)
    assert ran.code == 0, ran.text
    return dict(ran.event("env")["processes"]["shop"])


def test_names_are_told_and_values_stay(sh, root):
    released(root, "A=c4n4ry\nB=1\nD=4\n", good="A=c4n4ry\nB=2\nC=3\n")
    said = look(sh, root)
    assert "c4n4ry" not in json.dumps(said)
    assert (set(said["read"]["digests"]), set(said["own"]["digests"])) == ({"A", "B", "D"}, {"MODE", "A"})
    assert said["stale"] == {"added": ["D"], "changed": ["B"], "removed": ["C"]}
    assert said["release"] == "0001-abc"


def test_values_are_told_where_they_are_asked_for(one, root):
    released(root, "A=c4n4ry\n", good=None)
    said = look(one, root, show=True)
    assert (said["read"]["values"], said["own"]["values"]) == ({"A": "c4n4ry"}, {"MODE": "x", "A": "0"})
    assert said["stale"] == {"added": [], "changed": [], "removed": []}


def test_a_digest_is_worth_nothing_without_its_key(one, root):
    released(root, "A=1\nB=1\n", good=None)
    first, again, other = look(one, root), look(one, root), look(one, root, key="ff" * 32)
    assert first == again
    assert first["read"]["digests"]["A"] != first["read"]["digests"]["B"]  # no two names can be seen to share a value
    assert not set(first["read"]["digests"].values()) & set(other["read"]["digests"].values())
    assert all(re.fullmatch("[0-9a-f]{24}", digest) for digest in first["read"]["digests"].values())


def test_before_the_first_release_the_shared_file_is_read(one, root):
    (root / "shared").mkdir()
    (root / "shared/.env").write_text("A=1\n")
    assert (look(one, root)["there"], list(look(one, root)["read"]["digests"])) == (True, ["A"])
    os.remove(root / "shared/.env")
    assert not look(one, root)["there"]
