"""Judge the machine: its programs, clock, rights, and what it does after a reboot."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..commands import doctor
from ..plan import NODE_AT_LEAST
from .verdict import Known, Verdict, bad, ok, unread, warn

CLOCK = 5.0  # seconds
SOME = 3  # files that are named
WANTED_NODE = ".".join(map(str, NODE_AT_LEAST))
NVM = ". ~/.nvm/nvm.sh && nvm install 20 && nvm alias default 20 && npm install -g pm2"
NODESOURCE = "curl -fsSL https://deb.nodesource.com/setup_22.x | sudo -E bash - && sudo apt-get install -y nodejs"


def node(known: Known) -> list[Verdict]:
    tool = known.said("tool", name="node")
    if tool is None:
        return unread()
    others = {each["path"]: each["version"] for each in known.all("node") if each["version"]}
    fit = sorted((path for path, version in others.items() if _version(version) >= NODE_AT_LEAST), key=lambda path: _version(others[path]))
    paste = known.yaml(f"node_bin: {fit[-1].rpartition('/')[0]}") if fit else ""
    install = paste or f"{known.there(NVM)}   where there is nvm; else {known.asking(NODESOURCE)}"
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
    sudo = "sudo " if (known.said("room") or {}).get("user") != "root" and re.match("/(usr|opt|bin)/", npm) else ""
    install = known.asking(f"{sudo}{npm} install -g pm2")
    if not tool["path"]:
        return [bad("no pm2 on this host", "Nothing can be started there.", install)]
    if not tool["version"]:
        return [bad(
            f"pm2 is {tool['path']}, but its module was not found", "We talk to PM2 through its module.",
            install,
        )]
    return ok(f"{tool['version']} ({tool['path']})")


def git(known: Known) -> list[Verdict]:
    tool = known.said("tool", name="git")
    if tool is None:
        return unread()
    if not tool["path"]:
        return [bad("no git on this host", "A release is fetched by the host itself.", known.there("sudo apt-get install -y git"))]
    return ok(f"{tool['version']} ({tool['path']})")


def clock(known: Known) -> list[Verdict]:
    if known.offset is None:
        return unread()
    words = f"{abs(known.offset):.1f} s {'ahead of' if known.offset > 0 else 'behind'} this machine"
    if abs(known.offset) <= CLOCK:
        return ok(f"within {CLOCK:.0f} s of this machine")
    return [warn(
        words, "No deploy depends on it, but certificates and tokens do, and times in logs and history mislead. Is it this machine?",
        known.asking("sudo timedatectl set-ntp true || sudo chronyc makestep"),
    )]


def rights(known: Known) -> list[Verdict]:
    room = known.said("room")
    if room is None:
        return unread()
    who = room["user"]
    if known.more and known.more["readonly"]:
        return [bad(
            f"{room['place']} lies on a file system that is read-only", "Nothing can be written there; a disk with errors is mounted so.",
            f"{known.there('dmesg | tail')}   tells why; where the disk is sound: {known.asking(_remount(room['place'], 'rw'))}",
        )]
    if not room["writable"]:
        make = "" if room["place"] == room["root"] else f"sudo mkdir -p {doctor.word(room['root'])} && "
        own = known.asking(f"{make}sudo chown -hR {who} {doctor.word(room['root'])}")
        if known.more and known.elsewhere():
            own = f"mend owner first; only if the app is really to become {who}'s: {own}"
        return [bad(f"{room['place']} is not writable for {who}", "No release can be made there.", own)]
    if known.more is None:
        return ok(f"{room['place']} is writable for {who}")
    found = [*_places(known, who), *_foreign(known, who)]
    if known.more["noexec"]:
        found.append(bad(
            f"{room['place']} lies on a file system without the right to execute (noexec)", "Builds and native modules fail there.",
            known.asking(_remount(room["place"], "exec")),
        ))
    return found or ok(f"{room['place']} is writable for {who}")


def _remount(place: str, option: str) -> str:
    return f"sudo mount -o remount,{option} $(findmnt -no TARGET -T {doctor.word(place)})"


def _places(known: Known, who: str) -> list[Verdict]:
    assert known.more is not None
    places = {name: is_ for name, is_ in known.more["places"].items() if is_}
    found = [
        bad(
            f"{is_['path']} ({is_['owner']}'s) is not writable for {who}", "A deploy has to write there.",
            known.asking(f"sudo chown -hR {who} {doctor.word(is_['path'])}"),
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
    some = (blocking or found)[:SOME]
    told = ", ".join(f"{each['path']} ({each['owner']}'s)" for each in some) + (
        f" and {len(found) - len(some)} more" if len(found) > len(some) else ""
    )
    fix = known.asking(f"sudo chown -hR {who} " + " ".join(doctor.word(place) for place in _above(known, blocking or found)))
    if blocking:
        return [bad(
            f"not {who}'s, and in the way: {told}", "They can't be read or replaced: something ran there as another user, often with sudo.",
            fix,
        )]
    return [
        warn(f"not {who}'s: {told}", "Something ran there as another user, often with sudo; the next such file may be in the way.", fix)
    ]


def _above(known: Known, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name a few files one by one, of many the directories that we should own with all that is in them."""
    paths = [str(each["path"]) for each in found]
    if len(paths) <= SOME:
        return paths
    homes = [known.root, str(known.facts["daemon"]["home"]) if known.facts else ""]
    return list(dict.fromkeys(next((home for home in homes if home and path.startswith(f"{home}/")), path) for path in paths))


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
    # With --hp it takes the .pm2 below, whatever PM2_HOME says.
    home, where = (f"PM2_HOME={doctor.word(known.host.pm2_home)} ", "") if known.host.pm2_home else ("", " --hp $HOME")
    return known.asking(f"sudo env {home}PATH=$PATH:{bins} {doctor.word(tool['path'])} startup systemd -u {room['user']}{where}")
