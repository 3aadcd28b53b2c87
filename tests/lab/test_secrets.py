"""Planted secrets, and a real deploy: they turn up nowhere but where they belong, and there nobody else may read them."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import pytest

from tests.lab.conftest import Site

pytestmark = [pytest.mark.lab, pytest.mark.long]

EVERY = 0.02  # seconds between two looks at the process tables
FILE, INVENTORY, DEPLOYER, URL, CONTROL = CANARIES = tuple(f"c4n4ry-{name}-{os.getpid()}" for name in ("file", "yaml", "ci", "url", "control"))
# Where each belongs: shop.good is the copy of the env file that worked, and a release's marker is what tells the gate its env.
HOMES = {
    FILE: {"shop/shared/.env", "shop/.gapless/env/shop.good"}, INVENTORY: {"shop/releases/ID/.gapless.json"}, DEPLOYER: set(), CONTROL: set(),
}


class Sampler:
    """Read every process table as any user may: on a lab as root, those of the hosts are part of ours."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}
        self.looks: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        while not self._stop.wait(EVERY):
            self.looks.append(time.monotonic())
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with suppress(OSError):
                    self._look(Path(f"/proc/{pid}/cmdline").read_bytes())

    def _look(self, line: bytes) -> None:
        if b"c4n4ry" in line:
            text = line.replace(b"\0", b" ").decode(errors="replace")
            self.seen |= {canary: text for canary in CANARIES if canary in text}

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        # What it is to find, it finds: without this an eye that is shut would see no leak.
        subprocess.run(["sh", "-c", f"sleep 0.3; : {CONTROL}"], check=True)
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()

    def check(self) -> None:
        assert self.seen.keys() == {CONTROL}, self.seen
        assert median(after - before for before, after in zip(self.looks, self.looks[1:], strict=False)) < 3 * EVERY


@contextmanager
def planted(site: Site, host: str) -> Iterator[None]:
    """Put a secret into the host's env file, and another into hosts.yaml; past any command line."""
    file = site.lab.path(host, site.lab.root(host)) / "shared/.env"
    before = file.read_text()
    file.write_text(f"{before}CANARY_FILE='{FILE} and more'\n")
    text = site.inventory.read_text()
    site.inventory.write_text(text.replace("      health: {", f"      env: {{CANARY_YAML: {INVENTORY}}}\n      health: {{", 1))
    try:
        yield
    finally:
        file.write_text(before)


def holders(site: Site, host: str) -> tuple[dict[str, set[str]], set[str]]:
    """List what files below the host's home hold each secret, and the modes of all of them but PM2's logs, which are the app's own."""
    # By printf, which is the shell's own: another program would have the secret in its command line.
    find = "grep -roFf - . | sort -u | while IFS= read -r line; do printf '%s %s\\n' \"$(stat -c %a \"${line%:*}\")\" \"$line\"; done"
    lines = [line.split(" ", 1) for line in site.lab.run(host, find, input="\n".join(HOMES)).stdout.splitlines()]
    found: dict[str, set[str]] = {secret: set() for secret in HOMES}
    for _, line in lines:
        name, secret = re.sub(r"(releases|runs)/[^/]+", r"\1/ID", re.sub("crash-[0-9]+", "crash-PID", line.removeprefix("./"))).rsplit(":", 1)
        found[secret].add(name)
    return found, {mode for mode, line in lines if not line.startswith("./.pm2/logs/")}


def environments(site: Site, host: str) -> str:
    """Give the environments of all that runs on the host."""
    texts = []
    for pid in site.lab.pids(host):
        with suppress(OSError):
            texts.append(Path(f"/proc/{pid}/environ").read_text(errors="replace"))
    return "\n".join(texts)


def test_planted_secrets_turn_up_nowhere(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_DEPLOYER", DEPLOYER)
    sampler = Sampler()
    with planted(site, "lab1"):
        with sampler.running():
            good = site.fab("deploy", "--ref", "v2", hosts="lab1")
            bad = site.fab("deploy", "--ref", "v3-throws", "--verbose", hosts="lab1")
        assert (good.code, bad.code) == (0, 1)
        found, modes = holders(site, "lab1")
        assert DEPLOYER not in environments(site, "lab1")
    sampler.check()
    assert found == HOMES
    assert modes == {"600"}
    assert site.lab.run("lab1", "stat -c %a .pm2/dump.pm2").stdout == "600\n"
    logs = "".join(file.read_text(errors="replace") for file in (site.folder / "state").rglob("*") if file.is_file())
    assert "JWT_SECRET is not set" in logs
    assert "c4n4ry" not in good.out + bad.out + logs


# How each of those that run our user's code prints the secrets; and where on the host that may be read.
PRINTERS = {
    "build": ("cat .env; exit 3", "runs/ID/build.log"),
    "migrate": ('echo "key $CANARY_FILE"; printf %s "$CANARY_FILE" | base64; exit 3', "runs/ID/migrate.output"),
    "app": (
        'echo "console.log(process.env.CANARY_FILE); throw new Error(process.env.CANARY_YAML + JSON.stringify(process.env))" >dist/main.js',
        "run/crash-PID.log",
    ),
}


@pytest.mark.parametrize("printer", PRINTERS)
def test_a_secret_that_is_printed_never_leaves_the_host(site: Site, printer: str) -> None:
    command, home = PRINTERS[printer]
    with planted(site, "lab1"):
        text = site.inventory.read_text()
        if printer == "migrate":
            text = re.sub("migrate: .*", f"migrate: {command}", text)
        else:
            text = re.sub(r"build: .*", f"build: [npm ci, npm run build, '{command}']", text)
        site.inventory.write_text(text)
        sampler = Sampler()
        with sampler.running():
            done = site.fab("deploy", "--ref", "v2", "--verbose", hosts="lab1")
        sampler.check()
        found, modes = holders(site, "lab1")
    assert (done.code, "[hidden CANARY_FILE]" in done.out) == (1, True)
    # The base64 of the secret is as good as the secret.
    logs = "".join(file.read_text(errors="replace") for file in (site.folder / "state").rglob("*") if file.is_file())
    assert "c4n4ry" not in done.out + logs and "YzRuNHJ5" not in done.out + logs
    assert f"shop/.gapless/{home}" in found[FILE]
    assert not [name for names in found.values() for name in names if name.endswith((".jsonl", "driver.log", "migrate.log"))]
    assert modes == {"600"}, found


def test_a_repository_with_a_password_is_told_without_it(site: Site) -> None:
    for url in (f"https://deploy:{URL}@example.com/shop.git", f"https://{URL}@example.com/shop.git"):
        text = site.inventory.read_text()
        site.inventory.write_text(re.sub("repo: .*", f"repo: {url}", text))
        sampler = Sampler()
        with sampler.running():
            done = site.fab("deploy", "--ref", "v2")
        sampler.check()
        assert (done.code, URL in done.out, "use a deploy key" in done.out) == (2, False, True)
