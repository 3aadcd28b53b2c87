"""Dependencies of a release: installed once, given again only where the same would come, and never shared, half or broken."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from fabfile.commands import node, pm2, releases
from fabfile.commands.shell import Step

NPM = """\
#!/bin/sh
if [ "$1" = --version ]; then cat "$STUB/version"; exit; fi
echo "$@" >>"$STUB/calls"
case $1 in
    ci)
        [ ! -e "$STUB/fails" ] || { mkdir -p node_modules/half; exit 5; }
        ! grep -q '"scripts": {"' package.json || echo "saw scripts" >>"$STUB/calls"
        rm -rf node_modules
        mkdir -p node_modules/dep/lib node_modules/@types/dev node_modules/.bin
        cat package-lock.json >node_modules/dep/lib/index.js
        echo all >node_modules/.package-lock.json
        echo dev >node_modules/@types/dev/index.js
        ln -s ../@types/dev/index.js node_modules/.bin/dev
        [ ! -e "$STUB/writes" ] || { mkdir -p src/made; cp "$STUB/writes" src/made/client.js; }
        [ ! -e "$STUB/deletes" ] || rm -f README.md ;;
    prune)
        [ ! -e "$STUB/fails" ] || exit 6
        rm -rf node_modules/@types node_modules/.bin/dev
        echo pruned >node_modules/.package-lock.json
        [ ! -e "$STUB/writes" ] || echo changed >node_modules/dep/lib/index.js ;;
    run) [ ! -e "$STUB/fails-$2" ] || exit 7 ;;
esac
"""
# Of a file system that shares no blocks, wherever the tests run; `slow` makes it wait where it could be killed.
CP = """\
#!/bin/sh
[ "$1" != --reflink=always ] || exit 1
for last; do :; done
case $last in */spare.new.*) [ ! -e "$STUB/no-spare" ] || exit 1; ps -o ni= $$ >"$STUB/nice"
    [ ! -e "$STUB/slow-spare" ] || {{ mkdir -p "$last/half"; echo $PPID $$ >"$STUB/pids"; exec sleep 30; }} ;; esac
