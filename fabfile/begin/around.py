"""What lies around: the app's files, its repository, its ecosystem file, ssh config. Reads within limits, and starts git and node."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import local
from ..inventory import words
from .found import Found, name
from .package import ENDINGS, script_of

LIMIT = 10               # seconds for a program
MOST_FILES = 2000
MOST_BYTES = 1 << 16     # of one file
DEEPEST = 6
SKIPPED = {"node_modules", "dist", "build", "coverage", "vendor"}
READ = re.compile(r"(^|/)(package\.json|\.env[\w.]*)$|\.(js|ts|cjs|mjs|mts|cts)$|^bin/")
ECOSYSTEM = ("ecosystem.config.js", "ecosystem.config.cjs", "ecosystem.config.json", "ecosystem.json", "pm2.config.js", "pm2.config.cjs")
HUBS = {"github.com", "gitlab.com", "bitbucket.org", "ssh.dev.azure.com"}

# The file is code of the app, and may print; of what it exports only this leaves node, for its env holds secrets.
ASK = """
const all = require(process.argv[1]);
const apps = [].concat(all.apps ?? all);
const env = (app) => Object.assign({}, app.env, app.env_production);
process.stdout.write('\\n@apps ' + JSON.stringify(apps.map((app) => ({
  name: app.name, script: app.script, args: app.args, instances: app.instances, exec_mode: app.exec_mode, cwd: app.cwd,
  port: env(app).PORT, node_env: env(app).NODE_ENV, env: Object.keys(env(app)),
}))) + '\\n', () => process.exit(0));
"""


def texts(top: Path) -> dict[str, str]:
    """Read the app's files by their path; big ones, binary ones and what is installed or built are left out or empty."""
    found: dict[str, str] = {}
    for path in _files(top):
        relative = path.relative_to(top).as_posix()
        found[relative] = _text(path) if READ.search(relative) else ""
        if len(found) >= MOST_FILES:
            break
    return found


def _files(top: Path) -> Iterator[Path]:
    for directory, below, files in os.walk(top):
        depth = len(Path(directory).relative_to(top).parts)
        below[:] = sorted(each for each in below if each not in SKIPPED and not each.startswith(".")) if depth < DEEPEST else []
        yield from (Path(directory) / file for file in sorted(files))


def _text(path: Path) -> str:
    """Read the start of a file; nothing for what is no file that can be read, such as a pipe."""
    with suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                return file.read(MOST_BYTES).decode("utf-8", "replace")
    return ""


def _said(*order: str, where: Path) -> str:
    """Run a program here, and give what it says; nothing when it fails, is slow or is not there."""
    try:
        done = local.run(order, LIMIT, directory=str(where), env={"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"})
    except (OSError, ValueError):
        return ""
    return done.out[:MOST_BYTES] if done.ok else ""


# ---------------------------------------------------------------------- git


def git(top: Path, found: Found) -> str:
    """Find repository and branch; give the app's directory in its repository, such as apps/api/, or nothing."""
    origin = _said("git", "config", "--get", "remote.origin.url", where=top).strip()
    bare = re.sub(r"^(https?://)[^/@]*@", r"\1", origin)
    found.offer("repo", bare, "git remote origin")
    if bare != origin:
        found.note("the address of git's origin holds a login; it was left out, for the hosts read it too: give them a deploy key")
    elif origin and not found.get("repo"):
        found.note("git's origin is none that the hosts could fetch from; write their address as repo")
    for ref, why in (("HEAD", "the branch that is checked out"), ("refs/remotes/origin/HEAD", "git's origin/HEAD")):
        branch = _said("git", "symbolic-ref", "--quiet", "--short", ref, where=top).strip()
        found.offer("ref", branch.removeprefix("origin/"), why)
    inside = _said("git", "rev-parse", "--show-prefix", where=top).strip()
    try:
        return f"{words.inner_path(inside.rstrip('/'))}/" if inside else ""
    except ValueError:
        found.note("the name of this directory can't stand in a path on the hosts; rename it")
        return ""


