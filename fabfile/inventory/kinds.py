"""Read nodes by the type that their key wants: kinds for single values and lists, and specs for mappings.

A kind takes a node and gives the value, or raises Bad with each place that is wrong. A spec says which kind stands
under which key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from .words import closest, shown, suggestion
from .yamltext import Findings, Mapping, Mark, Node, Scalar, Sequence

T = TypeVar("T")
Kind = Callable[[Node], Any]
Spec = dict[str, Kind]


class Bad(Exception):
    """Carry what is wrong up to the mapping that knows the key's name."""

    def __init__(self, *notes: tuple[Mark, str]) -> None:
        super().__init__()
        self.notes = notes


def scalar(check: Callable[[str], T]) -> Callable[[Node], T]:
    def read(node: Node) -> T:
        if not isinstance(node, Scalar):
            raise Bad((node.mark, f"wants one value, not a {node.kind}"))
        if node.plain and not node.text:
            raise Bad((node.mark, "has no value"))
        try:
            return check(node.text)
        except ValueError as error:
            raise Bad((node.mark, str(error))) from None

    return read


def is_none(node: Node) -> bool:
    return isinstance(node, Scalar) and node.plain and node.text in ("none", "null", "~")


def optional(kind: Callable[[Node], T]) -> Callable[[Node], T | None]:
    """Let `none` switch the thing off."""
    return lambda node: None if is_none(node) else kind(node)


def many(kind: Callable[[Node], T], empty: bool = True) -> Callable[[Node], tuple[T, ...]]:
    """Read a list; each item is checked, nothing may be in it twice."""

    def read(node: Node) -> tuple[T, ...]:
        values: dict[T, None] = {}
        notes: list[tuple[Mark, str]] = []
        for item in items(node, empty):
            try:
                value = kind(item)
                if value in values:
                    raise Bad((item.mark, f"{shown(str(value))} is in the list twice"))
                values[value] = None
            except Bad as bad:
                notes.extend(bad.notes)
        if notes:
            raise Bad(*notes)
        return tuple(values)

    return read


def each(kind: Callable[[Node], T], empty: bool = True) -> Callable[[Node], tuple[T, ...]]:
    """Read a list whose items may be equal."""

    def read(node: Node) -> tuple[T, ...]:
        notes = [note for item in items(node, empty) for note in _wrong(kind, item)]
        if notes:
            raise Bad(*notes)
        return tuple(kind(item) for item in items(node, empty))

    return read


def _wrong(kind: Kind, node: Node) -> tuple[tuple[Mark, str], ...]:
    """List what is wrong with a node."""
    try:
        kind(node)
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


def record(spec: Spec, required: Iterable[str] = ()) -> Callable[[Node], dict[str, Any]]:
    """Make the kind for a small mapping that is only good as a whole."""

    def read(node: Node) -> dict[str, Any]:
        values, notes = _fields(mapping(node), spec, required)
        if notes:
            raise Bad(*notes)
        return values

    return read


def _fields(node: Mapping, spec: Spec, required: Iterable[str]) -> tuple[dict[str, Any], list[tuple[Mark, str]]]:
    values: dict[str, Any] = {}
    notes = [
        (entry.key, f"unknown key {shown(key)}{suggestion(key, spec) or _known(spec)}")
        for key, entry in node.entries.items() if key not in spec
    ]
    meant = respelled(node, spec).entries
    for key, entry in meant.items():
        try:
            values[key] = spec[key](entry.node)
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


def table(check: Callable[[str], str], kind: Callable[[Node], T]) -> Callable[[Node], dict[str, T]]:
    """Make the kind for a mapping whose keys the user chooses."""

    def read(node: Node) -> dict[str, T]:
        notes: list[tuple[Mark, str]] = []
        for key, entry in mapping(node).entries.items():
            bad = [*_wrong(scalar(check), Scalar(entry.key, key, plain=False)), *_wrong(kind, entry.node)]
            notes += [(mark, f"{shown(key)}: {message}") for mark, message in bad]
        if notes:
            raise Bad(*notes)
        return {key: kind(entry.node) for key, entry in mapping(node).entries.items()}

    return read


def _known(spec: Spec) -> str:
    return f"; known here: {', '.join(spec)}"


def only(node: Mapping, keys: Iterable[str]) -> Mapping:
    """Narrow a mapping to some of its keys."""
    return Mapping(node.mark, {key: node.entries[key] for key in keys if key in node.entries})


def overlay(base: Mapping | None, top: Mapping) -> Mapping:
    """Put one mapping over another: each key of the upper one replaces the lower one's whole value."""
    return Mapping(top.mark, {**base.entries, **top.entries}) if base else top
