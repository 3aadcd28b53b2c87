"""Give the hosts' npm a way to the registry: as this machine's own npm goes, in namespaces through a relay."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from . import system

RELAY_PORT = 17080
FILE = "npm.json"
# What is in the cache is not asked for again; what no one can fetch fails after seconds, not after a minute.
ALWAYS = {
    "npm_config_prefer_offline": "true",
    "npm_config_fetch_retry_mintimeout": "1000",
    "npm_config_fetch_retry_maxtimeout": "3000",
}


def settings() -> dict[str, Any]:
    """Read what npm on this machine is told, outside of any project."""
    command = [system.path_of("npm"), "config", "list", "--json"]
    done = subprocess.run(
        command, cwd="/", capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=True
    )
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def proxies(npm: dict[str, Any]) -> dict[str, str]:
    """Say which proxies this machine asks: npm's own setting, else those of the environment."""
    found = getproxies_environment()
    found |= {scheme: npm[key] for scheme, key in (("http", "proxy"), ("https", "https-proxy")) if npm.get(key)}
    if "https" in found:
        found.setdefault("http", found["https"])  # as npm does
    return {key: value for key, value in found.items() if key in ("http", "https", "no")}


def write(folder: Path, homes: list[Path], relay: str | None) -> None:
    """Write the lab's npm settings: through the relay at this address, or as this machine goes."""
    npm = settings()
    asked = proxies(npm)
    if relay:
        through = f"http://{relay}:{RELAY_PORT}"
        (folder / "relay").mkdir()
        spec = {**relay_spec(npm, relay), "env": relay_env(folder, asked), "log": str(folder / "relay/log")}
        (folder / "relay/init.json").write_text(json.dumps(spec, indent=1))
        asked = {"http": through, "https": through}
    names = {"http": "npm_config_proxy", "https": "npm_config_https_proxy", "no": "npm_config_noproxy"}
    env = {**ALWAYS, **authorities(folder, npm), **{names[scheme]: value for scheme, value in asked.items()}}
    (folder / FILE).write_text(json.dumps(env, indent=1))
    # The registry is no variable, since that would go before the .npmrc of an app.
    for home in homes:
        (home / ".npmrc").write_text(f"registry={npm['registry']}\n")


def read(folder: Path) -> dict[str, str]:
    """Read the lab's npm settings; a lab of an older checkout has none and stays offline."""
    try:
        return json.loads((folder / FILE).read_text())  # type: ignore[no-any-return]
    except FileNotFoundError:
        return {"npm_config_offline": "true"}


def authorities(folder: Path, npm: dict[str, Any]) -> dict[str, str]:
    """Copy the certificates that this machine trusts to where every host sees them."""
    env = {}
    for name, source in (
        ("NODE_EXTRA_CA_CERTS", os.environ.get("NODE_EXTRA_CA_CERTS")),
        ("npm_config_cafile", npm.get("cafile")),
    ):
        if source and Path(source).is_file():
            copy = folder / f"{name}.pem"
            shutil.copyfile(source, copy)
            env[name] = str(copy)
    return env


def relay_spec(npm: dict[str, Any], address: str) -> dict[str, Any]:
    """Say how init is to run the relay; init ends it with the lab."""
    script = str(Path(__file__).with_name("relay.py"))
    registry = urlsplit(npm["registry"]).hostname or ""
    argv = [sys.executable, "-I", script, address, str(RELAY_PORT), registry]
    return {"services": {"relay": argv}, "mounts": [], "tmpfs": [], "hostname": None}


def relay_env(folder: Path, asked: dict[str, str]) -> dict[str, str]:
    """Make the relay's environment: the lab's mark, and the machine's proxies where `ps` does not show them."""
    env = {"http": "http_proxy", "https": "https_proxy", "no": "no_proxy"}
    return {"GAPLESS_LAB": str(folder / "relay"), **{env[scheme]: value for scheme, value in asked.items()}}
