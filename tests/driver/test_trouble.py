"""What the host itself does wrong: a full disk, a list that cannot be saved, PM2 killed; and links and drivers that die."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.driver.host import Host, Run, alive, eventually
from tests.gate.conftest import MINIMAL_ENV, Pm2, a_pm2, children

# -------------------------------------------------------------------------------------------------- a full disk


@pytest.fixture
def small_disk(host: Host) -> Iterator[Callable[[Path], None]]:
    """Give a directory a disk of its own that is soon full; only root may."""
    mounted = []

    def mount(place: Path) -> None:
        place.mkdir(exist_ok=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False).returncode:
            pytest.skip("no right to mount a small disk here")
        mounted.append(place)

    yield mount
    for run in host.runs:
        run.end()
    for place in mounted:
        subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path) -> None:
    with (place / "filler").open("wb", buffering=0) as filler:
        for size in (65536, 1):
            try:
                while filler.write(b"x" * size):
                    pass
            except OSError:
                continue


BLOCK = 4096


def fill_up_to(journal: Path) -> None:
    """Let the disk end in the middle of the journal's next line."""
    room = BLOCK - 40 - journal.stat().st_size
    with journal.open("a") as file:
        file.write(json.dumps({"event": "note", "text": "x" * (room - 30)}) + "\n")
    fill(journal.parents[1])


def test_a_full_disk_stops_the_journal_but_not_the_way_back(host: Host, small_disk: Callable[[Path], None]) -> None:
    small_disk(host.base / "runs")
    old, bad = host.up(host.release(1)), host.release(2)
    journal = host.base / "runs/r1/driver.jsonl"
    with host.load() as tally:
        run = host.start(bad, min_healthy_ms=1000)
        run.wait("settle")
        fill_up_to(journal)
        host.turn(bad, "sick")
        word = run.final()
    assert word == {"event": "lost", "why": "it is gone without a final word"}, host.story()
    assert tally.lost == 0, tally.summary()
    assert journal.stat().st_size == BLOCK and not journal.read_bytes().endswith(b"\n")
    host.serves(old)


@pytest.mark.parametrize("room", [0, 4 * BLOCK], ids=["full", "no room for a journal"])
def test_a_disk_that_is_full_before_the_start_touches_nothing_and_says_so(room: int, host: Host, small_disk: Callable[[Path], None]) -> None:
    small_disk(host.base / "runs")
    old = host.up(host.release(1))
    new = host.release(2)
    fill(host.base / "runs")
    with (host.base / "runs/filler").open("rb+") as filler:
        filler.truncate((host.base / "runs/filler").stat().st_size - room)
    word = host.start(new).final()
    assert (word["event"], word.get("untouched"), word.get("release")) == ("reverted", True, old), word
    assert word["why"].startswith("the driver could not be started: ENOSPC: no space left on device"), word
    host.serves(old)


def test_a_line_torn_by_a_full_disk_hides_no_later_one(host: Host, small_disk: Callable[[Path], None]) -> None:
    small_disk(host.base / "runs")
    host.up(host.release(1))
    new = host.release(2)
    journal = host.base / "runs/r1/driver.jsonl"
    run = host.start(new, min_healthy_ms=1000)
    run.wait("worker", state="settling")
    fill_up_to(journal)
    eventually(lambda: journal.stat().st_size == BLOCK)
    (host.base / "runs/filler").unlink()
    assert run.final()["event"] == "done", host.story()
    host.serves(new)


def test_a_journal_that_cannot_be_written_does_not_stop_the_work(host: Host) -> None:
    old, new = host.release(1), host.release(2)
    host.up(old)
    (host.base / "runs/r1/driver.jsonl").mkdir(parents=True)
    assert host.deploy(new, drained=True)["event"] == "lost"
    host.serves(new)


def test_the_gates_settings_are_not_needed_on_the_way_back(host: Host) -> None:
    host.processes = (host.process(instances=2),)
    old = host.up(host.release(1))
    bad = host.release(2)
    with host.load() as tally:
        run = host.start(bad, min_healthy_ms=700)
        run.wait("settle")
        (host.run / "reload.json.next").mkdir()  # what cannot be written; a full disk would silence the gates too
        host.turn(bad, "sick")
        word = run.final()
    assert (word["event"], tally.lost) == ("reverted", 0), host.story() + tally.summary()
    host.serves(old, 2)


# -------------------------------------------------------------------------------------------------- pm2's list


