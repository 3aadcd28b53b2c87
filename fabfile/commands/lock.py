"""The deploy lock of one host: a directory, because mkdir is atomic, with the owner's record inside."""

from __future__ import annotations

from .shell import Shell, call, cmd, path

LIBRARY = r"""
lock_owner() { # root; a record cut short by a full disk is no record
    head -n 1 "$1/.gapless/lock/owner.json" 2>/dev/null | grep -x '{.*}' || echo null
}
living_work() { # root; names a driver or a migration that outlived its deployer
    for file in "$1"/.gapless/runs/*/*.pid; do
        [ -f "$file" ] || continue
        read -r pid started <"$file" || true
        now=$(sed 's/^.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d ' ' -f 20)
        if [ -n "$now" ] && [ "$now" = "$started" ]; then echo "$file, pid $pid"; return; fi
    done
    return 1
}
take_lock() { # root owner-json
    lock=$1/.gapless/lock
    mkdir -p -m 700 "$1/.gapless" || fail "$1/.gapless cannot be made: no write access, or no room"
    if ! said=$(mkdir "$lock" 2>&1); then
        # "File exists" is the only way to be held; full, read-only and out of inodes must never read as that.
        [ -d "$lock" ] || fail "the lock cannot be taken: $said"
        say "{\"event\":\"held\",\"owner\":$(lock_owner "$1")}"
        exit 3
    fi
    if busy=$(living_work "$1"); then
        rm -rf "$lock"
        fail "an earlier run is still at work on this host ($busy); it ends by itself, then try again"
    fi
    if ! printf '%s\n' "$2" >"$lock/owner.json" 2>/dev/null || [ ! -s "$lock/owner.json" ]; then
        rm -rf "$lock"
        fail "the lock cannot be written: no space left on $1"
    fi
    say '{"event":"locked"}'
}
drop_lock() { # root run
    lock=$1/.gapless/lock
    grep -qF "\"run\": \"$2\"" "$lock/owner.json" 2>/dev/null || return 0
    mv "$lock" "$lock.$2" && rm -rf "$lock.$2"
}
show_lock() { # root
    if [ -d "$1/.gapless/lock" ]; then
        say "{\"event\":\"held\",\"owner\":$(lock_owner "$1")}"
    else
        say '{"event":"free"}'
    fi
}
"""


def take(root: str, owner: str) -> Shell:
    """Take the lock, with `owner` (a line of JSON with the key `run`) as its record; exit 3 when it is held."""
    return call("take_lock", path(root), cmd(owner))


def drop(root: str, run: str) -> Shell:
    """Remove the lock if it is still `run`'s own."""
    return call("drop_lock", path(root), cmd(run))


def show(root: str) -> Shell:
    """Say who holds the lock."""
    return call("show_lock", path(root))
