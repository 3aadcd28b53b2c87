"""Turn YAML text into nodes that know their line and column, within limits, and lay out what is wrong with it.

Text stays text: the key above a scalar decides what it means, so `no` is never False and 0755 never 493.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from ..errors import InventoryError
from .words import printable, shown, veiled

MOST_BYTES = 1 << 20
MOST_DEPTH = 50
MOST_ALIASES = 100
MOST_NODES = 50_000      # after aliases are followed, so that a few lines can't become a billion hosts
MOST_FINDINGS = 40
MOST_LOOKED = 500        # lines above one that is shown, for the `env:` that it may hang below

# The breaks that PyYAML counts; str.splitlines would count more of them and show the wrong line.
BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
ENV = re.compile(r"""(?:^|[\s{,\[])["']?env["']?\s*:""")
KEY = re.compile(r"[^:]*:(?=\s|$)")
UNUSABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class Mark(NamedTuple):
    """Point at a character; both numbers begin with 1."""

    line: int = 1
    column: int = 1


class Scalar(NamedTuple):
    mark: Mark
    text: str
    plain: bool = True           # not in quotes, so `none` may mean nothing
    size: int = 1
    kind: str = "value"


class Sequence(NamedTuple):
    mark: Mark
    items: tuple[Node, ...]
    size: int = 1
    kind: str = "list"


class Entry(NamedTuple):
    key: Mark
    node: Node


class Mapping(NamedTuple):
    mark: Mark
    entries: dict[str, Entry]
    size: int = 1
    kind: str = "mapping"


Node = Scalar | Sequence | Mapping


@dataclass
class Findings:
    """Collect what is wrong, to say all of it at once and in the order of the file."""

    name: str
    lines: list[str] = field(default_factory=list)
    notes: dict[tuple[Mark, str], None] = field(default_factory=dict)

    def add(self, mark: Mark, message: str) -> None:
        self.notes[mark, message] = None

    def stop(self, mark: Mark, message: str) -> NoReturn:
        """End the reading: what follows can't be understood."""
        self.add(mark, message)
        raise self.error()

    def check(self) -> None:
        if self.notes:
            raise self.error()

    def error(self) -> InventoryError:
        notes = sorted(self.notes)
        blocks = [self._block(mark, message) for mark, message in notes[:MOST_FINDINGS]]
        count = "1 error" if len(notes) == 1 else f"{len(notes)} errors"
        rest = f", the first {MOST_FINDINGS} are shown" if len(notes) > MOST_FINDINGS else ""
        return InventoryError("\n".join([*blocks, f"{self.name}: {count}{rest}; no host was contacted."]))

    def _block(self, mark: Mark, message: str) -> str:
        where = f"{self.name}:{mark.line}:{mark.column}: {printable(message)}"
        line = self._shown_line(mark.line - 1) if mark.line <= len(self.lines) else ""
        start = max(0, mark.column - 80)
        cut = line[start : start + 120]
        safe = "".join(char if char.isprintable() or char == "\t" else "\ufffd" for char in cut)
        # Tabs stay tabs above and below, or the caret would point elsewhere.
        pad = "".join("\t" if char == "\t" else " " for char in cut[: mark.column - 1 - start])
        return f"{where}\n    {safe}\n    {pad}^" if safe.strip() else where

    def _shown_line(self, number: int) -> str:
        """Give a line with stars for what may be secret: values below `env`, and what stands before an address's @."""
        line = veiled(self.lines[number])
        own = ENV.search(line)
        if own:
            return line[: own.end()] + _starred(line[own.end() :])
        if self._below_env(number):
            key = KEY.match(line)
            return line[: key.end()] + _starred(line[key.end() :]) if key else _starred(line)
        return line

    def _below_env(self, number: int) -> bool:
        """Say whether the line hangs below an `env:`; read from the text, for a file that is no YAML has lines only."""
        margin = _indent(self.lines[number])
        for line in reversed(self.lines[max(0, number - MOST_LOOKED) : number]):
            if line.strip() and _indent(line) < margin:
                if ENV.search(line):
                    return True
                margin = _indent(line)
        return False


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _starred(text: str) -> str:
    return re.sub(r"\S", "*", text)


def compose(data: bytes, name: str) -> tuple[Node, Findings]:
    """Read one document; faults that leave the rest readable are collected, others raise."""
    findings = Findings(name)
    if len(data) > MOST_BYTES:
        findings.stop(Mark(), "the file is larger than 1 MiB; an inventory is text that a person can read")
    text = _decode(data, findings)
    findings.lines = BREAK.split(text)
    composer = _Composer(findings)
    _parse(text, composer)
    if composer.root is None:
        findings.stop(Mark(), "the file is empty; it wants app and groups")
    return composer.root, findings


def _decode(data: bytes, findings: Findings) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        findings.lines = BREAK.split(data.decode("utf-8", "replace"))
        before = data[: error.start].decode("utf-8", "replace")
        findings.stop(_mark_at(before), "this is not UTF-8; save the file as UTF-8")


def _mark_at(before: str) -> Mark:
    lines = BREAK.split(before)
    return Mark(len(lines), len(lines[-1]) + 1)


def _parse(text: str, composer: _Composer) -> None:
    # Imported here: a command that reads no inventory must not pay for YAML.
    import yaml

    stop = composer.findings.stop
    try:
        loader: Any = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        stop(_mark_at(text[: error.position]), f"the character U+{ord(text[error.position]):04X} is not allowed here")
    try:
        while loader.check_event():
            composer.take(loader.get_event())
    except yaml.MarkedYAMLError as error:
        stop(*_syntax(error))
    except (ValueError, OverflowError, IndexError):
        # PyYAML lets these out for numbers that are too large in "\U…" and in %YAML.
        stop(Mark(loader.line + 1, loader.column + 1), "this is not YAML")


def _syntax(error: Any) -> tuple[Mark, str]:
    """Say in plain words what the parser stumbled over, with the advice that most often helps."""
    problem = error.problem or "this is not YAML"
    here, begun = _mark(error.problem_mark), _mark(error.context_mark)
    if "'\\t'" in problem:
        return here, "a tab; YAML wants spaces here"
    if "mapping values" in problem:
        return here, 'a ":" where no key can be; check the indentation, or put the value in quotes'
    if "found ':'" in problem:
        return here, 'a ":" where a value begins; put the value in quotes, as in "::1"'
    if "could not find expected ':'" in problem:
        return begun, 'a key without ":"; write key: value'
    since = f", {error.context} that begins on line {begun.line}" if error.context_mark and error.context else ""
    return here, f"{problem}{since}"


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1) if mark else Mark()


@dataclass
class _Open:
    """Hold a list or mapping whose end has not come yet; a mapping's keys and values alternate."""

    mark: Mark
    anchor: str | None
    is_mapping: bool
    parts: list[Node] = field(default_factory=list)


class _Composer:
    """Build nodes from events without recursion, and give up at the first limit that is passed."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.root: Node | None = None
        self.open: list[_Open] = []
        self.anchors: dict[str, Node] = {}
        self.aliases = self.nodes = self.documents = 0
        self.ways: dict[str, Callable[[Any, Mark], None]] = {
            "DocumentStartEvent": self._document,
            "AliasEvent": self._alias,
            "ScalarEvent": self._scalar,
            "SequenceStartEvent": self._start,
            "MappingStartEvent": self._start,
            "SequenceEndEvent": self._end,
            "MappingEndEvent": self._end,
        }

    def take(self, event: Any) -> None:
        way = self.ways.get(type(event).__name__)
        if way is None:
            return
        mark = _mark(event.start_mark)
        self.nodes += 1
        if self.nodes > MOST_NODES * 2:
            self.findings.stop(mark, f"more than {MOST_NODES} values; an inventory is text that a person can read")
        if getattr(event, "tag", None) is not None:
            self.findings.stop(mark, f"the tag {shown(event.tag)}; tags are not read here, leave it out")
        way(event, mark)

    def _document(self, event: Any, mark: Mark) -> None:
        self.documents += 1
        if self.documents > 1:
            self.findings.stop(mark, "a second document; one file holds one")

    def _alias(self, event: Any, mark: Mark) -> None:
        self.aliases += 1
        if self.aliases > MOST_ALIASES:
            self.findings.stop(mark, f"more than {MOST_ALIASES} aliases")
        if event.anchor not in self.anchors:
            self.findings.stop(mark, f"the alias {shown(event.anchor)} has no anchor that ends before it")
        self._close(self.anchors[event.anchor], None)

    def _scalar(self, event: Any, mark: Mark) -> None:
        bad = UNUSABLE.search(event.value)
        if bad:
            self.findings.stop(mark, f"the character U+{ord(bad[0]):04X} is in this value; it can't be used")
        self._close(Scalar(mark, event.value, event.style is None), event.anchor)

    def _start(self, event: Any, mark: Mark) -> None:
        if len(self.open) >= MOST_DEPTH:
            self.findings.stop(mark, f"more than {MOST_DEPTH} levels deep")
        self.open.append(_Open(mark, event.anchor, type(event).__name__ == "MappingStartEvent"))

    def _end(self, event: Any, mark: Mark) -> None:
        done = self.open.pop()
        size = 1 + sum(part.size for part in done.parts)
        if size > MOST_NODES:
            self.findings.stop(done.mark, f"more than {MOST_NODES} values once the aliases are followed")
        if done.is_mapping:
            self._close(Mapping(done.mark, self._entries(done.parts), size), done.anchor)
        else:
            self._close(Sequence(done.mark, tuple(done.parts), size), done.anchor)

    def _entries(self, parts: list[Node]) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for key, node in zip(parts[::2], parts[1::2], strict=True):
            if not isinstance(key, Scalar):
                self.findings.add(key.mark, f"a {key.kind} as a key; a key is a word")
            elif key.text == "<<" and key.plain:
                self.findings.add(key.mark, "a merge key; it is not read here, write the keys out")
            elif key.text in entries:
                first = entries[key.text].key.line
                self.findings.add(key.mark, f"the key {shown(key.text)} is there already, on line {first}")
            else:
                entries[key.text] = Entry(key.mark, node)
        return entries

    def _close(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            if anchor in self.anchors:
                self.findings.stop(node.mark, f"the anchor {shown(anchor)} is there already")
            self.anchors[anchor] = node
        if self.open:
            self.open[-1].parts.append(node)
        else:
            self.root = node
