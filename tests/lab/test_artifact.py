"""Build once and ship, on the real fleet: the same bytes on every host or nothing, and a controller that holds none of them."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import json
import os
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import Site

pytestmark = [pytest.mark.lab, pytest.mark.operate]

FIRST = "build: {run: [npm ci, npm run build, 'echo built >>../../.gapless/built'], on: first}"
SECRET = "X-Signature=s3cr3t-0123456789"
LARGE = 200_000_000


@pytest.fixture(autouse=True)
def from_scratch(site: Site) -> Iterator[None]:
    """
    Begin where no host has an artifact: what one has is not sent again.

    End on what all served before, with no other release, and with no word of its migration: another test may build it anew.
    """
    before, had = {host: site.link(host) for host in site.lab.names}, made(site)
    for host in site.lab.names:
        site.lab.run(host, "rm -rf ~/shop/.gapless/artifacts ~/shop/.gapless/built")
    yield
    site.configure()
    if {host: site.link(host) for host in site.lab.names} != before:
        assert site.fab("rollback", "--to", before["lab1"]).code == 0
    for host, there in made(site).items():
        site.lab.run(host, f"cd ~/shop && rm -rf {' '.join(there - had[host])}")


def made(site: Site) -> dict[str, set[str]]:
    """List what a deploy leaves that a later one goes by."""
    return {host: set(site.lab.run(host, "cd ~/shop && ls -d releases/* .gapless/runs/*/migrate.jsonl 2>/dev/null || true").stdout.split()) for host in site.lab.names}


def configure(site: Site, app: str, **more: Any) -> None:
    """Say in hosts.yaml where to build; the key stands there once."""
    file = site.configure(**more)
    file.write_text(file.read_text().replace("build: [npm ci, npm run build]", app))


def marker(site: Site, host: str, release: str) -> dict[str, Any]:
    return dict(json.loads(site.lab.run(host, f"cat ~/shop/releases/{release}/.gapless.json").stdout))


def kept(site: Site, host: str) -> list[str]:
    return site.lab.run(host, "ls ~/shop/.gapless/artifacts 2>/dev/null || true").stdout.split()


def releases(site: Site) -> dict[str, list[str]]:
    return {host: site.lab.run(host, "ls ~/shop/releases").stdout.split() for host in site.lab.names}


@pytest.fixture(scope="module")
def built(live: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give what CI would have built: the files of a release, packed by tar as anybody's tar packs."""
    release = live.link("lab1")
    inside = live.lab.path("lab1", f"{live.lab.root('lab1')}/releases/{release}")
    file = tmp_path_factory.mktemp("ci") / "shop.tgz"
    subprocess.run(["tar", "-C", inside, "--exclude=./.env", "--exclude=./.gapless*", "-czf", file, "."], check=True)
    return file


def digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def tarball(file: Path, *entries: tuple[str, bytes] | tarfile.TarInfo) -> Path:
    with tarfile.open(file, "w:gz") as made:
        for entry in entries:
            info = entry if isinstance(entry, tarfile.TarInfo) else tarfile.TarInfo(entry[0])
            info.size = 0 if isinstance(entry, tarfile.TarInfo) else len(entry[1])
            made.addfile(info, None if isinstance(entry, tarfile.TarInfo) else io.BytesIO(entry[1]))
    return file


# ---------------------------------------------------------------------- build: on: first


def test_the_first_host_builds_and_all_get_the_same(site: Site) -> None:
    configure(site, FIRST)
    plan = site.fab("deploy", "--ref", "v2", "--plan")
    assert "on lab1, once" in plan.out and "packed there, and sent to lab2, lab3, where its sha256 is checked" in plan.out
    with site.load() as tally:
        done = site.fab("deploy", "--ref", "v2")
    assert done.code == 0, done.out
    assert tally.lost == 0, tally.summary()
    release = site.release_of(done)
    assert {host: site.lab.run(host, "cat ~/shop/.gapless/built || true").stdout.split() for host in site.lab.names} == {
        "lab1": ["built"], "lab2": [], "lab3": []}
    artifacts = {marker(site, host, release)["artifact"] for host in site.lab.names}
    assert len(artifacts) == 1
    listing = f"cd ~/shop/releases/{release} && find . -type f ! -name .gapless\\* -exec sha256sum {{}} + | sort -k 2 | sha256sum; ls -l .env"
    assert len({site.lab.run(host, listing).stdout.split()[0] for host in site.lab.names}) == 1
    assert all("shared/.env" in site.lab.run(host, listing).stdout for host in site.lab.names)
    assert all(site.answers(host) == {release} for host in site.lab.names)
    assert all(kept(site, host) == [*artifacts] for host in site.lab.names)


