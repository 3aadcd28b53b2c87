"""Read nodes by the type that their key wants: kinds for single values and lists, and specs for mappings.

A kind takes a node and gives the value, or raises Bad with each place that is wrong; and it says in JSON Schema, for
editors, what it takes. A spec says which kind stands under which key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from .words import Word, closest, shown, suggestion
from .yamltext import Findings, Mapping, Mark, Node, Scalar, Sequence

T = TypeVar("T")
U = TypeVar("U")


class Kind(NamedTuple, Generic[T]):
    """
    Hold how a node is read, and who says the same in JSON Schema; what that can't say is listed in tests/test_schema.py.

    No deploy asks for the schema: it is made when it is asked for.
    """

    read: Callable[[Node], T]
    said: Callable[[], dict[str, Any]]

    @property
    def schema(self) -> dict[str, Any]:
        return self.said()

    def about(self, description: str) -> Kind[T]:
        """Say what it means under one key; editors show it beside the key."""
        return Kind(self.read, lambda: {"description": description, **self.schema})

    def giving(self, make: Callable[[T], U]) -> Kind[U]:
        """Make something else of what is read."""
        return Kind(lambda node: make(self.read(node)), self.said)


Spec = dict[str, Kind[Any]]


class Bad(Exception):
    """Carry what is wrong up to the mapping that knows the key's name."""

    def __init__(self, *notes: tuple[Mark, str]) -> None:
        super().__init__()
        self.notes = notes


def scalar(word: Word[T]) -> Kind[T]:
    """Make the kind for one value that is one word."""

    def read(node: Node) -> T:
        if not isinstance(node, Scalar):
            raise Bad((node.mark, f"wants one value, not a {node.kind}"))
        if node.plain and not node.text:
            raise Bad((node.mark, "has no value"))
        try:
            return word(node.text)
        except ValueError as error:
            raise Bad((node.mark, str(error))) from None

    return Kind(read, lambda: word.schema)


def is_none(node: Node) -> bool:
    return isinstance(node, Scalar) and node.plain and node.text in ("none", "null", "~")


def optional(kind: Kind[T]) -> Kind[T | None]:
    """Let `none` switch the thing off."""
    return Kind(lambda node: None if is_none(node) else kind.read(node), lambda: {"anyOf": [kind.schema, {"enum": ["none", None]}]})


def either(short: Kind[T], long: Kind[T]) -> Kind[T]:
    """Take one value, or what says more than one value can."""
    return Kind(lambda node: (short if isinstance(node, Scalar) else long).read(node), lambda: _any_of(short, long))


def at_length(short: Kind[T], long: Kind[T]) -> Kind[T]:
    """Take the usual form, or a mapping that says more than it can."""
    return Kind(lambda node: (long if isinstance(node, Mapping) else short).read(node), lambda: _any_of(short, long))


def _any_of(*kinds: Kind[Any]) -> dict[str, Any]:
    return {"anyOf": [kind.schema for kind in kinds]}


def many(kind: Kind[T], empty: bool = True) -> Kind[tuple[T, ...]]:
    """Make the kind for a list; each item is checked, nothing may be in it twice."""

    def read(node: Node) -> tuple[T, ...]:
        values: dict[T, None] = {}
        notes: list[tuple[Mark, str]] = []
        for item in items(node, empty):
            try:
                value = kind.read(item)
                if value in values:
                    raise Bad((item.mark, f"{shown(str(value))} is in the list twice"))
                values[value] = None
            except Bad as bad:
                notes.extend(bad.notes)
        if notes:
            raise Bad(*notes)
        return tuple(values)

    return Kind(read, lambda: {**_list(kind, empty), "uniqueItems": True})


def each(kind: Kind[T], empty: bool = True) -> Kind[tuple[T, ...]]:
    """Make the kind for a list whose items may be equal."""

    def read(node: Node) -> tuple[T, ...]:
        notes = [note for item in items(node, empty) for note in _wrong(kind, item)]
        if notes:
            raise Bad(*notes)
        return tuple(kind.read(item) for item in items(node, empty))

    return Kind(read, lambda: _list(kind, empty))


def _list(kind: Kind[Any], empty: bool) -> dict[str, Any]:
    return {"type": "array", "items": kind.schema, **({} if empty else {"minItems": 1})}


def nodes(kind: Kind[Any]) -> Kind[tuple[Node, ...]]:
    """Make the kind for a list that is not empty and whose items are read later, as `kind`."""
    return Kind(lambda node: items(node, empty=False), lambda: _list(kind, empty=False))


def _wrong(kind: Kind[Any], node: Node) -> tuple[tuple[Mark, str], ...]:
    """List what is wrong with a node."""
    try:
        kind.read(node)
    except Bad as bad:
        return bad.notes
    return ()


