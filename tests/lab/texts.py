"""Write the configuration files of a lab host: pure text, nothing runs here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

BACKEND = "shop"


def sshd_config(*, address: str, port: int, files: Path, env: Mapping[str, str]) -> str:
    """Write an sshd that knows one key and gives each session the host's environment."""
    return f"""\
ListenAddress {address}
Port {port}
HostKey {files}/hostkey
AuthorizedKeysFile {files}/authorized_keys
PidFile none
AuthenticationMethods publickey
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
Subsystem sftp internal-sftp
{setenv(env)}
"""


def setenv(env: Mapping[str, str]) -> str:
    """Write sshd's line for the variables of its sessions; it honours only the first, so all stand in one."""
    return "SetEnv " + " ".join(f'"{name}={value}"' for name, value in env.items())


def ssh_config(entries: Iterable[tuple[str, str, int]], *, user: str, folder: Path) -> str:
    """Write the client's side: one alias per host, keys pinned, nothing asked."""
    return "".join(
        f"""\
Host {alias}
  HostName {address}
  Port {port}
  User {user}
  IdentityFile {folder}/id_ed25519
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes

"""
        for alias, address, port in entries
    )


def known_host(address: str, port: int, key: str) -> str:
    """Write one line of known_hosts; a port other than 22 goes in brackets."""
    name = address if port == 22 else f"[{address}]:{port}"
    return f"{name} {' '.join(key.split()[:2])}\n"


def haproxy_config(*, bind: str, socket: Path, servers: Iterable[tuple[str, str, int]]) -> str:
    """Write the balancer: drained by its socket, with retries of connects only.

    No L7 retry, since that may run a POST twice; no shutdown-sessions, since that cuts requests in flight.
    A starved host answers its check late: three failures of 3 s each must come before it is taken out. Node closes a connection
    that idles for 5 s; HAProxy must let go of it before, or a request on it may find it closed.
    """
    lines = "\n".join(f"    server {name} {address}:{port}" for name, address, port in servers)
    return f"""\
global
    stats socket {socket} mode 600 level admin
    stats timeout 30s
    log stderr format raw local0 notice
    maxconn 4000

defaults
    mode http
    log global
    retries 3
    option redispatch
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-request 10s
    timeout http-keep-alive 60s
    timeout check 3s

frontend web
    bind {bind}
    default_backend {BACKEND}

backend {BACKEND}
    balance roundrobin
    option httpchk GET /health
    default-server check inter 1s downinter 500ms fall 3 rise 2 pool-purge-delay 1s
{lines}
"""


def env_file(values: Mapping[str, str]) -> str:
    """Write a .env file."""
    return "".join(f"{name}={value}\n" for name, value in values.items())