def test_a_list_that_cannot_be_saved_is_told_and_undoes_nothing(own_pm2: Pm2, node_modules: Path) -> None:
    host = Host(own_pm2.home.parent / "h", own_pm2, node_modules, "app")
    dump = own_pm2.home / "dump.pm2"
    dump.mkdir()
    try:
        first, second = host.release(1), host.release(2)
        for release in (first, second):
            run = host.start(release, drained=True)
            assert run.final()["event"] == "done", host.story()
            assert any(note["text"].startswith("pm2 save: ") for note in run.all("note")), host.story()
            host.serves(release)
        bad = host.release(3, "throws")
        assert host.deploy(bad, drained=True)["event"] == "reverted", host.story()
        dump.rmdir()
        host.up(first)
        assert dump.stat().st_mode & 0o777 == 0o600
        assert own_pm2.ask("list")
    finally:
        host.remove()


def test_the_saved_list_is_what_pm2_would_have_saved(own_pm2: Pm2, node_modules: Path) -> None:
    host = Host(own_pm2.home.parent / "h", own_pm2, node_modules, "app")
    host.processes = (host.process(instances=2), host.process("b"))
    release = host.up(host.release(1))
    pids = host.pids()
    own_pm2.end()
    second = Pm2(own_pm2.home, node_modules)
    own_pm2.__dict__.update(second.__dict__)
    pm2 = [str(node_modules / "pm2/bin/pm2"), "resurrect"]
    subprocess.run(["node", *pm2], env={**os.environ, "PM2_HOME": str(own_pm2.home)}, check=True, capture_output=True, timeout=30)
    try:
        eventually(lambda: len(host.open()) == len(host.pids()) + len(host.pids("b")) == 3)
        assert not set(host.pids()) & set(pids)
        host.serves(release, 2)
        host.serves(release, 1, "b")
        assert host.deploy(host.release(2), drained=True)["event"] == "done", host.story()
    finally:
        host.remove()


# ------------------------------------------------------------------------------------------------- pm2's death


@contextlib.contextmanager
def killed(pm2: Pm2) -> Iterator[None]:
    """Kill PM2's daemon; the workers go with it."""
    workers = children(pm2.daemon)
    os.kill(pm2.daemon, signal.SIGKILL)
    yield
    eventually(lambda: not any(map(alive, workers)))


def test_what_pm2_had_saved_comes_back_before_the_reload(own_pm2: Pm2, node_modules: Path) -> None:
    host, other = (Host(own_pm2.home.parent / name, own_pm2, node_modules, name) for name in ("h", "other"))
    old = host.up(host.release(1))
    others = other.up(other.release(1))
    with killed(own_pm2):
        pass
    new = host.release(2)
    word = host.deploy(new, drained=True)
    assert word["event"] == "done", host.story()
    assert [event["release"] for event in host.runs[-1].all("revive")] == [old]
    host.serves(new)
    other.serves(others)


def test_pm2_killed_in_a_reload_is_the_old_release_again(own_pm2: Pm2, node_modules: Path) -> None:
    host = Host(own_pm2.home.parent / "h", own_pm2, node_modules, "app")
    old, new = host.up(host.release(1)), host.release(2)
    run = host.start(new, min_healthy_ms=1500, drained=True)
    run.wait("settle")
    with killed(own_pm2):
        word = run.final()
    assert word["event"] == "reverted", host.story()
    host.serves(old)
    assert not (host.root / "releases" / new / ".gapless-bad").exists()  # it did nothing


def test_pm2_killed_without_a_list_is_told(own_pm2: Pm2, node_modules: Path) -> None:
    host = Host(own_pm2.home.parent / "h", own_pm2, node_modules, "app")
    host.up(host.release(1))
    for file in own_pm2.home.glob("dump.pm2*"):
        file.unlink()
    run = host.start(host.release(2), min_healthy_ms=1500, drained=True)
    run.wait("settle")
    with killed(own_pm2):
        word = run.final()
    assert (word["event"], word["back"]) == ("broken", "PM2 lists 0 workers of app, 1 are wanted"), host.story()


# ----------------------------------------------------------------------------------- a worker that pm2 has lost


@pytest.mark.parametrize("mode, event", [("", "done"), ("throws", "reverted")])
def test_no_worker_is_left_that_pm2_does_not_list(
    node_modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, event: str,
) -> None:
    """PM2 loses one that it deletes while it respawns it; here its daemon is made to have a child that it never knew."""
    wanted = tmp_path / "release"
    (tmp_path / "lost.cjs").write_text(f"""
      if (/Daemon\\.js$/.test(process.argv[1])) setInterval(() => {{
        try {{
          const cwd = require('fs').readFileSync('{wanted}', 'utf8');
          require('fs').unlinkSync('{wanted}');
          require('child_process').spawn('sleep', ['60'], {{ cwd }});
        }} catch {{}}
      }}, 50).unref();""")
    monkeypatch.setitem(MINIMAL_ENV, "NODE_OPTIONS", f"--require {tmp_path}/lost.cjs")
    with a_pm2(node_modules) as pm2:
        host = Host(pm2.home.parent / "h", pm2, node_modules, "app")
        old = host.up(host.release(1))
        (tmp_path / "aside").write_text(str(host.root / "releases" / old))
        (tmp_path / "aside").rename(wanted)
        [lost] = eventually(host.hidden)
        next_one = host.release(2, mode)
        run = host.start(next_one, drained=True)
        assert run.final()["event"] == event, host.story()
        assert not alive(lost) and [stray["pid"] for stray in run.all("stray")] == [lost]
        host.serves(next_one if event == "done" else old)
        host.remove()


