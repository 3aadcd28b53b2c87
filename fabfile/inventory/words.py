"""Say what a word in hosts.yaml or on the command line may be: each check gives the value or says why not.

Allow-lists, not deny-lists: these words end up in shell scripts, PM2 names, git operands and socket paths. Patterns are
written so that ECMAScript reads them as Python does: editors check by the same ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Generic, TypeVar

from .. import knownhosts

T = TypeVar("T")

DAY = 86400.0
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

# isNaN() decides whether PM2 takes a word for an id, so 1e5 and 0x1f are numbers too.
PM2_OWN = r"all|default|[0-9]+(?:e-?[0-9]+)?|0x[0-9a-f]+|0o[0-7]+|0b[01]+"
LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
IPV6 = r"[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*"
OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
SAFE_PART = r"[A-Za-z0-9_.@+=-]+"
INNER = rf"(?:\./)?(?!-)(?!\.\.?(?:/|$))(?!.*/\.\.?(?:/|$)){SAFE_PART}(?:/{SAFE_PART})*"
COMMAND = r"(?:npm|npx|yarn|pnpm|node)(?: |$)"
TOLD = r".*://[^/@]*:(?![0-9]+/)[^@]*@|https?://[^/]*@"
STRANGE = r".*(?:::|//-|@-)|-"
REPO = r"(?:(?:https?|ssh|git|file)://|[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+:|[A-Za-z0-9_.-]+:(?![:/])|\.{0,2}/)[A-Za-z0-9_.:@~+%=,/-]+"
USERINFO = re.compile(r"(?<=://)[^\n]*(?=@)")
HOST_KEY = r"((?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) [A-Za-z0-9+/]{40,}={0,2})(?: [ -~]*)?"


@dataclass(frozen=True)  # mypy does not see that a NamedTuple can be called
class Word(Generic[T]):
    """
    Hold a check, and what it takes in the terms of JSON Schema.

    Editors see YAML's numbers where the check sees text: `numbers` says which of them are taken, None that none is.
    """

    check: Callable[[str], T]
    pattern: str                                # what all of the text must match
    what: str                                   # it is, when it does not
    numbers: Mapping[str, Any] | None = None
    known: tuple[str, ...] = ()                 # the only words, where there are few

    def __call__(self, text: str) -> T:
        return self.check(text)

    @property
    def schema(self) -> dict[str, Any]:
        """Say in JSON Schema what the check takes, as YAML 1.2 reads it: text, numbers, and true for "true"."""
        if self.known:
            return {"enum": list(self.known)}
        types = ["string"] if self.numbers is None else ["string", self.numbers.get("type", "number")]
        types += ["boolean"] if re.fullmatch(self.pattern, "true") else []
        return {
            **(self.numbers or {}), "type": types if len(types) > 1 else types[0],
            "pattern": f"^(?:{self.pattern})$", "patternErrorMessage": f"not {self.what}",
        }


def word(pattern: str, what: str, numbers: Mapping[str, Any] | None = None) -> Callable[[Callable[[str], T]], Word[T]]:
    """Make a Word of a check that does more than match."""
    return lambda check: Word(check, pattern, what, numbers)


ANY: Mapping[str, Any] = {}
NOT_NEGATIVE = {"minimum": 0}


def veiled(text: str) -> str:
    """Put stars for what stands before the @ of an address: it may be a password or a token. The length stays."""
    return USERINFO.sub(lambda found: "*" * len(found[0]), text)


def printable(text: str) -> str:
    """Spell what could disturb a terminal by its number, as \\x1b."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def shown(text: str) -> str:
    """Quote a word so that it can't disturb the terminal nor tell a password, however long or strange it is."""
    return f'"{printable(veiled(text)[:60])}{"…" if len(text) > 60 else ""}"'


def closest(word: str, known: Iterable[str]) -> str:
    """Give the known word that was probably meant, or nothing."""
    return next(iter(get_close_matches(word[:80], list(known), n=1)), "")


