"""Node on a host: found where it is, builds that tell why they failed, trees that are reused only when they may be."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import time
from pathlib import Path

import pytest

from fabfile.commands import node, pm2
from fabfile.commands.shell import Shell, Step


def program(file: Path, text: str = "#!/bin/sh\n") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)
    return file


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Give a directory outside PATH that has node, git, and pm2 the way npm links it."""
    prefix = tmp_path / "tool chain"
    program(prefix / "lib/node_modules/pm2/lib/API.js")
    program(prefix / "lib/node_modules/pm2/bin/pm2")
    for name in ("node", "git"):
        program(prefix / "bin" / name)
    (prefix / "bin" / "pm2").symlink_to("../lib/node_modules/pm2/bin/pm2")
    return prefix / "bin"


TELL = Step("tell", Shell('printf "%s\\n" "$(command -v node)" "$pm2_dir"'))


def answer(tools: Path) -> str:
    return f"{tools}/node\n{tools.parent}/lib/node_modules/pm2"


def test_tools_are_found_in_path(sh, tools, bare_bin):
    sh.env |= {"PATH": f"{bare_bin}:{tools}"}
    ran = sh.run(Step("tools", node.tools(None)), TELL)
    assert (ran.code, ran.text) == (0, answer(tools))


def test_tools_are_found_in_the_named_directory(sh, tools, bare_bin):
    sh.env |= {"PATH": str(bare_bin)}
    ran = sh.run(Step("tools", node.tools(str(tools))), TELL)
    assert (ran.code, ran.text) == (0, answer(tools))


def test_the_named_directory_may_begin_at_home(sh, tools, bare_bin):
    sh.env |= {"PATH": str(bare_bin)}
    ran = sh.run(Step("tools", node.tools(f"~/{tools.relative_to(sh.home)}")), TELL)
    assert (ran.code, ran.text) == (0, answer(tools))


@pytest.mark.parametrize(
    "shell, profile, line",
    [
        ("bash", ".bash_profile", 'echo "Welcome!"; PATH="{tools}:$PATH"; echo "@path is ours"'),
        ("bash", ".bashrc", 'case $- in *i*) ;; *) return ;; esac; PATH="{tools}:$PATH"'),
        ("bash", ".bashrc", 'PATH="{tools}:$PATH"; sleep 60 & :'),
        ("bash", ".profile", 'case $- in *i*) PATH="{tools}:$PATH" ;; esac'),
        ("dash", ".profile", 'PATH="{tools}:$PATH"; export PATH; read -r never'),
        ("fish", ".config/fish/config.fish", 'status is-login; and set -gx PATH "{tools}" $PATH; echo hello'),
    ],
)
def test_tools_that_only_the_login_shell_knows_are_found(one, tools, bare_bin, shell, profile, line):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    (one.home / profile).parent.mkdir(parents=True, exist_ok=True)
    (one.home / profile).write_text(line.format(tools=tools) + "\n")
    one.env |= {"PATH": str(bare_bin), "SHELL": shutil.which(shell)}
    ran = one.run(Step("tools", node.tools(None)), TELL)
    assert (ran.code, ran.text) == (0, answer(tools))


@pytest.mark.parametrize("version", ["v9.0.0", "v22.1.0"])
def test_tools_are_found_where_nvm_puts_them_the_newest_first(one, tools, bare_bin, version):
    place = one.home / ".nvm/versions/node"
    for each in ("v9.0.0", version, "v10.0.0"):
        program(place / each / "bin/node")
    (place / version / "bin/pm2").symlink_to((tools / "pm2").resolve())
    program(place / "v9.0.0/bin/pm2")
    (tools / "git").rename(bare_bin / "git")
    one.env |= {"PATH": str(bare_bin), "SHELL": str(program(one.home / "shell"))}
    ran = one.run(Step("tools", node.tools(None)), TELL)
    assert ran.text.splitlines()[0] == f"{place}/{version}/bin/node"


@pytest.mark.parametrize("missing", ["node", "pm2", "git"])
def test_a_missing_tool_is_named_with_where_it_was_looked_for(sh, tools, bare_bin, missing):
    (tools / missing).unlink()
    # A login shell of our own: a real one would find what this machine has.
    shell = program(sh.home / "shell", '#!/bin/sh\nPATH=/nowhere\neval "$2"\n')
    sh.env |= {"PATH": f"{bare_bin}:{tools}", "SHELL": str(shell)}
    ran = sh.run(Step("tools", node.tools(None)), TELL)
    assert ran.code == 1
    assert ran.text.splitlines() == [
        f"no {missing} on this host; looked in {bare_bin}:{tools}, in the PATH of an interactive {shell}, "
        "and where nvm, fnm, volta, asdf, mise, n and npm put programs",
        "Install it, or name the directory of node and pm2: node_bin: in hosts.yaml",
    ]


