"""Real runs as they are watched: in a terminal, and by GitHub's runner through the action."""

from __future__ import annotations

import json
import re
import shlex
import signal
from pathlib import Path

import pytest

from tests.lab.conftest import Site
from tests.lab.making import CHECKOUT
from tests.report import documented
from tests.report.test_faces import COMMON
from tests.report.test_live import headers, screen  # noqa: F401
from tests.test_ci import Runner

pytestmark = [pytest.mark.lab, pytest.mark.operate]


def test_a_terminal_says_all_along_what_is_waited_for(site: Site, screen, tmp_path: Path) -> None:  # noqa: F811
    site.configure(settle="2s")
    words = shlex.join(site.command("fab", ("reload", "--max-parallel", "100%"), "lab"))
    state = {key: site.environment()[key] for key in ("GAPLESS_INVENTORY", "XDG_STATE_HOME")}
    shown = screen(80, rows=40, command=f"cd {CHECKOUT} && {words}", **state)
    waits = set()
    while "exit 0" not in (lines := shown.lines()):
        assert len(headers(lines)) <= 1 and not lines[-1:] == ["exit 1"], "\n".join(lines)
        waits |= {line for line in lines if line.startswith("waiting: ")}
    told = "\n".join(waits)
    assert re.search(r"waiting: lab\d.* must stay healthy, \d of 2 s", told), told
    assert re.search(r"worker \d to .*, until \d\d:\d\d \(healthy_deadline\)", told), told
    assert "done in 00:" in "\n".join(lines)
    assert ", 0 lost" in "\n".join(lines)


def test_the_action_reloads_and_ends_in_order_when_the_workflow_is_cancelled(site: Site, tmp_path: Path) -> None:
    env = {key: value for key, value in site.environment().items() if key not in ("GITHUB_ACTIONS", "CI")}
    good, cancelled = (Runner(place, site.folder, env, verb="reload", hosts="lab2") for place in (tmp_path / "good", tmp_path / "cancelled"))
    code, said = good.step("Run")
    assert code == 0
    assert re.search(r"^::group::reload: ", said, re.MULTILINE)
    outputs = good.outputs()
    assert (outputs["status"], outputs["lost"], int(outputs["sent"]) > 0) == ("done", "0", True)
    page = good.page.read_text()
    assert f"| lab2 | runs the new release | {site.link('lab2')} |" in page
    assert "    section lab2\n    drain :done, " in page

    with cancelled.begin("Run") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "must stay healthy" in line:
                process.send_signal(signal.SIGINT)
                break
        rest = process.communicate(timeout=60)[0]
    assert process.returncode == 130, rest
    assert cancelled.outputs()["status"] == "interrupted"
    assert "lab2  runs " in rest

    runs = sorted(Path(env["XDG_STATE_HOME"], "gapless").glob("*/run.jsonl"))
    known = documented()
    for event in (json.loads(line) for run in runs for line in run.read_text().splitlines()):
        if event.get("event", "facts") != "facts":
            assert set(event) - COMMON <= known[event["event"]], event