def suggestion(word: str, known: Iterable[str]) -> str:
    """Offer the known word that was probably meant, or nothing."""
    close = closest(word, known)
    return f"; did you mean {shown(close)}?" if close else ""


def matching(pattern: str, what: str, numbers: Mapping[str, Any] | None = None) -> Word[str]:
    """Make the check that takes exactly what `pattern` matches."""
    @word(pattern, what, numbers)
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{shown(text)} is not {what}")
        return text

    return check


def one_of(*known: str) -> Word[str]:
    """Make the check that takes one of a few words."""

    def check(text: str) -> str:
        if text not in known:
            raise ValueError(f"{shown(text)} is not one of {', '.join(known)}{suggestion(text, known)}")
        return text

    return Word(check, "|".join(known), f"one of {', '.join(known)}", known=known)


def whole(low: int, high: int = 10**9) -> Word[int]:
    """Make the check that takes a whole number from `low` to `high`."""
    limits = f"from {low} to {high}" if high < 10**9 else f"of {low} or more"

    @word("[0-9]{1,10}", f"a whole number {limits}", {"type": "integer", "minimum": low, "maximum": high})
    def check(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,10}", text) or not low <= int(text) <= high:
            raise ValueError(f"{shown(text)} is not a whole number {limits}")
        return int(text)

    return check


