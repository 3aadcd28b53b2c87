"""What all tests share."""

import pytest

LONGEST = ("test_deploy.py", "test_recovery.py", "test_interrupt.py", "test_preflight.py", "test_secrets.py", "test_back.py", "test_trouble.py")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than a few seconds")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: a parallel run hands out whole files, and ends when the last one does."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
