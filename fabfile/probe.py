"""Ask through the balancer: what a client sees is what counts."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

EVERY = (0.01, 0.1)  # seconds between two tries, more and more; other hosts answer in between


def answers(url: str, host: str | None, header: str | None, release: str, limit: float) -> str:
    """
    Return "" as soon as `url` answered 200 as this release, else why it did not within `limit` seconds.

    Each try is a connection of its own, so that the balancer chooses anew. Without a release header any 200 will do.
    """
    import requests  # costs a tenth of a second, and not every run has a balancer

    begun = time.monotonic()
    last = "no answer"
    headers = {"Connection": "close", **({"Host": host} if host else {})}
    while (waited := time.monotonic() - begun) < limit:
        try:
            answer = requests.get(url, headers=headers, allow_redirects=False, timeout=5)
        except requests.RequestException as err:
            last = type(err).__name__
        else:
            seen = answer.headers.get(header) if header else release
            if answer.status_code == requests.codes.ok and seen == release:
                return ""
            last = f"{answer.status_code}, {header}: {seen}"
        time.sleep(min(max(waited / 10, EVERY[0]), EVERY[1]))
    return f"{release} never answered through {url} within {limit:.0f} s; the last answer was {last}"


class Answer(NamedTuple):
    """Hold one answer: `status` is 0, and `why` says so, where none came."""

    status: int
    release: str | None
    seconds: float
    why: str = ""


def ask(url: str, host: str | None, header: str | None, times: int, limit: float) -> list[Answer]:
    """Ask so many times, each on a connection of its own; a whole answer takes `limit` seconds at most, or there is none."""
    with ThreadPoolExecutor(max_workers=times) as pool:
        return list(pool.map(lambda _: _once(url, host, header, limit), range(times)))


def _once(url: str, host: str | None, header: str | None, limit: float) -> Answer:
    import requests

    begun = time.monotonic()
    headers = {"Connection": "close", **({"Host": host} if host else {})}
    try:
        with requests.get(url, headers=headers, allow_redirects=False, timeout=limit, stream=True) as answer:
            return Answer(answer.status_code, answer.headers.get(header) if header else None, time.monotonic() - begun)
    except requests.Timeout:
        return Answer(0, None, time.monotonic() - begun, f"no answer within {limit:.0f} s")
    except requests.RequestException as err:
        return Answer(0, None, time.monotonic() - begun, type(err).__name__)
