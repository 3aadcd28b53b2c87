"""What all tests share."""

import pytest

FLEET = {"test_deploy.py", "test_interrupt.py", "test_preflight.py", "test_recovery.py", "test_secrets.py"}  # one lab for all of these


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than a few seconds")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each process of a parallel run whole files of what shares a fleet or a PM2; the longest first."""
    for item in items:
        shared = item.path.name in FLEET
        if shared or item.path.parent.name in ("lab", "gate", "driver"):
            item.add_marker(pytest.mark.xdist_group("fleet" if shared else f"{item.path.parent.name}-{item.path.stem}"))
    items.sort(key=lambda item: item.path.name not in FLEET)
