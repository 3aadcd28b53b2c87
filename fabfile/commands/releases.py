"""Releases on one host: fetch, check out, link what is shared, mark complete, prune."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .shell import Shell, call, cmd, path

LIBRARY = r"""
export GIT_TERMINAL_PROMPT=0 GIT_SSH_COMMAND="${GIT_SSH_COMMAND:-ssh -o BatchMode=yes}"
room_in() { # place; sets `free`, MB, and `inodes`, nothing where they are not counted
    set -- $(stat -f -c '%a %S %c %d' "$1")
    free=$(($1 * $2 / 1048576)) inodes=$4
    [ "$3" -gt 0 ] || inodes=
}
is_read_only() { # place
    said=$(LC_ALL=C mkdir "$1/.gapless.try.$$" 2>&1) && rmdir "$1/.gapless.try.$$"
    case $said in *[Rr]ead-only*) ;; *) return 1 ;; esac
}
no_room() { # root what; the disk's own error says neither of what nor how much
    room_in "$1"
    [ "${inodes:-99999}" -ge 100 ] || fail "$2" "out of inodes: $1 has $inodes left"
    ! is_read_only "$1" || fail "$2" "$1 lies on a file system that is read-only"
    fail "$2" "$1 has $free MB left"
}
refuse_unwritable() { # place
    ! is_read_only "$1" || fail "$1 lies on a file system that is read-only; the kernel's log may say why (dmesg)"
    fail "$1 is not writable for $(id -un); make it so: chown $(id -un) $1"
}
nearest() { # path; sets `place` to it, or to what there is of the way to it
    place=$1
    while [ ! -e "$place" ]; do place=${place%/*} place=${place:-/}; done
}
write_access() { # root
    nearest "$1"
    [ -w "$place" ] || refuse_unwritable "$place"
    [ ! -e "$1/.gapless" ] || [ -w "$1/.gapless" ] || refuse_unwritable "$1/.gapless"
}
shared_is_there() { # root file...
    root=$1; shift
    for file; do
        [ -e "$root/shared/$file" ] || fail "$root/shared/$file is missing: every release links it; put it there (mode 0600)"
    done
}
fetch_commit() { # root repo commit
    mirror=$1/.gapless/mirror.git
    [ -d "$mirror" ] || { rm -rf "$mirror.new"; git init -q --bare "$mirror.new" && mv "$mirror.new" "$mirror"; }
    # The ref says next time what is here already, or the whole history would come again; and gc leaves what has one.
    if [ -e "$mirror/refs/gapless/$3" ] || { [ -e "$mirror/packed-refs" ] && grep -qF " refs/gapless/$3" "$mirror/packed-refs"; }; then
        git --git-dir="$mirror" cat-file -e "$3^{commit}" 2>/dev/null && return
    fi
    tidy=false count=0
    for _ in "$mirror"/refs/gapless/*; do count=$((count + 1)); done
    [ $((count % 10)) -ne 0 ] || tidy=true # git looks whether to pack its objects; it need not at each deploy
    # Not every server gives a bare commit; all give their branches and tags.
    git --git-dir="$mirror" -c maintenance.auto=$tidy fetch -q --no-tags -- "$2" "$3:refs/gapless/$3" 2>/dev/null || {
        git --git-dir="$mirror" fetch -q --no-tags -- "$2" '+refs/heads/*:refs/heads/*' '+refs/tags/*:refs/tags/*'
        git --git-dir="$mirror" update-ref "refs/gapless/$3" "$3"
    }
}
begin_release() { # root release; makes its directory, and sets `dir` to it
    dir=$1/releases/$2
    { [ -d "$1/releases" ] && [ -d "$1/shared" ]; } || mkdir -p "$1/releases" "$1/shared"
    mkdir "$dir" || no_room "$1" "$dir cannot be made"
}
check_out() { # root release commit
    begin_release "$1" "$2"
    index=$1/.gapless/lock/index.$2 # it goes with the lock; a deployer that has lost it meanwhile writes to one of its own
    sweep "$index" "$index.lock"
    GIT_INDEX_FILE=$index git --git-dir="$1/.gapless/mirror.git" --work-tree="$dir" read-tree -m -u "$3"
    # A repository that holds these files would call itself complete before it is.
    sweep "$dir/.gapless.json" "$dir/.gapless-stable" "$dir/.gapless-bad"
}
sweep() { # path...; starts no program where there is nothing to remove
    for rest; do
        { [ ! -e "$rest" ] && [ ! -L "$rest" ]; } || rm -rf "$rest"
    done
}
link_shared() { # root release count path...; so many of them are files, the others are directories
    root=$1 dir=$1/releases/$2 files=$3; shift 3
    [ $# -gt 0 ] || return 0
    cd -P "$root"
    real=$PWD
    for name; do
        shift
        case $name in */*) make_parent "${name%/*}" ;; esac
        [ "$files" -gt 0 ] || [ -d "$root/shared/$name" ] || mkdir -p "$root/shared/$name"
        files=$((files - 1))
        sweep "${dir:?}/$name"
        case $name in
            */*) ln -s "$real/shared/$name" "$dir/$name" ;;
            *) set -- "$@" "$real/shared/$name" ;; # all of these at once
        esac
    done
    [ $# -eq 0 ] || ln -s "$@" "$dir"
}
make_parent() { # of what is linked, in $dir
    there=$dir/$1
    while [ ! -e "$there" ]; do there=${there%/*}; done
    # A link in the repository could lead the mkdir here and the rm after it out of the release.
    case $(cd -P "$there" && pwd)/ in "$(cd -P "$dir" && pwd)"/*) ;; *) fail "$name: $1 leads out of the release" ;; esac
    mkdir -p "$dir/$1"
}
scripts_are_there() { # root release script...
    dir=$1/releases/$2; shift 2
    for script; do
        [ -e "$dir/$script" ] || fail "there is no $script in the release" "Check script: in hosts.yaml, and what the build writes"
    done
}
complete() { # root release marker-json
    file=$1/releases/$2/.gapless.json
    # It holds the app's env, which is nobody else's.
    # Some shells say no more than "I/O error" here, some nothing at all.
    if ! (umask 077; printf '%s\n' "$3" >"$file.next") || [ ! -s "$file.next" ]; then
        no_room "$1" "the marker cannot be written: no space left"
    fi
    mv "$file.next" "$file"
    spare_dependencies "$1" "$2"
}
discard() { # root release
    [ -e "$1/releases/$2/.gapless.json" ] || sweep "${1:?}/releases/${2:?}"
}
tell_log() { # root from to most; what lies between two commits, as far as this host has them
    mirror=$1/.gapless/mirror.git
    if ! git --git-dir="$mirror" rev-list -n 1 "$2^{commit}" "$3^{commit}" >/dev/null 2>&1; then
        say '{"event":"unknown"}'
        return
    fi
    tell_commits "$1" new "$2..$3" "$4"
    tell_commits "$1" gone "$3..$2" "$4"
}
tell_commits() { # root kind range most
    count=$(git --git-dir="$1/.gapless/mirror.git" rev-list --count "$3")
    say "{\"event\":\"between\",\"kind\":\"$2\",\"count\":$count}"
    git --git-dir="$1/.gapless/mirror.git" log --format='%H%x1f%at%x1f%an%x1f%s' -n "$4" "$3" |
        tr '\t' ' ' | tr -d '\000-\010\013-\036\177' | sed 's/\\/\\\\/g; s/"/\\"/g' |
        while IFS="$(printf '\037')" read -r id at who subject; do
            say "{\"event\":\"commit\",\"kind\":\"$2\",\"id\":\"$id\",\"at\":$at,\"who\":\"$who\",\"subject\":\"$subject\"}"
        done
}
prune() { # root release...
    root=$1; shift
    [ $# -gt 0 ] && cd -P "$root/releases" 2>/dev/null || return 0
    real=$PWD
    # Asked again at the last moment: what lives now is what counts, not what lived at claim.
    used=
    for process in /proc/[0-9]*; do
        if cd -P "$process/cwd" 2>/dev/null; then used="$used $PWD"; fi # where it stands; no program is started to see that
    done
    cd "$real"
    for release; do
        [ ! "$real/$release" -ef "$root/current" ] || continue
        case $used in *"$real/$release"*) continue ;; esac
        # Without its marker it is no release any more; what can't be made none is left whole.
        rm -f "$real/$release/.gapless.json" && rm -rf "${real:?}/$release"
    done
}
"""


def write_access(root: str) -> Shell:
    """Refuse a host without write access to the root, or to where it is to be."""
    return call("write_access", path(root))


def shared_is_there(root: str, files: Iterable[str]) -> Shell:
    """Refuse a host on which a shared file is missing."""
    return call("shared_is_there", path(root), cmd(*files))


def fetch(root: str, repo: str, commit: str) -> Shell:
    """Bring one commit into the host's mirror."""
    return call("fetch_commit", path(root), cmd(repo, commit))


def check_out(root: str, release: str, commit: str) -> Shell:
    """Write the commit's files into a new release directory; the lock must be held."""
    return call("check_out", path(root), cmd(release, commit))


def link_shared(root: str, release: str, files: Sequence[str], dirs: Sequence[str]) -> Shell:
    """Replace each name in the release by a link into shared/, where a directory that is missing is made; a name in both is a file."""
    return call("link_shared", path(root), cmd(release, len(files), *files, *(name for name in dirs if name not in files)))


def scripts_are_there(root: str, release: str, scripts: Iterable[str]) -> Shell:
    """Refuse a release without the files that PM2 is to start."""
    return call("scripts_are_there", path(root), cmd(release, *scripts))


def complete(root: str, release: str, marker: str) -> Shell:
    """Write the complete marker (a line of JSON), last and by rename."""
    return call("complete", path(root), cmd(release, marker))


def discard(root: str, release: str) -> Shell:
    """Remove a release that never became complete."""
    return call("discard", path(root), cmd(release))


def log(root: str, was: str, to: str, most: int) -> Shell:
    """
    Report what lies between two commits in the host's mirror; reads only.

    For what comes (`new`) and what goes (`gone`): `between` with the count, and the newest `most` as `commit` each. Where the mirror
    has not got both: `unknown`.
    """
    return call("tell_log", path(root), cmd(was, to, most))


def prune(root: str, doomed: Iterable[str]) -> Shell:
    """Remove releases, but never the one that is live at that moment."""
    return call("prune", path(root), cmd(*doomed))
