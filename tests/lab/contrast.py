"""The same releases the usual way: plain `pm2 reload`, on a host of its own, under the same load."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests import load
from tests.lab import asking
from tests.lab.asking import Wrong
from tests.lab.fleet import Lab

ENV = "set -a && . ~/shop/shared/.env && set +a && cd ~ && "
CLUSTER = ENV + "pm2 start ~/plain/current/dist/main.js --name shop -i 2 --cwd ~/plain/current"
NPM = ENV + "cd ~/plain/current && pm2 start npm --name shop -- run start:prod"
INSIDE = ENV + "cd ~/plain/current && pm2 start dist/main.js --name shop -i 2"
RELOAD = ENV + "cd ~/plain/current && pm2 reload shop --update-env"  # as kindly as can be: the new env file, the new directory
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
        self.url = lab.host_url(host)
        self._build({"v1", *(case.release for case in CASES)})

    def run(self, script: str, check: bool = True) -> int:
        return self.lab.run(self.host, script, check=check, timeout=240).returncode

    def _build(self, names: set[str]) -> None:
        """Check out and build releases side by side; they share one lockfile, so one install serves them all."""
        self.run("mkdir -p ~/plain")
        for name in sorted(names):
            self.run(
                f"cd ~/plain && git clone -q --branch {name} ~/repo.git {name} && cd {name} && ln -s ~/shop/shared/.env .env && "
                "{ [ -d ../node_modules ] || { npm ci >/dev/null 2>&1 && cp -al node_modules ../node_modules; }; } && "
                "{ [ -d node_modules ] || cp -al ../node_modules node_modules; } && npm run build >/dev/null 2>&1"
            )
        self.run("cd ~/plain/v2 && npx prisma migrate deploy >/dev/null 2>&1")

    def losses(self) -> Iterator[Result]:
        """Run the cases one after another."""
        for case in CASES:
            yield self.measure(case)

    def measure(self, case: Case) -> Result:
        """Start v1, put the load on, flip the link, `pm2 reload`; count what clients lose."""
        with self._started(case.start), self._load(case.path) as tally:
            time.sleep(1.5)
            self._flip(case.release)
            begun = time.monotonic()
            code = self.run("cd ~ && pm2 reload shop --update-env", check=False)
            time.sleep(max(0.0, WATCH - (time.monotonic() - begun)))
        return Result(case.text, code, tally.total, tally.lost)

    def old_code(self) -> Wrong:
        """Start v1 from inside `current/`, flip the link, reload; count the answers that v2 did not give."""
        with self._started(INSIDE):
            code = self._reload()
            return Wrong("answers by old code; started inside current/", "pm2 reload --update-env", code, *asking.by_old_code(self.url, "v2"))

    def old_variable(self) -> Wrong:
        """Start v1 with a variable, take it out of the env file, flip the link, reload; count the workers that have it still."""
        asking.put_in(self.lab)
        with self._started(CLUSTER):
            asking.take_out(self.lab)
            code = self._reload()
            return Wrong("workers with a variable that was taken out", "pm2 reload --update-env", code, *asking.holders([self.url]))

    @contextmanager
    def _started(self, start: str) -> Iterator[None]:
        """Start v1; leave the host without PM2."""
        self.run("ln -sfn v1 ~/plain/current")
        self.run(start)
        try:
            self._wait()
            yield
        finally:
            self.run("pm2 kill", check=False)

    def _reload(self) -> int:
        """Flip the link to v2 and reload; leave the old workers time to go, longer than PM2 does."""
        self._flip("v2")
        code = self.run(RELOAD, check=False)
        time.sleep(3)
        return code

    def _flip(self, release: str) -> None:
        self.run(f"ln -sfn {release} ~/plain/next && mv -T ~/plain/next ~/plain/current")

    def _wait(self) -> None:
        end = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    @contextmanager
    def _load(self, path: str) -> Iterator[load.Tally]:
        with load.running(self.url, path=path, rate=100, slow=2, slow_path="/slow?ms=3000", post_path="/items", timeout=6) as tally:
            yield tally
