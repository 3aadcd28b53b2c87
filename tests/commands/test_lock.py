"""The deploy lock: one winner however many come at once, and never "held" for another reason."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from fabfile.commands import lock
from fabfile.commands.shell import Shell, Step, cmd, path


def owner(run: str) -> str:
    return json.dumps({"run": run, "verb": "deploy", "who": "d'or \"x\" $HOME `id`", "at": 1})


def take(root: Path, run: str = "r1") -> Step:
    return Step("lock", lock.take(str(root), owner(run)))


def kept(root: Path) -> Path:
    return root / ".gapless" / "lock" / "owner.json"


def test_it_is_taken_and_tells_whose_it_is(sh, root):
    ran = sh.run(take(root))
    assert (ran.code, ran.heard("locked"), kept(root).read_text()) == (0, True, owner("r1") + "\n")
    assert (root / ".gapless").stat().st_mode & 0o777 == 0o700


def test_the_second_hears_who_holds_it(sh, root):
    sh.run(take(root))
    ran = sh.run(take(root, "r2"), Step("next", cmd("echo", "too far")))
    assert (ran.code, ran.event("held")["owner"], ran.text) == (3, json.loads(owner("r1")), "")
    assert kept(root).read_text() == owner("r1") + "\n"


def test_an_empty_or_broken_record_reads_as_unknown(sh, root):
    sh.run(take(root))
    for text in ("", "\n", '{"run": "r1", "who": "cut sh', "not json at all\n"):
        kept(root).write_text(text)
        ran = sh.run(take(root, "r2"))
        assert (ran.code, ran.event("held")["owner"]) == (3, None), text
        assert sh.run(Step("show", lock.show(str(root)))).event("held")["owner"] is None
    kept(root).unlink()
    assert sh.run(take(root, "r2")).event("held")["owner"] is None


def test_of_twenty_at_once_exactly_one_wins(one, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    for number in range(20):
        place = tmp_path / f"root-{number}"
        place.mkdir()
        wait = Step("wait", Shell(f": <{path(str(gate))}"))  # opening a fifo blocks until its writer comes
        runs = [one.start(wait, take(place, f"r{each}")) for each in range(20)]
        with open(gate, "w"):
            texts = [run.stdout.read().decode() for run in runs]
            codes = [run.wait(20) for run in runs]
        for run in runs:
            run.stdin.close()
            run.stdout.close()
        assert sorted(codes) == [0] + [3] * 19
        assert [f"r{codes.index(0)}"] == [json.loads(kept(place).read_text())["run"]]
        assert sum('"event":"locked"' in text for text in texts) == 1


def test_drop_removes_only_its_own(sh, root):
    sh.run(take(root))
    for other in ("r2", "r", "r11", ".*", ""):
        assert sh.run(Step("unlock", lock.drop(str(root), other))).code == 0
        assert kept(root).exists(), other
    assert sh.run(Step("unlock", lock.drop(str(root), "r1"))).code == 0
    assert list((root / ".gapless").iterdir()) == []
    assert sh.run(Step("unlock", lock.drop(str(root), "r1"))).code == 0


def test_a_lock_that_was_dropped_can_be_taken_again(sh, root):
    for run in ("r1", "r2", "r3"):
        assert sh.run(take(root, run), Step("unlock", lock.drop(str(root), run))).code == 0


def test_show_says_free_or_held(sh, root):
    assert sh.run(Step("show", lock.show(str(root)))).heard("free")
    sh.run(take(root))
    assert sh.run(Step("show", lock.show(str(root)))).event("held")["owner"]["run"] == "r1"


def test_a_full_disk_is_never_held(sh, small_disk, fill):
    (small_disk / ".gapless").mkdir()
    fill(small_disk)
    ran = sh.run(take(small_disk))
    assert (ran.code, ran.heard("held"), ran.heard("locked")) == (1, False, False)
    assert "no space left" in ran.text
    assert not (small_disk / ".gapless" / "lock").exists()


def test_a_disk_without_inodes_is_never_held(sh, small_disk, fill_inodes):
    (small_disk / ".gapless").mkdir()
    fill_inodes(small_disk)
    ran = sh.run(take(small_disk))
    assert (ran.code, ran.heard("held")) == (1, False)
    assert "cannot be taken" in ran.text
    assert "No space left" in ran.text


def test_a_read_only_disk_is_never_held(sh, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    ran = sh.run(take(small_disk))
    assert (ran.code, ran.heard("held")) == (1, False)
    assert "cannot be made" in ran.text
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)


def test_a_file_in_its_place_is_not_held(sh, root):
    (root / ".gapless").mkdir()
    (root / ".gapless" / "lock").write_text("")
    ran = sh.run(take(root))
    assert (ran.code, ran.heard("held")) == (1, False)
    assert "cannot be taken" in ran.text
