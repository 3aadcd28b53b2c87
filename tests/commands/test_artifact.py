"""Artifacts on a host: the same files on each, from the right bytes only; nothing hostile gets in, and nothing of what was refused stays."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fabfile.commands import artifact, releases
from fabfile.commands.shell import Shell, Step
from tests.commands.test_releases import FILES, files

RUN = "20261124-121212-abcdef"
RELEASE = "0007-3f2a1b9"
MARKER = json.dumps({"schema": 1, "release": RELEASE})
NODE = shutil.which("node") or "node"


def built(root: Path) -> Path:
    """Make a release directory as a build leaves it."""
    release = root / "releases" / RELEASE
    for name, text in FILES.items():
        (release / name).parent.mkdir(parents=True, exist_ok=True)
        (release / name).write_text(text)
    deep = release / "/".join(["d" * 80] * 3)
    deep.mkdir(parents=True)
    (deep / "ünïcode").write_text("deep\n")
    (release / "run.sh").write_text("#!/bin/sh\n")
    (release / "run.sh").chmod(0o755)
    (release / "link").symlink_to("dir/--option")
    (release / "nowhere").symlink_to("dir/not there")
    (release / "empty").mkdir()
    os.utime(release / "plain.txt", (1_700_000_000, 1_700_000_000))
    (release / ".env").symlink_to(root / "shared" / ".env")
    (release / "up").mkdir()
    (release / "up" / "loads").symlink_to(root / "shared" / "up" / "loads")
    return release


def packed(root: Path, *shared: str) -> Step:
    return Step("pack", artifact.pack(str(root), RELEASE, RUN, shared))


def unpacked(root: Path, wanted: str) -> Step:
    return Step("unpack", artifact.unpack(str(root), RELEASE, wanted, RUN))


def here(root: Path) -> list[str]:
    return sorted(file.name for file in (root / ".gapless" / "artifacts").iterdir())


def arrived(root: Path, data: bytes, name: str = f"{RUN}.part") -> str:
    """Put an artifact where the deployer's stream would; give its sha256."""
    (root / ".gapless" / "artifacts").mkdir(parents=True, exist_ok=True)
    (root / ".gapless" / "artifacts" / name).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def piped(sh: Any, order: Shell, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command of its own as sshd does, through the login's shell."""
    return subprocess.run([*sh.words, "-c", order], executable=sh.words[0], input=data, capture_output=True, env={"HOME": str(sh.home), "PATH": os.environ["PATH"]})


# ---------------------------------------------------------------------- there and back


def test_what_was_packed_on_one_host_is_the_same_on_another(sh, root, tmp_path):
    release, other = built(root), tmp_path / "other host"
    ran = sh.run(packed(root, ".env", "./up/loads"), Step("complete", artifact.complete_packed(str(root), RELEASE, MARKER)))
    assert (ran.code, ran.text) == (0, "")
    told = ran.event("packed")
    assert here(root) == [told["sha256"]]
    marker = json.loads((release / ".gapless.json").read_text())
    assert marker == {"artifact": told["sha256"], "schema": 1, "release": RELEASE}
    given = piped(sh, artifact.give(str(root), told["sha256"], "@mark"))
    data = given.stdout.removeprefix(b"@mark\n")
    assert (given.returncode, len(data)) == (0, told["bytes"])
    (other / ".gapless" / "lock").mkdir(parents=True)
    (other / ".gapless" / "lock" / "owner.json").write_text(json.dumps({"run": RUN}))
    arrived(other, b"old", "f" * 64)
    taken = piped(sh, artifact.take(str(other), RUN), data)
    assert (taken.returncode, taken.stderr, here(other)) == (0, b"", [f"{RUN}.part"])
    ran = sh.run(unpacked(other, told["sha256"]))
    assert (ran.code, ran.text, here(other)) == (0, "", [told["sha256"]])
    mine = other / "releases" / RELEASE
    assert files(mine) == {name: text for name, text in files(release).items() if name != ".gapless.json"}
    assert (os.readlink(mine / "link"), os.readlink(mine / "nowhere")) == ("dir/--option", "dir/not there")
    assert (mine / "empty").is_dir() and not os.path.lexists(mine / ".env") and not os.path.lexists(mine / "up" / "loads")
    assert os.access(mine / "run.sh", os.X_OK) and not os.access(mine / "plain.txt", os.X_OK)
    assert (mine / "plain.txt").stat().st_mtime == 1_700_000_000


def test_the_same_tree_is_the_same_artifact(one, root):
    built(root)
    first, again = (one.run(packed(root, ".env", "up/loads")).event("packed") for _ in range(2))
    assert first == again


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_what_others_have_packed_is_read(one, root, kind):
    source = built(root)
    (source / ".env").unlink(), (source / "up" / "loads").unlink()
    if kind == tarfile.USTAR_FORMAT:
        shutil.rmtree(source / ("d" * 80))
    os.link(source / "plain.txt", source / "second name")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz", format=kind) as tar:
        tar.add(source, ".")
    shutil.move(source, root / "before")
    ran = one.run(unpacked(root, arrived(root, data.getvalue())))
    assert (ran.code, ran.text, files(root / "releases" / RELEASE)) == (0, "", files(root / "before"))


def test_zstd_is_read_where_node_can_and_else_told(one, root):
    (root / "plain").write_text("x\n")
    tar = subprocess.run(["tar", "-C", root, "-cf", "-", "plain"], check=True, capture_output=True).stdout
    if not shutil.which("zstd"):
        pytest.skip("zstd is not installed")
    data = subprocess.run(["zstd", "-q"], input=tar, check=True, capture_output=True).stdout
    ran = one.run(unpacked(root, arrived(root, data)))
    can = subprocess.run([NODE, "-p", "!!require('zlib').createZstdDecompress"], capture_output=True, text=True).stdout.strip() == "true"
    assert (ran.code == 0) == can
    assert can or "it is zstd, which node" in ran.text


def test_a_release_that_leads_out_cant_be_packed(sh, root):
    built(root)
    ran = sh.run(packed(root, ".env"))
    assert (ran.code, here(root)) == (1, [])
    assert 'the link "up/loads" leads out of the release' in ran.text
    assert "(build: on: each)" in ran.text


# ---------------------------------------------------------------------- the wrong bytes


def tar(*entries: Any, mode: str = "w:gz") -> bytes:
    """Make an archive of (name, content) and of TarInfo."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as made:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                made.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                made.addfile(info, io.BytesIO(entry[1]))
    return data.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def link(name: str, target: str) -> tarfile.TarInfo:
    return special(name, tarfile.SYMTYPE, target)


MAIN = ("dist/main.js", b"1")
GOOD = tar(MAIN)  # made once: gzip notes the time
HOSTILE: dict[str, tuple[bytes, str]] = {
    "an absolute name": (tar(MAIN, ("/gapless-was-here", b"x")), "is an absolute name"),
    "a way out": (tar(MAIN, ("dist/../../../gapless-was-here", b"x")), "leads out of the release"),
    "a link out": (tar(MAIN, link("a", "../../shared")), 'the link "a" leads out of the release, to "../../shared"'),
    "an absolute link": (tar(MAIN, link("a", "/etc/passwd")), 'the link "a" leads out'),
    "a link that leads out over another": (tar(MAIN, link("p/q/r", "../.."), link("z", "p/q/r/../../x")), 'the link "z" leads out'),
    "links in a ring": (tar(MAIN, link("a", "b"), link("b", "a")), "over more than 40 links"),
    "a file behind a link": (tar(MAIN, link("a", "dist"), ("a/x", b"x")), "EEXIST"),
    "a link in place of a directory": (tar(("a/x", b"x"), link("a", "dist")), "EEXIST"),
    "a hard link out": (tar(MAIN, special("a", tarfile.LNKTYPE, "../../shared/.env")), "leads out of the release"),
    "a hard link to no file": (tar(MAIN, special("a", tarfile.LNKTYPE, "dist/none")), "which is no file in it"),
    "a hard link to a link": (tar(MAIN, link("a", "dist/main.js"), special("b", tarfile.LNKTYPE, "a")), "which is no file in it"),
    "a device": (tar(MAIN, special("null", tarfile.CHRTYPE)), "neither a file nor a directory nor a link"),
    "a pipe": (tar(MAIN, special("pipe", tarfile.FIFOTYPE)), "neither a file nor a directory nor a link"),
    "a file twice": (tar(MAIN, MAIN), "EEXIST"),
    "no archive": (gzip.compress(b"hello" * 1000), "it is no tar archive"),
    "nothing compressed": (tar(MAIN, mode="w"), "it is neither gzip nor zstd"),
    "half an archive": (gzip.compress(gzip.decompress(tar(MAIN))[:700]), "it ends in the middle"),
    "half a file": (tar(("dist/main.js", os.urandom(100_000)))[:50_000], "unexpected end of file"),
    "nothing at all": (b"", "it is neither gzip nor zstd"),
}


def nothing_left(root: Path) -> bool:
    return not (root / "releases" / RELEASE).exists() and here(root) == [] and not list(root.parent.rglob("*gapless-was-here*"))


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_or_damaged_artifact_is_refused_and_leaves_nothing(one, root, kind):
    data, why = HOSTILE[kind]
    ran = one.run(unpacked(root, arrived(root, data)), Step("next", releases.complete(str(root), RELEASE, "{}")))
    assert ran.code == 1
    assert why in ran.text
    assert "the artifact was refused; nothing of it was left" in ran.text
    assert nothing_left(root)
    assert not Path("/gapless-was-here").exists()


def test_an_artifact_with_another_sha256_is_refused_and_leaves_nothing(sh, root):
    arrived(root, GOOD)
    ran = sh.run(unpacked(root, "0" * 64))
    assert (ran.code, nothing_left(root)) == (1, True)
    assert f"its sha256 is {hashlib.sha256(GOOD).hexdigest()}, want {'0' * 64}" in ran.text


def test_an_artifact_that_was_kept_is_judged_anew(sh, root):
    arrived(root, GOOD + b"x", hashlib.sha256(GOOD).hexdigest())
    ran = sh.run(unpacked(root, hashlib.sha256(GOOD).hexdigest()))
    assert (ran.code, nothing_left(root)) == (1, True)


def test_an_artifact_can_neither_call_itself_complete_nor_be_run_as_another(one, root):
    wanted = arrived(root, tar(MAIN, (".gapless.json", b"{}"), ("./.gapless-stable", b""), (".gapless-bad", b""), ("sub/.gapless.json", b"{}")))
    assert one.run(unpacked(root, wanted)).code == 0
    assert set(files(root / "releases" / RELEASE)) == {"dist/main.js", "sub/.gapless.json"}


def test_no_bit_of_an_artifact_makes_a_program_anothers(one, root):
    info = tarfile.TarInfo("dist/main.js")
    info.mode = 0o6777
    assert one.run(unpacked(root, arrived(root, tar(info)))).code == 0
    assert (root / "releases" / RELEASE / "dist/main.js").stat().st_mode & 0o7000 == 0


def test_a_release_that_is_there_is_never_written_over(sh, root):
    (root / "releases" / RELEASE).mkdir(parents=True)
    (root / "releases" / RELEASE / "live").touch()
    assert sh.run(unpacked(root, arrived(root, GOOD))).code != 0
    assert files(root / "releases" / RELEASE) == {"live": ""}


def test_a_full_disk_is_told_as_such(sh, small_disk):
    wanted = arrived(small_disk, tar(("dist/main.js", b"\0" * 3_000_000)))
    ran = sh.run(unpacked(small_disk, wanted))
    assert ran.code == 1
    assert nothing_left(small_disk)
    assert "ENOSPC" in ran.text


def test_what_comes_after_another_took_the_lock_is_not_written(sh, root):
    (root / ".gapless" / "lock").mkdir(parents=True)
    (root / ".gapless" / "lock" / "owner.json").write_text(json.dumps({"run": "another"}))
    arrived(root, b"theirs", "f" * 64)
    done = piped(sh, artifact.take(str(root), RUN), b"ours")
    assert (done.returncode, here(root)) == (1, ["f" * 64])
    assert b"no longer that of this run" in done.stderr


# ---------------------------------------------------------------------- fetched by the host


class Store(http.server.BaseHTTPRequestHandler):
    """Answer with an artifact, or send on from one address to another."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/ring"):
            self.send_response(302)
            self.send_header("Location", "/ring")
            self.end_headers()
        elif self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/a.tgz")
            self.end_headers()
        else:
            self.send_response(200 if "/a.tgz" in self.path else 403)
            self.end_headers()
            self.wfile.write(GOOD if "/a.tgz" in self.path else b"<Error>secret words</Error>")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def store() -> Iterator[str]:
    Store.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(params=["curl", "node"])
