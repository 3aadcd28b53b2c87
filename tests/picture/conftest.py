"""What looks at a report: a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import system
from tests.picture.browser import Browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Start Chromium once; skip, with what to type, where it can't be had."""
    try:
        driver, chromium = system.ensure_one("chromedriver"), system.ensure_one("chromium")
    except system.MissingPrograms as missing:
        pytest.skip(str(missing))
    browser = Browser(driver, chromium, tmp_path_factory.mktemp("profile"))
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a place for pages and what was seen of them."""
    return tmp_path_factory.mktemp("shown")
