"""Hosts that are not fit for a deploy: found in claim, all of them told together, nothing touched."""

from __future__ import annotations

import pytest

from tests.lab.conftest import Site

pytestmark = pytest.mark.lab

LISTING = "cd ~/shop && find . -path ./.gapless/run -prune -o -newer /tmp/before -print; rm /tmp/before"


def test_all_unreachable_hosts_are_told_together(site: Site) -> None:
    site.lab.run("lab3", "touch /tmp/before && sleep 0.1")
    site.lab.stop_sshd("lab1")
    site.lab.change_host_key("lab2")
    try:
        done = site.fab("deploy", "--ref", "v2")
    finally:
        site.lab.start_sshd("lab1")
        site.lab.restore_host_key("lab2")
    assert done.code == 4, done.out
    assert "2 of 4 hosts can't be worked on; nothing was touched." in done.out
    assert "lab1: connection refused" in done.out
    assert "lab2: the host key CHANGED" in done.out
    assert done.out.count("SHA256:") == 2
    assert site.lab.run("lab3", LISTING).stdout == ""


def test_full_disk_and_read_only_place_are_told_together(site: Site) -> None:
    site.needs_mounts()
    site.lab.run("lab1", "cp -a ~/shop/shared ~/kept && mount -t tmpfs -o size=50m none ~/shop && mv ~/kept ~/shop/shared")
    site.lab.run("lab2", "mount --bind ~/shop ~/shop && mount -o remount,ro,bind ~/shop")
    try:
        first = site.fab("deploy", "--ref", "v2")
        others = site.fab("deploy", "--ref", "v2", hosts="lab2,lab3")
    finally:
        site.lab.run("lab1", "umount ~/shop")
        site.lab.run("lab2", "umount ~/shop")
    assert first.code == 4, first.out
    assert "lab1: /srv/shop has 49 MB free, a release wants 500 MB (min_free_mb): disk full" in first.out
    assert others.code == 4, others.out
    assert "lab2: /srv/shop lies on a file system that is read-only" in others.out
    assert site.locks() == []


def test_lock_of_another_run_is_shown_and_only_its_id_removes_it(site: Site) -> None:
    record = '{"run": "other-run", "verb": "deploy", "who": "eve", "from": "ci-7", "pid": 1, "at": 1, "ci": ""}'
    site.lab.run("lab2", f"mkdir ~/shop/.gapless/lock && printf '%s\\n' '{record}' > ~/shop/.gapless/lock/owner.json")
    done = site.fab("deploy", "--ref", "v2")
    assert done.code == 3, done.out
    assert "lab2: eve@ci-7 has been at deploy for" in done.out
    assert site.locks() == ["lab2"]
    assert "eve@ci-7" in site.fab("lock").out
    assert site.fab("unlock", "--id", "not-that").code == 2
    assert site.locks() == ["lab2"]
    waiting = site.begin("migrate", "--release", site.link("lab1"), "--wait", "60s")
    waiting.until("waiting for it")
    assert site.fab("unlock", "--id", "other-run").code == 0
    done = waiting.done()
    assert (done.code, "is migrated already" in done.out) == (0, True), done.out
    assert site.locks() == []


def test_no_pm2_on_the_host_says_where_it_looked(site: Site) -> None:
    site.needs_mounts()
    folder = site.lab.run("lab1", 'dirname "$(command -v pm2)"').stdout.strip()
    site.lab.run("lab1", f"mount -t tmpfs none {folder}")
    try:
        done = site.fab("deploy", "--ref", "v2")
    finally:
        site.lab.run("lab1", f"umount {folder}")
    assert done.code == 4, done.out
    assert f"lab1: no pm2 on this host; looked in {folder}:" in done.out
    assert "node_bin: in hosts.yaml" in done.out


@pytest.mark.long
def test_first_release_that_crashes_leaves_nothing_behind(site: Site) -> None:
    site.lab.reset("lab3")
    with site.load() as tally:
        done = site.fab("deploy", "--ref", "v3-throws", hosts="lab3")
    assert done.code == 1, done.out
    assert tally.lost == 0, tally.summary()
    assert "JWT_SECRET is not set" in done.out
    assert site.link("lab3") == ""
    assert site.processes("lab3") == []
    assert site.lab.run("lab3", "pm2 jlist").stdout.strip().endswith("[]")
    assert site.fab("deploy", "--ref", "v1", hosts="lab3").code == 0
