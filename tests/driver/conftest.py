"""A PM2 of its own for each file of tests, and a host of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.driver.host import Host, alive
from tests.gate.conftest import Pm2, a_pm2, node_modules, pm2

__all__ = ["host", "node_modules", "pm2"]


@pytest.fixture
def host(pm2: Pm2, node_modules: Path) -> Iterator[Host]:
    """An app on a host; nothing of it is left afterwards."""
    number = sum(1 for _ in pm2.home.parent.iterdir())
    one = Host(pm2.home.parent / f"h{number}", pm2, node_modules, f"app{number}")
    try:
        yield one
    finally:
        one.remove()


@pytest.fixture
def own_pm2(node_modules: Path) -> Iterator[Pm2]:
    """Have a daemon that a test may kill."""
    with a_pm2(node_modules, end_what_lives) as daemon:
        yield daemon


def end_what_lives(daemon: Pm2) -> None:
    if alive(daemon.daemon):
        return daemon.end()
    daemon.helper.kill()
    daemon.helper.wait()
    daemon.log.close()
    return None