def test_hosts_of_another_kind_are_refused_before_anything_is_built(site: Site) -> None:
    """Have one host say that it is musl: its truth is told by a script that reads the beginning of node's own file."""
    configure(site, FIRST)
    before = releases(site)
    other = "mkdir -p ~/other && cp -L $(command -v node) ~/other/node && printf /ld-musl-x86_64.so.1 | dd of=$HOME/other/node bs=1 seek=3072 conv=notrunc 2>/dev/null"
    if site.lab.run("lab3", f"{other} && ln -sf $(readlink -f $(command -v pm2)) ~/other/pm2 && ~/other/node -v", check=False).returncode:
        pytest.skip("no node can be made here that looks like another")
    site.inventory.write_text(site.inventory.read_text().replace("lab3]", "{host: lab3, node_bin: ~/other}]"))
    try:
        done = site.fab("build", "--ref", "v2")
    finally:
        site.lab.run("lab3", "rm -rf ~/other")
    assert done.code == 4, done.out
    assert "lab3: linux x64 musl node" in done.out and "lab1, which builds: linux x64 glibc node" in done.out
    assert releases(site) == before


def test_a_run_that_died_while_it_shipped_is_finished_without_a_second_build(site: Site) -> None:
    configure(site, FIRST)
    build = site.begin("build", "--ref", "v2")
    build.until("packed ")
    build.until("lab1     ok in ")  # or the release would not be called complete yet, and rightly be built once more
    build.process.kill()
    build.done()
    done = site.fab("resume")
    assert done.code == 0, done.out
    (release,) = {site.releases(host)[-1] for host in site.lab.names}
    assert len({marker(site, host, release)["artifact"] for host in site.lab.names}) == 1
    assert site.lab.run("lab1", "cat ~/shop/.gapless/built").stdout.split() == ["built"]
    assert not any(name.endswith(".part") for host in site.lab.names for name in kept(site, host))


def test_a_link_that_is_cut_while_shipping_switches_no_host(site: Site, large: Path) -> None:
    before, links = releases(site), {host: site.link(host) for host in site.lab.names}
    deploy = site.begin("deploy", "--artifact", str(large))
    deploy.until("── build")
    arriving(site, "lab2", deploy)
    site.lab.cut("lab2")
    try:
        done = deploy.done(200)
    finally:
        site.lab.heal("lab2")
    assert done.code in (1, 5), done.out
    assert "lab2 lost: outcome unknown in build, step: receive the artifact" in done.out
    assert "No host was switched" in done.out
    assert {host: site.link(host) for host in site.lab.names} == links
    for host in site.locks():
        assert host == "lab2"
        assert site.fab("unlock", "--id", deploy.out.split("--id ")[1].split()[0], hosts=host).code == 0
    assert releases(site)["lab2"] == before["lab2"]
    until(lambda: site.rotation() == set(site.lab.names))


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


def arriving(site: Site, host: str, deploy: Any) -> None:
    """Wait until some bytes of an artifact have come."""
    count = "cat ~/shop/.gapless/artifacts/*.part 2>/dev/null | head -c 5000000 | wc -c"
    until(lambda: deploy.process.poll() is not None or int(site.lab.run(host, count).stdout) >= 5_000_000)
    assert deploy.process.poll() is None, deploy.done().out


# ---------------------------------------------------------------------- --artifact FILE


def test_a_file_is_sent_to_all_and_deployed(site: Site, built: Path) -> None:
    with site.load() as tally:
        done = site.fab("deploy", "--artifact", str(built))
    assert done.code == 0, done.out
    assert tally.lost == 0, tally.summary()
    release = site.release_of(done)
    assert release.endswith(f"-{digest(built)[:7]}")
    for host in site.lab.names:
        assert site.answers(host) == {release}
        assert (marker(site, host, release)["artifact"], marker(site, host, release)["commit"]) == (digest(built), "")
    assert "has " in done.out and f"from {built}" in done.out
    assert f"artifact {digest(built)[:7]}" in site.fab("releases").out
    assert f"→ artifact {digest(built)[:7]}" in site.fab("history").out
    # The same once more: a new release, and not a byte is sent.
    again = site.fab("build", "--artifact", str(built), "--ref", "v2")
    assert again.code == 0, again.out
    assert f"from {built}" not in again.out
    assert marker(site, "lab2", site.release_of(again))["commit"] == site.lab.ref("v2")


def test_a_plan_of_an_artifact_wants_the_same_artifact(site: Site, built: Path, tmp_path: Path) -> None:
    plan = site.fab("build", "--artifact", str(built), "--plan")
    assert f"nothing: {built} is sent from here to all 3 hosts" in plan.out
    id = plan.out.split("--plan-id ")[1].split()[0]
    alone = site.fab("build", "--plan-id", id)
    assert (alone.code, "give it again" in alone.out) == (2, True), alone.out
    other = tarball(tmp_path / "other.tgz", ("dist/main.js", b"1"))
    assert site.fab("build", "--plan-id", id, "--artifact", str(other)).code == 2
    done = site.fab("build", "--plan-id", id, "--artifact", str(built))
    assert done.code == 0, done.out


