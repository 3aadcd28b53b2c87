"""The same releases the usual way: plain `pm2 reload`, on a host of its own, under the same load."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests import load
from tests.lab.fleet import Lab

ENV = "set -a && . ~/shop/shared/.env && set +a && cd ~ && "
CLUSTER = ENV + "pm2 start ~/plain/current/dist/main.js --name shop -i 2 --cwd ~/plain/current"
NPM = ENV + "cd ~/plain/current && pm2 start npm --name shop -- run start:prod"
WATCH = 10.0  # seconds of load from the reload on; an outage that lasts longer is counted no further


@dataclass(frozen=True)
class Case:
    """Name one release and how the usual way starts and reloads it."""

    text: str
    release: str
    start: str = CLUSTER
    path: str = "/"


CASES = (
    Case("good release, started as `pm2 start npm`", "v2", NPM),
    Case("good release, cluster, 3 s requests in flight", "v2"),
    Case("throws at boot", "v3-throws"),
    Case("/health answers 500", "health-500", path="/health"),
    Case("boots in 8 s", "slow-boot"),
)


@dataclass(frozen=True)
class Result:
    """Hold what the usual way cost."""

    text: str
    exit_code: int
    sent: int
    lost: int


class Plain:
    """One host that is deployed by hand, as the guides say."""

    def __init__(self, lab: Lab, host: str) -> None:
        self.lab = lab
        self.host = host

    def run(self, script: str, check: bool = True) -> int:
        return self.lab.run(self.host, script, check=check, timeout=240).returncode

    def build(self, names: set[str]) -> None:
        """Check out and build releases side by side; they share one lockfile, so one install serves them all."""
        self.run("mkdir -p ~/plain")
        for name in sorted(names):
            self.run(
                f"cd ~/plain && git clone -q --branch {name} ~/repo.git {name} && cd {name} && ln -s ~/shop/shared/.env .env && "
                "{ [ -d ../node_modules ] || { npm ci >/dev/null 2>&1 && cp -al node_modules ../node_modules; }; } && "
                "{ [ -d node_modules ] || cp -al ../node_modules node_modules; } && npm run build >/dev/null 2>&1"
            )
        self.run("cd ~/plain/v2 && npx prisma migrate deploy >/dev/null 2>&1")

    def measure(self, case: Case) -> Result:
        """Start v1, put the load on, flip the link, `pm2 reload`; count what clients lose."""
        self.run("ln -sfn v1 ~/plain/current")
        self.run(case.start)
        try:
            self._wait()
            with self._load(case.path) as tally:
                time.sleep(1.5)
                self.run(f"ln -sfn {case.release} ~/plain/next && mv -T ~/plain/next ~/plain/current")
                begun = time.monotonic()
                code = self.run("cd ~ && pm2 reload shop --update-env", check=False)
                time.sleep(max(0.0, WATCH - (time.monotonic() - begun)))
        finally:
            self.run("pm2 kill", check=False)
        return Result(case.text, code, tally.total, tally.lost)

    def _wait(self) -> None:
        end = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"{self.lab.host_url(self.host)}/health", timeout=5):
                    return
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    @contextmanager
    def _load(self, path: str) -> Iterator[load.Tally]:
        url = self.lab.host_url(self.host)
        with load.running(url, path=path, rate=100, slow=2, slow_path="/slow?ms=3000", post_path="/items", timeout=6) as tally:
            yield tally


def measure(lab: Lab, host: str) -> Iterator[Result]:
    """Run the cases one after another; leave the host without PM2."""
    plain = Plain(lab, host)
    plain.build({"v1", *(case.release for case in CASES)})
    for case in CASES:
        yield plain.measure(case)
