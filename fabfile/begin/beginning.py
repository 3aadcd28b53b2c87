"""From an app's directory to its first hosts.yaml: find out, ask, write, and say what was assumed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import InventoryError, UsageError
from ..inventory import words
from ..inventory.loading import NAME, parse
from ..inventory.schema import text as schema_text
from ..report.page import Page
from . import around, asking, draft, package, running
from .found import CHECKS, Found, Guess, name

SCHEMA = ".gapless/hosts.schema.json"
PLACEHOLDER = "web1.example.com"
DOORS = {"fabfile": "fab", "tasks": "inv"}
TOLD = {"name": "name", "repo": "repo", "ref": "ref", "root": "root", "script": "script", "instances": "instances", "port": "port",
        "migrate": "migrate", "env_file": "shared", "uploads": "shared", "node_env": "env", "health": "health"}


def begin(top: Path, given: Mapping[str, str], hosts: str, page: Page, *, yes: bool, force: bool, look: bool) -> None:
    """Write hosts.yaml, its schema, and what lets fab and inv find Gapless here; nothing that is there is overwritten without `force`."""
    file = top / NAME
    if file.exists() and not force:
        raise UsageError(f"{file} is there already; edit it, or write it anew with --force. What it may say: fab schema")
    ask = asking.is_possible() and not yes
    found = _given(given, hosts)
    _gather(top, found, ask, look)
    if ask:
        _ask(given, found)
    text = draft.text(found, SCHEMA)
    _refuse_bad(text, file)
    _write(top, file, text, page)
    _tell(found, page)


def _given(given: Mapping[str, str], hosts: str) -> Found:
    """Take what the flags say, which comes before everything; refuse what hosts.yaml would not take."""
    found = Found(hosts=_hosts(hosts, "--hosts: ") if hosts else [])
    for what, value in given.items():
        if value:
            try:
                CHECKS[what](value)
            except ValueError as err:
                raise UsageError(f"--{what}: {err}") from None
            found.guesses[what] = Guess(value, f"--{what}")
    return found


def _hosts(text: str, flag: str = "") -> list[str]:
    """Read host names, comma separated; raise UsageError for what is none, ValueError where a person can be asked again."""
    names = [one.strip() for one in text.split(",")]
    for one in names:
        try:
            words.host_name(one)
        except ValueError as err:
            if flag:
                raise UsageError(f"{flag}{err}") from None
            raise
    return list(dict.fromkeys(names))


def _gather(top: Path, found: Found, ask: bool, look: bool) -> None:
    """Find out all that can be, most trusted first."""
    texts = around.texts(top)
    inside = around.git(top, found)
    around.ecosystem(top, texts, inside, found)
    known = around.ssh_hosts(Path.home())
    if ask and not found.hosts:
        offer = f"; ssh config knows {', '.join(known[:12])}" if known else ""
        found.hosts = _hosts(asking.ask(f"Hosts, comma separated{offer}", PLACEHOLDER, _hosts))
    own = Found()
    package.read(texts, inside, own)
    if look and found.hosts and found.hosts != [PLACEHOLDER]:
        running.read(running.found_on(found.hosts, found), own.get("name"), found)
    found.take(own)
    _assume(top, inside, known, found)


def _assume(top: Path, inside: str, known: list[str], found: Found) -> None:
    """Fill in what nobody knows."""
    found.offer("name", name(top.name), "the name of this directory")
    found.offer("root", f"/var/www/{found.get('name')}", "assumed")
    found.offer("repo", f"git@github.com:acme/{found.get('name')}.git", "a placeholder: there is no git origin here")
    found.offer("ref", "main", "assumed")
    found.offer("script", f"{inside}dist/main.js", "assumed")
    found.offer("instances", "max", "assumed")
    found.offer("port", "3000", "assumed")
    found.offer("health", "/health", "assumed: no health route was found in the code; it must answer 200")
    if not found.hosts:
        found.hosts = [PLACEHOLDER]
        offer = f"; ssh config knows {', '.join(known[:12])}" if known else ""
        found.note(f"{PLACEHOLDER} is a placeholder: name your hosts{offer}")


def _ask(given: Mapping[str, str], found: Found) -> None:
    """Ask for what was found out, but may be otherwise."""
    for what, question in (("root", "Directory of the app on the hosts"), ("port", "Port that it listens on"), ("health", "Health route")):
        if not given.get(what):
            answer = asking.ask(question, found.get(what), CHECKS[what])
            if answer != found.get(what):
                found.guesses[what] = Guess(answer, "your answer")


def _refuse_bad(text: str, file: Path) -> None:
    """Read the file before it is written: what is written always passes."""
    try:
        parse(text.encode(), file)
    except InventoryError as err:
        raise UsageError(f"what was found makes no good hosts.yaml, so none was written; say it by a flag.\n{err.message}") from None


def _write(top: Path, file: Path, text: str, page: Page) -> None:
    try:
        file.write_text(text, encoding="utf-8")
        page.say(f"wrote {NAME}")
        write_schema(top / SCHEMA)
        page.say(f"wrote {SCHEMA}, for editors; commit it too")
        for door, program in DOORS.items():
            _open_door(top, door, program, page)
    except OSError as err:
        raise UsageError(f"{err.filename}: {err.strerror}") from None


def write_schema(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(schema_text(), encoding="utf-8")


def _open_door(top: Path, door: str, program: str, page: Page) -> None:
    """Let fab and inv find Gapless here; a door of the user's own is left alone."""
    file = top / f"{door}.py"
    if not file.exists() and not (top / door).exists():
        file.write_text("from gapless import namespace  # noqa: F401 (what makes the verbs known here)\n", encoding="utf-8")
        page.say(f"wrote {door}.py, by which {program} finds Gapless here")
    elif not file.is_file() or "gapless" not in file.read_text(encoding="utf-8", errors="replace"):
        page.say(f"left {door} alone; for `{program} deploy` here it must say: from gapless import namespace")


def _tell(found: Found, page: Page) -> None:
    """Say what was assumed and from where, and what to type next."""
    rows = [[TOLD[what], guess.value, guess.why] for what, guess in found.guesses.items() if what in TOLD]
    rows.append(["hosts", ", ".join(found.hosts), "a placeholder" if found.hosts == [PLACEHOLDER] else "named"])
    page.table("assumed", ["key", "value", "from"], rows)
    for text in [*found.notes, *found.traps]:
        page.say(f"note: {text}")
    page.say(f"Next:  fab doctor --hosts {found.group}\n       fab deploy --hosts {found.group} --plan")
