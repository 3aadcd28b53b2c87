"""A reload under load loses nothing, whatever the app is made of, and a bad release answers nobody."""

from __future__ import annotations

import os
import signal

import load
import pytest
from conftest import Site, eventually

KINDS = {
    "nest-express": ("nest.cjs", {}),
    "nest-express-hooks": ("nest.cjs", {"HOOKS": "1"}),
    "nest-fastify": ("nest.cjs", {"ADAPTER": "fastify"}),
    "nest-fastify-hooks": ("nest.cjs", {"ADAPTER": "fastify", "HOOKS": "1"}),
    "express": ("express.cjs", {}),
    "koa": ("koa.cjs", {}),
    "plain": ("plain.cjs", {}),
    "plain-handlers": ("plain.cjs", {"MODE": "handlers"}),
    "esm": ("esm.mjs", {}),
    "https": ("https.cjs", {}),
    "http2-allow-http1": ("https.cjs", {"HTTP2": "1"}),
}
LONG = ("nest-express-hooks", "plain")  # with requests of 3 s; the others with shorter ones, to save time


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost_and_a_bad_release_answers_nobody(site: Site, kind: str, certificate: dict[str, str]) -> None:
    script, env = KINDS[kind]
    env = {"SLOW_MS": "3000" if kind in LONG else "1200", **env, **certificate}
    first, second = (site.release(number, script, env=env) for number in (1, 2))
    bad = site.release(3, script, env={**env, "MODE": "health-500"})
    site.start(first)
    site.settings(hold_ms=300)
    url = site.url.replace("http:", "https:") if script == "https.cjs" else site.url
    with load.running(url, rate=80, slow=2) as tally:
        site.deploy(second)
        [pid] = site.pids()
        site.switch(bad)
        reload = site.reload()
        held = site.state(bad, "held")
        eventually(lambda: "500" in site.state(bad, "held")["why"])
        site.switch(second)
        os.kill(held["pid"], signal.SIGTERM)
        reload.result(30)
        assert site.pids() != [pid]
    print(kind, tally.summary())
    assert tally.lost == 0, tally.failures[:5]
    assert set(tally.versions) == {first, second}
    assert tally.sent["slow"] > 2