def way(request: pytest.FixtureRequest, sh: Any, bare_bin: Path) -> str:
    """Give the host curl, or nothing but node."""
    (bare_bin / "node").symlink_to(NODE)
    if request.param == "curl":
        (bare_bin / "curl").symlink_to(shutil.which("curl") or pytest.skip("no curl"))
    sh.env |= {"PATH": str(bare_bin)}
    return str(request.param)


def fetched(root: Path, url: str) -> Step:
    return Step("fetch", artifact.fetch(str(root), hashlib.sha256(GOOD).hexdigest(), RUN, url))


@pytest.mark.parametrize("route", ["/a.tgz?token=s3cr3t&[x]={y}", "/moved"])
def test_a_host_fetches_by_itself_and_only_once(sh, root, store, way, route):
    wanted = hashlib.sha256(GOOD).hexdigest()
    ran = sh.run(fetched(root, store + route), unpacked(root, wanted))
    assert (ran.code, ran.text, here(root)) == (0, "", [wanted])
    assert files(root / "releases" / RELEASE) == {"dist/main.js": "1"}
    asked = list(Store.asked)
    assert sh.run(fetched(root, store + route)).code == 0
    assert Store.asked == asked


@pytest.mark.parametrize("route", ["/denied?token=s3cr3t", "/ring?token=s3cr3t"])
def test_what_cant_be_fetched_is_told_without_its_token(sh, root, store, way, route):
    ran = sh.run(fetched(root, store + route), Step("next", releases.complete(str(root), RELEASE, "{}")))
    assert (ran.code, here(root)) == (1, [])
    assert "could not be fetched by this host" in ran.text
    assert "s3cr3t" not in ran.text


@pytest.mark.parametrize("program", ["curl", "node"])
def test_no_list_of_processes_shows_the_url(sh, root, bare_bin, program):
    if program == "curl":
        (bare_bin / "node").symlink_to(NODE)
    (bare_bin / program).write_text('#!/bin/sh\nprintf "%s\\n" "$@" >"$HOME/argv"\nenv >"$HOME/env"\ncat >"$HOME/stdin"\nexit 1\n')
    (bare_bin / program).chmod(0o755)
    sh.env |= {"PATH": str(bare_bin)}
    assert sh.run(fetched(root, "https://store.example/a.tgz?token=s3cr3t")).code == 1
    said = {name: (sh.home / name).read_text() for name in ("argv", "env", "stdin")}
    assert {name: "s3cr3t" in text for name, text in said.items()} == {"argv": False, "env": False, "stdin": True}
    assert program == "node" or "--proto\n=https\n--proto-redir\n=https\n" in said["argv"]
