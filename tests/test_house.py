"""The house: arrows point one way, names shadow nothing, the door is light, the wheel works elsewhere."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent
ROOMS = HOME / "fabfile"

# Lowest first: a room may import from the floors below its own, and from no other; `+` lets rooms of a floor see each other.
FLOORS = (
    ("errors", {"errors"}),
    ("this machine", {"local", "heap", "preload"}),
    ("what a TAB costs", {"completion"}),
    ("host keys", {"knownhosts"}),
    ("hosts.yaml", {"inventory", "inventory.values", "inventory.words", "inventory.yamltext", "inventory.kinds", "inventory.keys",
                    "inventory.reading", "inventory.loading", "inventory.schema", "+"}),
    ("commands", {"commands", "commands.shell", "commands.artifact", "commands.ask", "commands.balancer", "commands.byhand", "commands.envfile", "commands.journal",
                  "commands.lock", "commands.node", "commands.outlook", "commands.pm2", "commands.releases", "commands.hooks",
                  "commands.doctor", "+"}),
    ("who may, and how", {"ownership", "how", "programs", "folded"}),
    ("what was meant", {"source", "plan", "given", "parcel"}),
    ("what is", {"drift", "choice"}),
    ("what is wrong", {"checks", "checks.verdict", "checks.reach", "checks.machine", "checks.room", "checks.repo", "checks.pm2", "checks.app",
                       "checks.files", "checks.timing", "checks.front", "checks.here", "checks.matrix", "+"}),
    ("what a plan rests on", {"basis"}),
    ("what would be", {"forecast"}),
    ("ssh config", {"sshconfig"}),
    ("one connection", {"transport"}),
    ("what faces share", {"report", "report.terminal", "report.telling", "report.summary", "report.stream", "report.outlook", "report.columns",
                          "report.board", "+"}),
    ("the faces", {"report.plain", "report.jsonlines", "report.live"}),
    ("a face that is more than plain", {"report.github"}),
    ("which face", {"report.faces"}),
    ("a page", {"report.page"}),
    ("a picture", {"report.lanes"}),
    ("its figures", {"report.figures"}),
    ("its drawing", {"report.markup", "report.axis", "report.strips", "report.drawing", "+"}),
    ("its document", {"report.document"}),
    ("the edges", {"fleet", "prober", "probe"}),
    ("a run's hold on the hosts", {"run", "run.signals", "run.claim", "run.lease", "run.hooks"}),
    ("its waves", {"run.waves", "run.shipping"}),
    ("its builds", {"run.building"}),
    ("its phases", {"run.rollout"}),
    ("its short sister", {"run.moment"}),
    ("its recovery", {"run.recovery"}),
    ("its echo", {"run.notify", "run.metrics", "+"}),
    ("all that follows it", {"run.afterwards"}),
    ("its whole way", {"run.runner"}),
    ("a look", {"look", "look.view", "look.runs"}),
    ("what it shows", {"look.past", "look.locks", "look.reading", "look.records", "look.status", "look.rounds", "look.health", "look.releases",
                       "look.history", "look.diff", "look.logs", "look.monit", "look.execute", "look.ssh", "look.hands", "look.envfiles",
                       "look.doctor", "+"}),
    ("what it writes", {"look.envpush"}),
    ("a first hosts.yaml", {"begin", "begin.found", "begin.package", "begin.around", "begin.running", "begin.draft", "begin.asking",
                            "begin.beginning", "+"}),
    ("a look ahead", {"look.foresight", "look.saved"}),
    ("before it runs", {"ahead"}),
    ("the wiring", {"cli"}),
    ("the verbs", {"deploy", "build", "migrate", "reload", "rollback", "resume", "doctor", "ops", "logs", "touch", "hands", "env", "picture", "init"}),
    ("the door", {""}),
    ("the program", {"program"}),
    ("how it is started", {"__main__"}),
)
FLOOR = {room: number for number, (_, rooms) in enumerate(FLOORS) for room in rooms if room != "+"}


def room_of(file: Path) -> str:
    return ".".join(part for part in file.relative_to(ROOMS).with_suffix("").parts if part != "__init__")


def imports(file: Path) -> list[tuple[int, str]]:
    """List the rooms that a file imports, wherever it does, with their lines."""
    package = list(file.relative_to(ROOMS).parent.parts)
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[:len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                whole = ".".join([*base, alias.name])
                found.append((node.lineno, whole if whole in FLOOR else ".".join(base)))
    return found


def allowed(room: str, other: str) -> bool:
    if FLOOR[room] == FLOOR[other]:
        # The package of a face knows nothing; a face may not know another.
        return "+" in FLOORS[FLOOR[room]][1]
    return FLOOR[other] < FLOOR[room]


FILES = {room_of(file): file for file in sorted(ROOMS.rglob("*.py"))}


def test_every_room_has_its_floor():
    assert [room for room in FILES if room not in FLOOR] == []


@pytest.mark.parametrize("room", FILES)
def test_no_arrow_points_back(room):
    back = [f"{room}:{line} imports {other}" for line, other in imports(FILES[room]) if not allowed(room, other)]
    assert back == []


def test_the_rule_finds_an_arrow_that_points_back():
    assert not allowed("commands.lock", "transport")
    assert not allowed("fleet", "prober")
    assert not allowed("plan", "fleet")
    assert not allowed("reload", "deploy")
    assert allowed("run.rollout", "commands.shell")


@pytest.mark.parametrize("room", FILES)
def test_imports_inside_are_relative(room):
    """The package answers to two names, fabfile and gapless; an absolute import would load it twice."""
    for node in ast.walk(ast.parse(FILES[room].read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        assert not [name for name in names if name.split(".")[0] in ("fabfile", "gapless")]


def test_no_name_shadows_the_standard_library():
    """fab puts the directory of the fabfile on sys.path: a room called json would be everyone's json."""
    assert [room for room in FILES if room.split(".")[-1] in sys.stdlib_module_names] == []


