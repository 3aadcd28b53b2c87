"""Another number of workers: those that stay are not touched, new ones prove themselves, and whoever leaves loses nothing."""

from __future__ import annotations

import json

from tests.driver.host import Host, eventually


def test_workers_come_and_go_and_the_others_stay(host: Host) -> None:
    one = host.up(host.release(1))
    first = host.pids()
    with host.load() as tally:
        for count in (3, 1):
            host.processes = (host.process(instances=count),)
            assert host.deploy(one, scale=True)["event"] == "done", host.story()
            host.serves(one, count)
            assert host.pids()[:1] == first
    assert tally.lost == 0, tally.summary()
    told = [(each["from"], each["to"]) for run in host.runs for each in run.all("scale")]
    assert told == [(1, 3), (3, 1)]
    assert json.loads((host.pm2.home / "dump.pm2").read_text())


def test_new_workers_that_are_bad_never_serve_and_the_old_go_on(host: Host) -> None:
    one = host.up(host.release(1))
    first = host.pids()
    host.processes = (host.process(instances=3),)
    host.turn(one, "clones-throw")
    with host.load() as tally:
        word = host.deploy(one, scale=True)
    assert (word["event"], tally.lost) == ("reverted", 0), host.story() + tally.summary()
    assert "the release is bad" in word["why"]
    host.turn(one, "")
    host.serves(one, 1)
    assert host.pids() == first
    assert not (host.root / "releases" / one / ".gapless-bad").exists()


def test_what_a_reload_must_put_right_first_is_refused(host: Host) -> None:
    one, two = host.release(1), host.release(2)
    word = host.deploy(one, scale=True)
    assert (word["event"], word["untouched"], "does not run here" in word["why"]) == ("reverted", True, True), word
    host.up(one)
    pids = host.pids()
    word = host.deploy(two, scale=True)
    assert (word["untouched"], f"is not one of {two} behind the gate" in word["why"]) == (True, True), word
    assert host.pids() == pids
    host.serves(one)


def test_what_the_workers_run_with_is_not_taken_for_good_nor_forgotten(host: Host) -> None:
    """The env file may have changed since the last reload, or have failed and been pinned: only a reload settles that."""
    one = host.up(host.release(1, env="COLOUR=red\n"))
    (host.root / "releases" / one / ".env").write_text("COLOUR=blue\n")
    pins = {host.name: str(host.base / "env" / f"{host.name}.good")}
    (host.run / "reload.json").write_text(json.dumps({"run": "x", "env_files": pins}))
    host.processes = (host.process(instances=2),)
    assert host.deploy(one, scale=True)["event"] == "done", host.story()
    assert json.loads((host.run / "reload.json").read_text())["env_files"] == pins
    assert (host.base / "env" / f"{host.name}.good").read_text() == "COLOUR=red\n"
    seen = {host.get()[1]["pid"]: host.get()[1]["colour"] for _ in range(8)}
    assert set(seen.values()) == {"red"}
    eventually(lambda: len(host.open()) == 2)


def test_going_back_to_the_release_that_failed_elsewhere_does_not_call_it_bad(host: Host) -> None:
    """A plain reload that fails on one host is taken back on those before it, to the very release that they run."""
    one = host.up(host.release(1))
    assert host.deploy(one, bad=one)["event"] == "done", host.story()
    assert not (host.root / "releases" / one / ".gapless-bad").exists()
