"""Keep what is slow to fetch, PM2 and npm's packages, in one cache for all labs of a user."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import system

PM2_VERSION = "7.0.4"
LOCKFILE = "package-lock.json"
SLOW_SECONDS = 600


class CacheRefused(RuntimeError):
    """The cache directory belongs to somebody else, who could then run code as us."""


def cache_dir() -> Path:
    """Return the cache directory, ours alone: $GAPLESS_CACHE or one in /tmp."""
    path = Path(os.environ.get("GAPLESS_CACHE") or f"/tmp/gapless-cache-{os.getuid()}")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise CacheRefused(f"{path} belongs to uid {path.stat().st_uid}; set GAPLESS_CACHE to a directory of yours")
    return path


def npm_cache() -> Path:
    """Return the directory that npm keeps its packages in."""
    return cache_dir() / "npm"


def pm2_bin() -> Path:
    """Return the directory with the `pm2` command; install it first where it is absent."""
    home = cache_dir() / f"pm2-{PM2_VERSION}"
    if not (home / "node_modules/.bin/pm2").exists():
        print(f"lab: installing pm2 {PM2_VERSION} into {home}", flush=True)
        install_pm2(home)
    return home / "node_modules/.bin"


def install_pm2(home: Path) -> None:
    """Install aside and rename, so that nobody ever sees half of it."""
    aside = Path(tempfile.mkdtemp(prefix=f"{home.name}-", dir=home.parent))
    npm("install", "--prefix", str(aside), f"pm2@{PM2_VERSION}", "--no-save", cwd=aside)
    aside.chmod(0o755)
    # Someone else may have been quicker; both results are the same.
    with contextlib.suppress(OSError):
        aside.rename(home)
    shutil.rmtree(aside, ignore_errors=True)


def warm(repo: Path) -> None:
    """Fetch the packages of every lockfile in the repository once: the hosts have no way out to a registry."""
    done = cache_dir() / "warmed"
    done.mkdir(exist_ok=True)
    for blob, commit, folder in lockfiles(repo):
        if not (done / blob).exists():
            print(f"lab: fetching the packages of lockfile {blob[:10]} into {npm_cache()}", flush=True)
            fetch_packages(repo, commit, folder)
            (done / blob).touch()


def lockfiles(repo: Path) -> list[tuple[str, str, str]]:
    """List each different lockfile as (blob, a tag that has it, its folder)."""
    found: dict[str, tuple[str, str, str]] = {}
    for tag in git(repo, "tag", "--list").split():
        for line in git(repo, "ls-tree", "-r", tag).splitlines():
            blob, path = line.split(None, 2)[2].split("\t")
            if path == LOCKFILE or path.endswith("/" + LOCKFILE):
                found.setdefault(blob, (blob, tag, str(Path(path).parent)))
    return list(found.values())


def fetch_packages(repo: Path, commit: str, folder: str) -> None:
    """Install one lockfile somewhere else, for npm's cache to keep what it fetched."""
    prefix = "" if folder == "." else f"{folder}/"
    with tempfile.TemporaryDirectory(prefix="warm-", dir=cache_dir()) as scratch:
        for name in ("package.json", LOCKFILE):
            (Path(scratch) / name).write_text(git(repo, "show", f"{commit}:{prefix}{name}"))
        npm("ci", "--ignore-scripts", cwd=Path(scratch))


def npm(*words: str, cwd: Path) -> None:
    """Run npm quietly with the shared cache; its own output is the error message."""
    command = [system.path_of("npm"), *words, "--no-audit", "--no-fund", "--no-progress", "--cache", str(npm_cache())]
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=SLOW_SECONDS, check=False
    )
    if done.returncode:
        raise RuntimeError(f"npm {' '.join(words)} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def git(repo: Path, *words: str) -> str:
    """Ask a repository something."""
    command = [system.path_of("git"), "-C", str(repo), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
