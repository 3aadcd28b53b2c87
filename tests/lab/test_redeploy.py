"""A redeploy with the same lockfile, with the real npm: what is given again is what npm itself would give."""

from __future__ import annotations

import pytest

from tests.lab.conftest import Site

pytestmark = [pytest.mark.lab, pytest.mark.long]
STEPS = "npm ci{0}, npm run build, npm prune --omit=dev{0}"


def built(site: Site, ref: str, how: str = "") -> str:
    """Build a commit of another app on one host, beside the one that serves; return its directory there."""
    text = site.configure(migrate="", name="again.yaml").read_text()
    for old, new in (("npm ci, npm run build", STEPS.format(how)), ("name: shop", "name: again"), ("~/shop", "~/again"),
                     ("port: 3000", "port: 3010"), ("shared: {files: [.env]}", "")):
        assert old in text
        text = text.replace(old, new)
    site.inventory.write_text(text)
    done = site.fab("build", "--ref", ref, hosts="lab1")
    assert done.code == 0, done.out
    return f"~/again/releases/{site.release_of(done)}"


def test_what_is_given_again_is_what_npm_gives(site: Site) -> None:
    by_npm, first, again = built(site, "hooks", " && true"), built(site, "slow-boot"), built(site, "slow-requests")
    log = site.lab.run("lab1", "cat ~/again/.gapless/runs/*/build.log").stdout
    assert log.count("gapless: dependencies reused: ") == log.count("gapless: pruned as before: ") == 1, log
    for release in (first, again):
        same = f"diff -r --no-dereference -x .gapless-tree.json -x .cache {by_npm}/node_modules {release}/node_modules"
        assert site.lab.run("lab1", same, check=False).stdout == ""
        assert site.lab.run("lab1", f"find {release}/node_modules -type f -links +1").stdout == ""
    site.lab.run("lab1", "rm -rf ~/again")