# ---------------------------------------------------------------------- PM2's ecosystem file


def ecosystem(top: Path, files: dict[str, str], inside: str, found: Found) -> None:
    """Read the app's ecosystem file, if it has one."""
    file = next((each for each in ECOSYSTEM if each in files), "")
    if not file:
        return
    apps = _apps(_said("node", "-e", ASK, str(top / file), where=top))
    if not apps:
        found.note(f"{file} could not be read (it needs node here, and {LIMIT} s at most); it was left out")
        return
    _take(apps[0], file, files, inside, top, found)
    if len(apps) > 1:
        others = ", ".join(name(app.get("name", "")) for app in apps[1:6])
        found.note(f"{file} has {len(apps)} apps; the first was taken. Several are written under processes: ({others})")


def _apps(said: str) -> list[dict[str, Any]]:
    lines = [line for line in said.splitlines() if line.startswith("@apps ")]
    with suppress(ValueError, RecursionError):
        apps = json.loads(lines[-1].removeprefix("@apps ")) if lines else []
        return [app for app in apps if isinstance(app, dict)]
    return []


def _take(app: dict[str, Any], file: str, files: dict[str, str], inside: str, top: Path, found: Found) -> None:
    if isinstance(app.get("name"), str):
        found.offer("name", name(app["name"]), file)
    script = str(app.get("script") or "")
    relative = os.path.relpath(top / str(app.get("cwd") or ".") / script, top)
    if re.search(r"(^|/)(npm|yarn|pnpm|npx)(-cli\.js)?$", script.split(" ", maxsplit=1)[0]):
        found.note(f"{file} starts npm; PM2 must start the file itself, or a reload is a restart: script was read from package.json")
    elif relative in files or relative.endswith(ENDINGS):
        found.offer("script", inside + relative, file)
    else:
        found.offer("script", inside + script_of(f"node {script}", files, {}), file)
    instances = "max" if app.get("instances") in ("max", 0, -1, "0", "-1") else app.get("instances")
    found.offer("instances", instances or "", file)
    found.offer("port", app.get("port") or "", file)
    found.offer("node_env", app.get("node_env") or "", file)
    _tell_mode(app, file, found)


def _tell_mode(app: dict[str, Any], file: str, found: Found) -> None:
    if not str(app.get("exec_mode") or "fork").startswith("cluster"):
        found.note(f"{file} says fork mode, where PM2 can only restart; cluster mode was written instead")
    env = app.get("env")
    names = [str(each) for each in env if re.fullmatch(r"[A-Za-z_]\w{0,60}", str(each))] if isinstance(env, list) else []
    others = [each for each in names if each not in ("PORT", "NODE_ENV")]
    if others:
        found.note(f"{file} sets {', '.join(others[:8])}{' …' if len(others) > 8 else ''}: put them into the env file on the hosts")


# ---------------------------------------------------------------------- ssh


def ssh_hosts(home: Path) -> list[str]:
    """List the hosts that ssh config names, without patterns and without code hosters."""
    return list(dict.fromkeys(_ssh_hosts(home / ".ssh", "config", depth=0)))


def _ssh_hosts(directory: Path, file: str, depth: int) -> Iterator[str]:
    for line in _text(directory / file).splitlines():
        key, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if key.lower() == "host":
            yield from (word for word in rest.replace('"', "").split() if _is_host(word))
        elif key.lower() == "include" and depth == 0:
            for pattern in rest.split()[:20]:
                with suppress(OSError, ValueError, NotImplementedError):
                    wanted = pattern.removeprefix("~/.ssh/")
                    for path in sorted(directory.glob(wanted))[:50]:
                        yield from _ssh_hosts(directory, str(path), depth + 1)


def _is_host(word: str) -> bool:
    try:
        return words.host_name(word) not in HUBS
    except ValueError:
        return False
