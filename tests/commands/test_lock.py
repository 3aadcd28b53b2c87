"""The deploy lock: one winner however many come at once, and never "held" for another reason."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

from fabfile.commands import lock
from fabfile.commands.shell import Shell, Step, cmd, path, script
from fabfile.fleet import LIBRARY


def owner(run: str) -> str:
    return json.dumps({"run": run, "verb": "deploy", "who": "d'or \"x\" $HOME `id`", "at": 1})


def take(root: Path, run: str = "r1", over: str = "") -> Step:
    return Step("lock", lock.take(str(root), owner(run), over))


def kept(root: Path) -> Path:
    return root / ".gapless" / "lock" / "owner.json"


def test_it_is_taken_and_tells_whose_it_is(sh, root):
    ran = sh.run(take(root))
    assert (ran.code, ran.heard("locked"), json.loads(kept(root).read_text())) == (0, True, json.loads(owner("r1")))
    assert kept(root).read_text().startswith('{"run": "r1",\n'), "what each phase reads is more than the run"
    assert (root / ".gapless").stat().st_mode & 0o777 == 0o700


def test_the_second_hears_who_holds_it(sh, root):
    sh.run(take(root))
    ran = sh.run(take(root, "r2"), Step("next", cmd("echo", "too far")))
    assert (ran.code, ran.event("held")["owner"], ran.text) == (3, json.loads(owner("r1")), "")
    assert json.loads(kept(root).read_text()) == json.loads(owner("r1"))


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


def test_a_pid_that_a_power_cut_has_emptied_is_nobody(sh, root):
    for number, text in enumerate(("", "\n", f"{os.getpid()}", f"{os.getpid()} \n")):
        run = root / f".gapless/runs/{number}"
        run.mkdir(parents=True)
        (run / "driver.pid").write_text(text)
    assert sh.run(take(root)).code == 0


def test_what_hundreds_of_runs_left_behind_holds_no_claim_up(sh, root):
    """Each has the pid of its driver; three programs were once started to look at one."""
    def seconds() -> float:
        began = time.monotonic()
        assert sh.run(take(root), Step("unlock", lock.drop(str(root), "r1"))).code == 0
        return time.monotonic() - began

    few = max(seconds() for _ in range(3))
    for number in range(300):
        run = root / f".gapless/runs/{number:03d}"
        run.mkdir(parents=True)
        (run / "driver.pid").write_text(f"{4_194_304 + number} 12345")  # beyond what Linux gives a process
    assert min(seconds() for _ in range(3)) < 8 * few


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


# ---------------------------------------------------------------- a run that died


def age(root: Path, seconds: int) -> None:
    beat = root / ".gapless" / "lock" / "beat"
    os.utime(beat, (beat.stat().st_mtime - seconds,) * 2)


def test_held_says_the_phase_and_how_long_its_owner_is_silent(sh, root):
    sh.run(take(root), Step("own", lock.enter(str(root), "r1", "reload 0002-abc")))
    age(root, 100)
    held = sh.run(take(root, "r2")).event("held")
    assert (held["phase"], 100 <= held["quiet"] < 110) == ("reload 0002-abc", True)
    assert sh.run(Step("beat", lock.beat(str(root), "r2"))).code == 0
    assert sh.run(Step("show", lock.show(str(root)))).event("held")["quiet"] >= 100
    assert sh.run(Step("beat", lock.beat(str(root), "r1"))).code == 0
    assert sh.run(Step("show", lock.show(str(root)))).event("held")["quiet"] < 10


def test_the_lock_of_a_dead_run_is_taken_over_and_its_phase_stays_to_be_read(sh, root):
    sh.run(take(root), Step("own", lock.enter(str(root), "r1", "build 0002-abc")))
    age(root, 100)
    ran = sh.run(take(root, "r2", over="r1"))
    assert (ran.code, json.loads(kept(root).read_text())) == (0, json.loads(owner("r2")))
    held = sh.run(take(root, "r3")).event("held")
    assert (held["owner"]["run"], held["phase"], held["quiet"] < 10) == ("r2", "build 0002-abc", True)


def test_who_takes_a_dead_run_s_place_without_resuming_it_finds_no_phase(sh, root):
    sh.run(take(root), Step("own", lock.enter(str(root), "r1", "build 0002-abc")))
    fresh = json.dumps({**json.loads(owner("r2")), "resumes": []})
    assert sh.run(Step("lock", lock.take(str(root), fresh, "r1"))).heard("locked")
    resumed = json.dumps({**json.loads(owner("r3")), "resumes": ["r2"]})
    assert (root / ".gapless/lock/phase").exists() is False
    sh.run(Step("own", lock.enter(str(root), "r2", "build 0003-def")))
    assert sh.run(Step("lock", lock.take(str(root), resumed, "r2"))).heard("locked")
    assert (root / ".gapless/lock/phase").read_text() == "build 0003-def\n"


def test_only_the_named_run_is_replaced(sh, root):
    sh.run(take(root))
    for other in ("r2", "r", "r11", ".*"):
        ran = sh.run(take(root, "r9", over=other))
        assert (ran.code, ran.event("held")["owner"]["run"]) == (3, "r1")
    assert [file.name for file in (root / ".gapless").iterdir()] == ["lock"]


def test_a_deployer_that_was_replaced_is_fenced_off(sh, root):
    sh.run(take(root))
    sh.run(take(root, "r2", over="r1"))
    for step in (lock.enter(str(root), "r1", "reload x"), lock.own(str(root), "r1")):
        ran = sh.run(Step("own", step), Step("next", cmd("echo", "too far")))
        assert (ran.code, ran.event("fenced")["owner"]["run"]) == (1, "r2")
        assert "no longer that of run r1; nothing was touched" in ran.text
        assert "too far" not in ran.text
    assert not (root / ".gapless" / "lock" / "phase").exists()
    sh.run(Step("unlock", lock.drop(str(root), "r1")))
    assert kept(root).exists()


def test_of_twenty_that_take_over_at_once_exactly_one_wins(one, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    for number in range(10):
        place = tmp_path / f"root-{number}"
        place.mkdir()
        one.run(take(place, "dead"))
        wait = Step("wait", Shell(f": <{path(str(gate))}"))
        # Some want it, some drop it: whoever drops the dead one's lock must not take away a new owner's.
        runs = [one.start(wait, take(place, f"r{each}", over="dead")) for each in range(16)]
        drops = [one.start(wait, Step("unlock", lock.drop(str(place), "dead"))) for _ in range(4)]
        with open(gate, "w"):
            texts = [run.stdout.read().decode() for run in runs]
            codes = [run.wait(20) for run in runs]
            assert [drop.wait(20) for drop in drops] == [0] * 4
        for run in [*runs, *drops]:
            run.stdin.close()
            run.stdout.close()
        winners = [f"r{each}" for each, code in enumerate(codes) if code == 0]
        holder = [json.loads(kept(place).read_text())["run"]] if kept(place).exists() else []
        assert (len(winners) <= 1, winners) == (True, holder)
        assert sum('"event":"locked"' in text for text in texts) == len(winners)


def test_nothing_is_taken_over_while_its_driver_works(sh, root):
    sh.run(take(root))
    run = root / ".gapless" / "runs" / "r1"
    run.mkdir(parents=True)
    start = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[19]
    (run / "driver.pid").write_text(f"{os.getpid()} {start}")
    ran = sh.run(take(root, "r2", over="r1"))
    assert (ran.code, "still at work on this host" in ran.text) == (1, True)
    assert json.loads(kept(root).read_text())["run"] == "r1"


def test_a_heartbeat_needs_no_room(sh, small_disk, fill):
    sh.run(take(small_disk))
    age(small_disk, 100)
    fill(small_disk)
    sh.run(Step("beat", lock.beat(str(small_disk), "r1")))
    assert sh.run(Step("show", lock.show(str(small_disk)))).event("held")["quiet"] < 10
    assert sh.run(Step("own", lock.enter(str(small_disk), "r1", "reload x"))).code == 0


def test_a_lock_is_dropped_without_inodes(sh, small_disk, fill_inodes):
    sh.run(take(small_disk))
    fill_inodes(small_disk)
    assert sh.run(Step("unlock", lock.drop(str(small_disk), "r1"))).code == 0
    assert sh.run(Step("show", lock.show(str(small_disk)))).heard("free")


def test_the_past_of_a_run_is_read_from_its_journals(sh, root):
    def journal(run: str, *events: dict[str, object], torn: str = "") -> None:
        place = root / ".gapless" / "runs" / run
        place.mkdir(parents=True)
        (place / "driver.jsonl").write_text("".join(json.dumps(event, separators=(",", ":")) + "\n" for event in events) + torn)

    past = sh.run(Step("past", lock.past(str(root), ["r1", "r2"]))).event("past")
    assert past == {"event": "past", "began": None, "ended": None, "working": False}
    begin = {"event": "begin", "from": "0001-a", "to": "0002-b", "why": 'a "}" in it'}
    journal("r1", begin, torn='{"event":"done","rel')
    past = sh.run(Step("past", lock.past(str(root), ["r1", "r2"]))).event("past")
    assert (past["began"], past["ended"]) == (begin, None)
    journal("r2", {**begin, "from": "0002-b"}, {"event": "done", "release": "0002-b"})
    past = sh.run(Step("past", lock.past(str(root), ["r1", "r2"]))).event("past")
    assert (past["began"]["from"], past["ended"]["event"]) == ("0001-a", "done")


def test_a_deployer_that_dies_while_it_takes_the_lock_leaves_no_half_of_it(root, until):
    for number in range(60):
        (root / f".gapless/runs/r{number}").mkdir(parents=True)
        (root / f".gapless/runs/r{number}/driver.pid").write_text("1 1")
    taking = subprocess.Popen(["sh", "-s"], stdin=subprocess.PIPE, start_new_session=True)
    taking.stdin.write("".join(script(LIBRARY, [take(root)], "@mark")).encode())
    taking.stdin.flush()
    while not kept(root).parent.exists():
        pass
    taking.stdin.close()
    taking.wait(10)  # the outer shell; the inner one ends what it has begun
    assert until(kept(root).exists, 10)
