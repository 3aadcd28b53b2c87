"""What doctor asks one host, with or without node on it; and the few things that it may mend there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..inventory.values import App, Balancer, Ssh
from .ask import program
from .pm2 import source
from .shell import Shell, call, cmd, here, path

CLIENTS = {  # socket command
    "perl": cmd("perl", "-MIO::Socket::UNIX", "-e", r'$s = IO::Socket::UNIX->new(Peer => shift); print $s shift, "\n"; print <$s>'),
    "python3": cmd(
        "python3", "-c", r'import socket, sys; s = socket.socket(1); s.connect(sys.argv[1]); s.sendall(sys.argv[2].encode() + b"\n"); '
        "print(s.recv(65536).decode())",
    ),
}
SCRIPTS = ("doctor.cjs", "truth.cjs", "saved.cjs")
LIBRARY = r"""
json_text() { # text; as a JSON string
    printf '"'
    printf '%s' "$1" | tr '\n\t' '  ' | tr -d '\000-\037' | sed 's/\\/\\\\/g; s/"/\\"/g'
    printf '"'
}
truly() { if "$@" >/dev/null 2>&1; then echo true; else echo false; fi; }
look_at_clock() { say "{\"event\":\"clock\",\"at\":$(date +%s.%N | sed 's/[^0-9.].*//; s/[.]$//')}"; }
look_at_room() { # root pm2_home
    nearest "$1"
    room_in "$place"
    where="\"root\":$(json_text "$1"),\"place\":$(json_text "$place"),\"writable\":$(truly [ -w "$place" ])"
    say "{\"event\":\"room\",\"user\":$(json_text "$(id -un)"),$where,\"mb\":$free,\"inodes\":${inodes:-null}}"
    look_elsewhere pm2 "${2:-${PM2_HOME:-$HOME/.pm2}}" "$(mount_of "$place")"
    look_elsewhere tmp "${TMPDIR:-/tmp}" "$(mount_of "$place")"
}
mount_of() { df -Pk "$1" | awk 'NR == 2 { print $6 }'; }
look_elsewhere() { # what place mount; what lies on the app's own file system is not told twice
    [ -d "$2" ] && [ "$(mount_of "$2")" != "$3" ] || return 0
    room_in "$2"
    say "{\"event\":\"place\",\"what\":\"$1\",\"path\":$(json_text "$2"),\"mb\":$free,\"inodes\":${inodes:-null}}"
}
version_of() { # tool path
    case $1 in
        pm2) sed -n 's/^ *"version": *"\([^"]*\)".*/\1/p' "$pm2_dir/package.json" | head -n 1 ;;
        git) git --version | cut -d ' ' -f 3 ;;
        *) bounded 5 "$2" -v | sed -n 's/^v\([0-9]\)/\1/p' | head -n 1 ;;
    esac 2>/dev/null || true
}
bounded() { # seconds command...
    limit=$1; shift
    if command -v timeout >/dev/null; then timeout -k 2 "$limit" "$@"; else "$@"; fi
}
look_for_tools() { # node_bin pm2_home
    plain=$PATH pm2_dir=
    find_tools "$1" "$2"
    ! command -v pm2 >/dev/null || find_pm2 || pm2_dir=
    for tool in node pm2 git; do
        found=$(command -v $tool) || found=
        how=found
        [ "$found" != "$(PATH=$plain; command -v $tool)" ] || how=path
        [ -z "$1" ] || [ "$found" != "$1/$tool" ] || how=named
        version=
        [ -z "$found" ] || version=$(version_of $tool "$found")
        say "{\"event\":\"tool\",\"name\":\"$tool\",\"how\":\"$how\",\"path\":$(json_text "$found"),\"version\":$(json_text "$version")}"
    done
    say "{\"event\":\"sought\",\"in\":$(json_text "$looked")}"
    { printf '%s\n' "$PATH:$plain" | tr ':' '\n'; usual_places; } | while IFS= read -r dir; do
        [ ! -x "$dir/node" ] || readlink -f "$dir/node"
    done | sort -u | head -n 9 | while IFS= read -r each; do
        say "{\"event\":\"node\",\"path\":$(json_text "$each"),\"version\":$(json_text "$(version_of node "$each")")}"
    done
}
look_at_startup() { # says what would start PM2 after a reboot: units of systemd, or a line of cron
    me=$(id -un)
    for unit in /etc/systemd/system/*.service /usr/lib/systemd/system/*.service "$HOME"/.config/systemd/user/*.service /etc/init.d/pm2*; do
        grep -qsE '^Exec(Start|Reload)=.*pm2|pm2.* resurrect' "$unit" || continue
        user=$(sed -n 's/^User=//p' "$unit" | head -n 1)
        home=$(sed -n 's/^Environment=.*PM2_HOME=\([^" ]*\).*/\1/p' "$unit" | head -n 1)
        [ "${user:-$me}" = "$me" ] || continue
        on=false
        name=$(basename "$unit")
        for link in "$(dirname "$unit")"/*.wants/"$name" /etc/systemd/system/*.wants/"$name" /etc/rc?.d/S*"$name"; do
            [ ! -e "$link" ] && [ ! -L "$link" ] || on=true
        done
        say "{\"event\":\"unit\",\"path\":$(json_text "$unit"),\"home\":$(json_text "$home"),\"enabled\":$on}"
    done
    ! crontab -l 2>/dev/null | grep -q '^ *@reboot.*pm2' || say '{"event":"unit","path":"crontab","home":"","enabled":true}'
    say "{\"event\":\"startup\",\"systemd\":$(truly [ -d /run/systemd/system ])}"
}
look_at_repo() { # repo; a password in it is not repeated
    command -v git >/dev/null || return 0
    rc=0
    said=$(export LC_ALL=C GIT_SSH_COMMAND="$GIT_SSH_COMMAND -o ConnectTimeout=10"
        bounded 15 git ls-remote --heads -- "$1" 2>&1 >/dev/null </dev/null) || rc=$?
    say "{\"event\":\"repo\",\"code\":$rc,\"said\":$(json_text "$(printf '%s' "$said" | sed 's#://[^/@ ]*@#://#g' | head -n 12)")}"
}
look_at_balancer() { # socket backend
    client=
    for client in socat perl python3 ''; do [ -z "$client" ] || ! command -v "$client" >/dev/null || break; done
    may="\"there\":$(truly [ -S "$1" ]),\"writable\":$(truly [ -w "$1" ])"
    has="\"mode\":\"$(stat -c %a "$1" 2>/dev/null || true)\",\"group\":\"$(stat -c %G "$1" 2>/dev/null || true)\""
    say "{\"event\":\"socket\",\"path\":$(json_text "$1"),$may,$has,\"client\":\"$client\",\"user\":$(json_text "$(id -un)")}"
    [ -S "$1" ] || return 0
    rc=0
    said=$(haproxy "$1" "show stat" 2>&1) || rc=$?
    if [ $rc -ne 0 ]; then say "{\"event\":\"silent\",\"said\":$(json_text "$said")}"; return 0; fi
    # Nothing is called so: this asks for no more than whether we might.
    say "{\"event\":\"admin\",\"said\":$(json_text "$(haproxy "$1" "set server $2/gapless.nobody state ready" 2>&1)")}"
    printf '%s\n' "$said" | awk -F, -v b="$2" 'NR == 1 || $1 == b' | while IFS= read -r line; do
        say "{\"event\":\"row\",\"text\":$(json_text "$line")}"
    done
    say "{\"event\":\"backends\",\"names\":$(json_text "$(printf '%s\n' "$said" | awk -F, '$2 == "BACKEND" { print $1 }')")}"
}
mend_mode() { # mode root name...; only of what is ours
    mode=$1 root=$2; shift 2
    for name; do [ ! -O "$root/$name" ] || chmod "$mode" "$root/$name"; done
}
mend_dump_mode() {
    for file in "${PM2_HOME:-$HOME/.pm2}/dump.pm2" "${PM2_HOME:-$HOME/.pm2}/dump.pm2.bak"; do [ ! -O "$file" ] || chmod 600 "$file"; done
}
mend_dirs() { # root dir...
    root=$1; shift
    for dir; do mkdir -p "$root/shared/$dir"; done
}
mend_leftovers() { # root
    rm -rf "$1"/.gapless/*.next "$1"/.gapless/env/*.next "$1"/.gapless/run/*.next "$1"/.gapless/run/*.tmp
    rm -rf "$1"/releases/.pruned-*
}
"""


def clock() -> Shell:
    """Report the time of the host: event `clock`, in seconds of the epoch."""
    return call("look_at_clock")


def room(root: str, pm2_home: str | None) -> Shell:
    """
    Report who we are there and what is free where the app lives or would live: event `room`.

    What is free where PM2 and builds write, if those are other file systems, is an event `place` each.
    """
    return call("look_at_room", path(root), path(pm2_home or ""))


def tools(node_bin: str | None, pm2_home: str | None) -> Shell:
    """Find node, PM2 and git as a deploy would; report them and every other node: events `tool`, `sought`, `node`."""
    return call("look_for_tools", path(node_bin or ""), path(pm2_home or ""))


def startup() -> Shell:
    """Report what would start PM2 after a reboot: events `unit`, then `startup`."""
    return call("look_at_startup")


def repo(url: str) -> Shell:
    """Ask the repository from the host, 15 s at most: event `repo`. Nothing is asked of a person."""
    return call("look_at_repo", cmd(url))


def wanted(app: App) -> dict[str, Any]:
    """Name what of an app is looked at on a host: ports, health routes, env files, what is shared."""
    return {
        "processes": {
            each.name: {
                "port": each.port,
                "env_file": each.env_file,
                "health": each.health and {"path": each.health.path, "timeout_ms": round(each.health.timeout * 1000)},
            }
            for each in app.processes
        },
        "files": app.shared_files,
        "dirs": app.shared_dirs,
    }


def by_node(root: str, wanted: Mapping[str, object]) -> Shell:
    """Report what node can see: event `looked`, with `facts` (the truth) and `more`. Tools must have been looked for."""
    node = cmd("-e", source("loader.cjs"), "--")
    order = call("clean_node", node, cmd("look"), path(root), Shell('"$pm2_dir"'), cmd(json.dumps(dict(wanted))))
    return Shell(f"{order} {here(json.dumps(program(SCRIPTS)))}")


def front(balancer: Balancer) -> Shell:
    """Report a balancer's socket, whether we may order there, and its rows: events `socket`, `silent`, `admin`, `row`, `backends`."""
    return call("look_at_balancer", path(balancer.socket), cmd(balancer.backend))


def mode(bits: str, root: str, names: Iterable[str]) -> Shell:
    """Set the mode of those of these names in the root that are there and ours."""
    return call("mend_mode", cmd(bits), path(root), cmd(*names))


def dump_mode() -> Shell:
    """Close PM2's saved list to everybody else."""
    return call("mend_dump_mode")


def dirs(root: str, names: Iterable[str]) -> Shell:
    """Make directories in shared/."""
    return call("mend_dirs", path(root), cmd(*names))


def leftovers(root: str) -> Shell:
    """Remove what an interrupted rename left of ours."""
    return call("mend_leftovers", path(root))


def save() -> Shell:
    """Save PM2's list for the next boot, as our own reload does."""
    order = call("clean_node", cmd("-e", source("loader.cjs"), "--", "save"), Shell('"$pm2_dir"'))
    return Shell(f"{order} {here(json.dumps(program(SCRIPTS)))}")


def typed(ssh: Ssh, command: str) -> str:
    """Spell out how a person runs a command on a host."""
    options = [*(["-F", ssh.ssh_config] if ssh.ssh_config else []), *(["-p", ssh.port] if ssh.port else [])]
    options += [*(["-l", ssh.user] if ssh.user else []), *(["-i", ssh.key] if ssh.key else [])]
    return cmd("ssh", *options, ssh.host, *([command] if command else []))


def words(*parts: str) -> str:
    """Quote the words of a command that a person may type."""
    return cmd(*parts)


def word(text: str) -> str:
    """Quote a word of a command that a person may type."""
    return cmd(text)


def socket(balancer: Balancer) -> str:
    """Give the socket of a balancer as that host's shell reads it."""
    return path(balancer.socket)


def order(balancer: Balancer, command: str, client: str) -> str:
    """Spell out how a person says something to HAProxy on its host, with what is there: socat, perl or python3."""
    if client in CLIENTS:
        return f"{CLIENTS[client]} {socket(balancer)} {cmd(command)}"
    return f"echo {cmd(command)} | socat - {socket(balancer)}"
