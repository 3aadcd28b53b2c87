"""Judge why git can't read the repository: from a host, or from this machine."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from ..commands import doctor
from .verdict import Known, Verdict, bad, ok, unread

ADVICE = r"fatal: Could not read from remote repository\.\s+Please make sure .*?exists\."  # git's own, said of everything
SILENCE = "timed out|no answer within|Connection refused|No route to host|unreachable|Failed to connect|Connection (?:reset|closed)"
SHOWN = 200  # characters of what git said
ASK = ("-o", "StrictHostKeyChecking=ask")  # else a host's ssh config may refuse without a question
MAKE = "test -f ~/.ssh/id_ed25519 || ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519; cat ~/.ssh/id_ed25519.pub"


class Asked(NamedTuple):
    """Hold a question that git did not get answered: of which repository, by whom, and how one runs a command there."""

    url: str
    said: str
    code: int
    who: str  # "the host"
    there: Callable[[str], str]
    asking: Callable[[str], str]  # a command that asks something in turn

    @property
    def parts(self) -> tuple[str, str, str]:
        """Part the url: the user, the server and its port, each of which may be missing."""
        found = re.match(r"(?:\w+://)?(?:([^@/]*)@)?(\[[^]]+\]|[^:/]+)(?::(\d+)(?=/|$))?", self.url)
        return (found[1] or "", found[2].strip("[]"), found[3] or "") if found else ("", "", "")

    @property
    def by_ssh(self) -> bool:
        return not re.match(r"(https?|git|file)://|[/.]", self.url)


def repo(known: Known) -> list[Verdict]:
    said = known.said("repo")
    if said is None:
        return unread()
    if said["code"] == 0:
        return ok(f"{shown(known.host.app.repo)} answers")
    asked = Asked(known.host.app.repo, said["said"], said["code"], "the host", known.there, known.asking)
    return [refusal(asked)]


def here(url: str, said: str) -> Verdict:
    """Judge what git on this machine said; the commands are to be typed here."""
    return refusal(Asked(url, said, 1, "this machine", str, str))


def shown(url: str) -> str:
    """Spell a url without the password that may be in it."""
    return re.sub("://[^/@ ]*@", "://", url)


def refusal(asked: Asked) -> Verdict:
    kind, means, fix = _refusal(asked)
    told = re.sub(ADVICE, "", asked.said).strip()
    last = told if len(told) <= SHOWN else f"…{told[-SHOWN:].partition(' ')[2]}"
    return bad(f"{kind}: {shown(asked.url)}: {last or f'git ended with {asked.code}'}", means, fix)


def _refusal(asked: Asked) -> tuple[str, str, str]:
    """Tell apart why git could not read the repository."""
    said, server = asked.said, asked.parts[1]
    if re.search("HOST IDENTIFICATION HAS CHANGED", said):
        return "host key changed", f"{_big(asked.who)} knows another key for {server}; somebody may be in between.", _forget(asked)
    if re.search("Host key verification failed|No .* host key is known", said):
        means = f"{_big(asked.who)} has never been told the key of {server}."
        return "host key unknown", means, f"{asked.asking(_login(asked))}   and compare the key with what {server} publishes"
    if re.fullmatch("@+", said.strip()):  # the first line of a warning, and nothing of what it warns of
        means = f"{_big(asked.who)} knows another host key for {server}, or has a private key that others can read."
        return "warning of ssh", means, f"{asked.there(f'git ls-remote {doctor.word(asked.url)}')}   shows all of it"
    if trouble := _key_file(asked):
        return trouble
    if re.search(r"Permission denied \(|Authentication failed|could not read (Username|Password)|access denied|HTTP 40[13]", said, re.I):
        return "login refused", f"{_big(asked.who)} has no key that the repository takes.", _key(asked)
    if re.search("Could not resolve|Name or service not known|not resolve hostname|Temporary failure in name resolution", said):
        look = asked.there(f"getent hosts {doctor.word(server)}; cat /etc/resolv.conf")
        means = f"The resolver of {asked.who} does not know {server}."
        return "no such name", means, f"correct app.repo in hosts.yaml; if it is right, the DNS there: {look}"
    if found := re.search(r"dubious ownership in repository(?: at '([^']+)')?", said):
        trust = f"git config --global --add safe.directory {doctor.word(found[1] or asked.url)}"
        return "owner", "git reads no repository of another user.", asked.there(trust)
    if re.search("SSL certificate problem|certificate verif", said):
        look = asked.there("date; sudo apt-get install -y --reinstall ca-certificates")
        means = f"{_big(asked.who)} does not trust the certificate of {server}: its clock is off, or its list of authorities old."
        return "certificate refused", means, look
    again = asked.there(f"git ls-remote {doctor.word(asked.url)}")
    if asked.code == 124 or re.search(SILENCE, said):
        port = asked.parts[2] or ("22" if asked.by_ssh else "443" if asked.url.startswith("https") else "80")
        means = f"No way from {asked.who} to {server}: firewall, proxy, or it is down."
        return "not reached", means, f"let {asked.who} out to {server}, port {port}; then try: {again}"
    return "no such repository", f"It is not there, or {asked.who} may not see it.", f"correct app.repo in hosts.yaml; try: {again}"


def _big(who: str) -> str:
    return who[:1].upper() + who[1:]


def _login(asked: Asked) -> str:
    """Spell out the login at the repository's server, which asks about a key that is not known."""
    user, server, port = asked.parts
    return doctor.words("ssh", *ASK, "-T", *(["-p", port] if port else []), f"{user or 'git'}@{server}")


def _forget(asked: Asked) -> str:
    _, server, port = asked.parts
    name = f"[{server}]:{port}" if port else server
    both = f"{doctor.words('ssh-keygen', '-R', name)}; {_login(asked)}"
    return f"compare with the key that {server} publishes, then: {asked.asking(both)}"


def _key_file(asked: Asked) -> tuple[str, str, str] | None:
    """Judge a key that ssh found and would not use; what it says last is "Permission denied" all the same."""
    if loose := re.search(r"Permissions \d+ for '([^']+)' are too open", asked.said):
        return "key open to others", "ssh uses no private key that others can read.", asked.there(f"chmod 600 {doctor.word(loose[1])}")
    if not (broken := re.search(r'Load key "([^"]+)": (.+?)(?:\s\S+@|\s*$)', asked.said)):
        return None
    file, why = doctor.word(broken[1]), broken[2]
    if "Permission denied" in why:
        return "key unreadable", f"{broken[1]} belongs to somebody else.", asked.there(f"sudo chown $(id -un) {file} && chmod 600 {file}")
    means = f"{broken[1]} is damaged: pasted with other line ends, or without its last line."
    another = asked.there(f"mv {file} {file}.bad; {MAKE}")
    return "key damaged", means, f"put it there anew, or make another: {another}   and add that as a read-only deploy key"


def _key(asked: Asked) -> str:
    if asked.by_ssh:
        return f"{asked.there(MAKE)}   and add that as a read-only deploy key"
    token = asked.asking(f"git config --global credential.helper store && git ls-remote {doctor.word(shown(asked.url))}")
    return f"{token}   asks once for a user and a read-only token, and keeps them; or repo: git@…  in hosts.yaml, and a deploy key"
