"""The deploy lock of one host: a directory, because mkdir is atomic, with the owner's record inside."""

from __future__ import annotations

from collections.abc import Iterable

from .shell import Shell, call, cmd, path

# Each lock has one owner, its run. Only who has made the file `lock.gone.RUN` may replace or remove the lock of RUN, so
# that two who find it abandoned can't both have it, and none can take away what a third has taken since.
LIBRARY = r"""
lock_owner() { # root; a record cut short by a full disk is no record
    tr -d '\n' 2>/dev/null <"$1/.gapless/lock/owner.json" | grep -x '{.*}' || echo null
}
is_owner() { # root run; asked at every phase, so it starts no program, and reads only the first line: a shell reads byte by byte
    record=''
    { read -r record <"$1/.gapless/lock/owner.json"; } 2>/dev/null || true
    case $record in *"\"run\": \"$2\""*) ;; *) return 1 ;; esac
}
age() { # file; seconds since it was touched, which works on a full disk too
    touched=$(stat -c %Y "$1" 2>/dev/null || stat -f %m "$1" 2>/dev/null || echo 0)
    echo $(($(date +%s) - touched))
}
tell_held() { # root
    # Who has made the directory writes its record next; give it a moment.
    for _ in 1 2 3 4 5; do [ "$(lock_owner "$1")" = null ] && [ -d "$1/.gapless/lock" ] || break; sleep 0.1; done
    phase=$(tail -n 1 "$1/.gapless/lock/phase" 2>/dev/null | tr -cd 'A-Za-z0-9 -') quiet=0
    [ ! -e "$1/.gapless/lock/beat" ] || quiet=$(age "$1/.gapless/lock/beat") # who never beat is not known to be silent
    say "{\"event\":\"held\",\"owner\":$(lock_owner "$1"),\"phase\":\"$phase\",\"quiet\":$quiet}"
}
touch_beat() { true >"$1/.gapless/lock/beat"; } # root; opening it to be emptied sets its time, on a full disk too
living_work() { # root; sets `busy` to what names a driver or a migration that outlived its deployer
    for file in "$1"/.gapless/runs/*/*.pid; do
        pid='' started=''
        { read -r pid started <"$file"; } 2>/dev/null || true
        [ -n "$started" ] || continue # there is none, or a power cut has emptied it
        # A host keeps what each run said, and after years there are many: no program is started to look at one.
        { read -r stat <"/proc/$pid/stat"; } 2>/dev/null || continue
        set -- ${stat##*) } # proc(5); the name before may hold anything
        if [ "${20:-}" = "$started" ]; then busy="$file, pid $pid"; return; fi
    done
    return 1
}
refuse_busy() { # root
    if living_work "$1"; then
        fail "an earlier run is still at work on this host ($busy); it ends by itself, then try again"
    fi
}
# A deployer that dies in the middle must not leave half a lock, which nobody could ever remove: its watch is not heard meanwhile.
whole() { # function argument...
    trap '' HUP INT TERM
    "$@"
    trap - HUP INT TERM
}
is_my_turn() { (set -C; : >"$1") 2>/dev/null; } # file; makes it, unless it is there: as atomic as mkdir, and starts no program
take_lock() { # root owner-json abandoned-run
    lock=$1/.gapless/lock
    [ -d "$1/.gapless" ] || mkdir -p -m 700 "$1/.gapless" || fail "$1/.gapless cannot be made: no write access, or no room"
    if ! mkdir "$lock" 2>/dev/null && ! said=$(mkdir "$lock" 2>&1); then
        # "File exists" is the only way to be held; full, read-only and out of inodes must never read as that.
        [ -d "$lock" ] || no_room "$1" "the lock cannot be taken: $said"
        if [ -z "$3" ] || ! take_over "$1" "$2" "$3"; then
            tell_held "$1"
            exit 3
        fi
        say '{"event":"locked"}'
        return
    fi
    if living_work "$1"; then rm -rf "$lock"; refuse_busy "$1"; fi
    if ! printf '%s\n' "$2" 2>/dev/null >"$lock/owner.json" || [ ! -s "$lock/owner.json" ] || ! touch_beat "$1"; then
        rm -rf "$lock"
        no_room "$1" "the lock cannot be written: no space left"
    fi
    say '{"event":"locked"}'
}
take_over() { # root owner-json abandoned-run; false when it is not that run's any more
    refuse_busy "$1"
    turn=$1/.gapless/lock.gone.$3 taken=1
    is_my_turn "$turn" || return 1
    if is_owner "$1" "$3" && printf '%s\n' "$2" >"$1/.gapless/lock/owner.next" && [ -s "$1/.gapless/lock/owner.next" ]; then
        touch_beat "$1"
        # Who takes up that run's work goes by its phase; who only takes its place must not find it for its own.
        case $2 in *'"resumes": []'*) rm -f "$1/.gapless/lock/phase" ;; esac
        mv "$1/.gapless/lock/owner.next" "$1/.gapless/lock/owner.json" && taken=0
    fi
    rm -f "$turn"
    return $taken
}
own() { # root run; the fence: a deployer that was frozen and comes back stops here
    if ! is_owner "$1" "$2"; then
        say "{\"event\":\"fenced\",\"owner\":$(lock_owner "$1")}"
        fail "the lock of this host is no longer that of run $2; nothing was touched"
    fi
}
enter() { # root run phase
    own "$1" "$2"
    touch_beat "$1"
    # The last one counts; a word that a full disk has cut short is no harmless one.
    printf '%s\n' "$3" 2>/dev/null >>"$1/.gapless/lock/phase" || true
}
beat() { # root run
    if is_owner "$1" "$2"; then touch_beat "$1"; fi
}
drop_lock() { # root run
    turn=$1/.gapless/lock.gone.$2 tries=0
    while is_owner "$1" "$2"; do
        if is_my_turn "$turn"; then
            ! is_owner "$1" "$2" || mv "$1/.gapless/lock" "$turn.lock"
            rm -rf "$turn" "$turn.lock"
            return
        fi
        [ ! -e "$turn" ] || return 0 # somebody is replacing it just now
        tries=$((tries + 1))
        [ $tries -lt 5 ] || { rm -rf "$1/.gapless/lock"; return; } # out of inodes: nobody can be replacing it
        sleep 0.1
    done
}
show_lock() { # root
    if [ -d "$1/.gapless/lock" ]; then tell_held "$1"; else say '{"event":"free"}'; fi
}
tell_past() { # root run...; how far their driver came here: the first beginning, the last end
    root=$1 began='' ended=''; shift
    for run; do
        journal=$root/.gapless/runs/$run/driver.jsonl
        [ -f "$journal" ] || continue
        began=${began:-$(grep '^{"event":"begin".*}$' "$journal" | head -n 1)}
        ended=$(grep -E '^\{"event":"(done|reverted|broken)".*\}$' "$journal" | tail -n 1)
    done
    set -- "$root"
    working=$(living_work "$1" && echo true || echo false)
    say "{\"event\":\"past\",\"began\":${began:-null},\"ended\":${ended:-null},\"working\":$working}"
}
"""


