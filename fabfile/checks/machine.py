"""Judge the machine: its programs, room, clock, rights, what it does after a reboot, and whether it reaches the repository."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..commands import doctor
from ..plan import NODE_AT_LEAST
from .verdict import Known, Verdict, bad, ok, unread, warn

LEAST_INODES = 20_000  # as claim asks for
CLOCK = 5.0  # seconds
WANTED_NODE = ".".join(map(str, NODE_AT_LEAST))


def node(known: Known) -> list[Verdict]:
    tool = known.said("tool", name="node")
    if tool is None:
        return unread()
    others = {each["path"]: each["version"] for each in known.all("node") if each["version"]}
    fit = sorted((path for path, version in others.items() if _version(version) >= NODE_AT_LEAST), key=lambda path: _version(others[path]))
    paste = known.yaml(f"node_bin: {fit[-1].rpartition('/')[0]}") if fit else ""
    install = paste or f"{known.there('. ~/.nvm/nvm.sh && nvm install 20')}   where there is nvm, else as nodejs.org says"
    if not tool["path"]:
        sought = known.said("sought")
        return [bad(
            f"no node on this host; looked in {sought['in'] if sought else 'PATH'}", "Nothing can be built or started there.", install
        )]
    if _version(tool["version"]) < NODE_AT_LEAST:
        return [bad(
            f"node is {tool['version'] or 'broken'} ({tool['path']}); the gate needs {WANTED_NODE} or newer", "A deploy refuses this host.",
            install,
        )]
    if blind := known.said("unlooked"):
        means = "Nothing is known of PM2, the app and its files there."
        return [bad(f"what node should have read there could not be read: {blind['why']}", means, known.fab("status"))]
    found = [_hidden(known, tool)] if tool["how"] == "found" or (known.host.node_bin and tool["how"] != "named") else []
    return [*found, *_several(known, tool, others)] or ok(f"{tool['version']} ({tool['path']})")


def _hidden(known: Known, tool: Mapping[str, Any]) -> Verdict:
    fix = known.yaml(f"node_bin: {tool['path'].rpartition('/')[0]}")
    if known.host.node_bin:
        return warn(f"node_bin: {known.host.node_bin} has no node; {tool['path']} is taken", "hosts.yaml names a place that is gone.", fix)
    return warn(
        f"node {tool['version']} is not in the PATH of a plain ssh command; found at {tool['path']}",
        "It is searched for at each command, through shell files that anybody may change.", fix,
    )


def _several(known: Known, tool: Mapping[str, Any], others: Mapping[str, str]) -> list[Verdict]:
    majors = {version.split(".")[0] for version in others.values()}
    if len(majors) < 2 or known.host.node_bin:
        return []
    told = ", ".join(f"{version} ({path})" for path, version in sorted(others.items()))
    return [warn(
        f"several nodes: {told}; {tool['path']} is taken", "Which one runs the app depends on PATH and on the order of versions.",
        known.yaml(f"node_bin: {tool['path'].rpartition('/')[0]}"),
    )]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def pm2(known: Known) -> list[Verdict]:
    tool = known.said("tool", name="pm2")
    if tool is None:
        return unread()
    at = known.said("tool", name="node") or {}
    npm = f"{at['path'].rpartition('/')[0]}/npm" if at.get("path") else "npm"
    if not tool["path"]:
        return [bad("no pm2 on this host", "Nothing can be started there.", known.there(f"{npm} install -g pm2"))]
    if not tool["version"]:
        return [bad(
            f"pm2 is {tool['path']}, but its module was not found", "We talk to PM2 through its module.",
            known.there(f"{npm} install -g pm2"),
        )]
    return ok(f"{tool['version']} ({tool['path']})")


def git(known: Known) -> list[Verdict]:
    tool = known.said("tool", name="git")
    if tool is None:
        return unread()
    if not tool["path"]:
        return [bad("no git on this host", "A release is fetched by the host itself.", known.there("sudo apt-get install -y git"))]
    return ok(f"{tool['version']} ({tool['path']})")


def repo(known: Known) -> list[Verdict]:
    said = known.said("repo")
    url = re.sub("://[^/@ ]*@", "://", known.host.app.repo)
    if said is None:
        return unread()
    if said["code"] == 0:
        return ok(f"{url} answers")
    kind, means, fix = _refusal(known, said["said"], said["code"])
    last = said["said"].strip()[-200:] or f"git ended with {said['code']}"
    return [bad(f"{kind}: {url}: {last}", means, fix)]


def _refusal(known: Known, said: str, code: int) -> tuple[str, str, str]:
    """Tell apart why git could not read the repository from there."""
    server = re.sub(r"^(?:\w+://)?(?:[^@/]*@)?([^:/]+).*$", r"\1", known.host.app.repo)
    login = re.match(r"^(?:ssh://)?([^@/:]+@[^:/]+)", known.host.app.repo)
    to = login.group(1) if login else f"git@{server}"
    if re.search("HOST IDENTIFICATION HAS CHANGED", said):
        return (
            "host key changed", f"The host knows another key for {server}; somebody may be in between.",
            f"compare with the key that {server} publishes, then: {known.there(f'ssh-keygen -R {doctor.word(server)}')}",
        )
    if re.search("Host key verification failed|No .* host key is known", said):
        return (
            "host key unknown", f"The host has never been told the key of {server}.",
            f"{known.there(f'ssh -T {doctor.word(to)}').replace('ssh', 'ssh -t', 1)}   and compare the key with what {server} publishes",
        )
    if re.search(r"Permission denied \(|Authentication failed|could not read (Username|Password)|access denied|HTTP 40[13]", said, re.I):
        make = "test -f ~/.ssh/id_ed25519 || ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519; cat ~/.ssh/id_ed25519.pub"
        return (
            "login refused", "The host has no key that the repository takes.",
            f"{known.there(make)}   and add that as a read-only deploy key",
        )
    if re.search("Could not resolve|Name or service not known|Temporary failure in name resolution", said):
        return "no such name", f"The host's resolver does not know {server}.", known.there(f"getent hosts {doctor.word(server)}")
    if re.search("dubious ownership", said):
        return (
            "owner", "git reads no repository of another user.",
            known.there(f"git config --global --add safe.directory {doctor.word(known.host.app.repo)}"),
        )
    if code == 124 or re.search("timed out|Connection refused|No route to host|unreachable|Failed to connect|Connection reset", said):
        return (
            "not reached", f"No way from the host to {server}: firewall, proxy, or it is down.",
            known.there(f"git ls-remote {doctor.word(known.host.app.repo)}"),
        )
    return (
        "no such repository", "It is not there, or this host may not see it.",
        f"correct app.repo in hosts.yaml; try: {known.there(f'git ls-remote {doctor.word(known.host.app.repo)}')}",
    )


def disk(known: Known) -> list[Verdict]:
    room = known.said("room")
    if room is None:
        return unread()
    least = known.host.app.min_free_mb
    words = f"{room['mb']} MB free at {room['place']}; a release wants {least} MB (min_free_mb)"
    look = known.there(f"du -xsm {doctor.word(room['place'])}/* /var/log ~/.pm2/logs | sort -n | tail")
    if room["mb"] < least:
        return [bad(
            words, "A deploy refuses this host: disk full.", f"{look}   shows what is large; keep_releases: in hosts.yaml keeps fewer"
        )]
    if room["mb"] < 2 * least:
        return [warn(words, "Soon a deploy will refuse this host.", look)]
    return ok(words)


def inodes(known: Known) -> list[Verdict]:
    room = known.said("room")
    if room is None:
        return unread()
    if room["inodes"] is None:
        return ok("not counted by this file system")
    words = f"{room['inodes']} inodes free at {room['place']}; node_modules wants {LEAST_INODES}"
    if room["inodes"] >= LEAST_INODES:
        return ok(words)
    look = f"find {doctor.word(room['place'])} -xdev -type f | cut -d/ -f1-5 | sort | uniq -c | sort -n | tail"
    return [bad(words, "A deploy refuses this host: out of inodes, whatever df says of megabytes.", known.there(look))]


def clock(known: Known) -> list[Verdict]:
    if known.offset is None:
        return unread()
    words = f"{abs(known.offset):.1f} s {'ahead of' if known.offset > 0 else 'behind'} this machine"
    if abs(known.offset) <= CLOCK:
        return ok(f"within {CLOCK:.0f} s of this machine")
    return [warn(
        words, "No deploy depends on it, but certificates and tokens do, and times in logs and history mislead. Is it this machine?",
        known.there("sudo timedatectl set-ntp true"),
    )]


def rights(known: Known) -> list[Verdict]:
    room = known.said("room")
    if room is None:
        return unread()
    who = room["user"]
    if known.more and known.more["readonly"]:
        return [bad(
            f"{room['place']} lies on a file system that is read-only", "Nothing can be written there; a disk with errors is mounted so.",
            known.there("dmesg | tail; findmnt -T " + doctor.word(room["place"])),
        )]
    if not room["writable"]:
        own = f"sudo mkdir -p {doctor.word(room['root'])} && sudo chown {who} {doctor.word(room['root'])}"
        return [bad(f"{room['place']} is not writable for {who}", "No release can be made there.", known.there(own))]
    if known.more is None:
        return ok(f"{room['place']} is writable for {who}")
    found = [*_places(known, who), *_foreign(known, who)]
    if known.more["noexec"]:
        found.append(bad(
            f"{room['place']} lies on a file system without the right to execute (noexec)", "Builds and native modules fail there.",
            known.there(f"sudo mount -o remount,exec $(findmnt -no TARGET -T {doctor.word(room['place'])})"),
        ))
    return found or ok(f"{room['place']} is writable for {who}")


def _places(known: Known, who: str) -> list[Verdict]:
    assert known.more is not None
    places = {name: is_ for name, is_ in known.more["places"].items() if is_}
    found = [
        bad(
            f"{is_['path']} ({is_['owner']}'s) is not writable for {who}", "A deploy has to write there.",
            known.there(f"sudo chown -R {who} {doctor.word(is_['path'])}"),
        )
        for is_ in places.values()
        if not is_["writable"]
    ]
    ours = places.get(".gapless")
    if ours and int(ours["mode"], 8) & 0o077:
        found.append(warn(
            f"{ours['path']} has mode {ours['mode'].zfill(4)}, not 0700",
            "Others on that host can read logs and last good settings of the app.", known.there(f"chmod 700 {doctor.word(ours['path'])}"),
            "gapless mode",
        ))
    return found


def _foreign(known: Known, who: str) -> list[Verdict]:
    assert known.more is not None
    found = known.more["foreign"]
    if not found:
        return []
    blocking = [each for each in found if each["blocks"]]
    some = (blocking or found)[:3]
    told = ", ".join(f"{each['path']} ({each['owner']}'s)" for each in some) + (
        f" and {len(found) - len(some)} more" if len(found) > len(some) else ""
    )
    fix = known.there(f"sudo chown -hR {who} " + " ".join(doctor.word(each["path"]) for each in some))
    if blocking:
        return [bad(
            f"not {who}'s, and in the way: {told}", "They can't be read or replaced: something ran there as another user, often with sudo.",
            fix,
        )]
    return [
        warn(f"not {who}'s: {told}", "Something ran there as another user, often with sudo; the next such file may be in the way.", fix)
    ]


def startup(known: Known) -> list[Verdict]:
    said = known.said("startup")
    if said is None:
        return unread()
    units = known.all("unit")
    home = known.facts["daemon"]["home"] if known.facts else ""
    mine = [each for each in units if not each["home"] or not home or each["home"].rstrip("/") == home.rstrip("/")]
    if any(each["enabled"] for each in mine):
        return ok(f"{next(each['path'] for each in mine if each['enabled'])} starts PM2 after a reboot")
    if not said["systemd"]:
        return ok("no systemd here; what starts PM2 after a reboot is not known")
    means = "After a reboot nobody starts PM2, and this host is down."
    if mine:
        return [warn(
            f"{mine[0]['path']} is there, but not enabled", means,
            known.there(f"sudo systemctl enable {doctor.word(mine[0]['path'].rpartition('/')[2])}"),
        )]
    if units:
        return [warn(f"{units[0]['path']} starts the PM2 of {units[0]['home']}, the app is in that of {home}", means, _startup(known))]
    return [warn("no unit of systemd starts PM2", means, _startup(known))]


def _startup(known: Known) -> str:
    """Spell out what `pm2 startup` would ask for."""
    tool, at, room = known.said("tool", name="pm2"), known.said("tool", name="node"), known.said("room")
    if not (tool and at and room and tool["path"]):
        return known.there("pm2 startup")
    bins = doctor.word(at["path"].rpartition("/")[0])
    return known.there(f"sudo env PATH=$PATH:{bins} {doctor.word(tool['path'])} startup systemd -u {room['user']} --hp $HOME").replace(
        "ssh", "ssh -t", 1
    )