def test_a_hostile_file_is_refused_everywhere_and_leaves_nothing(site: Site, tmp_path: Path) -> None:
    before = releases(site)
    out = tarfile.TarInfo("uploads")
    out.type, out.linkname = tarfile.SYMTYPE, "../../shared"
    for why, file in {
        'the link "uploads" leads out of the release': tarball(tmp_path / "out.tgz", ("dist/main.js", b"1"), out),
        "there is no dist/main.js in the release": tarball(tmp_path / "empty.tgz", ("package/dist/main.js", b"1")),
    }.items():
        done = site.fab("deploy", "--artifact", str(file))
        assert done.code == 1, done.out
        assert "lab1, lab2, lab3 failed in build" in done.out and why in done.out
        assert "No host was switched" in done.out
        assert (releases(site), [kept(site, host) for host in site.lab.names]) == (before, [[], [], []])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an artifact of 200 MB that no compression makes smaller."""
    file = tmp_path_factory.mktemp("large") / "large.tgz"
    with tarfile.open(file, "w:gz", compresslevel=0) as made:
        for number in range(10):
            info = tarfile.TarInfo(f"dist/{'main.js' if number == 9 else number}")
            info.size = LARGE // 10
            made.addfile(info, io.BytesIO(os.urandom(info.size)))
    return file


def test_the_controller_holds_none_of_what_it_sends(site: Site, large: Path, tmp_path: Path) -> None:
    small = tarball(tmp_path / "small.tgz", ("dist/main.js", b"1"))
    little, much = (peak(site, file) for file in (small, large))
    assert much - little < 30_000, f"{little} kB for a small artifact, {much} kB for one of 200 MB"
    assert kept(site, "lab3") == [digest(large)]


def peak(site: Site, file: Path) -> int:
    """Build from an artifact on all hosts; return the most memory that fab had, in kB."""
    build = site.begin("build", "--artifact", str(file))
    most = 0
    while build.process.poll() is None:
        with contextlib.suppress(OSError, IndexError, ValueError):
            most = max(most, int(Path(f"/proc/{build.process.pid}/status").read_text().split("VmHWM:")[1].split()[0]))
        time.sleep(0.02)
    done = build.done()
    assert done.code == 0, done.out
    return most


# ---------------------------------------------------------------------- --artifact URL


@pytest.fixture
def store(site: Site, built: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve the artifact where hosts can reach it; give its address and who asked."""
    asked: list[str] = []

    class Store(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.client_address[0])
            self.send_response(200 if SECRET in self.path else 403)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(built.read_bytes() if SECRET in self.path else b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    address = site.lab.ground.gateway if site.lab.mode == "namespace" else "127.0.0.1"
    with http.server.ThreadingHTTPServer((address, 0), Store) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{address}:{server.server_port}/shop.tgz", asked
        server.shutdown()


def test_hosts_fetch_an_address_by_themselves_and_nobody_sees_its_token(site: Site, built: Path, store: tuple[str, list[str]]) -> None:
    url, asked = store
    done = site.fab("deploy", "--artifact", f"{url}?{SECRET}#sha256={digest(built)}")
    assert done.code == 0, done.out
    release = site.release_of(done)
    assert all(site.answers(host) == {release} for host in site.lab.names)
    assert len(asked) == 3 and (site.lab.mode != "namespace" or len(set(asked)) == 3)
    everything = done.out + "".join(file.read_text(errors="replace") for file in (site.folder / "state").rglob("*") if file.is_file())
    assert "s3cr3t" not in everything
    assert all(site.lab.run(host, "grep -rl s3cr3t ~/shop/.gapless ~/shop/releases/*/.gapless.json || true").stdout == "" for host in site.lab.names)


def test_another_sha256_and_a_closed_door_switch_no_host(site: Site, built: Path, store: tuple[str, list[str]]) -> None:
    url, _ = store
    before = releases(site)
    unknown = site.fab("deploy", "--artifact", f"{url}?{SECRET}")
    assert (unknown.code, "Say its sha256" in unknown.out, "s3cr3t" in unknown.out) == (2, True, False), unknown.out
    for given, why in ((f"{url}?{SECRET}#sha256={'0' * 64}", f"its sha256 is {digest(built)}, want 000"), (f"{url}#sha256={digest(built)}", "403")):
        done = site.fab("deploy", "--artifact", given)
        assert (done.code, why in done.out, "s3cr3t" in done.out) == (1, True, False), done.out
        assert (releases(site), [kept(site, host) for host in site.lab.names]) == (before, [[], [], []])
