"""What a worker or a migration prints of the app's secrets stays on the host: no event holds it, nor the journal."""

from __future__ import annotations

import pytest

from tests.driver.host import Host
from tests.driver.test_migrate import migrate

CANARY = "c4n4ry of/the+driver-" + 80 * "y"


def told(host: Host) -> str:
    """Give all that has left the host, or lies there to be passed on."""
    journals = "".join(file.read_text() for file in host.base.glob("runs/*/*.jsonl"))
    assert journals.count("\n") >= len(host.runs)
    return host.story() + journals


def stays(host: Host) -> None:
    assert "c4n4ry" not in told(host)
    assert "[hidden SECRET]" in told(host)
    assert any("c4n4ry" in file.read_text() for file in [*host.run.glob("crash-*.log"), *host.base.glob("runs/*/*.output")]), "nobody printed it"


@pytest.mark.parametrize("mode", ["tells", "sick"])
@pytest.mark.parametrize("where", ["env file", "hosts.yaml"])
def test_what_a_new_worker_says_of_a_secret_stays_on_the_host(host: Host, mode: str, where: str) -> None:
    if where == "hosts.yaml":
        host.processes = (host.process(env=(("APP", host.name), ("SECRET", CANARY))),)
    env = f"SECRET='{CANARY}'\n" if where == "env file" else None
    host.up(host.release(1))
    word = host.deploy(host.release(2, mode, env=env), drained=True)
    assert word["event"] == "reverted", host.story()
    assert {len(line) <= 500 for line in [word["why"], *word["lines"]]} == {True}
    assert "[hidden SECRET]" in "\n".join(word["lines"])
    stays(host)


def test_where_nobody_knows_what_is_secret_nothing_is_shown(host: Host) -> None:
    old = host.up(host.release(1))
    (host.base / "env").mkdir(exist_ok=True)
    (host.base / "env/other.good").symlink_to("other.good")
    word = host.deploy(host.release(2, "tells", env=f"SECRET='{CANARY}'\n"), drained=True)
    assert word["event"] == "reverted", host.story()
    assert word["why"].startswith("[not shown, for what is secret in it is not known: ELOOP: ")
    assert word["lines"] == [word["why"]]
    assert "c4n4ry" not in told(host)
    host.serves(old)


@pytest.mark.parametrize("file", ["releases/0001-356a192/.env", "releases/0001-356a192/.env.production", ".gapless/env/app.good"])
def test_what_a_migration_prints_of_a_secret_stays_on_the_host(host: Host, file: str) -> None:
    host.release(1)
    (host.root / file).parent.mkdir(exist_ok=True)
    (host.root / file).write_text(f"SECRET='{CANARY}'\n")
    word = migrate(host, f". {host.root / file}; echo \"P1000: $SECRET is wrong\"; exit 3").final()
    assert (word["event"], word["lines"]) == ("broken", ["P1000: [hidden SECRET] is wrong"])
    stays(host)
