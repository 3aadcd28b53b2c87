"""Judge why a host could not be logged in to."""

from __future__ import annotations

from ..commands import doctor
from ..inventory.values import Ssh
from .verdict import Verdict, bad

MEANS = {
    "refused": "The machine is there, but no sshd listens at that address and port.",
    "timeout": "Nothing came back: a firewall, a wrong address, or a host that is down.",
    "name": "This machine knows no address for that name.",
    "auth": "sshd is there and is the right one; it takes none of our keys for this user.",
    "key unknown": "Nobody has said yet that this key is really that host's; it is not taken on trust.",
    "key changed": "Another machine answers there, it was set up anew, or somebody is in between.",
    "key revoked": "A key that must not be used any more.", "other": "",
}


def ssh(kind: str, text: str, target: Ssh, known_as: str, file: str = "") -> Verdict:
    """Judge a failed login by its kind (transport.Unreachable); known_hosts has the host as `known_as`."""
    return bad(f"{kind}: {text}" if kind != "other" else text, MEANS.get(kind, ""), _fix(kind, target, known_as, file))


def _fix(kind: str, target: Ssh, known_as: str, file: str) -> str:
    try_it = doctor.typed(target, "")
    if kind == "refused":
        elsewhere = f"or, where it listens at another port: {{host: {target.host}, port: N}}  in hosts.yaml"
        return f"on the host's own console: sudo systemctl start ssh   {elsewhere}"
    if kind == "timeout":
        return f"{try_it.replace('ssh', 'ssh -v -o ConnectTimeout=5', 1)}   shows where it stops; the address is HostName in ssh config"
    if kind == "name":
        return f"in ~/.ssh/config:  Host {target.host}  HostName ADDRESS   or correct the name in hosts.yaml"
    if kind == "auth":
        other = f"or name the right one: {{host: {target.host}, user: NAME, key: FILE}}  in hosts.yaml"
        return f"{try_it.replace('ssh', 'ssh-copy-id', 1)}   {other}"
    if kind in ("key unknown", "key changed", "key revoked"):
        return _key(kind, target, known_as, file)
    return f"{try_it.replace('ssh', 'ssh -v', 1)}   shows more"


def _key(kind: str, target: Ssh, known_as: str, file: str) -> str:
    compare = "on the host's own console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub   If that is the SHA256 above:"
    if target.host_key:
        return f"{compare} put its key into host_key: of {target.host} in hosts.yaml"
    place = ["-f", file] if file else []
    forget = f"{doctor.words('ssh-keygen', '-R', known_as, *place)} && " if kind == "key changed" else ""
    if target.known_hosts and kind != "key changed":
        return f"{compare} add its line to {target.known_hosts}"
    return f"{compare} {forget}{doctor.typed(target, '').replace('ssh', 'ssh -o StrictHostKeyChecking=ask', 1)}"
