"""The work of a deploy as plain shell, for all contestants that have no deploy of their own: fourteen steps, or one script."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

BUILD, RELOAD = 0.2, 0.3  # seconds that an app's own steps take
KEEP = 5


def steps(root: str, repo: str, commit: str, number: int, build: float = BUILD) -> list[tuple[str, str]]:
    """Give each step by name; `root` is below the host's home."""
    new = release(number, commit)
    at = f'cd "$HOME"/{shlex.quote(root)}'
    mirror = "git --git-dir=mirror.git"
    return [
        ("lock", f'mkdir -p "$HOME"/{shlex.quote(root)}/releases && {at} && mkdir lock && echo bench >lock/owner'),
        ("fetch", f"{at} && {{ [ -d mirror.git ] || git init -q --bare mirror.git; }} && {mirror} fetch -q --no-tags {shlex.quote(repo)} {commit}"),
        ("release", f"{at} && mkdir releases/{new}"),
        ("check out", f"{at} && {mirror} archive {commit} | tar -x -C releases/{new}"),
        ("link file", f"{at} && ln -s ../../shared/.env releases/{new}/.env"),
        ("link dir", f"{at} && ln -s ../../shared/uploads releases/{new}/uploads"),
        ("build", f"{at}/releases/{new} && sleep {build}"),
        ("migrate", f'{at} && {{ [ "$BENCH_HOST" != 1 ] || echo {commit} >>migrated; }}'),
        ("flip", f"{at} && ln -s releases/{new} next && mv -T next current"),
        ("reload", f"{at} && sleep {RELOAD}"),
        ("health", f"{at} && [ -f current/dist/main.js ]"),
        ("prune", f"{at} && ls releases | sort | head -n -{KEEP} | while read -r old; do rm -rf \"releases/$old\"; done"),
        ("history", f"{at} && echo {new} >>history"),
        ("unlock", f"{at} && rm -rf lock"),
    ]


def release(number: int, commit: str) -> str:
    return f"{number:04d}-{commit[:7]}"


def fused(work: list[tuple[str, str]]) -> str:
    """Make one command of the steps."""
    return command(["set -eu", *(f"( {each} )" for _, each in work)])


def gated(work: list[tuple[str, str]]) -> str:
    """
    Make one script that waits twice for a line on stdin: to migrate, on the first host alone, and to flip.

    So nobody migrates before all have built, and nobody flips before the migration is done.
    """
    return command(["set -eu", *waiting(work, ["build", "migrate"])])


def guarded(work: list[tuple[str, str]]) -> str:
    """Make one script that waits for a line to lock, to build, to migrate, to flip, and to finish: where a deploy of ours waits."""
    return command(["set -eu", "read -r _", *waiting(work, ["lock", "build", "migrate", "health"])])


def waiting(work: list[tuple[str, str]], after: list[str]) -> Iterator[str]:
    """Give the lines of a script that says so after some of its steps, and then waits for a line on stdin."""
    for name, each in work:
        yield f"( {each} )"
        if name in after:
            yield f"echo {name} done"
            yield "read -r _"


def command(lines: list[str]) -> str:
    """Make one command of a script, which sh runs whatever the login shell is."""
    return "exec sh -c " + shlex.quote("\n".join(lines))
