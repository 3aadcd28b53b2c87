"""The user's hooks beside a real run: when they come, what they are told, and what becomes of one that fails or hangs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lab.conftest import Site

pytestmark = [pytest.mark.lab, pytest.mark.operate]

CANARY = "c4n4ry-hooked"


def hooked(site: Site, *hooks: str, notify: str = "") -> None:
    """Put hooks into the hosts.yaml that is in use."""
    text = site.inventory.read_text()
    site.inventory.write_text("\n".join([text, "hooks:", *(f"  - {{{hook}}}" for hook in hooks), notify, ""]))


def told(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_hooks_come_in_order_and_know_what_the_run_is_about(site: Site) -> None:
    release = site.link("lab1")
    note = site.folder / "told.jsonl"
    note.unlink(missing_ok=True)
    for host in site.lab.names:
        site.lab.run(host, f"rm -f ~/hooks; echo HOOK_SECRET={CANARY} >>~/shop/shared/.env")
    hooked(
        site,
        "at: before claim, run: cat >>told.jsonl", "at: before reload, run: cat >>told.jsonl", "at: before reload, each: wave, run: cat >>told.jsonl",
        "at: before reload, each: host, where: remote, run: 'cat >>~/hooks; pwd >>~/hooks'",
        "at: after reload, each: host, where: remote, on_failure: warn, run: 'cat .env shared/.env; exit 3'",
        "at: after reload, where: remote, timeout: 1s, on_failure: warn, run: 'sleep 77'",
        "at: after finish, run: cat >>told.jsonl",
        notify="notify: [{kind: command, run: cat >news.json}]",
    )
    try:
        with site.load() as tally:
            done = site.fab("reload")
    finally:
        for host in site.lab.names:
            site.lab.run(host, "sed -i /^HOOK_SECRET=/d ~/shop/shared/.env")
    assert done.code == 0, done.out
    assert tally.lost == 0, tally.summary()
    at = [(each["at"], each.get("wave"), each["hosts"]) for each in told(note)]
    every = site.lab.names
    assert at == [("before claim", None, every), ("before reload", None, every), *(("before reload", n, [host]) for n, host in enumerate(every, 1)),
                  ("after finish", None, every)]
    assert (told(note)[-1]["outcome"], told(note)[-1]["lost"], told(note)[0]["verb"]) == ("ok", 0, "reload")
    for host in every:
        stdin, where = site.lab.run(host, "cat ~/hooks").stdout.splitlines()
        assert (json.loads(stdin)["to"], json.loads(stdin)["hosts"]) == (release, [host])
        assert where == str(site.lab.host(host).root)
    assert "the hook after reload failed: sleep 77" in done.out
    assert "hook took longer than its timeout and was ended: sleep 77" in done.out
    assert not site.commanded("lab1", b"sleep\x0077")
    assert "HOOK_SECRET=[hidden HOOK_SECRET]" in done.out
    kept = "".join(file.read_text(errors="replace") for file in (site.folder / "state").rglob("*") if file.is_file())
    assert CANARY not in done.out + kept
    news = json.loads((site.folder / "news.json").read_text())
    assert (news["exit"], news["requests"]["lost"], set(news["hosts"])) == (0, 0, set(every))
    assert site.fab("reload").code == 0  # the variable is gone again


def test_a_host_of_which_a_hook_says_no_goes_back_and_so_do_the_others(site: Site) -> None:
    before = {host: site.link(host) for host in site.lab.names}
    hooked(site, """at: after reload, each: host, where: remote, run: '! grep -q "\\[.lab2.\\]"'""")
    with site.load() as tally:
        done = site.fab("reload")
    assert done.code == 1, done.out
    assert tally.lost == 0, tally.summary()
    assert "lab2 failed in reload: lab2: the hook after reload failed" in done.out
    assert "── roll back: lab1, lab2" in done.out
    assert "lab3: was not touched" in done.out
    assert {host: site.link(host) for host in site.lab.names} == before
    site.configure()
    assert site.fab("status").code == 0


@pytest.mark.parametrize("when, said", [("before claim", "Nothing was touched."), ("before build", "No host was switched.")])
def test_a_hook_that_says_no_beforehand_stops_the_run(site: Site, when: str, said: str) -> None:
    pids = {host: set(site.lab.pids(host)) for host in site.lab.names}
    hooked(site, f"at: {when}, run: 'echo not on a friday; exit 9'")
    done = site.fab("deploy", "--ref", "v1")
    assert done.code == (4 if when == "before claim" else 1), done.out
    assert f"local: the hook {when} failed" in done.out
    assert "  | not on a friday\n  | exit code 9\n" in done.out
    assert said in done.out
    assert all(pids[host] <= set(site.lab.pids(host)) for host in site.lab.names)
    site.configure()
