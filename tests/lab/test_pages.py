"""What README and docs show is what today's code prints."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.lab.making import CHECKOUT

pytestmark = [pytest.mark.lab, pytest.mark.operate]


@pytest.mark.timeout(900)
def test_no_sample_is_stale() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.lab.samples", "--check"], cwd=CHECKOUT, capture_output=True, text=True, timeout=880, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
