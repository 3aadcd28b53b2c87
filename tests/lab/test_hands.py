"""What a person does by hand, on the real fleet under load: scale, drain and restore, and new env files."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from tests.lab import test_secrets
from tests.lab.conftest import Done, Site
from tests.lab.test_deploy import links, lost_nothing, untouched
from tests.lab.test_secrets import Sampler, holders

pytestmark = [pytest.mark.lab, pytest.mark.operate]
PUSHED = f"c4n4ry-push-{os.getpid()}"


def typed(site: Site, text: str, *words: str) -> Done:
    """Run one command on the whole fleet with something on its stdin."""
    begun = time.monotonic()
    done = subprocess.run(site.command("fab", words, "lab"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, input=text, text=True,
                          env=site.environment(), timeout=120, check=False)
    print(f"$ fab {' '.join(words)}\n{done.stdout}exit {done.returncode}")
    return Done(done.returncode, done.stdout, time.monotonic() - begun)


def remembered(site: Site, last: int) -> list[tuple[str, int, list[str], str]]:
    """List what the hosts' history says was done by hand last: verb, exit code, where, what."""
    said = [json.loads(line) for line in site.fab("history", "--format", "json").out.splitlines()]
    return [(each["verb"], each["exit"], each["hosts"], each["what"]) for each in said if each.get("by_hand")][-last:]


def workers(site: Site, host: str) -> set[int]:
    """List the workers' pids by the socket that each keeps."""
    return {int(name.split("-")[1].split(".")[0]) for name in site.lab.run(host, "ls shop/.gapless/run | grep sock").stdout.split()}


def test_scaling_replaces_nobody_and_loses_nothing(site: Site) -> None:
    before, pids = links(site), {host: workers(site, host) for host in site.lab.names}
    with site.load() as tally:
        up = site.fab("scale", "--instances", "3")
        more = {host: workers(site, host) for host in site.lab.names}
        status = site.fab("status", hosts="lab1")
        down = site.fab("scale", "--instances", "2", tool="inv")
    assert (up.code, down.code) == (0, 0), up.out + down.out
    lost_nothing(tally)
    assert "shop: 2 → 3 workers" in up.out
    assert "hosts.yaml says instances: 2 for shop; write 3 there" in up.out and "hosts.yaml says" not in down.out
    assert (status.code, "shop: 3 of 2 workers" in status.out) == (5, True)
    assert all(pids[host] < more[host] and len(more[host]) == 3 for host in pids)
    assert {host: workers(site, host) for host in site.lab.names} == pids
    untouched(site, before)


def test_a_host_that_a_person_drained_stays_out_until_it_is_restored(site: Site) -> None:
    before = links(site)
    with site.load() as tally:
        assert site.fab("drain", "--reason", "new disk", hosts="lab1").code == 0
        assert site.rotation() == {"lab2", "lab3"}
        last = site.fab("drain", hosts="lab2,lab3")
        assert (last.code, "nothing was touched" in last.out) == (4, True)
        reload = site.begin("reload")
        reload.until("lab1     worker")
        held = [site.fab("drain", hosts="lab2"), site.fab("restore", hosts="lab1"), typed(site, "x\n", "env.push", "--set", "A")]
        assert [(each.code, "has been at reload" in each.out) for each in held] == [(3, True)] * 3
        done = reload.done()
        assert (done.code, "lab1     is in maintenance at the balancer, and stays so" in done.out) == (0, True)
        assert site.rotation() == {"lab2", "lab3"}
        pid = min(workers(site, "lab1"))
        site.lab.run("lab1", f"kill -STOP {pid}")
        try:
            sick = site.fab("restore", hosts="lab1")
            assert (sick.code, "lab1: not healthy" in sick.out) == (4, True)
            assert site.rotation() == {"lab2", "lab3"}
        finally:
            site.lab.run("lab1", f"kill -CONT {pid}")
        assert site.fab("restore", hosts="lab1").code == 0
    lost_nothing(tally)
    assert remembered(site, 2) == [("drain", 0, ["lab1"], "new disk"), ("restore", 0, ["lab1"], "")]  # what was refused was not done
    assert "last run: reload by " in site.fab("status").out
    untouched(site, before)


def test_an_env_file_reaches_all_hosts_or_none_and_its_values_nobody_else(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_secrets, "CANARIES", (*test_secrets.CANARIES, PUSHED))
    monkeypatch.setattr(test_secrets, "HOMES", {PUSHED: set()})
    file = site.folder / "pushed.env"
    original = {host: site.lab.run(host, "cat shop/shared/.env").stdout for host in site.lab.names}
    file.write_text(f"{original['lab1']}CANARY='{PUSHED} and more'\n")
    said, sampler = [], Sampler()
    with sampler.running():
        said.append(typed(site, f"{PUSHED} and more\n", "env.push", "--set", "CANARY"))
        assert "changed since the last reload: CANARY" in site.fab("env").out
        said.append(site.fab("env.diff", "--command", f"cat {file}", hosts="lab1"))
        said.append(site.fab("env.diff"))
        # One that can't be written is found half-way: its next file is in the way.
        site.lab.run("lab3", "mkdir shop/shared/.env.next")
        half = typed(site, "other\n", "env.push", "--set", "MORE")
        site.lab.run("lab3", "rmdir shop/shared/.env.next")
        said += [half, typed(site, "other\n", "env.push", "--set", "MORE"), site.fab("reload", "--max-parallel", "100%"), site.fab("env")]
        bad = site.folder / "bad.env"
        bad.write_text(f"A=1\n{PUSHED}\n")
        said.append(site.fab("env.push", "--file", str(bad)))
    sampler.check()
    codes = [done.code for done in said]
    assert codes == [0, 0, 0, 5, 0, 0, 0, 4], "\n".join(done.out for done in said)
    assert "lab3: was not written" in half.out and "lab1, lab2: has the new file" in half.out
    assert "has it already" in said[4].out and "fab reload --hosts lab3" in said[4].out
    assert "changed since" not in said[6].out and "MORE" in said[6].out
    assert "lab1, lab2, lab3: line 2: " in said[7].out
    every = site.lab.names
    assert remembered(site, 3) == [("env.push", 0, every, ".env: CANARY"), ("env.push", 5, every, ".env: MORE"), ("env.push", 0, ["lab3"], ".env: MORE")]
    found, modes = holders(site, "lab1")
    # The version of before is kept where a build's words are cleaned of all that stands there.
    assert found[PUSHED] == {"shop/shared/.env", "shop/.gapless/env/shop.good", "shop/.gapless/env/.env.before"}
    assert modes == {"600"}
    logs = "".join(each.read_text(errors="replace") for each in (site.folder / "state").rglob("*") if each.is_file())
    assert "c4n4ry" not in logs + "".join(done.out for done in said)
    assert f"{PUSHED} and more" in site.fab("env", "--show", hosts="lab1").out
    assert site.fab("env.push", "--unset", "CANARY,MORE").code == 0
    assert {host: site.lab.run(host, "cat shop/shared/.env").stdout for host in site.lab.names} == original
    for host in site.lab.names:
        site.lab.run(host, "rm shop/.gapless/env/.env.before")
    assert site.fab("reload", "--max-parallel", "100%").code == 0