# ------------------------------------------------------------------------------------------- the link, the driver


def follow(host: Host, name: str, script: str = "driver") -> Run:
    run = Run(host, name, "follow", script=script)
    host.runs.append(run)
    return run


def test_work_outlives_the_link_of_its_starter(host: Host) -> None:
    old, new = host.up(host.release(1)), host.release(2)
    with host.load() as tally:
        run = host.start(new, min_healthy_ms=700)
        run.wait("begin")
        run.cut()
        assert not run.all("done")
        second = follow(host, run.name)
        assert second.final()["event"] == "done", host.story()
    assert (tally.lost, set(tally.versions)) == (0, {old, new}), tally.summary()
    assert second.events[0]["event"] == "begin" and second.all("settle"), "all of it is shown, from the beginning"
    third = follow(host, run.name)
    third.final()
    assert third.events == second.events
    host.serves(new)


def test_work_whose_starter_died_before_it_could_tell_the_pid_is_known(host: Host) -> None:
    host.up(host.release(1))
    new = host.release(2)
    place = host.base / "runs/torn"
    place.mkdir()
    (place / "driver.plan").write_text(json.dumps(host.plan(new, min_healthy_ms=700)))
    host.runs.append(Run(host, "torn", "work"))
    eventually((place / "driver.jsonl").exists)
    assert follow(host, "torn").final()["event"] == "done", host.story()
    host.serves(new)


def test_what_throws_beside_the_work_does_not_end_it(host: Host) -> None:
    """PM2's module runs in the driver, and its callbacks throw now and then."""
    old = host.up(host.release(1))
    beside = "setTimeout(() => { throw new Error('beside'); }, 10); Promise.reject(new Error('and unheard'));"
    host.patch("driver.cjs", "  host.journal.write('settle'", f"  {beside}\n  host.journal.write('settle'")
    bad = host.release(2)
    run = host.start(bad, drained=True)
    run.wait("settle")
    host.turn(bad, "sick")
    assert run.final()["event"] == "reverted", host.story()
    assert {note["text"] for note in run.all("note")} == {"Error: beside", "Error: and unheard"}
    host.serves(old)


def test_a_run_that_never_was_is_lost_at_once(host: Host) -> None:
    run = follow(host, "never")
    assert run.final()["event"] == "lost"
    assert time.monotonic() - run.began < 3


def test_a_pid_that_was_given_away_is_not_taken_for_ours(host: Host) -> None:
    ours = Path("/proc/self/stat").read_text().rpartition(") ")[2].split()[19]
    place = host.base / "runs/r"
    place.mkdir(parents=True)
    (place / "driver.pid").write_text(f"{os.getpid()} {int(ours) - 1}")
    assert follow(host, "r").final(3)["event"] == "lost"
    (place / "driver.pid").write_text(f"{os.getpid()} {ours}")
    patient = follow(host, "r")
    with pytest.raises(AssertionError, match="not at its end"):
        patient.final(3)
    patient.process.kill()


def test_an_answer_that_came_while_the_driver_stood_still_is_asked_for_again(host: Host) -> None:
    """Its clock ran out meanwhile; the app had answered in time."""
    host.up(host.release(1))
    new = host.release(2, "lazy")
    run = host.start(new, drained=True, min_healthy_ms=1000)
    run.wait("settle")
    time.sleep(0.1)
    os.kill(run.pid, signal.SIGSTOP)
    time.sleep(2.5)  # health has 2 s
    os.kill(run.pid, signal.SIGCONT)
    assert run.final()["event"] == "done", host.story()
    host.serves(new)


def test_a_driver_that_stands_still_is_given_up(host: Host) -> None:
    old, new = host.up(host.release(1)), host.release(2)
    run = host.start(new, drained=True, min_healthy_ms=1000, progress_ms=2000)
    run.wait("settle")
    os.kill(run.pid, signal.SIGSTOP)
    try:
        assert run.final(6) == {"event": "lost", "why": "it has not moved for 2 s (progress_deadline)"}
    finally:
        os.kill(run.pid, signal.SIGCONT)
    assert follow(host, run.name).final()["event"] == "done"
    assert old != new
    host.serves(new)
