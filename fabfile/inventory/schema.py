"""hosts.yaml as JSON Schema, so that editors complete its keys and underline mistakes: made of the specs that it is read by."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from . import keys
from .kinds import record
from .values import App, Health, Process, Update

TITLE = "Gapless: hosts.yaml"
SHORT = tuple(keys.PROCESS)  # the keys of an app that is one process, called like the app

Schema = dict[str, Any]


def schema() -> Schema:
    """Give the whole schema, of draft 2020-12; nothing in it is unknown to editors that stopped at draft 7."""
    whole = json.loads(json.dumps(record(keys.TOP, ["groups"]).schema))
    _with_defaults(whole)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": TITLE, **whole,
        "allOf": [*map(_somewhere, keys.REQUIRED), _one_form()],
    }


def text() -> str:
    """Write the schema as a file."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


# What must fit together between the app of the file and the apps of the groups, which lie over it


def _somewhere(key: str) -> Schema:
    """Want a key in the app of the file or, where that has none, in every group's own."""
    return {"anyOf": [_top(_has([key])), _leaves(_own(_has([key])))]}


def _one_form() -> Schema:
    """Want each app to be one process (`script`) or several (`processes`), once the group's own keys lie over the file's."""
    several = {**_has(["processes"]), **_none_of(SHORT)}
    alone = {**_has(["script"]), **_none_of(["processes"])}
    # A group that changes the form drops the other form's keys from below it; one that does not takes what is there.
    changes = {"anyOf": [_own(alone), _own(several)]}
    stays = {"anyOf": [changes, {"properties": {"app": _none_of([*SHORT, "processes"])}}]}
    adds = {"anyOf": [changes, {"properties": {"app": _none_of(["processes"])}}]}
    return {"anyOf": [
        {"allOf": [_top(alone), _leaves(adds)]}, {"allOf": [_top(several), _leaves(stays)]}, _leaves(changes),
    ]}


def _has(names: Iterable[str]) -> Schema:
    return {"required": list(names)}


def _none_of(names: Iterable[str]) -> Schema:
    return {"not": {"anyOf": [_has([name]) for name in names]}}


def _top(wanted: Schema) -> Schema:
    return {**_has(["app"]), "properties": {"app": wanted}}


_own = _top  # a group's app has the same place in the group


def _leaves(wanted: Schema) -> Schema:
    """Want something of every group of hosts."""
    return {"properties": {"groups": {"additionalProperties": {"anyOf": [_has(["groups"]), wanted]}}}}


# Defaults


def _with_defaults(whole: Schema) -> None:
    """Write down what a key is where it is left out; a group's keys have none, for there the file's come first."""
    app = whole["properties"]["app"]["properties"]
    process = app["processes"]["additionalProperties"]["properties"]
    for properties, kind in ((app, App), (app, Process), (process, Process), (whole["properties"]["defaults"]["properties"], Update)):
        for name, value in kind._field_defaults.items():
            if name in properties and value not in (None, ()):
                properties[name]["default"] = spelled(value)


def spelled(value: Any) -> Any:
    """Write a value of hosts.yaml as it is written there."""
    match value:
        case Health():
            return {"path": value.path, "timeout": spelled(value.timeout)}
        case (alone,):
            return int(alone) if alone.isdigit() else alone
        case float():
            return f"{value / 60:g}m" if value >= 60 and value % 60 == 0 else f"{value:g}s"
    return value