def test_a_pm2_without_its_module_is_refused(sh, tools, bare_bin):
    (tools / "pm2").unlink()
    program(tools / "pm2")
    program(tools / "npm", "#!/bin/sh\necho /no/such/place\n")
    sh.env |= {"PATH": f"{bare_bin}:{tools}"}
    ran = sh.run(Step("tools", node.tools(None)))
    assert (ran.code, "looked in /no/such/place/pm2" in ran.text) == (1, True)


def test_the_daemon_is_born_with_next_to_nothing(sh, tools, bare_bin):
    program(tools / "node", "#!/bin/sh\nenv\n")
    sh.env |= {"PATH": f"{bare_bin}:{tools}", "SECRET": "x", "TZ": "Europe/Berlin", "PM2_HOME": "/pm 2"}
    ran = sh.run(Step("node", Shell("clean_node -")))
    known = {line.split("=")[0] for line in ran.text.splitlines()} - {"PWD", "SHLVL", "_", "OLDPWD"}
    assert known == {"HOME", "PATH", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "PM2_HOME", "GAPLESS_MARK"}
    assert "PM2_HOME=/pm 2" in ran.text.splitlines()


# ---------------------------------------------------------------------- build steps


@pytest.fixture
def app(root: Path) -> Path:
    (root / ".gapless").mkdir()
    for name in ("secrets.cjs", "mask.cjs", "truth.cjs"):
        shutil.copy(pm2.RUNTIME / name, root / ".gapless")
    return release(root, "0001-abc")


def release(root: Path, name: str, lock: object = 1, **package: object) -> Path:
    place = root / "releases" / name
    place.mkdir(parents=True)
    (place / "package.json").write_text(json.dumps({"name": "app", "version": "1.0.0", **package}))
    (place / "package-lock.json").write_text(json.dumps({"name": "app", "version": "1.0.0", "lockfileVersion": 3, "x": lock}))
    return place


def build(root: Path, command: str, name: str = "0001-abc") -> Step:
    return Step("build", node.build_step(str(root), name, "run-1", command, [".env"]))


def log(root: Path) -> str:
    return (root / ".gapless" / "runs" / "run-1" / "build.log").read_text()


def test_a_good_step_is_silent_and_logged(sh, root, app):
    ran = sh.run(build(root, "pwd; echo 'to err' >&2"), build(root, "echo second"))
    assert (ran.code, ran.text) == (0, "")
    assert log(root) == f"$ pwd; echo 'to err' >&2\n{app}\nto err\n$ echo second\nsecond\n"


def test_a_bad_step_shows_its_last_lines_and_its_code(sh, root, app):
    command = 'for n in $(seq 100); do echo "line $n"; done; exit 7'
    ran = sh.run(build(root, command), Step("next", Shell("echo too far")))
    lines = ran.text.splitlines()
    assert ran.code == 1
    assert lines[:30] == [f"line {number}" for number in range(71, 101)]
    assert lines[30] == f"build step failed with exit code 7: {command}"
    assert lines[31].startswith("whole log: ")


CANARY = "c4n4ry-of-the-build"


def printing(app: Path, command: str, env_file: str = ".env") -> str:
    """Give the app a secret, and a step that prints it and fails."""
    (app / env_file).parent.mkdir(exist_ok=True)
    (app / env_file).write_text(f"JWT_SECRET={CANARY}\n")
    return f". {shlex.quote(f'./{env_file}')}; {command}; exit 7"


