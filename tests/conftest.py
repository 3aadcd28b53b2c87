"""What all tests share."""

import os
from pathlib import Path
from typing import Any

import hypothesis
import pytest

FLEET = ("test_deploy.py", "test_recovery.py", "test_interrupt.py", "test_preflight.py", "test_secrets.py", "test_hooks.py", "test_begin.py",
         "test_foresight.py", "test_status.py", "test_logs.py", "test_hands.py", "test_watched.py", "test_doctor.py",
         "test_bench.py", "test_artifact.py", "test_redeploy.py")

# Property tests draw the same examples each time, so that red means a change of yours; `make explore` draws new ones.
hypothesis.settings.register_profile("fixed", derandomize=True)
hypothesis.settings.register_profile("random", derandomize=False, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("EXAMPLES", "fixed"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than a few seconds")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: a parallel run ends when its last process does."""
    items.sort(key=lambda item: (item.path.name not in FLEET, item.path.parent.name not in ("driver", "gate")))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out whole files, and all that share a fleet to one process: two fleets at once would starve each other."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return "fleet" if Path(file).name in FLEET else file

    return ByFile(config, log)
