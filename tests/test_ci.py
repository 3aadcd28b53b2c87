"""What CI is given: linted, pinned, and its shell run for real in the surroundings that a runner makes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.test_cli import desk  # noqa: F401

HOME = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
ACTION = yaml.safe_load((HOME / "action.yml").read_text())
WORKFLOW = HOME / "docs/ci/github.yml"


class Runner:
    """Run the steps of the action as a runner does: each script a file, bash -e, inputs and outputs by environment and files."""

    def __init__(self, place: Path, work: Path, env: dict[str, str], **inputs: str) -> None:
        self.work = work
        given = {name: str(each.get("default", "")) for name, each in ACTION["inputs"].items()}
        self.inputs = {**given, **{name.replace("_", "-"): value for name, value in inputs.items()}}
        self.temp, self.output, self.page = place / "temp", place / "output", place / "page"
        self.temp.mkdir(parents=True)
        for file in (self.output, self.page):
            file.touch()
        (self.temp / "gapless/venv/bin").mkdir(parents=True)
        (self.temp / "gapless/venv/bin/inv").symlink_to(BIN / "inv")  # as installed from the checkout of the action
        self.env = {
            **env, "RUNNER_TEMP": str(self.temp), "GITHUB_ACTION_PATH": str(HOME), "GITHUB_ACTIONS": "true", "CI": "true",
            "GITHUB_OUTPUT": str(self.output), "GITHUB_STEP_SUMMARY": str(self.page),
        }

    def begin(self, name: str) -> subprocess.Popen[str]:
        step = next(step for step in ACTION["runs"]["steps"] if step.get("name") == name)
        env = {key: re.sub(r"\$\{\{ inputs\.([a-z0-9-]+) }}", lambda found: self.inputs[found[1]], text) for key, text in step.get("env", {}).items()}
        script = self.temp / "step.sh"
        script.write_text(step["run"])
        command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)]
        return subprocess.Popen(command, cwd=self.work, env={**self.env, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)

    def step(self, name: str) -> tuple[int, str]:
        with self.begin(name) as process:
            said = process.communicate(timeout=280)[0]
        print(said)
        return process.returncode, said

    def outputs(self) -> dict[str, str]:
        """Read the outputs as the runner does: a value ends where its own mark comes."""
        return {name: value for name, _, value in re.findall(r"^(\w+)<<(\S+)\n(.*?)\n\2$", self.output.read_text(), re.MULTILINE | re.DOTALL)}


@pytest.mark.parametrize("persona", ["regular", "pedantic"])
def test_zizmor_finds_nothing(persona):
    command = [BIN / "zizmor", "--offline", "--persona", persona, HOME / "action.yml", WORKFLOW]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No findings to report" in done.stdout


def test_zizmor_would_find_something(tmp_path):
    (tmp_path / "action.yml").write_text((HOME / "action.yml").read_text().replace('"$RUNNER_TEMP/gapless/agent"', "${{ inputs.hosts }}"))
    assert subprocess.run([BIN / "zizmor", "--offline", tmp_path / "action.yml"], capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("file", [HOME / "action.yml", WORKFLOW], ids=["action", "workflow"])
def test_what_is_used_is_pinned_by_commit_and_says_its_version(file):
    used = re.findall(r"uses: (\S+)(.*)", file.read_text())
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", name) and comment.strip().startswith("#") for name, comment in used)


def test_the_workflow_keeps_what_it_promises():
    workflow = yaml.safe_load(WORKFLOW.read_text())
    job = workflow["jobs"]["deploy"]
    assert workflow["concurrency"]["cancel-in-progress"] is False
    assert (workflow["permissions"], job["permissions"]) == ({}, {"contents": "read"})
    assert job["environment"] and job["timeout-minutes"]
    wanted = {name for step in job["steps"] for name in step.get("with", {}) if "gapless" in step["uses"]}
    assert wanted <= set(ACTION["inputs"])


def test_a_host_that_cant_be_reached_ends_the_step_with_its_own_code(desk, tmp_path_factory):  # noqa: F811
    runner = Runner(tmp_path_factory.mktemp("runner"), desk.place, desk.env, hosts="web", ref="v1")
    code, said = runner.step("Run")
    assert code == 4
    assert "2 of 2 hosts can't be worked on; nothing was touched." in said
    assert "::group::claim: lock, facts\n" in said
    assert runner.outputs() == {}  # the action's own output says refused then
    assert ACTION["outputs"]["status"]["value"] == "${{ steps.run.outputs.status || 'refused' }}"


@pytest.mark.parametrize("inputs, told", [
    ({"verb": "deploy; touch x"}, "is none"), ({"verb": "--list"}, "is none"), ({"verb": "$(touch x)"}, "is none"),
    ({"hosts": "$(touch x)"}, "no group or host"), ({"hosts": "--yes"}, "needed value"), ({"ref": "`touch x`"}, "has no branch or tag"),
    ({"wait": "x; touch x"}, "--wait"), ({"format": "html"}, "--format html"),
    ({"artifact": "$(touch x);y.tgz"}, "can't be read"), ({"artifact": "hosts.yaml", "sha256": "`touch x`"}, "no sha256"),
])
def test_what_is_put_in_is_never_run(desk, tmp_path_factory, inputs, told):  # noqa: F811
    runner = Runner(tmp_path_factory.mktemp("runner"), desk.place, desk.env, **{"hosts": "web", **inputs})
    code, said = runner.step("Run")
    assert (code in (1, 2), told in said, desk.listener.came) == (True, True, 0), said  # 1 is Invoke's own parser's
    assert not (desk.place / "x").exists()


def test_the_key_is_held_by_an_agent_and_by_nothing_else(desk, tmp_path_factory):  # noqa: F811
    place = tmp_path_factory.mktemp("runner")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ci", "-f", place / "key"], check=True)
    secret = (place / "key").read_text()
    (place / "key").unlink()
    known = "web.example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFake"
    (desk.place / "known").write_text(f"{known}\n")
    env = {**desk.env, "PS4": "+ "}
    runner = Runner(place, desk.place, env, hosts="web", ssh_key=secret.replace("\n", "\r\n"), known_hosts="known")
    try:
        assert runner.step("Take the keys") == (0, "")
        assert runner.step("Forget the keys")[0] == 0
        (runner.temp / "gapless").mkdir()  # on a runner that stays, the next job comes to the same home
        assert runner.step("Take the keys") == (0, "")
        agent = {**env, "SSH_AUTH_SOCK": str(runner.temp / "gapless/agent")}
        listed = subprocess.run(["ssh-add", "-l"], env=agent, capture_output=True, text=True, check=True).stdout
        assert listed.endswith(" ci (ED25519)\n")
        body = secret.splitlines()[1]
        assert not [file for file in place.rglob("*") if file.is_file() and body in file.read_text(errors="replace")]
        assert [line for line in (desk.place / ".ssh/known_hosts").read_text().splitlines() if line == known] == [known]
        assert (runner.temp / "gapless/agent.env").stat().st_mode & 0o77 == 0
    finally:
        assert runner.step("Forget the keys")[0] == 0
    assert not (runner.temp / "gapless").exists()
    assert subprocess.run(["ssh-add", "-l"], env=agent, capture_output=True, check=False).returncode == 2  # nobody is there


def test_to_forget_works_where_nothing_was_taken(desk, tmp_path_factory):  # noqa: F811
    runner = Runner(tmp_path_factory.mktemp("runner"), desk.place, desk.env, hosts="web")
    assert runner.step("Take the keys") == (0, "")
    assert runner.step("Forget the keys") == (0, "")


PRETENDED = """#!/bin/sh
echo "$*" >said
trap 'echo told; exit 143' TERM INT
ssh-add -l
echo "begun, key: ${DEPLOY_KEY:-none}"
while :; do sleep 0.1; done
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_plain_sh_lets_inv_hear_the_signal_and_hands_it_the_key(tmp_path, number):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ci", "-f", tmp_path / "key"], check=True)
    inv = tmp_path / "inv"
    inv.write_text(PRETENDED)
    inv.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "DEPLOY_KEY": (tmp_path / "key").read_text()}
    run = [HOME / "docs/ci/plain.sh", "abc", "prod"]
    with subprocess.Popen(run, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().endswith(" ci (ED25519)\n")
        assert process.stdout.readline() == "begun, key: none\n"
        process.send_signal(number)
        assert process.stdout.readline() == "told\n"
        assert process.wait(20) == 143
    assert (tmp_path / "said").read_text() == "deploy --ref=abc --hosts=prod --yes --wait=10m\n"


def test_the_examples_are_what_they_are_called(tmp_path):
    gitlab = yaml.safe_load((HOME / "docs/ci/gitlab.yml").read_text())["deploy"]
    assert (gitlab["resource_group"], gitlab["interruptible"]) == ("production", False)
    assert subprocess.run(["sh", "-n", HOME / "docs/ci/plain.sh"], check=False).returncode == 0
