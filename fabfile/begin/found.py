"""What was found out about an app, thing by thing, and from where. The first that offers a thing that hosts.yaml takes has its say."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from ..inventory import words

CHECKS: dict[str, Callable[[str], object]] = {
    "name": words.process_name, "repo": words.repo_url, "ref": words.git_ref, "root": words.root_path, "script": words.script_path,
    "instances": words.instances, "port": words.whole(1, 65535), "health": words.health_path, "migrate": words.plain_text,
    "env_file": words.inner_path, "uploads": words.inner_path, "node_env": words.user_name,
}
LONGEST = 40  # of a name that is made of something else: room for a suffix, and for the path of a socket


class Guess(NamedTuple):
    """Hold a value, and where it was read."""

    value: str
    why: str


@dataclass
class Found:
    """Collect what was found; the order in which it is offered is the order of trust."""

    guesses: dict[str, Guess] = field(default_factory=dict)
    hosts: list[str] = field(default_factory=list)
    build: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)   # what the user should know: lines of a terminal
    traps: list[str] = field(default_factory=list)   # and what stands in the file too, for it may be forgotten

    def offer(self, what: str, value: object, why: str) -> None:
        """Keep a value unless there is one already, or hosts.yaml would not take it."""
        text = str(value)
        try:
            CHECKS[what](text)
        except ValueError:
            return
        self.guesses.setdefault(what, Guess(text, why))

    def get(self, what: str) -> str:
        """Give what was found, or nothing."""
        return self.guesses[what].value if what in self.guesses else ""

    def take(self, other: Found) -> None:
        """Add what another found, where nothing was found before."""
        self.guesses = {**other.guesses, **self.guesses}
        self.build = self.build or other.build
        self.notes += [text for text in other.notes if text not in self.notes]

    @property
    def group(self) -> str:
        """Name the group of the hosts; no host may be called like it."""
        return next(word for word in ("web", "app", "all-hosts", f"of-{self.get('name')}") if word not in self.hosts)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def name(text: object) -> str:
    """Make a PM2 name of any text: a package's scope goes, what PM2 or a path could misread becomes a dash."""
    bare = str(text)[:200].lower().rsplit("/", 1)[-1]
    plain = re.sub(r"[^a-z0-9_]+", "-", bare).strip("-_")[:LONGEST].strip("-_") or "app"
    try:
        return words.process_name(plain)
    except ValueError:
        return f"app-{plain}"
