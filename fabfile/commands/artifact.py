"""Artifacts on one host: a release as one file, packed here, sent or fetched to here, and made a release of if its sha256 is right."""

from __future__ import annotations

from collections.abc import Iterable

from .pm2 import source
from .shell import Shell, call, cmd, path

# An artifact is called by its sha256 once it is whole, `RUN.part` before. The newest one stays: it need not be sent again.
LIBRARY = r"""
part_of() { # root run; makes room for what is to come: another artifact, or half of one, is of no use any more
    mkdir -p -m 700 "$1/.gapless/artifacts" || no_room "$1" "$1/.gapless/artifacts cannot be made"
    rm -f "$1"/.gapless/artifacts/*
    part=$1/.gapless/artifacts/$2.part
}
pack_release() { # root release run program shared-name...; sets $artifact
    part_of "$1" "$3"
    root=$1 dir=$1/releases/$2 program=$4; shift 4
    if ! packed=$(clean_node -e "$program" pack "$dir" "$part" "$@"); then
        rm -f "$part"
        room_in "$root"
        [ "$free" -ge 1 ] || no_room "$root" "the release cannot be packed"
        fail "the release cannot be packed, so no other host can have it" \
            "A release that needs what lies outside of it must be built by each host itself (build: on: each)"
    fi
    artifact=${packed%% *}
    mv "$part" "$root/.gapless/artifacts/$artifact"
    say "{\"event\":\"packed\",\"sha256\":\"$artifact\",\"bytes\":${packed##* }}"
}
complete_packed() { # root release marker-json; it says of which artifact it is
    complete "$1" "$2" "{\"artifact\": \"$artifact\", ${3#?}"
}
fetch_artifact() { # root sha256 run url program
    [ ! -f "$1/.gapless/artifacts/$2" ] || return 0
    part_of "$1" "$3"
    ways='=http,https'
    case $4 in https:*) ways='=https' ;; esac
    # The url may hold a token: it goes by stdin, for argv is everybody's to read. curl knows this host's proxies and authorities.
    if command -v curl >/dev/null; then
        printf 'url = "%s"\n' "$4" | curl -q -gfsSL --proto "$ways" --proto-redir "$ways" --max-redirs 5 --connect-timeout 15 \
            --speed-limit 1 --speed-time 60 -o "$part" -K -
    else
        printf '%s\n' "$4" | clean_node -e "$5" fetch "$part"
    fi || { rm -f "$part"; fail "the artifact could not be fetched by this host"; }
}
unpack_release() { # root release sha256 run program
    place=$1/.gapless/artifacts
    [ ! -f "$place/$4.part" ] || mv "$place/$4.part" "$place/$3"
    [ -f "$place/$3" ] || fail "the artifact $3 is not on this host"
    begin_release "$1" "$2"
    if clean_node -e "$5" unpack "$place/$3" "$3" "$dir"; then return; fi
    rm -rf "$dir" "${place:?}/$3"
    room_in "$1"
    [ "$free" -ge 1 ] || no_room "$1" "the artifact cannot be unpacked"
    fail "the artifact was refused; nothing of it was left"
}
"""


def pack(root: str, release: str, run: str, shared: Iterable[str]) -> Shell:
    """Pack a release, but for what is linked from shared/, as the host's only artifact; event `packed` with sha256 and bytes."""
    return call("pack_release", path(root), cmd(release, run, source("artifact.cjs"), *shared))


def complete_packed(root: str, release: str, marker: str) -> Shell:
    """Write the complete marker of what was just packed."""
    return call("complete_packed", path(root), cmd(release, marker))


def give(root: str, sha256: str, mark: str) -> Shell:
    """Print an artifact after a line that is only the mark: a command of its own, whose stdout is bytes."""
    print_it = call("exec cat", path(f"{root}/.gapless/artifacts/{sha256}"))
    return cmd("exec", "sh", "-c", Shell(f"echo {cmd(mark)}\n{print_it}"))


def take(root: str, run: str) -> Shell:
    """Write stdin, which is to be an artifact, into a file: a command of its own, which stops where the lock is not `run`'s own."""
    place = path(f"{root}/.gapless/artifacts")
    keep = Shell(f"umask 077; mkdir -p {place} && rm -f {place}/* && exec cat >{place}/{cmd(run)}.part")
    mine = call("grep -qF", cmd(f'"run": "{run}"'), path(f"{root}/.gapless/lock/owner.json"))
    stop = Shell("echo 'the lock of this host is no longer that of this run' >&2; exit 1")
    return cmd("exec", "sh", "-c", Shell(f"{mine} || {{ {stop}; }}\n{keep}"))


def drop(root: str) -> Shell:
    """Remove whatever artifact a host has."""
    return call("rm -rf", path(f"{root}/.gapless/artifacts"))


def fetch(root: str, sha256: str, run: str, url: str) -> Shell:
    """Have the host fetch an artifact by itself, unless it has it."""
    return call("fetch_artifact", path(root), cmd(sha256, run, url, source("artifact.cjs")))


def unpack(root: str, release: str, sha256: str, run: str) -> Shell:
    """Make a release directory of an artifact; refuse one with another sha256, or with anything in it that leads out of the release."""
    return call("unpack_release", path(root), cmd(release, sha256, run, source("artifact.cjs")))
