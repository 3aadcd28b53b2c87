"""Ask the app itself, each time on a new connection: which release answers, and what each worker's environment holds."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.lab.fleet import Lab
from tests.lab.repo import RELEASES

VARIABLE = "DEMO_OLD"
QUESTIONS = 200
TURNS = 20  # questions to one host: more than enough for each of its workers to have its turn


@dataclass(frozen=True)
class Wrong:
    """Hold what was wrong after a command, of how many that were asked."""

    text: str
    did: str
    exit_code: int
    wrong: int
    asked: int

    def row(self) -> tuple[str, ...]:
        return self.text, self.did, str(self.exit_code), f"{self.wrong} of {self.asked}"


def by_old_code(url: str, release: str) -> tuple[int, int]:
    """Count the answers that another release than this one gave."""
    versions = [ask(f"{url}/version")["version"] for _ in range(QUESTIONS)]
    return sum(version != RELEASES[release].version for version in versions), len(versions)


def holders(urls: Iterable[str]) -> tuple[int, int]:
    """Count the workers on these hosts that have the variable."""
    answers = [(url, ask(f"{url}/env")) for url in urls for _ in range(TURNS)]
    workers = {(url, answer["pid"]): VARIABLE in answer["keys"] for url, answer in answers}
    return sum(workers.values()), len(workers)


def put_in(lab: Lab) -> None:
    """Put the variable into each host's env file."""
    for host in lab.names:
        lab.run(host, f"echo {VARIABLE}=1 >> ~/shop/shared/.env")


def take_out(lab: Lab) -> None:
    """Take it out again; every worker must have it until now, or its absence later would prove nothing."""
    having, workers = holders(lab.host_url(host) for host in lab.names)
    assert having == workers, f"{having} of {workers} workers had {VARIABLE}"
    for host in lab.names:
        lab.run(host, f"sed -i /^{VARIABLE}=/d ~/shop/shared/.env")


def ask(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)
