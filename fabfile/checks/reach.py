"""Judge why a host could not be logged in to, or why nothing could be run there."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..commands import doctor
from ..inventory.values import Ssh
from .verdict import Verdict, bad

MEANS = {
    "refused": "The machine is there, but no sshd listens at that address and port.",
    "timeout": "Nothing came back: a firewall, a wrong address, or a host that is down.",
    "no route": "No machine has that address in reach: the host is down, or the address or the network is wrong.",
    "name": "This machine knows no address for that name.",
    "auth": "sshd is there and is the right one; it takes none of our keys for this user.",
    "key file": "hosts.yaml or ssh config names a key that can't be read here.",
    "algorithms": "Its sshd and Paramiko have no such method in common; ssh itself may know more of them.",
    "jump": "The jump host is well; it finds no sshd at that address.",
    "key unknown": "Nobody has said yet that this key is really that host's; it is not taken on trust.",
    "key changed": "Another machine answers there, it was set up anew, or somebody is in between.",
    "key revoked": "A key that must not be used any more.",
    "other": "",
}
# What Paramiko says it did not find, and what every version of both has.
METHODS = {
    "kex": "KexAlgorithms +curve25519-sha256,ecdh-sha2-nistp256", "cipher": "Ciphers +aes256-ctr,aes128-ctr",
    "mac": "MACs +hmac-sha2-256", "host key": "HostKeyAlgorithms +ssh-ed25519,rsa-sha2-256",
}
CONSOLE = "on the host's own console:"


class Way(NamedTuple):
    """Say how a host is logged in to: by which settings, as whom, with which key, and through which jump host."""

    target: Ssh
    known_as: str  # in known_hosts
    file: str = ""  # the known_hosts that has it, where that is not the usual one
    user: str = ""
    key: str = ""
    jump: str = ""
    hop: bool = False  # this is a jump host itself, and hosts.yaml says nothing of it

    def there(self, *options: str) -> str:
        """Spell out the login, with more options of ssh."""
        return doctor.typed(self.target, "").replace("ssh", " ".join(("ssh", *options)), 1)


def ssh(kind: str, text: str, way: Way) -> Verdict:
    """Judge a failed login by its kind (sshconfig.Unreachable)."""
    means = MEANS.get(kind, "")
    if kind == "auth" and way.user:
        means = f"sshd is there and is the right one; for user {way.user} it takes none of our keys{f' ({way.key})' if way.key else ''}."
    if "encrypted" in text:
        means = "The key has a passphrase, and nobody is asked for it here."
    words = f"{kind}: {text.removeprefix('jump host ')}" if kind != "other" else text
    return bad(f"jump host {way.target.host}: {words}" if way.hop else words, means, _fix(kind, text, way))


def blind(last_words: str, way: Way) -> Verdict:
    """Judge a host that lets us in and runs nothing for us."""
    return bad(
        f"logged in, but nothing could be run there: {last_words}", "Each verb sends a script to `sh -s` there.",
        f"{doctor.typed(way.target, 'sh -c id')}   shows why: login shell (chsh), ForceCommand, MaxSessions or PATH of the session",
    )


def _fix(kind: str, text: str, way: Way) -> str:
    target = way.target
    if kind == "refused":
        elsewhere = "correct ProxyJump in ssh config" if way.hop else f"{{host: {target.host}, port: N}}  in hosts.yaml"
        return f"{CONSOLE} sudo systemctl start ssh   or, where it listens at another port: {elsewhere}"
    if kind in ("timeout", "no route"):
        return f"{way.there('-v', '-o', 'ConnectTimeout=5')}   shows where it stops; the address is HostName in ssh config"
    if kind == "name":
        return f"in ~/.ssh/config:  Host {target.host}  HostName ADDRESS   or correct the name in {_named(way)}"
    if kind == "auth":
        return _login(text, way)
    if kind == "key file":
        return f"correct key: of {target.host} in hosts.yaml" if target.key else f"correct IdentityFile of {target.host} in ssh config"
    if kind == "algorithms":
        line = next((line for word, line in METHODS.items() if word in text), "")
        return f"{CONSOLE} in /etc/ssh/sshd_config: {line or 'newer methods'}   then: sudo systemctl reload ssh"
    if kind == "jump":
        look = doctor.words("ssh", *(["-F", target.ssh_config] if target.ssh_config else []), *_hop(way.jump), f"nc -vz {_place(text)}")
        return f"{CONSOLE} sudo systemctl start ssh   where it runs, a firewall is between: {look}"
    if kind in ("key unknown", "key changed", "key revoked"):
        return _key(kind, text, way)
    return f"{way.there('-v')}   shows more"


def _named(way: Way) -> str:
    return "ProxyJump in ssh config" if way.hop else "hosts.yaml"


def _hop(jump: str) -> list[str]:
    """Give the words with which ssh logs in to a hop of ProxyJump, [user@]host[:port]."""
    host, _, port = jump.removeprefix("ssh://").rpartition(":")
    return ["-p", port, host] if host and port.isdigit() else [jump.removeprefix("ssh://")]


def _place(text: str) -> str:
    found = re.search(r"reach (\S+):(\d+)", text)
    return f"{found[1]} {found[2]}" if found else "ADDRESS 22"


def _login(text: str, way: Way) -> str:
    if "encrypted" in text:
        where = f"and take key: of {way.target.host} out of hosts.yaml" if way.target.key else "and take IdentitiesOnly out of ssh config"
        return f"{doctor.words('ssh-add', *([way.key] if way.key else []))}   {where}, so that the agent is asked"
    other = _named(way) if way.hop else f"{{host: {way.target.host}, user: NAME, key: FILE}}  in hosts.yaml"
    hand = f"the line of our .pub file into ~{way.user}/.ssh/authorized_keys (sudo journalctl -u ssh -n 20 says why)"
    return f"{_copy_id(way.target)}   or, where no password is taken, {CONSOLE} {hand}   or name the right one: {other}"


def _copy_id(target: Ssh) -> str:
    """Spell out ssh-copy-id, which knows no -l."""
    options = [*(["-F", target.ssh_config] if target.ssh_config else []), *(["-p", str(target.port)] if target.port else [])]
    options += ["-i", target.key] if target.key else []
    return doctor.words("ssh-copy-id", *options, f"{target.user}@{target.host}" if target.user else target.host)


def _key(kind: str, text: str, way: Way) -> str:
    if kind == "key revoked":
        anew = "sudo rm /etc/ssh/ssh_host_*; sudo ssh-keygen -A; sudo systemctl restart ssh"
        line = re.search(r"REVOKED in (\S+):(\d+):", text)
        wrongly = doctor.words("sed", "-i", f"{line[2]}d", line[1]) if line else "take out its line"
        return f"give the host a new key, {CONSOLE} {anew}   or, where it was revoked by mistake: {wrongly}"
    compare = f"{CONSOLE} ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub   If that is the SHA256 above:"
    if way.target.host_key:
        return f"{compare} put its key into host_key: of {way.target.host} in hosts.yaml"
    place = ["-f", way.file] if way.file else []
    forget = f"{doctor.words('ssh-keygen', '-R', way.known_as, *place)} && " if kind == "key changed" else ""
    if way.target.known_hosts and kind != "key changed":
        return f"{compare} add its line to {way.target.known_hosts}"
    return f"{compare} {forget}{way.there('-o', 'StrictHostKeyChecking=ask')}"
