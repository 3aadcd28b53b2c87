"""Node and PM2 where a session that is not interactive does not see them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults import nemesis
from tests.faults.case import Case
from tests.faults.ground import Ground
from tests.faults.history import begun
from tests.faults.nemesis.tools import NVM

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

GUARD = "# If not running interactively, don't do anything\ncase $- in *i*) ;; *) return ;; esac\n"
BASHRC = GUARD + 'export NVM_DIR="$HOME/.nvm"\n[ ! -s "$NVM_DIR/nvm.sh" ] || . "$NVM_DIR/nvm.sh"\n'
NVM_SH = f"PATH={NVM}/bin:$PATH\n"
PROFILE = '[ -z "$BASH" ] || . ~/.bashrc\n'
HOMES = {
    "in .bashrc, which .profile reads": {".profile": PROFILE, ".bashrc": BASHRC, ".nvm/nvm.sh": NVM_SH},
    "in .bashrc, without a .profile": {".bashrc": BASHRC, ".nvm/nvm.sh": NVM_SH},
    "in no file at all": {".bashrc": GUARD},
}


@pytest.mark.parametrize("name", HOMES)
def test_node_by_nvm(case: Callable[..., Case], fleet: Ground, name: str) -> None:
    fleet.needs_mounts()
    play = case(f"node and pm2 by nvm, which is loaded {name}", 0)
    with (
        nemesis.node_by_nvm(fleet.lab, "lab1"), nemesis.login_shell(fleet.lab, "lab1", "/bin/bash", HOMES[name]),
        play.playing(), play.fault(nemesis.nothing(), begun),
    ):
        pass


def test_node_nowhere(case: Callable[..., Case], fleet: Ground) -> None:
    """What can't be found is refused, with what was tried and what to write."""
    fleet.needs_mounts()
    play = case("node and pm2 where nobody would look", 4)
    files = {".bashrc": "[ ! -e ~/.tools ] || . ~/.tools\n", ".tools": "PATH=/srv/odd/bin:$PATH\n"}
    with (
        nemesis.node_by_nvm(fleet.lab, "lab1", "/srv/odd"), nemesis.login_shell(fleet.lab, "lab1", "/bin/bash", files),
        play.playing(), play.fault(nemesis.hidden(fleet.lab, "lab1", ".tools"), begun),
    ):
        pass
    assert "lab1: no node on this host; looked in " in play.text()
    assert "node_bin: in hosts.yaml" in play.text()