case $last in */deps/*) [ ! -e "$STUB/slow" ] || {{ mkdir -p "$last/half"; echo $PPID >"$STUB/at"; sleep 20; }} ;; esac
if [ -e "$STUB/full" ]; then mkdir -p "$last/half"; echo 'cp: No space left on device' >&2; exit 1; fi
exec {cp} "$@"
"""


class Yard:
    """Build releases on a host with a stub npm, and look at what they got."""

    def __init__(self, sh, root: Path, home: Path) -> None:
        self.sh, self.root, self.stub = sh, root, home / "stub"
        self.deps = root / ".gapless/deps"
        self.number = 0
        for directory in (self.stub, root / ".gapless", home / "bin"):
            directory.mkdir()
        for name in ("secrets.cjs", "mask.cjs", "truth.cjs", "deps.cjs"):
            shutil.copy(pm2.RUNTIME / name, root / ".gapless")
        for name, text in (("npm", NPM), ("cp", CP.format(cp=shutil.which("cp")))):
            (home / "bin" / name).write_text(text)
            (home / "bin" / name).chmod(0o755)
        (self.stub / "version").write_text("11.0.0\n")
        sh.env |= {"PATH": f"{home / 'bin'}:{os.environ['PATH']}", "STUB": str(self.stub)}

    def release(self, lock: object = 1, **package: object) -> Path:
        """Check another release out."""
        self.number += 1
        place = self.root / "releases" / f"{self.number:04}-abc"
        place.mkdir(parents=True)
        about = {"name": "app", "version": f"1.0.{self.number}"}
        (place / "package.json").write_text(json.dumps({**about, **package}))
        given = lock if isinstance(lock, dict) else {"packages": {"": about, "node_modules/dep": {"version": str(lock)}}}
        (place / "package-lock.json").write_text(json.dumps({**about, "lockfileVersion": 3, **given}))
        (place / "README.md").write_text("read me\n")
        return place

    def step(self, place: Path, command: str = "npm ci") -> Step:
        return Step("build", node.build_step(str(self.root), place.name, "run-1", command, [".env"]))

    def build(self, place: Path, *commands: str) -> int:
        steps = [self.step(place, command) for command in commands or ("npm ci",)]
        return self.sh.run(*steps, Step("complete", releases.complete(str(self.root), place.name, "{}"))).code

    def switch(self, name: str, on: bool = True) -> None:
        (self.stub / name).write_text("made by a package\n") if on else (self.stub / name).unlink()

    @property
    def calls(self) -> list[str]:
        return (self.stub / "calls").read_text().splitlines() if (self.stub / "calls").exists() else []

    @property
    def log(self) -> str:
        return (self.root / ".gapless/runs/run-1/build.log").read_text()

    @property
    def trees(self) -> list[Path]:
        return sorted(self.deps.iterdir()) if self.deps.exists() else []


@pytest.fixture
def yard(one, root, tmp_path):
    return Yard(one, root, tmp_path)


@pytest.fixture
def plain(yard):
    """Give a yard without spare copies: each release gets a copy of the kept tree."""
    yard.switch("no-spare")
    return yard


def dep(place: Path) -> Path:
    return place / "node_modules/dep/lib/index.js"


def whole(place: Path) -> bool:
    """Say whether a release got all that npm gives."""
    names = sorted(str(each.relative_to(place / "node_modules")) for each in (place / "node_modules").rglob("*") if not each.is_dir())
    return names == [".bin/dev", ".gapless-tree.json", ".package-lock.json", "@types/dev/index.js", "dep/lib/index.js"] and \
        '"lockfileVersion": 3' in dep(place).read_text() and os.readlink(place / "node_modules/.bin/dev") == "../@types/dev/index.js"


# ---------------------------------------------------------------------- reused, and nobody else's


@pytest.mark.parametrize("spare", [True, False])
def test_a_tree_is_reused_and_what_is_edited_in_place_reaches_no_other_release(yard, until, spare):
    if not spare:
        yard.switch("no-spare")
    places = [yard.release() for _ in range(4)]
    for place in places:
        assert yard.build(place) == 0
        assert whole(place)
        assert "edited" not in dep(place).read_text()
        assert dep(place).stat().st_nlink == 1
        with dep(place).open("r+") as file:
            file.write("edited")
        assert not spare or until((yard.trees[0] / "spare").exists)
    assert yard.calls == ["ci"]
    assert yard.log.count("gapless: dependencies reused: ") == 3


def test_a_spare_copy_is_given_by_a_rename(yard, until):
    yard.build(yard.release())
    spare = yard.trees[0] / "spare"
    assert until(spare.exists)
    was = spare.stat().st_ino
    place = yard.release()
    assert yard.build(place) == 0
    assert (place / "node_modules").stat().st_ino == was
    assert whole(place)


def test_a_spare_copy_is_made_after_everything_else_and_holds_nobody_up(yard, until):
    yard.switch("slow-spare")
    begun = time.monotonic()
    assert yard.build(yard.release()) == 0
    assert time.monotonic() - begun < 20
    assert until(lambda: (yard.stub / "pids").exists() and (yard.stub / "pids").read_text(), 15)
    assert (yard.stub / "nice").read_text().strip() == "19"
    for pid in (yard.stub / "pids").read_text().split():
        os.kill(int(pid), signal.SIGKILL)
    yard.switch("slow-spare", False)
    yard.build(yard.release())
    assert until(lambda: [each.name for each in yard.trees[0].iterdir() if each.name.startswith("spare")] == ["spare"], 15)


def test_a_release_whose_build_failed_gets_no_spare(yard):
    ran = yard.sh.run(yard.step(yard.release()), yard.step(yard.root / "releases/0001-abc", "false"))
    assert (ran.code, (yard.trees[0] / "spare").exists()) == (1, False)


def test_only_the_tree_used_last_has_a_spare(yard, until):
    yard.build(yard.release(1))
    first = yard.trees[0]
    assert until((first / "spare").exists)
    yard.build(yard.release(2))
    assert until(lambda: not (first / "spare").exists())
    assert until(lambda: [tree for tree in yard.trees if (tree / "spare").exists()] == [tree for tree in yard.trees if tree != first])


SAME = {
    "version": lambda yard: yard.release(),
    "scripts": lambda yard: yard.release(scripts={"build": "tsc -p ."}, description="other words"),
    "source": lambda yard: (yard.release() / "main.js"),
    "session": lambda yard: yard.sh.env.update({"SSH_CLIENT": "10.0.0.1 1 22", "LC_ALL": "C"}),
}
OTHER = {
    "lockfile": lambda yard: yard.release(2),
    "package": lambda yard: yard.release(overrides={"dep": "1"}),
    "npmrc": lambda yard: (yard.release() / ".npmrc").write_text("omit=optional\n"),
    "the user's npmrc": lambda yard: (yard.sh.home / ".npmrc").write_text("omit=optional\n"),
    "npm": lambda yard: (yard.stub / "version").write_text("12.0.0\n"),
    "npm's environment": lambda yard: yard.sh.env.update({"npm_config_omit": "optional"}),
    "install scripts' environment": lambda yard: yard.sh.env.update({"SHARP_FORCE": "1"}),
    "schema": lambda yard: (yard.release() / "schema.prisma").write_text("model A {}\n"),
    "node": lambda yard: yard.sh.env.update({"NODE_OPTIONS": f"--require={version_99(yard.stub)}"}),
    "node alone": lambda yard: (yard.root / ".gapless/deps.cjs").write_text(
        f"require({json.dumps(str(version_99(yard.stub)))});\n{pm2.source('deps.cjs')}"),
}


def version_99(stub: Path) -> Path:
    file = stub / "other.cjs"
    file.write_text("Object.defineProperty(process, 'version', { value: 'v99.0.0' });\n")
    return file


@pytest.mark.parametrize("name", SAME)
def test_what_decides_nothing_lets_a_tree_be_reused(plain, name):
    plain.build(plain.release())
    place = SAME[name](plain)
    place = place if isinstance(place, Path) and place.is_dir() else plain.release()
    (place / "main.js").write_text(name)
    assert plain.build(place) == 0
    assert plain.calls == ["ci"]


@pytest.mark.parametrize("name", OTHER)
def test_whatever_decides_a_tree_makes_a_new_one(plain, name):
    plain.build(plain.release())
    OTHER[name](plain)
    places = sorted((plain.root / "releases").iterdir())
    assert plain.build(places[1] if len(places) > 1 else plain.release()) == 0
    assert plain.calls == ["ci", "ci"]
    assert len(plain.trees) == 2


def test_flags_decide_a_tree(plain):
    plain.build(plain.release())
    assert plain.build(plain.release(), "npm ci --omit=dev") == 0
    assert plain.calls == ["ci", "ci --omit=dev"]


def test_the_real_npm_is_asked_nothing_to_learn_its_version(plain):
    """Its answer takes longer than all the rest; the version lies beside the command."""
    module = plain.sh.home / "lib/npm"
    (module / "bin").mkdir(parents=True)
    (module / "package.json").write_text('{"name": "npm", "version": "11.1.0"}')
    stub = plain.sh.home / "bin/npm"
    stub.rename(module / "bin/npm-cli.js")
    stub.symlink_to(module / "bin/npm-cli.js")
    (plain.stub / "version").unlink()
    plain.build(plain.release())
    assert (plain.build(plain.release()), plain.calls, len(plain.trees)) == (0, ["ci"], 1)
    (module / "package.json").write_text('{"name": "npm", "version": "11.2.0"}')
    assert (plain.build(plain.release()), len(plain.trees)) == (0, 2)


# ---------------------------------------------------------------------- never kept


def test_a_failed_npm_ci_is_never_kept(yard):
    yard.switch("fails")
    ran = yard.sh.run(yard.step(yard.release()))
    assert (ran.code, "build step failed with exit code 5: npm ci" in ran.text) == (1, True)
    assert yard.trees == []
    yard.switch("fails", False)
    place = yard.release()
    assert (yard.build(place), yard.calls, whole(place)) == (0, ["ci", "ci"], True)


def linked(yard) -> Path:
    (yard.root / "elsewhere").mkdir(exist_ok=True)
    place = yard.release()
    (place / "node_modules").symlink_to(yard.root / "elsewhere")
    return place


def with_file(yard, name: str) -> Path:
    place = yard.release()
    (place / name).write_text("{}")
    return place


UNKEPT = {
    "workspaces have node_modules of their own": lambda yard: yard.release(workspaces=["packages/*"]),
    "node_modules/own is a link to files of the release":
        lambda yard: yard.release({"packages": {"node_modules/own": {"resolved": "own", "link": True}}}),
    "the lockfile is of npm 6 or older": lambda yard: yard.release({"lockfileVersion": 1, "dependencies": {}}),
    "npm builds the binding.gyp of the app": lambda yard: with_file(yard, "binding.gyp"),
    "node_modules is a link": linked,
    "a setting may keep npm from running them": lambda yard: ignoring(yard.release(scripts={"prepare": "husky"})),
}


def ignoring(place: Path) -> Path:
    (place / ".npmrc").write_text("ignore-scripts=true\n")
    return place


@pytest.mark.parametrize("why", UNKEPT)
def test_what_more_than_the_key_decides_is_installed_anew_and_that_is_said(yard, why):
    for number in (1, 2):
        assert yard.build(UNKEPT[why](yard)) == 0
        assert len([call for call in yard.calls if call == "ci"]) == number
    assert "gapless: dependencies are installed anew each time: " in yard.log
    assert why in yard.log
    assert yard.trees == []


def test_without_a_lockfile_npm_has_the_word(yard):
    place = yard.release()
    (place / "package-lock.json").unlink()
    yard.build(place)
    assert "there is no package-lock.json that could be read" in yard.log


# ---------------------------------------------------------------------- the app's own scripts


def test_the_apps_own_install_scripts_run_each_time_and_after_the_packages(yard):
    scripts = {"preinstall": "a", "postinstall": "b", "prepare": "c", "postprepare": "d", "build": "tsc"}
    for _ in range(2):
        place = yard.release(scripts=scripts)
        text = (place / "package.json").read_text()
        assert yard.build(place) == 0
        assert (place / "package.json").read_text() == text
        assert whole(place)
    own = ["run preinstall", "run postinstall", "run prepare"]  # npm itself runs prex and postx with x
    assert yard.calls == ["ci", *own, *own]


@pytest.mark.parametrize("kept", [False, True])
def test_an_install_script_of_the_app_that_fails_fails_the_step(yard, kept):
    if kept:
        yard.build(yard.release(scripts={"prepare": "c"}))
    yard.switch("fails-prepare")
    ran = yard.sh.run(yard.step(yard.release(scripts={"prepare": "c"})))
    assert "build step failed with exit code 7: npm ci" in ran.text


def test_package_json_is_whole_again_after_an_install_that_failed(yard):
    yard.switch("fails")
    place = yard.release(scripts={"prepare": "c"})
    assert yard.build(place) == 1
    assert "prepare" in (place / "package.json").read_text()
    assert yard.calls == ["ci"]


# ---------------------------------------------------------------------- what packages write beside node_modules


def test_what_packages_wrote_beside_node_modules_comes_back(plain):
    plain.switch("writes")
    plain.build(plain.release())
    plain.switch("writes", False)
    place = plain.release()
    assert (plain.build(place), plain.calls) == (0, ["ci"])
    assert (place / "src/made/client.js").read_text() == "made by a package\n"


def test_an_install_that_removes_files_of_the_release_is_not_kept(plain):
    plain.switch("deletes")
    assert plain.build(plain.release()) == 0
    assert (plain.trees, "dependencies were not kept: npm ci removed files of the release" in plain.log) == ([], True)


# ---------------------------------------------------------------------- half, full, broken


def killed_while_storing(yard, until) -> None:
    yard.switch("slow")
    process = yard.sh.start(yard.step(yard.release()))
    assert until((yard.stub / "at").exists)
    os.kill(int((yard.stub / "at").read_text()), signal.SIGKILL)
    process.stdout.read()  # its shell buries it; elsewhere it could stay a zombie, and would not look dead
    assert process.wait(10) == 1
    yard.switch("slow", False)


def test_a_tree_whose_maker_was_killed_is_never_taken_and_is_swept(plain, until):
    killed_while_storing(plain, until)
    assert [tree for tree in plain.trees if ".new." in tree.name]
    place = plain.release()
    assert (plain.build(place), plain.calls, whole(place)) == (0, ["ci", "ci"], True)
    assert [".new." in tree.name for tree in plain.trees] == [False]


def test_a_disk_that_fills_while_a_tree_is_stored_costs_the_tree_and_not_the_build(plain):
    plain.switch("full")
    place = plain.release()
    assert (plain.build(place), (place / "node_modules/dep").exists(), plain.trees) == (0, True, [])
    assert "gapless: dependencies were not kept: cp: No space left on device" in plain.log


def test_a_tree_that_leaves_no_room_is_not_kept(one, tmp_path, small_disk):
    root = small_disk / "root"
    root.mkdir()
    yard = Yard(one, root, tmp_path)
    place = yard.release({"packages": {}, "big": "x" * 350_000})
    assert yard.build(place) == 0
    assert "gapless: dependencies were not kept: " in yard.log
    assert " MB left, and they take 0 MB" in yard.log
    assert yard.trees == []


def test_room_is_made_of_older_trees(one, tmp_path, small_disk):
    root = small_disk / "root"
    root.mkdir()
    yard = Yard(one, root, tmp_path)
    yard.switch("no-spare")
    for lock in (1, 2):
        place = yard.release({"packages": {}, "big": str(lock) * 210_000})
        assert yard.build(place) == 0
        shutil.rmtree(place)
    assert len(yard.trees) == 1
    assert '"big": "2' in (yard.trees[0] / "node_modules/dep/lib/index.js").read_text()


HARM = {
    "a file gone": lambda modules: (modules / "dep/lib/index.js").unlink(),
    "a file cut": lambda modules: (modules / "dep/lib/index.js").write_text(""),
    "a file changed": lambda modules: os.utime(modules / "dep/lib/index.js", (1, 1)),
    "a file more": lambda modules: (modules / "dep/more.js").write_text(""),
    "a link turned": lambda modules: ((modules / ".bin/dev").unlink(), (modules / ".bin/dev").symlink_to("nowhere")),
    "a directory gone": lambda modules: shutil.rmtree(modules / "@types"),
    "all gone": shutil.rmtree,
}


@pytest.mark.parametrize("harm", HARM)
def test_a_tree_that_is_not_whole_is_installed_anew_and_that_is_said(plain, harm):
    plain.build(plain.release())
    HARM[harm](plain.trees[0] / "node_modules")
    for calls in (2, 2):
        place = plain.release()
        assert (plain.build(place), len(plain.calls), whole(place)) == (0, calls, True)
    assert "are not whole any more, or could not be copied; they are installed anew" in plain.log


@pytest.mark.parametrize("harm", HARM)
def test_a_spare_that_is_not_whole_is_passed_over(yard, until, harm):
    yard.build(yard.release())
    spare = yard.trees[0] / "spare"
    assert until(spare.exists)
    HARM[harm](spare)
    place = yard.release()
    assert (yard.build(place), yard.calls, whole(place)) == (0, ["ci"], True)


def test_a_tree_without_its_list_is_replaced(plain):
    plain.build(plain.release())
    (plain.trees[0] / "kept.json").write_text("{")
    for _ in range(2):
        place = plain.release()
        assert (plain.build(place), len(plain.calls), whole(place)) == (0, 2, True)


def test_a_tree_that_cant_be_copied_is_installed_anew(plain):
    """A release with half its modules would be called complete otherwise."""
    plain.build(plain.release())
    plain.switch("full")
    place = plain.release()
    assert (plain.build(place), plain.calls) == (0, ["ci", "ci"])
    assert not (place / "node_modules/half").exists()
    assert dep(place).exists()


def test_a_cp_that_fails_half_way_leaves_no_tree_inside_the_tree(plain):
    """A cp that knows --reflink but can't keep attributes, as on some network file systems."""
    plain.build(plain.release())
    cp = shutil.which("cp")
    (plain.sh.home / "bin/cp").write_text(f'#!/bin/sh\n[ "$1" != -a ] || {{ {cp} -R "$3" "$4"; exit 1; }}\nexec {cp} "$@"\n')
    place = plain.release()
    assert (plain.build(place), plain.calls, whole(place)) == (0, ["ci"], True)


def built_at_once(yard):
    """Build four releases side by side, and see that each got all; return where they are."""
    places = [yard.release() for _ in range(4)]
    running = [yard.sh.start(yard.step(place)) for place in places]
    for process in running:
        process.stdout.read()
        assert process.wait(20) == 0
    assert all(whole(place) for place in places)
    return places


def test_two_builds_at_once_both_get_all_and_leave_one_tree(yard):
    built_at_once(yard)
    assert [".new." in tree.name for tree in yard.trees] == [False]


def test_two_builds_at_once_take_one_spare_once(yard, until):
    yard.build(yard.release())
    assert until((yard.trees[0] / "spare").exists)
    places = built_at_once(yard)
    assert len({dep(place).stat().st_ino for place in places}) == 4
    assert yard.calls == ["ci"]


def test_the_trees_used_last_are_kept(plain):
    for lock in (1, 2, 3):
        plain.build(plain.release(lock))
    first, second, third = sorted(plain.trees, key=lambda tree: (tree / "kept.json").stat().st_mtime_ns)
    for age, tree in ((300, first), (200, second), (100, third)):
        os.utime(tree, (tree.stat().st_mtime - age,) * 2)
    plain.build(plain.release(1))
    plain.build(plain.release(4))
    assert first in plain.trees and third in plain.trees
    assert second not in plain.trees and len(plain.trees) == 3


# ---------------------------------------------------------------------- npm prune

BOTH = ("npm ci", "npm prune --omit=dev")


def pruned(place: Path) -> bool:
    lock = (place / "node_modules/.package-lock.json").read_text()
    return lock == "pruned\n" and not any((place / "node_modules" / name).is_symlink() or (place / "node_modules" / name).exists()
                                          for name in ("@types", ".bin/dev")) and dep(place).exists()


def test_what_npm_prune_took_away_is_taken_away_again(yard):
    for _ in range(3):
        place = yard.release()
        assert (yard.build(place, *BOTH), pruned(place)) == (0, True)
    assert yard.calls == ["ci", "prune --omit=dev"]
    assert yard.log.count("gapless: pruned as before: ") == 2


def test_what_the_build_wrote_into_node_modules_stays_through_the_prune(yard):
    write = "mkdir -p node_modules/.prisma && echo client >node_modules/.prisma/client.js && echo patched >node_modules/dep/lib/index.js"
    for _ in range(2):
        place = yard.release()
        assert yard.build(place, "npm ci", write, "npm prune --omit=dev") == 0
        assert pruned(place)
        assert (dep(place).read_text(), (place / "node_modules/.prisma/client.js").exists()) == ("patched\n", True)
    assert yard.calls == ["ci", "prune --omit=dev"]


ELSE = {
    "another package": (lambda place: None, "mkdir node_modules/more"),
    "npm itself": (lambda place: None, "echo other >>node_modules/.package-lock.json"),
    "package.json": (lambda place: None, "echo '{\"dependencies\": {}}' >package.json"),
    "lockfile": (lambda place: None, "echo '{}' >package-lock.json"),
    "npmrc": (lambda place: None, "echo omit=optional >.npmrc"),
    "no ticket": (lambda place: None, "rm node_modules/.gapless-tree.json"),
}


@pytest.mark.parametrize("name", ELSE)
def test_a_tree_that_is_not_as_it_was_given_is_pruned_by_npm(yard, name):
    yard.build(yard.release(), *BOTH)
    place = yard.release()
    assert (yard.build(place, "npm ci", ELSE[name][1], BOTH[1]), pruned(place)) == (0, True)
    assert yard.calls == ["ci", "prune --omit=dev", "prune --omit=dev"]


def test_other_flags_are_pruned_by_npm(yard):
    yard.build(yard.release(), *BOTH)
    yard.build(yard.release(), "npm ci", "npm prune")
    assert yard.calls == ["ci", "prune --omit=dev", "prune"]


def test_scripts_that_npm_runs_after_a_prune_keep_it_from_being_remembered(yard):
    for _ in range(2):
        yard.build(yard.release(scripts={"dependencies": "a"}), *BOTH)
    assert [call for call in yard.calls if call.startswith("prune")] == ["prune --omit=dev"] * 2


@pytest.mark.parametrize("how", ["fails", "writes"])
def test_a_prune_that_failed_or_did_more_is_not_remembered(yard, how):
    yard.build(yard.release())
    yard.switch(how)
    place = yard.release()
    assert yard.build(place, *BOTH) == (1 if how == "fails" else 0)
    assert not list(yard.trees[0].glob("pruned-*"))


@pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed")
def test_the_real_npm_on_a_tiny_project(yard):
    """A dependency that lies beside the app: no registry is asked."""
    (yard.sh.home / "bin/npm").unlink()
    yard.sh.env |= {"npm_config_offline": "true"}
    needy = {"dependencies": {"dep": "file:dep.tgz"}}
    ran = yard.sh.run(yard.step(yard.release({"requires": True, "packages": {"": needy}}, **needy)))
    assert (ran.code, "npm ci" in ran.text, yard.trees) == (1, True, [])
    place = yard.release({"requires": True, "packages": {"": {}}}, scripts={"postinstall": "echo $npm_lifecycle_event >event"})
    assert yard.build(place, *BOTH) == 0
    assert (place / "event").read_text() == "postinstall\n"
