"""The text of a first hosts.yaml: about 20 lines, each with what it is for."""

from __future__ import annotations

import json
import re

from .found import Found

WIDTH = 38  # columns before a comment
PLAIN = re.compile(r"(?:[A-Za-z/~]|\.[A-Za-z/])[A-Za-z0-9_./@~=-]*(?:[ :][A-Za-z0-9_./@~=-]+)*")  # for YAML it is text, wherever it stands
MEANING = re.compile(r"(?i)true|false|null|none|yes|no|on|off|y|n|~")


def text(found: Found, schema: str) -> str:
    """Write the file; `schema` is where the schema of hosts.yaml lies, as seen from it."""
    root = found.get("root")
    app = [
        ("name", found.get("name"), "the PM2 process name"),
        ("repo", found.get("repo"), "fetched by the hosts"),
        ("ref", found.get("ref"), "what is deployed without --ref"),
        ("root", root, "on the hosts: releases/ shared/ current"),
        ("script", found.get("script"), _runs(found)),
        ("instances", found.get("instances"), "one worker per core" if found.get("instances") == "max" else "workers; max: one per core"),
        ("port", found.get("port"), "given to the app as PORT"),
    ]
    lines = [
        f"# yaml-language-server: $schema={schema}",
        "# What to deploy, and where. Paths and commands are those of the hosts.",
        *(f"# {trap}" for trap in found.traps[:2]),
        "app:", *(_line(f"{key}: {_value(key, value)}", why) for key, value, why in app),
        f"  build: [{', '.join(scalar(step) for step in found.build)}]",
        *_optional(found, root),
        _line(f"health: {{path: {scalar(found.get('health'))}}}", "a worker gets no request before this answers 200"),
        "groups:",
        f"  {found.group}:",
        f"    hosts: [{', '.join(scalar(host) for host in found.hosts)}]",
        "    # Behind HAProxy each host is drained before its reload:",
        f"    # balancer: {{kind: haproxy, host: lb1, socket: /run/haproxy/admin.sock, backend: {found.group}}}",
    ]
    return "\n".join(lines) + "\n"


def _runs(found: Found) -> str:
    """Say what the script is; package.json may know it by a name."""
    _, _, key = found.guesses["script"].why.partition("scripts.")
    return f"what {f'`npm run {key}`' if key else 'node'} runs; cluster mode needs the file, not npm"


def _optional(found: Found, root: str) -> list[str]:
    lines = []
    if found.get("migrate"):
        lines.append(_line(f"migrate: {scalar(found.get('migrate'))}", "on one host, once per deploy"))
    env, uploads = found.get("env_file"), found.get("uploads")
    if env and env != ".env":
        lines.append(_line(f"env_file: {scalar(env)}", "read at each start"))
    shared = [f"{key}: [{scalar(value)}]" for key, value in (("files", env), ("dirs", uploads)) if value]
    if shared:
        lines.append(_line(f"shared: {{{', '.join(shared)}}}", f"put it below {root}/shared on each host; linked into every release"))
    if found.get("node_env"):
        lines.append(_line(f"env: {{NODE_ENV: {scalar(found.get('node_env'))}}}", "for what is no secret"))
    return lines


def _line(text: str, why: str) -> str:
    return f"  {text}".ljust(WIDTH) + f" # {why}"


def _value(key: str, value: str) -> str:
    return value if key in ("port", "instances") else scalar(value)


def scalar(value: str) -> str:
    """Write one value: in quotes wherever YAML could read it as something else, or as more than one."""
    if PLAIN.fullmatch(value) and not MEANING.fullmatch(value) and ": " not in value:
        return value
    # Quotes and escapes of JSON are those of YAML too, but for pairs of surrogates.
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in json.dumps(value, ensure_ascii=False))
