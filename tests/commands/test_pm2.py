"""Our scripts on a host: told from others, and sent again only then. Run by a real shell and node."""

from __future__ import annotations

import os
from typing import Any

import pytest

from fabfile.commands import pm2
from fabfile.commands.shell import Shell, Step


def truth(one: Any, root: Any) -> Any:
    """Give what the host itself says, by the script that is sent to it."""
    ran = one.run(Step("tools", Shell("pm2_dir=/nowhere; export PM2_HOME=$PWD/pm2")), Step("facts", pm2.facts(str(root), [])))
    assert ran.code == 0, ran.text
    return ran.event("facts")


def test_room_is_told_of_where_the_root_is_or_will_be(one, root, small_disk):
    for there in (root, root / "not" / "yet"):
        room, real = truth(one, there)["room"], os.statvfs(root)
        assert abs(room["mb"] - real.f_bavail * real.f_frsize / 2**20) < 100
        assert room["place"] == str(root)
    room = truth(one, small_disk / "app")["room"]
    assert (room["place"], room["mb"] < 50, room["inodes"] < 20_000) == (str(small_disk), True, True)


def test_a_host_knows_our_scripts_from_others(one, root):
    assert truth(one, root)["runtime"] != pm2.runtime()
    assert one.run(Step("install", pm2.install(str(root))), chunk=4096).code == 0
    assert truth(one, root)["runtime"] == pm2.runtime()


@pytest.mark.parametrize("name, text", [("gate.cjs", "// another"), ("driver.cjs", None), ("another.cjs", ""), ("truth.cjs", ""), ("runtime", None), ("runtime", "")])
def test_whatever_happened_to_them_shows(one, root, name, text):
    assert one.run(Step("install", pm2.install(str(root))), chunk=4096).code == 0
    file = root / ".gapless" / name
    file.unlink() if text is None else file.write_text(text)
    assert truth(one, root)["runtime"] != pm2.runtime()


def test_what_is_installed_says_the_same(one, root):
    assert one.run(Step("install", pm2.install(str(root))), chunk=4096).code == 0
    ran = one.run(Step("tools", Shell("pm2_dir=/nowhere; export PM2_HOME=$PWD/pm2")), Step("facts", pm2.facts_again(str(root), [])))
    assert ran.event("facts")["runtime"] == pm2.runtime()


def told(one: Any, root: Any) -> Any:
    """Give what the installed script says of our scripts, None where it is not asked."""
    asked = Step("facts", pm2.facts_by_installed(str(root), []))
    ran = one.run(Step("tools", Shell("pm2_dir=/nowhere; export PM2_HOME=$PWD/pm2")), asked)
    assert ran.code == 0, ran.text
    return ran.event("facts")["runtime"] if ran.heard("facts") else None


def test_the_installed_one_tells_if_it_is_the_very_one(one, root):
    assert told(one, root) is None
    assert one.run(Step("install", pm2.install(str(root))), chunk=4096).code == 0
    assert told(one, root) == pm2.runtime()


@pytest.mark.parametrize("name, text", [("runtime", "of another version"), ("runtime", ""), ("truth.cjs", "throw 1"), ("truth.cjs", None)])
def test_whatever_is_wrong_with_it_it_says_nothing(one, root, name, text):
    assert one.run(Step("install", pm2.install(str(root))), chunk=4096).code == 0
    file = root / ".gapless" / name
    file.unlink() if text is None else file.write_text(text)
    assert told(one, root) is None
