"""fab init asks the hosts what PM2 runs there already, and changes nothing there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile.inventory.loading import load
from tests.lab.conftest import Site
from tests.lab.making import CHECKOUT

pytestmark = [pytest.mark.lab, pytest.mark.operate]

LEGACY = """\
mkdir -p ~/legacy/releases/7 && cd ~/legacy/releases/7
echo '{{"name": "legacy", "scripts": {{"start:prod": "node x.js"}}}}' >package.json
echo 'require("http").createServer((_, b) => b.end()).listen({port}, "127.0.0.1")' >x.js
TOKEN=hunter2-canary pm2 start npm --name legacy -- run start:prod --token=hunter2-canary >/dev/null
for n in 1 2 3 4 5 6 7 8 9 10; do node -e 'fetch("http://127.0.0.1:{port}").then(() => 0, () => process.exit(1))' && break; sleep 0.5; done
"""
LOOK = "pm2 pid shop; pm2 pid legacy; find ~/shop ~/legacy ! -path '*/run/*' -newer ~/legacy/releases/7/x.js"


@pytest.fixture
def legacy(site: Site) -> Iterator[int]:
    """Run an app in the usual way beside ours on lab2; give its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    site.lab.run("lab2", LEGACY.format(port=port))
    yield port
    site.lab.run("lab2", "pm2 delete legacy >/dev/null; rm -rf ~/legacy; pm2 save --force >/dev/null")


def init(site: Site, place: Path, *words: str) -> tuple[str, str]:
    """Type `fab init` in a checkout of the app, with the fleet in ssh config; give what was said and written."""
    (place / "home/.ssh").mkdir(parents=True, exist_ok=True)
    (place / "home/.ssh/config").write_text(site.lab.ssh_config.read_text())
    if not (place / "app").exists():
        subprocess.run(["git", "clone", "-q", "-b", "main", site.lab.repo, place / "app"], check=True)
    done = subprocess.run(
        [Path(sys.executable).parent / "fab", "-r", CHECKOUT, "init", "--force", *words], cwd=place / "app", env={**os.environ, "HOME": str(place / "home")},
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )
    print(done.stdout, done.stderr)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, (place / "app/hosts.yaml").read_text()


def test_what_runs_already_is_found_and_left_alone(site: Site, legacy: int, tmp_path: Path) -> None:
    before = site.lab.run("lab2", LOOK).stdout
    said, text = init(site, tmp_path, "--hosts", "lab1,lab2,host.invalid")
    app = load(tmp_path / "app/hosts.yaml").groups[0].hosts[0].app
    assert (app.name, app.root) == ("shop", site.lab.run("lab1", "cd ~/shop && pwd").stdout.strip())
    assert "with --allow-downtime" not in text
    assert "note: host.invalid was not asked what runs there: no such name" in said

    said, text = init(site, tmp_path, "--hosts", "lab2", "--name", "legacy")
    app = load(tmp_path / "app/hosts.yaml").groups[0].hosts[0].app
    assert (app.name, app.processes[0].port) == ("legacy", legacy)
    assert app.root == site.lab.run("lab2", "cd ~/legacy && pwd").stdout.strip()
    assert "# PM2 runs it through npm on lab2: the first deploy must replace it once, with --allow-downtime." in text
    assert "from inside" in said
    assert "hunter2" not in said + text
    assert site.lab.run("lab2", LOOK).stdout == before