@pytest.mark.parametrize("env_file", [".env", "config/app's $HOME"])
def test_what_a_bad_step_prints_of_a_secret_stays_on_the_host(sh, root, app, env_file):
    command = printing(app, 'echo "1 $JWT_SECRET."; printf "2 %s" "$JWT_SECRET" >&2', env_file)
    ran = sh.run(Step("build", node.build_step(str(root), "0001-abc", "run-1", command, [".env", env_file])))
    assert ran.code == 1
    assert ran.text.splitlines()[1:3] == ["1 [hidden JWT_SECRET].", "2 [hidden JWT_SECRET]"]
    assert CANARY in log(root) and CANARY not in ran.text
    assert (root / ".gapless/runs/run-1/build.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("harm", ["gone", "broken", "killed"])
def test_where_nothing_can_hide_secrets_nothing_is_shown(sh, root, app, harm):
    mask = root / ".gapless/mask.cjs"
    mask.unlink()
    if harm != "gone":
        mask.write_text({"broken": "exports.hide = ({", "killed": "process.kill(process.pid, 'SIGKILL'); for (;;) ;"}[harm])
    ran = sh.run(build(root, printing(app, 'echo "$JWT_SECRET"')))
    assert (ran.code, CANARY in ran.text) == (1, False)
    assert "the last lines are not shown: nothing could hide what is secret in them" in ran.text
    assert "build step failed with exit code 7" in ran.text


def test_where_the_env_file_cant_be_read_nothing_is_shown(sh, root, app):
    command = printing(app, 'echo "$JWT_SECRET"; rm .env; ln -s .env .env')
    ran = sh.run(build(root, command))
    assert (ran.code, CANARY in ran.text) == (1, False)
    assert "[not shown, for what is secret in it is not known: ELOOP: " in ran.text
    assert "build step failed with exit code 7" in ran.text


def test_a_step_ends_with_its_shell_though_something_of_it_lives_on(sh, root, app):
    """Builds leave daemons behind that hold their stdout; a pipe would wait for them."""
    begun = time.monotonic()
    ran = sh.run(build(root, "sleep 30 & echo $! >pid; echo over; exit 7"))
    assert (ran.code, ran.text.splitlines()[1], time.monotonic() - begun < 10) == (1, "over", True)
    os.kill(int((app / "pid").read_text()), signal.SIGKILL)


def test_a_step_ends_when_its_deployer_is_gone(sh, root, app, until):
    process = sh.start(build(root, "echo $$ >pid; sleep 60; echo too far"))
    assert until((app / "pid").exists)
    process.stdin.close()
    assert b"too far" not in process.stdout.read()
    assert process.wait(5) != 0
    assert until(lambda: not Path(f"/proc/{int((app / 'pid').read_text())}").exists())


def test_a_step_that_was_killed_is_said_to_be_out_of_memory(sh, root, app):
    ran = sh.run(build(root, "sh -c 'kill -9 $$'"))
    assert (ran.code, "exit 137: killed, most likely out of memory" in ran.text) == (1, True)


def test_a_step_sees_ci_and_no_production(sh, root, app):
    sh.env |= {"NODE_ENV": "production"}
    assert sh.run(build(root, 'echo "[${NODE_ENV-none}] [$CI] [${GAPLESS_MARK-none}]"')).code == 0
    assert "[none] [1] [none]" in log(root)


def test_a_step_cant_speak_in_our_name(sh, root, app):
    ran = sh.run(build(root, 'echo "$GAPLESS_MARK {}"; exit 1'))
    assert [event["event"] for event in ran.events] == ["step"]


# ---------------------------------------------------------------------- which steps are remembered


@pytest.fixture
def remembering(sh, root, app, tools, bare_bin):
    """Say for one command whether deps.cjs got it; a stand-in says that it did."""
    (root / ".gapless/deps.cjs").write_text("console.log('remembered', ...process.argv.slice(3))")
    (tools / "node").unlink()
    (tools / "node").symlink_to(shutil.which("node"))
    program(tools / "npm", "#!/bin/sh\n")
    sh.env |= {"PATH": f"{bare_bin}:{tools}", "FLAGS": "--omit=dev"}

    def remembering(command: str) -> bool:
        assert sh.run(build(root, command)).code == 0
        return f"remembered {command}\n" in log(root)

    return remembering


def test_plain_steps_of_npm_are_remembered(remembering):
    for command in ("npm ci", "npm ci --omit=dev", "npm ci --omit=dev --no-audit", "npm prune", "npm prune --omit=dev"):
        assert remembering(command), command


def test_what_does_more_than_fill_node_modules_runs_each_time(remembering, root):
    told = 0
    for command in ("npm ci && npm rebuild", "npm ci; npm rebuild", "npm ci --prefix client", "npm ci -w packages/a", "npm ci $FLAGS", "npm install"):
        assert not remembering(command), command
        told += 1
        assert log(root).count("gapless: dependencies are installed anew each time: only those of a plain npm ci are kept") == told, command
    assert not remembering("npm run build")
    assert log(root).count("anew each time") == told


@pytest.mark.parametrize("command", ["yarn", "yarn install --frozen-lockfile", "pnpm install --frozen-lockfile"])
def test_other_installers_run_each_time_and_that_is_said(one, root, app, tools, command):
    program(tools / command.split()[0], '#!/bin/sh\necho "ran $*"\n')
    one.env |= {"PATH": f"{tools}:{os.environ['PATH']}"}
    assert one.run(build(root, command)).code == 0
    assert "only those of a plain npm ci are kept\nran " in log(root)