any_text = Word(str, r"[\s\S]*", "text", ANY)
group_name = matching(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "a group name; use letters, digits, . _ -", NOT_NEGATIVE)
server_name = matching(r"[A-Za-z0-9_.-]{1,128}", "a name that HAProxy takes; use letters, digits, . _ -", ANY)
user_name = matching(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", "a user name; use letters, digits, . _ -", NOT_NEGATIVE)
env_name = matching(r"[A-Za-z_][A-Za-z0-9_]{0,127}", "a name for a variable; use letters, digits and _")
header_name = matching(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}", "a header name; use letters, digits and -", {"type": "integer", "minimum": 0})
health_path = matching(r"/[A-Za-z0-9._~%/?=&+:@,-]{0,255}", "a health path; it begins with / as in /health")
WEB = r"https?://[A-Za-z0-9_.:\[\]-]+(?:/[A-Za-z0-9._~%/?=&+:@,-]*)?"
web_url = matching(WEB, "an address such as http://lb1.example.com:8080")


@word(r"(?!PORT$|GAPLESS_)[A-Za-z_][A-Za-z0-9_]{0,127}", env_name.what)
def variable(text: str) -> str:
    """Check the name of a variable that the user may set; the gate sets the others."""
    if text == "PORT" or text.startswith("GAPLESS_"):
        raise ValueError(f"{shown(text)} is set by Gapless{'; say port: instead' if text == 'PORT' else ''}")
    return env_name(text)


@word(rf"(?!(?:{PM2_OWN})$)[a-z0-9][a-z0-9_-]{{0,63}}", "a name; use a-z, 0-9, _ and -, 64 at most, and no _ or - first")
def process_name(text: str) -> str:
    """Check the name of an app or process: it is a PM2 name, a directory and a key at once."""
    if re.fullmatch(PM2_OWN, text):
        raise ValueError(f"{shown(text)} can't be a name; PM2 gives it a meaning of its own")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", text):
        raise ValueError(f"{shown(text)} is not a name; use a-z, 0-9, _ and -, 64 at most, and no _ or - first")
    return text


@word(
    rf"{IPV6}|{OCTET}(?:\.{OCTET}){{3}}|(?![0-9.]*$)(?=.{{1,253}}$){LABEL}(?:\.{LABEL})*",
    "a host name; use letters, digits, . _ - (users and ports have keys of their own)",
)
def host_name(text: str) -> str:
    """Check a DNS name, an ssh alias, an IPv4 or a bare IPv6 address; users and ports have their own keys."""
    if re.fullmatch(IPV6, text):
        return _address(text, IPv6Address)
    if re.fullmatch(r"[0-9.]+", text):
        return _address(text, IPv4Address)
    if len(text) > 253 or not re.fullmatch(rf"{LABEL}(\.{LABEL})*", text):
        raise ValueError(f"{shown(text)} is not a host name{_host_advice(text)}")
    return text


def _address(text: str, kind: Callable[[str], object]) -> str:
    try:
        kind(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not an IP address") from None
    return text


def _host_advice(text: str) -> str:
    """Say which keys to use instead, where it can be seen what was meant."""
    mixed = re.fullmatch(r"(?:([A-Za-z0-9_.-]+)@)?\[?([A-Za-z0-9_.-]+|[0-9A-Fa-f:]+(?=\]))\]?(?::([0-9]{1,5}))?", text)
    if mixed and not text.startswith("-"):
        user, host, port = mixed.groups()
        keys = [f"host: {host}"] + [f"user: {user}"] * bool(user) + [f"port: {port}"] * bool(port)
        return f"; write {{{', '.join(keys)}}}"
    if not text.isascii():
        return _punycode_advice(text)
    return "; use letters, digits, . _ -"


def _punycode_advice(text: str) -> str:
    try:
        name = text.encode("idna").decode("ascii")
    except UnicodeError:
        return "; use letters, digits, . _ -"
    return f"; write it as {name}" if re.fullmatch(r"[a-z0-9.-]+", name) else "; use letters, digits, . _ -"


# git would take one that begins with - for an option.
git_ref = matching(
    r"(?!.*(?:\.\.|@\{|//|/\.|\.lock(?:/|$)|[/.]$))[A-Za-z0-9_][A-Za-z0-9_./+@=,#-]{0,199}", "a branch, tag or commit", NOT_NEGATIVE
)


@word(rf"(?!{TOLD})(?!{STRANGE})(?:{REPO})", "a repository; use git@host:path, https://…, ssh://…, /path or ./path, without a password")
def repo_url(text: str) -> str:
    """Check where git fetches from; `ext::` and its like would run a command."""
    if re.match(TOLD, text, re.DOTALL):
        # With http a name alone is as bad: tokens are given as one, and every process table would show it.
        raise ValueError("the address holds a password or token; use a deploy key, this file is read by many")
    # A user or host that begins with - would reach ssh as an option.
    if re.match(STRANGE, text) or not re.fullmatch(REPO, text):
        raise ValueError(f"{shown(text)} is not a repository; use git@host:path, https://…, ssh://…, /path or ./path")
    return text


def _path(longest: int) -> Word[str]:
    """Make the check for a path on a host: absolute or below the home directory, and boring."""
    what = "a path on a host; begin with / or ~/, use letters, digits, . _ - @ + =, no .. and no / at the end"
    pattern = rf"(?!.*/\.\.?(?:/|$))~?(?:/{SAFE_PART})+"

    @word(rf"(?=.{{1,{longest}}}$){pattern}", f"{what}; {longest} characters at most")
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{shown(text)} is not {what}")
        if len(text) > longest:
            raise ValueError(
                f"{shown(text)} is {len(text)} characters long; {longest} at most, or a socket's path passes 107 bytes"
            )
        return text

    return check


remote_path = _path(107)
root_path = _path(60)  # sockets lie below it


A_PATH = "a path inside the release; no / at the start or end, no .., no spaces"


@word(INNER, A_PATH, NOT_NEGATIVE)
def inner_path(text: str) -> str:
    """Check a path inside a release, and drop a leading ./"""
    if not re.fullmatch(INNER, text):
        raise ValueError(f"{shown(text)} is not {A_PATH}")
    return text.removeprefix("./")


@word(rf"(?!{COMMAND}){INNER}", f"{A_PATH}, and no command", NOT_NEGATIVE)
def script_path(text: str) -> str:
    """Check the file that node runs; cluster mode needs the file, not the npm command around it."""
    if re.match(COMMAND, text):
        raise ValueError(f"{shown(text)} is a command; name the file that it runs, such as dist/main.js")
    return inner_path(text)


local_path = matching(r"(?!-)[^\n]*", "a path", NOT_NEGATIVE)


@word(r"\s*\S[\s\S]*", "a command; it is empty", ANY)
def plain_text(text: str) -> str:
    """Check text that is free by design, such as a build step: it must say something."""
    if not text.strip():
        raise ValueError("is empty; write a command or leave it out")
    return text


@word(HOST_KEY, "a host key; take it from known_hosts: ssh-ed25519 AAAA…")
def host_key(text: str) -> str:
    """Check a pinned host key, and drop the comment behind it."""
    found = re.fullmatch(HOST_KEY, text)
    if not found:
        raise ValueError(f"{shown(text)} is not a host key; take it from known_hosts: ssh-ed25519 AAAA…")
    try:
        knownhosts.key(found[1])
    except ValueError:
        raise ValueError(f"{shown(text)} is a damaged host key; take it whole from known_hosts") from None
    return found[1]


github_repo = matching(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}", "a GitHub repository; write owner/name")
moment = matching(
    "(?:before|after) (?:claim|build|migrate|reload|finish)",
    "a moment of a run; write before or after, and claim, build, migrate, reload or finish",
)
SOURCE = r"env:[A-Za-z_][A-Za-z0-9_]{0,127}|file:[^\n]{1,200}"
secret_source = matching(SOURCE, "where a secret is; write env:NAME or file:PATH")
url_or_source = matching(f"{WEB}|{SOURCE}", "an address such as https://example.com/hook, or where it stands; write env:NAME or file:PATH")


@word("true|false", "true or false")
def boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{shown(text)} is neither true nor false")
    return text == "true"


DURATION = r"[0-9]{1,8}(?:\.[0-9]{1,3})?(?:ms|s|m|h)"
A_DURATION = "a duration; write 500ms, 10s, 2m or 1h"


@word(DURATION, A_DURATION)
def duration(text: str) -> float:
    """Read 500ms, 10s, 2m or 1h. A bare number is refused: PM2 would mean milliseconds by it, others seconds."""
    found = re.fullmatch(r"([0-9]{1,8}(?:\.[0-9]{1,3})?)(ms|s|m|h|)", text)
    if found and not found[2]:
        raise ValueError(f"{shown(text)} has no unit; write {text}s or {text}ms")
    if not found:
        raise ValueError(f"{shown(text)} is not a duration; write 500ms, 10s, 2m or 1h")
    seconds = round(float(found[1]) * UNITS[found[2]], 6)
    if seconds > DAY:
        raise ValueError(f"{shown(text)} is more than a day")
    return seconds


@word(DURATION, A_DURATION)
def positive_duration(text: str) -> float:
    seconds = duration(text)
    if seconds <= 0:
        raise ValueError(f"{shown(text)} is no time at all; write 1s or more")
    return seconds


@word(DURATION, A_DURATION)
def kill_timeout(text: str) -> float:
    """Read the time that a stopping worker has: the gate needs two seconds to end in order."""
    seconds = duration(text)
    if seconds < 2:
        raise ValueError(f"{shown(text)} is too short; a worker needs 2s or more to finish what is in flight")
    return seconds


@word("[0-9]{1,6}%?", "a width; write a number such as 2, or a share such as 25%", {"type": "integer", "minimum": 1, "maximum": 999_999})
def width(text: str) -> str:
    """Check how many hosts may be updated together: a number or a share of them."""
    found = re.fullmatch(r"([0-9]{1,6})(%?)", text)
    if not found:
        raise ValueError(f"{shown(text)} is not a width; write a number such as 2, or a share such as 25%")
    if int(found[1]) < 1 or (found[2] and int(found[1]) > 100):
        raise ValueError(f"{shown(text)} is not a width; write 1 or more, or 1% to 100%")
    return f"{int(found[1])}{found[2]}"


@word("max|[0-9]{1,4}", 'a number of workers; write 1 or more, or "max"', {"type": "integer", "minimum": 1, "maximum": 9999})
def instances(text: str) -> int | str:
    """Read how many workers PM2 keeps: a number, or max for one per core."""
    if text == "max":
        return text
    if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) < 1:
        raise ValueError(f'{shown(text)} is not a number of workers; write 1 or more, or "max"')
    return int(text)
