"""News of a run that is over, to those named under `notify:` in hosts.yaml; five seconds for all of them together."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import local
from ..inventory.values import Notice
from ..report.stream import SCHEMA
from ..report.summary import Ended, headline

if TYPE_CHECKING:
    import requests

LIMIT = 5.0            # seconds in all: who is told must not hold up who tells
GITHUB = "https://api.github.com"
LONGEST = 140          # characters of a deployment's description (docs.github.com, REST, deployment statuses)


class Untold(Exception):
    """Say why somebody could not be told; never with an address in it, for Slack's are secrets."""


def notify(ended: Ended) -> str:
    """Tell everybody at once; return who could not be told, and why."""
    wanted = [notice for notice in ended.targets.around.notify if notice.on == "always" or ended.summary["exit"]]
    faults = dict.fromkeys(range(len(wanted)), f"no answer within {LIMIT:g} s")

    def tell(number: int) -> None:
        faults[number] = _tried(wanted[number], ended)

    # Daemons: one that hangs must not keep the program from its end.
    threads = [threading.Thread(target=tell, args=(number,), name="notify", daemon=True) for number in faults]
    end = time.monotonic() + LIMIT
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return "\n".join(f"note: notify {wanted[number].kind}: {why}" for number, why in faults.items() if why)


def _tried(notice: Notice, ended: Ended) -> str:
    try:
        TELL[notice.kind](notice, ended)
    except Untold as err:
        return str(err)
    except Exception as err:
        return type(err).__name__
    return ""


def told(ended: Ended) -> dict[str, Any]:
    """Give what programs are told: the summary, and its headline as `text`."""
    return {"schema": SCHEMA, "text": headline(ended.summary), **ended.summary}


def _webhook(notice: Notice, ended: Ended) -> None:
    post(_secret(notice.url, ended), told(ended))


def _slack(notice: Notice, ended: Ended) -> None:
    text = headline(ended.summary)
    for char, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):  # docs.slack.dev, formatting: these three, and no others
        text = text.replace(char, escaped)
    post(_secret(notice.url, ended), {"text": text})


def _github(notice: Notice, ended: Ended) -> None:
    """Note a deployment and its end; what only builds, or goes back, deploys nothing that has a commit of its own."""
    if not ended.summary["commit"] or (ended.summary["verb"], ended.summary["aim"]) not in (("deploy", "deploy"), ("resume", "deploy")):
        return
    api = f"{os.environ.get('GITHUB_API_URL', GITHUB)}/repos/{notice.repo}/deployments"
    headers = {"Authorization": f"Bearer {_secret(notice.token, ended)}", "Accept": "application/vnd.github+json"}
    environment = notice.environment or ended.targets.selector
    made: Any = post(api, {
        "ref": ended.summary["commit"], "environment": environment, "auto_merge": False, "required_contexts": [],
        "description": headline(ended.summary)[:LONGEST],
    }, headers).json()
    state = {0: "success", 1: "failure"}.get(ended.summary["exit"], "error")
    status = {"state": state, "description": headline(ended.summary)[:LONGEST], "environment": environment, "log_url": ended.summary["ci"]}
    post(f"{api}/{made['id']}/statuses", status, headers)


def _command(notice: Notice, ended: Ended) -> None:
    done = local.run(["sh", "-c", notice.run], LIMIT, stdin=f"{json.dumps(told(ended))}\n", directory=ended.targets.around.directory)
    if not done.ok:
        raise Untold("; ".join([f"exit code {done.code}", *done.lines[-3:]]))


TELL: Mapping[str, Callable[[Notice, Ended], None]] = {"webhook": _webhook, "slack": _slack, "github": _github, "command": _command}


def post(url: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> requests.Response:
    """Post JSON; raise Untold where it is not taken, in words that hold no address."""
    import requests

    try:
        answer = requests.post(url, json=body, headers={"User-Agent": "gapless", **(headers or {})}, timeout=LIMIT, allow_redirects=False)
    except requests.RequestException as err:
        raise Untold(type(err).__name__) from None
    if not 200 <= answer.status_code < 300:
        raise Untold(f"it answered {answer.status_code}")
    return answer


def _secret(source: str, ended: Ended) -> str:
    """Read what `env:NAME` or `file:PATH` names; anything else stands for itself."""
    kind, _, name = source.partition(":")
    if kind == "env":
        if not (value := os.environ.get(name, "").strip()):
            raise Untold(f"{name} is not set in the environment")
        return value
    if kind == "file":
        try:
            return (Path(ended.targets.around.directory) / Path(name).expanduser()).read_text().strip()
        except OSError as err:
            raise Untold(f"{name}: {err.strerror}") from None
    return source