def test_the_wheel_carries_every_room():
    text = (HOME / "pyproject.toml").read_text()
    packages = {"gapless", *(f"gapless.{file.parent.name}" for file in ROOMS.glob("*/__init__.py"))}
    assert all(f'"{package}"' in text for package in packages)
    assert '"gapless.runtime" = ["*.cjs"]' in text
    assert '"gapless.report" = ["*.css"]' in text


# ---------------------------------------------------------------------- a light door

HEAVY = ("yaml", "requests", "asyncio", "paramiko", "fabric", "hashlib", "concurrent.futures", "http.client")


def loaded(code: str) -> set[str]:
    """Run code in a fresh interpreter and list what it imported; -S would hide the installed packages."""
    tell = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", tell], cwd=HOME, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("bare", ["import invoke, invoke.main, invoke.program", "import invoke, fabric.main"], ids=["inv", "fab"])
def test_the_door_imports_nothing_heavy(bare):
    """`inv --list` and --help must answer at once: what is heavy is imported by the verb that needs it."""
    ours = loaded(f"{bare}\nimport fabfile")
    more = {name for name in ours - loaded(bare) if not name.startswith(("fabfile", "yaml._yaml"))}
    assert not {name for name in more if name.startswith(HEAVY)}
    assert not {f"fabfile.{room}" for room in ("transport", "fleet", "run.rollout", "look.view", "prober", "inventory.loading", "source")} & ours


# ---------------------------------------------------------------------- elsewhere


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    """Install the wheel into a fresh environment; its dependencies are those of this one."""
    place = tmp_path_factory.mktemp("elsewhere")
    source = place / "source"
    shutil.copytree(ROOMS, source / "fabfile", ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md"):
        (source / file).write_bytes((HOME / file).read_bytes() if (HOME / file).exists() else b"")
    subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
    python = place / "venv/bin/python"
    borrowed = next((place / "venv/lib").glob("python*/site-packages")) / "borrowed.pth"
    borrowed.write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    pip = [python, "-m", "pip", "install", "-q", "--no-deps", "--ignore-installed", source]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("no package registry can be reached, and building a wheel needs setuptools")
    assert done.returncode == 0, done.stderr
    mine = place / "mine"
    mine.mkdir()
    (mine / "fabfile.py").write_text("from gapless import namespace\n")
    (mine / "tasks.py").write_text("from gapless import namespace\n")
    return place


@pytest.mark.slow
@pytest.mark.parametrize("program", ["fabric", "invoke"])
def test_another_repository_takes_the_door_from_the_wheel(elsewhere, program):
    python = elsewhere / "venv/bin/python"
    run = [python, "-P", "-c", f"from {program}.main import program; program.run()"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def say(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*run, *words], cwd=elsewhere / "mine", env=environment, capture_output=True, text=True, check=False)

    where = [python, "-P", "-c", "import gapless, gapless.commands.pm2 as pm2; print(gapless.__file__); print(pm2.install('/x'))"]
    text = subprocess.run(where, cwd=elsewhere / "mine", env=environment, capture_output=True, text=True, check=True).stdout
    assert text.startswith(str(elsewhere / "venv"))
    assert "gate.cjs" in text
    done = say("--list")
    assert (done.returncode, done.stderr) == (0, "")
    assert "deploy" in done.stdout
    done = say("deploy", "--hosts", "web")
    assert (done.returncode, "hosts.yaml: not found" in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_wheel_brings_a_way_in_that_needs_no_fabfile(elsewhere, tmp_path):
    environment = {**{key: value for key, value in os.environ.items() if key != "PYTHONPATH"}, "HOME": str(tmp_path)}
    for words in (["init"], ["schema"], ["--list"]):
        done = subprocess.run(
            [elsewhere / "venv/bin/gapless", *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert (done.returncode, done.stderr) == (0, ""), words
    assert {"hosts.yaml", "fabfile.py", "tasks.py", ".gapless"} <= {file.name for file in tmp_path.iterdir()}
