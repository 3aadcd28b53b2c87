"""Ask through the balancer until a release has answered there: what a client sees is what counts."""

from __future__ import annotations

import time

import requests

EVERY = 0.1  # seconds between two tries; other hosts answer in between


def answers(url: str, host: str | None, header: str | None, release: str, limit: float) -> str:
    """
    Return "" as soon as `url` answered 200 as this release, else why it did not within `limit` seconds.

    Each try is a connection of its own, so that the balancer chooses anew. Without a release header any 200 will do.
    """
    end = time.monotonic() + limit
    last = "no answer"
    headers = {"Connection": "close", **({"Host": host} if host else {})}
    while time.monotonic() < end:
        try:
            answer = requests.get(url, headers=headers, allow_redirects=False, timeout=5)
        except requests.RequestException as err:
            last = type(err).__name__
        else:
            seen = answer.headers.get(header) if header else release
            if answer.status_code == requests.codes.ok and seen == release:
                return ""
            last = f"{answer.status_code}, {header}: {seen}"
        time.sleep(EVERY)
    return f"{release} never answered through {url} within {limit:.0f} s; the last answer was {last}"
