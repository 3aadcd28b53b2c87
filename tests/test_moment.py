"""What a short run leaves when it dies is nothing that another could finish."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fabfile.run import recovery
from fabfile.run.moment import MOMENTS
from fabfile.run.recovery import Left


@pytest.mark.parametrize("verb", MOMENTS)
def test_a_moment_that_died_is_not_resumed_by_a_reload(verb: str) -> None:
    told: list[str] = []
    rollout: Any = SimpleNamespace(begin=lambda phase, what: told.append(what))  # whatever else is asked of it fails
    recovery.resume(rollout, Left({"run": "r", "verb": verb}, {}, {}))
    assert len(told) == 1 and "type it once more" in told[0]
