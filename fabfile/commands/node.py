"""Node on one host: where it is, and the steps that build a release."""

from __future__ import annotations

from collections.abc import Iterable

from .shell import Shell, call, cmd, path

LIBRARY = r"""
has_tools() { command -v node >/dev/null && command -v pm2 >/dev/null; }
path_in_shell() { # how; prints the PATH of a shell that was started so
    # It may talk, wait for somebody, or leave something behind that keeps its output open.
    ! command -v timeout >/dev/null || set -- timeout -s KILL 20 "${SHELL:-/bin/sh}" "$1"
    [ $# -gt 1 ] || set -- "${SHELL:-/bin/sh}" "$1"
    "$@" 'printf "\n%s %s\n" "$GAPLESS_MARK" "$PATH"' </dev/null 2>/dev/null | sed -n "/^$GAPLESS_MARK /{s///p;q;}"
}
look_in_usual_places() { # a pm2 is taken only with a node beside it, or in PATH
    while IFS= read -r dir; do
        if [ -x "$dir/pm2" ] && { [ -x "$dir/node" ] || command -v node >/dev/null; }; then
            PATH=$dir:$PATH
            return
        fi
    done <<END
$(usual_places)
END
}
usual_places() { # the newest version of each manager first
    for versions in "$HOME/.nvm/versions/node" "$HOME/.local/share/fnm/node-versions" "$HOME/.asdf/installs/nodejs"; do
        ls "$versions" 2>/dev/null | sort -rV | while IFS= read -r each; do
            printf '%s\n' "$versions/$each/bin" "$versions/$each/installation/bin"
        done
    done
    for dir in .volta/bin .asdf/shims .local/share/mise/shims n/bin .npm-global/bin .local/bin bin; do printf '%s\n' "$HOME/$dir"; done
    printf '%s\n' /usr/local/bin /opt/node/bin /opt/homebrew/bin
}
find_tools() { # node_bin pm2_home; puts them into PATH, wherever they are
    [ -z "${2:-}" ] || export PM2_HOME="$2"
    [ -z "$1" ] || PATH=$1:$PATH
    looked=$PATH
    # nvm, asdf and volta extend PATH in files that only an interactive shell reads; bash reads .bashrc by itself only where it
    # is no login shell. What is found goes in front: a pm2 wants the node that it was installed by.
    for how in -ilc -ic; do
        has_tools || PATH=${1:+$1:}$(path_in_shell $how):$PATH
    done
    has_tools || look_in_usual_places
    export PATH
}
find_pm2() { # the directory of its module, from the command
    usual_ifs=$IFS IFS=:
    set -f
    set -- $PATH
    set +f
    IFS=$usual_ifs
    for dir; do
        [ -x "$dir/pm2" ] || continue
        # Where npm puts it no program need be started to see that.
        for pm2_dir in "${dir%/*}/lib/node_modules/pm2" "${dir%/*}"; do
            [ ! "$dir/pm2" -ef "$pm2_dir/bin/pm2" ] || [ ! -f "$pm2_dir/lib/API.js" ] || return 0
        done
        break
    done
    pm2_dir=$(readlink -f "$(command -v pm2)")
    pm2_dir=${pm2_dir%/*/*}
    # Volta starts every program by one and the same shim, and gives each package a tree of its own.
    [ -f "$pm2_dir/lib/API.js" ] || pm2_dir=${VOLTA_HOME:-$HOME/.volta}/tools/image/packages/pm2/lib/node_modules/pm2
    [ -f "$pm2_dir/lib/API.js" ] || pm2_dir=$(npm root -g)/pm2
    [ -f "$pm2_dir/lib/API.js" ]
}
use_tools() { # node_bin pm2_home
    find_tools "$@"
    looked="$looked, in the PATH of an interactive ${SHELL:-/bin/sh}, and where nvm, fnm, volta, asdf, mise, n and npm put programs"
    for tool in node pm2 git; do
        command -v $tool >/dev/null || fail "no $tool on this host; looked in $looked" \
            "Install it, or name the directory of node and pm2: node_bin: in hosts.yaml"
    done
    find_pm2 || fail "pm2 is $(command -v pm2), but its module was not found; looked in $pm2_dir"
}
recall_tools() { # path pm2_home pm2_dir
    export PATH="$1"
    [ -z "$2" ] || export PM2_HOME="$2"
    pm2_dir=$3
}
clean_node() { # script argument...
    # PM2's daemon passes its own environment on to every worker, so it must be born with next to nothing.
    env -i HOME="$HOME" PATH="$PATH" USER="${USER:-$(id -un)}" LOGNAME="${LOGNAME:-$(id -un)}" SHELL="${SHELL:-/bin/sh}" \
        LANG="${LANG:-C.UTF-8}" ${TZ:+TZ="$TZ"} ${PM2_HOME:+PM2_HOME="$PM2_HOME"} GAPLESS_MARK="$GAPLESS_MARK" node "$@"
}
build_step() { # root release run command env-file...
    log=$1/.gapless/runs/$3/build.log
    [ -d "${log%/*}" ] || mkdir -p -m 700 "$1/.gapless/runs" "${log%/*}"
    [ -e "$log" ] || (umask 077; : >>"$log")
    cd "$1/releases/$2"
    printf '$ %s\n' "$4" >>"$log"
    # NODE_ENV=production would make npm leave out what the build needs.
    if (unset NODE_ENV GAPLESS_MARK; export CI=1 npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false
        case $4 in
            # What does more than fill node_modules right here must run each time.
            *[!A-Za-z0-9\ =._-]* | *' -'[!-]* | *--prefix* | *--workspace* | *--global* | *--location* | *--dry-run*) ;;
            'npm ci' | 'npm ci --'* | 'npm prune' | 'npm prune --'*) exec node "$1/.gapless/deps.cjs" "$1" "$4" ;;
        esac
        case $4 in *'npm ci'* | 'npm i' | 'npm i '* | 'npm install'* | yarn | 'yarn install'* | 'yarn --'* | 'pnpm i'*)
            echo "gapless: dependencies are installed anew each time: only those of a plain npm ci are kept" ;;
        esac
        exec sh -c "$4") >>"$log" 2>&1; then return; else rc=$?; fi
    tell_end "$@" || echo "the last lines are not shown: nothing could hide what is secret in them" >&2
    [ $rc -ne 137 ] || echo "exit 137: killed, most likely out of memory" >&2
    ! tail -n 30 "$log" | grep -q -e ENOSPC -e EROFS -e 'No space left' -e 'Read-only' ||
        no_room "$1" "build step failed with exit code $rc: $4; whole log: $log"
    fail "build step failed with exit code $rc: $4" "whole log: $log"
}
spare_dependencies() { # root release; what the next release needs is copied while nobody waits for it
    [ ! -e "$1/releases/$2/node_modules/.gapless-tree.json" ] || (cd "$1/releases/$2" && node "$1/.gapless/deps.cjs" "$1" --spare) || true
}
tell_end() { # root release run command env-file...; what a build prints stays here, but for its last lines, and those without secrets
    end_root=$1; shift 4
    for file; do shift; set -- "$@" "$PWD/$file"; done
    clean_node "$end_root/.gapless/secrets.cjs" "$end_root" "$log" "$@" >&2
}
"""


def tools(node_bin: str | None, pm2_home: str | None = None) -> Shell:
    """Put node, pm2 and git in PATH, or say where they were looked for; sets $pm2_dir, and PM2_HOME where one is named."""
    return call("use_tools", path(node_bin or ""), path(pm2_home or ""))


def tools_again(found: str, pm2_home: str | None, pm2_dir: str) -> Shell:
    """Use the tools in the PATH where they were found, and the directory of PM2's module: looking twice could find others."""
    return call("recall_tools", cmd(found), path(pm2_home or ""), cmd(pm2_dir))


def build_step(root: str, release: str, run: str, command: str, env_files: Iterable[str]) -> Shell:
    """
    Run one build command in the release; its output goes to the host's build.log, its tail to us when it fails.

    What the release's env files hold is hidden in the tail; the scripts that do it must have been installed.
    """
    return call("build_step", path(root), cmd(release, run, command, *env_files))
