"""Read known_hosts files as ssh does, and judge the key that a host shows. Strict: what is not known is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

REVOKED, AUTHORITY = "@revoked", "@cert-authority"
SSH_PORT = 22


class Key(NamedTuple):
    """Hold a public key; `kind` is its type, such as ssh-ed25519."""

    kind: str
    blob: bytes

    def __str__(self) -> str:
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")
        return f"{self.kind} SHA256:{digest}"


class Entry(NamedTuple):
    """Hold one key that is known of a host, and where that is written."""

    key: Key
    place: str
    marker: str = ""


def key(text: str) -> Key:
    """Read `TYPE BASE64`; raise ValueError where the two do not belong together."""
    kind, coded = text.split()[:2]
    blob = base64.b64decode(coded, validate=True)
    if blob[4 : 4 + int.from_bytes(blob[:4], "big")] != kind.encode():
        raise ValueError(f"this is no {kind} key")
    return Key(kind, blob)


def spelled(host: str, port: int) -> str:
    """Spell a host as known_hosts does."""
    return host if port == SSH_PORT else f"[{host}]:{port}"


def entries(files: Iterable[str], name: str) -> list[Entry]:
    """Give what the files know of this name; a file that is not there knows nothing."""
    return [entry for file in files for entry in _of_file(file, name.lower())]


def _of_file(file: str, name: str) -> Iterator[Entry]:
    path = Path(file).expanduser()
    try:
        changed = path.stat().st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return
    plain, others = _read(path, changed)
    for line in sorted([*plain.get(name, ()), *others], key=lambda line: line.number):
        # As ssh does, skip what is no entry: a key of a type that nobody knows, a torn line.
        with suppress(ValueError):
            if _names(line.patterns, name):
                yield Entry(key(line.key), f"{path}:{line.number}", line.marker)


class _Line(NamedTuple):
    number: int
    marker: str
    patterns: str
    key: str


@lru_cache(maxsize=16)
def _read(path: Path, changed: int) -> tuple[Mapping[str, list[_Line]], list[_Line]]:
    """Take a file apart once for all hosts: lines by the names that stand in them, and those that must be tried for each name."""
    plain: dict[str, list[_Line]] = {}
    others: list[_Line] = []
    for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), 1):
        words = text.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#"):
            continue
        line = _Line(number, marker, words[0], " ".join(words[1:3]))
        if set(words[0]) & set("*?!|"):
            others.append(line)
            continue
        for name in set(words[0].lower().split(",")):
            plain.setdefault(name, []).append(line)
    return plain, others


def _names(patterns: str, name: str) -> bool:
    """Say whether a line is about this name: hashed, or patterns of which none with a `!` may match."""
    if patterns.startswith("|"):
        return _hashes(patterns, name)
    matching = [pattern for pattern in patterns.lower().split(",") if _matches(pattern.removeprefix("!"), name)]
    return bool(matching) and not any(pattern.startswith("!") for pattern in matching)


def _matches(pattern: str, name: str) -> bool:
    # fnmatch would take the brackets of [host]:port for a set of letters.
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.fullmatch("".join(parts), name) is not None


def _hashes(hashed: str, name: str) -> bool:
    _, scheme, salt, digest = hashed.split("|")
    told = hmac.digest(base64.b64decode(salt, validate=True), name.encode(), "sha1")
    return scheme == "1" and hmac.compare_digest(told, base64.b64decode(digest, validate=True))


def kinds(known: Iterable[Entry]) -> set[str]:
    """List the types of which a key is known: the host should show one of these."""
    return {entry.key.kind for entry in known if not entry.marker}


def fault(where: str, known: Sequence[Entry], shown: Key) -> str:
    """Say in words what is wrong with the key that a host shows; nothing where it is the one that is known."""
    for entry in known:
        if entry.marker == REVOKED and entry.key == shown:
            return f"the host key is REVOKED in {entry.place}: {where} shows {shown}. Somebody may be in between."
    plain = [entry for entry in known if not entry.marker]
    if any(entry.key == shown for entry in plain):
        return ""
    if plain:
        told = ", ".join(f"{entry.key} ({entry.place})" for entry in plain)
        return f"the host key CHANGED: {where} shows {shown}, known is {told}. Somebody may be in between."
    if authorities := [entry for entry in known if entry.marker == AUTHORITY]:
        why = f"known by the certificate authority in {authorities[0].place} only, and host certificates are not read here"
        return f"{where} is {why}; it shows {shown}."
    return f"{where} is not in known_hosts; it shows {shown}."
