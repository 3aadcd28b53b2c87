"""The artifact that is to be deployed: a file of this machine, or an address that the hosts fetch by themselves."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from .errors import UsageError

CHUNK = 32_768  # bytes read at once
SHA256 = re.compile(r"[0-9a-f]{64}")
ADDRESS = re.compile(r"""https?://[^\s"'\\/?#@]+/[^\s"'\\#]*""", re.ASCII)
PLAIN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Parcel:
    """Hold an artifact: `name` may be shown, `url` may hold a token and never is."""

    name: str
    sha256: str
    file: Path | None = None
    url: str = field(default="", repr=False)

    def chunks(self) -> Iterator[bytes]:
        """Read the file, piece by piece."""
        assert self.file is not None
        with self.file.open("rb") as opened:
            while chunk := opened.read(CHUNK):
                yield chunk


def parcel(given: str, sha256: str = "") -> Parcel | None:
    """Read --artifact and --sha256; None where none is given. Contacts nobody; raise UsageError for what can't be one."""
    if not given:
        if sha256:
            raise UsageError("--sha256 is that of an artifact; say which: --artifact FILE, or https://...")
        return None
    said = _from_environment(given)
    if "://" in said:
        return _address(said, given, sha256)
    return _file(Path(said).expanduser(), sha256)


def _from_environment(given: str) -> str:
    """Read env:NAME: an address with a token in it stands in no list of processes then."""
    if not given.startswith("env:"):
        return given
    if not (value := os.environ.get(given[4:], "").strip()):
        raise UsageError(f"--artifact {given}: {given[4:]} is not set in this environment")
    return value


def _file(file: Path, wanted: str) -> Parcel:
    try:
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as err:
        raise UsageError(f"--artifact {file}: it can't be read: {err.strerror}") from None
    if wanted and _hex(wanted) != found:
        raise UsageError(f"--artifact {file}: its sha256 is {found}, not that of --sha256; nothing was done")
    return Parcel(str(file), found, file)


def _address(text: str, given: str, sha256: str) -> Parcel:
    """Read an address; one without a sha256 is refused, for nobody could tell what came from there."""
    url, _, fragment = text.partition("#")
    if not (ADDRESS.fullmatch(url) and PLAIN.fullmatch(url)):
        raise UsageError("--artifact: no address that hosts can fetch; write https://HOST/..., without name or password, blanks or quotes")
    parts = urlsplit(url)
    name = f"{parts.scheme}://{parts.netloc}{parts.path}"
    said = {_hex(each) for each in (sha256, fragment.removeprefix("sha256=")) if each}
    if len(said) != 1:
        why = "--sha256 and #sha256= differ" if said else "what comes from there must be known beforehand"
        raise UsageError(f"--artifact {name}: {why}. Say its sha256 (sha256sum FILE, where it is packed): --sha256 HEX, or URL#sha256=HEX")
    return Parcel(given if given.startswith("env:") else name, said.pop(), url=url)


def _hex(text: str) -> str:
    if not SHA256.fullmatch(text.lower()):
        raise UsageError(f"--sha256: {text!r} is no sha256; it has 64 digits of 0-9 and a-f")
    return text.lower()