def items(node: Node, empty: bool = True) -> tuple[Node, ...]:
    """Unwrap a list."""
    if not isinstance(node, Sequence):
        raise Bad((node.mark, f"wants a list, not a {node.kind}; put it in [ ]"))
    if not node.items and not empty:
        raise Bad((node.mark, "is empty; name at least one"))
    return node.items


def mapping(node: Node) -> Mapping:
    if not isinstance(node, Mapping):
        raise Bad((node.mark, f"wants keys below it, not a {node.kind}"))
    return node


def fields(node: Mapping, spec: Spec, findings: Findings, required: Iterable[str] = ()) -> dict[str, Any]:
    """Read a mapping by its spec; note every unknown, missing and wrong key, and give the good values."""
    values, notes = _fields(node, spec, required)
    for mark, message in notes:
        findings.add(mark, message)
    return values


def record(spec: Spec, required: Iterable[str] = ()) -> Kind[dict[str, Any]]:
    """Make the kind for a small mapping that is only good as a whole."""

    def read(node: Node) -> dict[str, Any]:
        values, notes = _fields(mapping(node), spec, required)
        if notes:
            raise Bad(*notes)
        return values

    return Kind(read, lambda: _object(spec, required))


def later(spec: Spec) -> Kind[Mapping]:
    """Make the kind for a mapping whose keys are read later, by this spec."""
    return Kind(mapping, lambda: _object(spec))


def _object(spec: Spec, required: Iterable[str] = ()) -> dict[str, Any]:
    properties = {key: kind.schema for key, kind in spec.items()}
    wanted = {"required": list(required)} if required else {}
    return {"type": "object", "properties": properties, **wanted, "additionalProperties": False}


def _fields(node: Mapping, spec: Spec, required: Iterable[str]) -> tuple[dict[str, Any], list[tuple[Mark, str]]]:
    values: dict[str, Any] = {}
    notes = [
        (entry.key, f"unknown key {shown(key)}{suggestion(key, spec) or _known(spec)}")
        for key, entry in node.entries.items() if key not in spec
    ]
    meant = respelled(node, spec).entries
    for key, entry in meant.items():
        try:
            values[key] = spec[key].read(entry.node)
        except Bad as bad:
            notes.extend((mark, f"{key}: {message}") for mark, message in bad.notes)
    notes.extend((node.mark, f'the key "{key}" is missing') for key in required if key not in meant)
    return values, notes


def respelled(node: Mapping, spec: Spec) -> Mapping:
    """Read a misspelt key as the one that was meant, so that it hides nothing below it; leave out what nobody knows."""
    entries = {key: entry for key, entry in node.entries.items() if key in spec}
    for key, entry in node.entries.items():
        meant = "" if key in spec else closest(key, spec)
        if meant and meant not in entries:
            entries[meant] = entry
    return Mapping(node.mark, entries)


def table(word: Word[str], kind: Kind[T], empty: bool = True) -> Kind[dict[str, T]]:
    """Make the kind for a mapping whose keys the user chooses."""

    def read(node: Node) -> dict[str, T]:
        entries = mapping(node).entries
        if not entries and not empty:
            raise Bad((node.mark, "is empty; name at least one"))
        notes: list[tuple[Mark, str]] = []
        for key, entry in entries.items():
            bad = [*_wrong(scalar(word), Scalar(entry.key, key, plain=False)), *_wrong(kind, entry.node)]
            notes += [(mark, f"{shown(key)}: {message}") for mark, message in bad]
        if notes:
            raise Bad(*notes)
        return {key: kind.read(entry.node) for key, entry in entries.items()}

    return Kind(read, lambda: _table(word, kind.schema, empty))


def nodes_by_name(word: Word[str], said: Callable[[], dict[str, Any]]) -> Kind[Mapping]:
    """Make the kind for a mapping that is not empty, whose keys the user chooses; its values are read later, as `said`."""
    return Kind(mapping, lambda: _table(word, said(), empty=False))


def _table(word: Word[str], schema: dict[str, Any], empty: bool) -> dict[str, Any]:
    return {"type": "object", "propertyNames": word.schema, "additionalProperties": schema, **({} if empty else {"minProperties": 1})}


def _known(spec: Spec) -> str:
    return f"; known here: {', '.join(spec)}"


def only(node: Mapping, keys: Iterable[str]) -> Mapping:
    """Narrow a mapping to some of its keys."""
    return Mapping(node.mark, {key: node.entries[key] for key in keys if key in node.entries})


def overlay(base: Mapping | None, top: Mapping) -> Mapping:
    """Put one mapping over another: each key of the upper one replaces the lower one's whole value."""
    return Mapping(top.mark, {**base.entries, **top.entries}) if base else top