def take(root: str, owner: str, abandoned: str = "") -> Shell:
    """
    Take the lock, with `owner` (JSON whose first key is `run`) as its record; exit 3 with the event `held` when it is held.

    Its first line is the run alone: the record names all hosts of the run, and is looked at in each phase on each of them.
    Replaces the lock of the run `abandoned`, if it is still that run's; its phase stays for an owner that resumes it.
    """
    return call("whole take_lock", path(root), cmd(owner.replace(", ", ",\n", 1), abandoned))


def enter(root: str, run: str, phase: str) -> Shell:
    """Go on only if the lock is `run`'s own, and note the phase; else the event `fenced`, and nothing is touched."""
    return call("enter", path(root), cmd(run, phase))


def own(root: str, run: str) -> Shell:
    """Go on only if the lock is `run`'s own."""
    return call("own", path(root), cmd(run))


def beat(root: str, run: str) -> Shell:
    """Show that the run is alive."""
    return call("beat", path(root), cmd(run))


def drop(root: str, run: str) -> Shell:
    """Remove the lock if it is still `run`'s own."""
    return call("whole drop_lock", path(root), cmd(run))


def show(root: str) -> Shell:
    """Say who holds the lock: event `free`, or `held` with owner, phase and seconds since the last beat."""
    return call("show_lock", path(root))


def past(root: str, runs: Iterable[str]) -> Shell:
    """Say how far the driver of these runs came on this host, and whether anything of an earlier run still works: event `past`."""
    return call("tell_past", path(root), cmd(*runs))
