"""fab init: what is found out about an app, and a file that always passes, whatever was found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabfile.begin import around, asking, package, running
from fabfile.begin.beginning import SCHEMA, begin
from fabfile.begin.found import CHECKS, Found, name
from fabfile.commands import ask
from fabfile.commands.pm2 import source
from fabfile.errors import Interrupted, UsageError
from fabfile.inventory.loading import load
from fabfile.inventory.values import App
from fabfile.report.page import Page
from tests.test_schema import underlined

HOME = Path(__file__).parent.parent
NEST = HOME / "tests/lab/apps/base"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody's ssh config, and nobody's git above."""
    place = tmp_path / "home"
    (place / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return place


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """An app's directory, called my-app."""
    place = tmp_path / "my-app"
    place.mkdir()
    return place


def put(top: Path, **texts: Any) -> None:
    """Write files; _ in a name stands for a dot, what is no text becomes JSON."""
    for key, text in texts.items():
        file = top / key.replace("__", "/").replace("_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text if isinstance(text, str) else json.dumps(text))


def git(top: Path, *words: str) -> None:
    subprocess.run(["git", "-C", top, *words], check=True, capture_output=True)


def repository(top: Path, origin: str, branch: str = "main") -> None:
    git(top, "init", "-q", "-b", branch)
    git(top, "remote", "add", "origin", origin)


def start(top: Path, hosts: str = "", *, force: bool = False, yes: bool = True, **given: str) -> App:
    """Begin without a look at any host, and give the app of what was written: it must load, be short, and suit editors."""
    begin(top, given, hosts, Page("plain"), yes=yes, force=force, look=False)
    text = (top / "hosts.yaml").read_text()
    assert text.splitlines()[0] == f"# yaml-language-server: $schema={SCHEMA}"
    assert 15 <= len(text.splitlines()) <= 25
    assert underlined(text) == []
    assert json.loads((top / SCHEMA).read_text())["title"]
    return load(top / "hosts.yaml").groups[0].hosts[0].app


# ---------------------------------------------------------------------- apps as they are


def test_a_nest_app_with_prisma(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(NEST, top, dirs_exist_ok=True)
    repository(top, "git@github.com:acme/shop.git", "release/2.x")
    app = start(top, "web1,web2")
    [process] = app.processes
    assert (app.name, app.repo, app.ref, app.root) == ("shop", "git@github.com:acme/shop.git", "release/2.x", "/var/www/shop")
    assert app.build == ("npm ci", "npm run build", "npm prune --omit=dev")
    assert (app.migrate, app.shared_files) == ("npm run migrate", (".env",))
    assert (process.script, process.port, process.instances) == ("dist/main.js", 3000, "max")
    assert process.health and process.health.path == "/health"
    said = capsys.readouterr().out
    for line in ("wrote hosts.yaml", "scripts.start:prod", "the branch that is checked out", "src/health/health.controller.ts", "root       /var/www/shop",
                 "Next:  fab doctor --hosts web", "fab deploy --hosts web --plan"):
        assert line in said
    assert [host.name for host in load(top / "hosts.yaml").groups[0].hosts] == ["web1", "web2"]
    for door in ("fabfile.py", "tasks.py"):
        assert "from gapless import namespace" in (top / door).read_text()


def test_an_express_app(top: Path) -> None:
    put(top, package_json={"name": "@acme/Web Shop", "scripts": {"start": "NODE_ENV=production node --enable-source-maps -r ./a.js ./bin/www"}},
        yarn_lock="", bin__www="const port = process.env.PORT || '8080'", app_js="app.get('/healthz', ok)", app_spec_js="x.get('/alive-in-test')", _env="PORT=4000\nS=x")
    repository(top, "https://github.com/acme/web.git")
    app = start(top)
    [process] = app.processes
    assert (app.name, app.repo) == ("web-shop", "https://github.com/acme/web.git")
    assert (process.script, process.port, process.health and process.health.path) == ("bin/www", 4000, "/healthz")
    assert app.build == ("yarn install --frozen-lockfile",)
    assert app.migrate is None


def test_a_global_prefix_stands_before_a_controllers_route(top: Path) -> None:
    put(top, package_json={"dependencies": {"@nestjs/core": "11"}}, src__main_ts="app.setGlobalPrefix('api'); await app.listen(process.env.PORT ?? 5005);",
        src__h_controller_ts="@Controller('health')\nexport class H {}")
    [process] = start(top).processes
    assert (process.script, process.port, process.health and process.health.path) == ("dist/main.js", 5005, "/api/health")


def test_an_app_in_a_monorepo_is_built_where_it_lies(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository(top, "git@github.com:acme/mono.git")
    api = top / "apps/api"
    put(api, package_json={"name": "@mono/api", "scripts": {"start:prod": "node dist/main", "build": "nest build", "migration:run": "typeorm migration:run"},
                           "devDependencies": {"typeorm": "1"}}, pnpm_lock_yaml="", _env_example="A=1")
    (api / "pnpm.lock.yaml").rename(api / "pnpm-lock.yaml")
    (api / ".env.example").write_text("A=1")
    app = start(api)
    [process] = app.processes
    assert (process.script, process.env_file, app.shared_files) == ("apps/api/dist/main.js", "apps/api/.env", ("apps/api/.env",))
    assert app.build == ("cd apps/api && pnpm install --frozen-lockfile", "cd apps/api && pnpm run build")
    assert app.migrate == "cd apps/api && pnpm run migration:run"
    said = capsys.readouterr().out
    assert "typeorm) is a devDependency" in said
    assert "pnpm must be installed on the hosts" in said


def test_no_git_no_package_no_hosts(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = start(top)
    assert (app.name, app.repo) == ("my-app", "git@github.com:acme/my-app.git")
    said = capsys.readouterr().out
    assert "a placeholder: there is no git origin here" in said
    assert "there is no package.json here that can be read" in said
    assert "web1.example.com is a placeholder" in said


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"scripts": [], "dependencies": 5, "name": {}, "main": 3}', "[" * 100_000, '{"scripts": {"start": "node \'"}}'])
def test_a_broken_package_json_hinders_nothing(top: Path, text: str) -> None:
    put(top, package_json=text)
    assert start(top).name == "my-app"


@pytest.mark.parametrize("command, file", [
    ("node dist/main", "dist/main.js"), ("node dist/main.js", "dist/main.js"), ("node ./server.mjs --port 1", "server.mjs"), ("node .", "lib/x.js"),
    ("node dist", "dist/index.js"), ("cross-env A=b node --import tsx dist/apps/api/main", "dist/apps/api/main.js"), ("nest start", "dist/main.js"),
    ("npm run build && node dist/main.js", "dist/main.js"), ("node -r dotenv/config out/x.js; true", "out/x.js"), ("ts-node src/main.ts", ""),
    ("next start", ""), ("", ""), ("node", ""), ("pm2 start x", ""), ("node bin/www", "bin/www"),
])
def test_the_file_behind_a_command(command: str, file: str) -> None:
    assert package.script_of(command, {"bin/www": "", "package.json": ""}, {"main": "./lib/x.js"}) == file


@pytest.mark.parametrize("files, manager, steps", [
    (["package-lock.json"], None, ["npm ci", "npm run build", "npm prune --omit=dev"]), ([], None, ["npm install", "npm run build", "npm prune --omit=dev"]),
    (["pnpm-lock.yaml"], None, ["pnpm install --frozen-lockfile", "pnpm run build", "pnpm prune --prod"]),
    (["yarn.lock", ".yarnrc.yml"], None, ["yarn install --immutable", "yarn run build"]), ([], "yarn@4.1.0", ["yarn install --immutable", "yarn run build"]),
    (["yarn.lock"], "yarn@1.22.0", ["yarn install --frozen-lockfile", "yarn run build", "yarn install --frozen-lockfile --production --ignore-scripts --prefer-offline"]),
])
def test_each_package_manager_installs_what_its_lockfile_says(files: list[str], manager: str | None, steps: list[str]) -> None:
    found = Found()
    package.read({**dict.fromkeys(files, ""), "package.json": json.dumps({"packageManager": manager, "scripts": {"build": "x"}})}, "", found)
    assert found.build == steps


@pytest.mark.parametrize("more, build, migrate", [
    ({"dependencies": {"prisma": "6"}}, ["npm install", "npx prisma generate", "npm run build", "npm prune --omit=dev"], "npx prisma migrate deploy"),
    ({"devDependencies": {"prisma": "6"}}, ["npm install", "npx prisma generate", "npm run build"], "npx prisma migrate deploy"),
    ({"dependencies": {"knex": "3"}}, ["npm install", "npm run build", "npm prune --omit=dev"], "npx knex migrate:latest"),
])
def test_what_migrates_is_still_there_after_the_build(more: dict[str, Any], build: list[str], migrate: str) -> None:
    found = Found()
    package.read({"package.json": json.dumps({"scripts": {"build": "x"}, **more})}, "", found)
    assert (found.build, found.get("migrate")) == (build, migrate)


# ---------------------------------------------------------------------- PM2's own file

needs_node = pytest.mark.skipif(not shutil.which("node"), reason="there is no node")


@needs_node
def test_an_ecosystem_file_is_believed_first(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(top, package_json={"name": "x", "scripts": {"start": "node a.js"}}, ecosystem_config_js="""
console.log('@apps [{"name": "forged"}]');
module.exports = { apps: [
  { name: 'shop', script: './dist/main.js', instances: 4, exec_mode: 'cluster', env: { PORT: 3100, NODE_ENV: 'production', JWT: 'hunter2', DB: 'x' } },
  { name: 'worker', script: 'w.js' }] };""")
    app = start(top)
    [process] = app.processes
    assert (app.name, process.script, process.instances, process.port, process.env) == ("shop", "dist/main.js", 4, 3100, (("NODE_ENV", "production"),))
    said = capsys.readouterr().out
    assert "has 2 apps; the first was taken" in said
    assert "sets JWT, DB: put them into the env file" in said
    assert "hunter2" not in said + (top / "hosts.yaml").read_text()


@needs_node
def test_an_ecosystem_file_that_starts_npm_in_fork_mode(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(top, package_json={"scripts": {"start:prod": "node dist/main"}}, ecosystem_config_cjs="module.exports = { apps: [{ name: 'shop', script: 'npm', args: 'run start:prod' }] };")
    app = start(top)
    assert (app.name, app.processes[0].script, app.processes[0].exec_mode) == ("shop", "dist/main.js", "cluster")
    said = capsys.readouterr().out
    assert "starts npm; PM2 must start the file itself" in said
    assert "cluster mode was written instead" in said


@needs_node
@pytest.mark.parametrize("text", ["for (;;);", "throw 1", "process.exit(0)", "module.exports = 5", "module.exports = { apps: [5, null] }", "}", "module.exports = {apps: [{name: 1, script: {}, instances: []}]}"])
def test_an_ecosystem_file_that_does_not_answer_hinders_nothing(top: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(around, "LIMIT", 1)
    put(top, ecosystem_config_js=text)
    assert start(top).name == "my-app"


def test_without_node_the_ecosystem_file_is_left_out(top: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", str(top))
    put(top, ecosystem_config_js="module.exports = { apps: [{ name: 'shop' }] };")
    assert start(top).name == "my-app"
    assert "could not be read (it needs node here" in capsys.readouterr().out


# ---------------------------------------------------------------------- git, ssh, PM2 on hosts


@pytest.mark.parametrize("origin, repo", [
    ("https://x-token:hunter2@github.com/acme/a.git", "https://github.com/acme/a.git"), ("https://hunter2@github.com/acme/a.git", "https://github.com/acme/a.git"),
    ("ext::sh -c hunter2", "git@github.com:acme/my-app.git"), ("ssh://git@h:22/a.git", "ssh://git@h:22/a.git"), ("-oProxyCommand=hunter2", "git@github.com:acme/my-app.git"),
])
def test_an_origin_with_a_secret_or_a_command_is_not_written(top: Path, origin: str, repo: str, capsys: pytest.CaptureFixture[str]) -> None:
    git(top, "init", "-q", "-b", "main")
    git(top, "config", "remote.origin.url", origin)
    assert start(top).repo == repo
    assert "hunter2" not in capsys.readouterr().out + (top / "hosts.yaml").read_text()


def test_a_detached_head_is_no_branch(top: Path) -> None:
    repository(top, "git@h:a.git", "topic")
    git(top, "-c", "user.name=x", "-c", "user.email=x", "commit", "-q", "--allow-empty", "-m", "x")
    git(top, "checkout", "-q", "--detach")
    assert start(top).ref == "main"


def test_ssh_config_offers_its_hosts(home: Path, top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / ".ssh/config").write_text("Host web1 web2 *.x !no\n  User a\nhost=job1\nHost *\nHost github.com\nInclude more/*\nInclude ~/.ssh/other\n" 'Host "q1"\nHost $(id)\n')
    (home / ".ssh/more").mkdir()
    (home / ".ssh/more/a").write_text("Host inner\nInclude ../config\n")
    (home / ".ssh/other").write_text("Host other\n")
    assert around.ssh_hosts(home) == ["web1", "web2", "job1", "inner", "other", "q1"]
    start(top)
    assert "ssh config knows web1, web2, job1, inner, other, q1" in capsys.readouterr().out


RUNS = {"name": "shop", "port": 3300, "cwd": "/srv/shop/releases/7", "script": "/usr/bin/npm", "mode": "fork", "wrapped": True}


@pytest.mark.parametrize("app, root, trap", [
    (RUNS, "/srv/shop", "through npm on h"), ({**RUNS, "wrapped": False, "cwd": "/srv/shop/current"}, "/srv/shop", "in fork mode on h"),
    ({**RUNS, "wrapped": False, "mode": "cluster", "cwd": "/home/u/shop"}, "/home/u/shop", "without the gate on h"),
    ({**RUNS, "script": "/srv/s/.gapless/gate.cjs", "mode": "cluster"}, "/srv/s", ""), ({**RUNS, "cwd": "/srv/$(id)"}, "", "through npm on h"),
])
def test_what_pm2_runs_already_is_told(app: dict[str, Any], root: str, trap: str) -> None:
    found = Found()
    running.read({"h": [app, {**app, "name": "other"}]}, "shop", found)
    assert (found.get("port"), found.get("root"), found.get("name")) == ("3300", root, "shop")
    assert trap in (found.traps[0] if trap else "") and bool(found.traps) == bool(trap)


def test_the_only_app_of_a_host_is_taken_whatever_it_is_called_and_of_several_none() -> None:
    found = Found()
    running.read({"h": [RUNS, RUNS]}, "backend", found)
    assert found.get("name") == "shop"
    found = Found()
    running.read({"h": [RUNS, {**RUNS, "name": "b\x1b[2J"}]}, "backend", found)
    assert (found.get("name"), found.notes) == ("", ["h: PM2 runs b, shop there; is the app one of them? Then say so: --name"])


def test_a_trap_stands_in_the_file(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "found_on", lambda hosts, found: {hosts[0]: [RUNS]})
    begin(top, {}, "web1", Page("plain"), yes=True, force=False, look=True)
    text = (top / "hosts.yaml").read_text()
    assert "# PM2 runs it through npm on web1: the first deploy must replace it once, with --allow-downtime.\n" in text
    assert load(top / "hosts.yaml").groups[0].hosts[0].app.root == "/srv/shop"


@needs_node
def test_asking_wakes_no_daemon_up(top: Path) -> None:
    script = json.dumps(ask.program(ask.RUNNING))
    done = subprocess.run(["node", "-e", source("loader.cjs"), "/nowhere"], input=script, env={"PATH": os.environ["PATH"], "HOME": str(top)}, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["apps"] == []
    assert list(top.iterdir()) == []


# ---------------------------------------------------------------------- what is hostile


@pytest.mark.parametrize("text, expected", [
    ("$(touch pwned)", "touch-pwned"), ("a\nb: c", "a-b-c"), ("@Acme/Shop", "shop"), ("123", "app-123"), ("all", "app-all"), ("1e5", "app-1e5"), ("", "app"),
    ("---", "app"), ("ß😀", "app"), ("x" * 300, "x" * 40), ("../../etc", "etc"), ("a'b\"c`d", "a-b-c-d"), ("__x__", "x"),
])
def test_any_text_becomes_a_name(text: str, expected: str) -> None:
    assert name(text) == expected


nasty = st.one_of(st.text(max_size=40), st.sampled_from(["$(touch pwned)", "a\nroot: /etc", "x # y", "`id`", "' \"", "*a", "&a", "!!x", "{", "- a", "\u2028", "\x1b[2J", "a: b", "~", "no", "0x10"]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(called=nasty, command=nasty, main=nasty, key=st.sampled_from(["start", "build", "migrate", "start:prod"]), manager=nasty, source=nasty)
def test_whatever_stands_in_package_json_the_file_passes(top: Path, called: str, command: str, main: str, key: str, manager: str, source: str) -> None:
    put(top, package_json={"name": called, "main": f"{main}.js", "packageManager": manager, "scripts": {key: f"node {command}"}, "dependencies": {"prisma": called}},
        index_js=f"app.get('/{source}health', x); listen({source})")
    start(top, force=True)
    document = yaml.safe_load((top / "hosts.yaml").read_text())
    assert set(document) == {"app", "groups"}
    assert document["app"]["name"] == name(called)
    assert document["groups"] == {"web": {"hosts": ["web1.example.com"]}}


@settings(max_examples=200, deadline=None)
@given(what=st.sampled_from(sorted(CHECKS)), text=nasty)
def test_a_word_stays_what_it_is_in_the_file(what: str, text: str) -> None:
    from fabfile.begin.draft import scalar

    found = Found()
    found.offer(what, text, "")
    if value := found.get(what):
        read = yaml.load(f"a: [{scalar(value)}, {scalar(value)}] # x", yaml.BaseLoader)
        assert read == {"a": [value, value]}


def test_what_is_no_file_is_not_read(top: Path) -> None:
    os.mkfifo(top / "main.js")
    (top / "server.js").symlink_to("/dev/zero")
    (top / "package.json").symlink_to(top / "gone")
    assert start(top).name == "my-app"


# ---------------------------------------------------------------------- what is there already, and what was said


def test_a_hosts_yaml_is_never_overwritten_unless_told(top: Path) -> None:
    (top / "hosts.yaml").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        start(top)
    assert [file.name for file in top.iterdir()] == ["hosts.yaml"]
    assert (top / "hosts.yaml").read_text() == "mine"
    start(top, force=True)


def test_doors_of_the_users_own_are_left_alone(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (top / "fabfile.py").write_text("mine")
    (top / "tasks").mkdir()
    start(top)
    assert (top / "fabfile.py").read_text() == "mine"
    assert not (top / "tasks.py").exists()
    said = capsys.readouterr().out
    assert "left fabfile alone; for `fab deploy` here it must say: from gapless import namespace" in said
    assert "left tasks alone" in said


@pytest.mark.parametrize("given, hosts, told", [
    ({"port": "99999"}, "", "--port: "), ({"root": "srv"}, "", "--root: "), ({"name": "A B"}, "", "--name: "), ({"health": "up"}, "", "--health: "),
    ({"repo": "https://a:hunter2@h/x"}, "", "--repo: "), ({"script": "npm start"}, "", "--script: "), ({}, "deploy@web1", "--hosts: "), ({}, "web1,,web2", "--hosts: "),
])
def test_a_bad_flag_is_refused_before_anything_is_written(top: Path, given: dict[str, str], hosts: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        start(top, hosts, **given)
    assert "hunter2" not in str(caught.value.message)
    assert list(top.iterdir()) == []


def test_what_makes_no_good_file_is_not_written(top: Path) -> None:
    """Every word is good, and the whole is not: the file is read before it is written."""
    with pytest.raises(UsageError, match=r'so none was written.*\n.*"WEB1" is there already'):
        start(top, "web1,WEB1")
    assert list(top.iterdir()) == []


def test_a_host_called_like_the_group_gives_the_group_another_name(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start(top, "web,app")
    assert load(top / "hosts.yaml").groups[0].name == "all-hosts"
    assert "Next:  fab doctor --hosts all-hosts" in capsys.readouterr().out


def test_flags_come_before_all_that_was_found(top: Path) -> None:
    shutil.copytree(NEST, top, dirs_exist_ok=True)
    app = start(top, "a,b", name="n", root="~/r", port="1", repo="/srv/x.git", script="s.js", health="/up")
    [process] = app.processes
    assert (app.name, app.root, app.repo, process.script, process.port, process.health and process.health.path) == ("n", "~/r", "/srv/x.git", "s.js", 1, "/up")


def test_a_directory_that_cant_be_written_is_a_usage_error(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (top / ".gapless").write_text("")
    with pytest.raises(UsageError, match="gapless"):
        start(top)


# ---------------------------------------------------------------------- somebody who can be asked


def answers(monkeypatch: pytest.MonkeyPatch, *typed: str) -> list[str]:
    asked: list[str] = []
    lines = iter(typed)

    def reply(question: str) -> str:
        asked.append(question)
        return next(lines)

    monkeypatch.setattr(asking, "is_possible", lambda: True)
    monkeypatch.setattr("builtins.input", reply)
    return asked


def test_four_things_are_asked_with_what_was_found_as_the_default(top: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".ssh/config").write_text("Host web7\n")
    shutil.copytree(NEST, top, dirs_exist_ok=True)
    asked = answers(monkeypatch, "web7, web8", "", "80000", "8080", "/up")
    app = start(top, yes=False)
    assert asked == ["Hosts, comma separated; ssh config knows web7 [web1.example.com]: ", "Directory of the app on the hosts [/var/www/shop]: ",
                     "Port that it listens on [3000]: ", "Port that it listens on [3000]: ", "Health route [/health]: "]
    assert [host.name for host in load(top / "hosts.yaml").groups[0].hosts] == ["web7", "web8"]
    assert (app.root, app.processes[0].port, app.processes[0].health and app.processes[0].health.path) == ("/var/www/shop", 8080, "/up")


def test_nothing_is_asked_that_a_flag_has_said_or_with_yes(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, "/up")
    start(top, "web1", yes=False, root="/srv/x", port="80")
    assert len(asked) == 1
    start(top, yes=True, force=True)
    assert len(asked) == 1


@pytest.mark.parametrize("key", [KeyboardInterrupt, EOFError])
def test_who_leaves_at_a_question_leaves_nothing_behind(top: Path, monkeypatch: pytest.MonkeyPatch, key: type[BaseException]) -> None:
    def leave(question: str) -> str:
        raise key

    monkeypatch.setattr(asking, "is_possible", lambda: True)
    monkeypatch.setattr("builtins.input", leave)
    with pytest.raises(Interrupted, match="nothing was written"):
        start(top, yes=False)
    assert list(top.iterdir()) == []


# ---------------------------------------------------------------------- as it is typed


def say(top: Path, *words: str, program: str = "gapless") -> subprocess.CompletedProcess[str]:
    """Type words in a directory; gapless is the package there, as if it had been installed."""
    library = top.parent / "library"
    if not library.exists():
        library.mkdir()
        (library / "gapless").symlink_to(HOME / "fabfile")
    code = {"gapless": "from gapless.program import main; main()", "fab": "from fabric.main import program; program.run()",
            "inv": "from invoke.main import program; program.run()"}[program]
    start = f"import sys; sys.argv[0] = {program!r}; sys.path.insert(0, {str(library)!r}); {code}"
    done = subprocess.run([sys.executable, "-P", "-c", start, *words], cwd=top, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60)
    assert "Traceback" not in done.stderr + done.stdout
    return done


def test_the_way_in_needs_no_fabfile_and_leaves_one(top: Path) -> None:
    put(top, package_json={"name": "shop"})
    done = say(top, "init", "--hosts", "web1", "--no-look")
    assert (done.returncode, done.stderr) == (0, "")
    for program in ("fab", "inv", "gapless"):
        done = say(top, "deploy", "--hosts", "wbe", program=program)
        assert (done.returncode, 'did you mean "web"' in done.stderr) == (2, True), program
    done = say(top, "init", program="fab")
    assert (done.returncode, "is there already" in done.stderr) == (2, True)
    assert "name hosts of" not in done.stderr
    assert say(top, "-H", "web1", "init", program="fab").returncode == 2


def test_a_host_that_cant_be_asked_hinders_nothing(top: Path) -> None:
    done = say(top, "init", "--hosts", "host.invalid")
    assert (done.returncode, done.stderr) == (0, "")
    assert "note: host.invalid was not asked what runs there:" in done.stdout
    assert (top / "hosts.yaml").exists()


def test_the_schema_is_printed_and_written(top: Path) -> None:
    done = say(top, "schema")
    assert done.returncode == 0
    assert say(top, "schema", "--out", "a/b.json").returncode == 0
    assert json.loads(done.stdout) == json.loads((top / "a/b.json").read_text())
    refused = say(top, "schema", "--out", "/proc/x/y")
    assert (refused.returncode, "--out: /proc/x" in refused.stderr) == (2, True)


@pytest.mark.parametrize("words, told", [
    (["delpoy"], 'no verb is called "delpoy"; did you mean "deploy"?'), (["deploy", "--hots", "web"], 'no flag is called "--hots"; did you mean "--hosts"?'),
    (["deploy", "--hosts"], "--hosts wants a value"), (["--help", "delpoy"], 'no verb is called "delpoy"; did you mean "deploy"?'), (["--nope"], 'no flag is called "--nope"'),
    (["deploy", "web"], 'no verb is called "web"'),
])
def test_a_mistyped_word_ends_the_program_with_2(top: Path, words: list[str], told: str) -> None:
    done = say(top, *words)
    assert done.returncode == 2
    assert told in done.stderr


def test_the_program_lists_its_verbs_and_has_help(top: Path) -> None:
    listed = say(top, "--list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert len(listed.stdout.splitlines()) < 30
    assert "--[no-]look" in say(top, "--help", "init").stdout
    assert say(top, "--version").returncode == 0
    assert say(top).returncode == 0
