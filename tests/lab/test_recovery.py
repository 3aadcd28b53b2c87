"""The deployer dies; another command, from anywhere, finishes what it began or takes it back, and nothing is done twice."""

from __future__ import annotations

import os

import pytest

from tests.lab.conftest import Site
from tests.lab.test_deploy import links, lost_nothing, untouched

pytestmark = pytest.mark.lab


def test_a_rolling_reload_whose_deployer_was_killed_is_resumed(site: Site) -> None:
    before = links(site)
    with site.load() as tally:
        site.killed("reload", "mid", "lab2", "rolling")
        status, other = site.fab("status"), site.fab("rollback")
        pids = set(site.lab.pids("lab1"))
        resumed = site.fab("resume")
    lost_nothing(tally)
    assert status.code == 5, status.out
    assert "began a rolling, in reload" in status.out
    assert "Next:  fab resume --hosts lab  finishes it   or   fab abort --hosts lab  takes it back" in status.out
    assert other.code == 3, other.out
    assert resumed.code == 0, resumed.out
    assert "lab2     was left drained, and is back in rotation" in resumed.out
    assert "lab3     back in rotation" in resumed.out
    assert pids <= set(site.lab.pids("lab1"))  # its turn was over: not reloaded twice
    untouched(site, before)
    nothing = site.fab("resume")
    assert (nothing.code, "no run was left unfinished" in nothing.out) == (2, True), nothing.out


def another(site: Site, now: dict[str, str]) -> str:
    """Name a release that every host has and none runs; build one if there is none."""
    common = set.intersection(*[set(site.releases(host)) for host in now]) - set(now.values())
    if not common:
        return site.release_of(site.fab("build", "--ref", "v2"))
    return max(common)


def test_a_change_whose_deployer_was_killed_is_taken_back(site: Site) -> None:
    before = links(site)
    other = another(site, before)
    with site.load() as tally:
        site.killed("restore", "before", "balancer lablb", "reload", "--to", other)
        assert site.link("lab1") == other
        aborted = site.fab("abort")
    lost_nothing(tally)
    assert aborted.code == 0, aborted.out
    assert "lab2  was not touched" in aborted.out
    untouched(site, before)


def test_the_same_command_again_finishes_it(site: Site) -> None:
    before = links(site)
    with site.load() as tally:
        site.killed("reload", "mid", "lab2", "rolling")
        again = site.fab("rolling")
    lost_nothing(tally)
    assert (again.code, "it was about the same: it is finished" in again.out) == (0, True), again.out
    assert "lab1     drained" not in again.out  # its turn was over
    assert "lab3     drained" in again.out
    untouched(site, before)


def test_what_died_in_the_build_is_simply_followed_by_the_next(site: Site) -> None:
    before = links(site)
    site.killed("claim", "after", "lab2", "rolling")
    done = site.fab("rolling")
    assert done.code == 0, done.out
    assert "which died with nothing in hand" in done.out
    untouched(site, before)


def test_a_migration_of_unknown_outcome_stops_everything_until_somebody_has_looked(site: Site) -> None:
    before = links(site)
    release = max(set.intersection(*[set(site.releases(host)) for host in before]))
    site.configure(migrate="exec sleep 4712")
    migrating = site.begin("migrate", "--again", "--release", release)
    migrating.until("── migrate")
    while not (found := site.commanded("lab1", b"4712")):
        pass
    wrapper = [pid for pid in site.commanded("lab1", b"migrate.cjs") if b"work" in site.command_line(pid)]
    for pid in [*wrapper, *found]:
        os.kill(pid, 9)
    done = migrating.done()
    assert (done.code, "Whether the migration ran is UNKNOWN" in done.out) == (5, True), done.out
    site.configure()
    stopped = site.fab("deploy", "--ref", "v2")
    assert stopped.code == 5, stopped.out
    assert f"lab1: whether the migration of {release}" in stopped.out
    assert "fab migrate --resolved done --hosts lab1" in stopped.out
    assert site.fab("migrate", "--resolved", "done", hosts="lab1").code == 0
    again = site.fab("migrate", "--release", release)
    assert (again.code, "is migrated already; not done again" in again.out) == (0, True), again.out
    untouched(site, before)


def test_of_five_at_once_one_goes_on_and_the_others_name_it(site: Site) -> None:
    before = links(site)
    five = [site.begin("rolling") for _ in range(5)]
    done = [one.done() for one in five]
    assert sorted(one.code for one in done) == [0, 3, 3, 3, 3]
    winner = next(one for one in done if one.code == 0)
    run = winner.out.rsplit("log: ", 1)[1].split("\n")[0].rsplit("/", 1)[1]
    assert all(f"(run {run}, " in one.out for one in done if one.code == 3)
    untouched(site, before)
