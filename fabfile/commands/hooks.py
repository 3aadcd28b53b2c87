"""The user's own hooks on one host: run beside a phase, with what the run is about on stdin."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from .shell import Shell, call, cmd, here, path

LIBRARY = r"""
within() { # seconds command; 124 where it was ended for being late
    if command -v timeout >/dev/null; then timeout -k 5 "$1" sh -c "$2"; return; fi
    exec 4<&0 # what is put into the background loses its stdin
    sh -c "$2" <&4 &
    hook_pid=$!
    ( sleep "$1"; kill -KILL $hook_pid ) >/dev/null 2>&1 &
    clock=$! rc=0
    wait $hook_pid || rc=$?
    kill $clock 2>/dev/null || rc=124
    return $rc
}
run_hook() { # root run seconds command env-file...; stdin is the hook's
    log=$1/.gapless/runs/$2/hooks.log
    mkdir -p -m 700 "$1/.gapless/runs" "$1/.gapless/runs/$2"
    (umask 077; : >>"$log")
    cd "$1"
    printf '$ %s\n' "$4" >>"$log"
    if (unset GAPLESS_MARK; within "$3" "$4") >>"$log" 2>&1; then return; else rc=$?; fi
    hook_root=$1 hook=$4
    shift 4
    for file; do shift; set -- "$@" "$hook_root/shared/$file"; done
    clean_node "$hook_root/.gapless/secrets.cjs" "$hook_root" "$log" "$@" >&2 ||
        echo "the last lines are not shown: nothing could hide what is secret in them" >&2
    [ $rc -ne 124 ] || fail "hook took longer than its timeout and was ended: $hook" "whole log: $log"
    fail "hook failed with exit code $rc: $hook" "whole log: $log"
}
"""


def hook(root: str, run: str, seconds: float, command: str, stdin: Mapping[str, object], env_files: Iterable[str]) -> Shell:
    """
    Run a hook in the app's root; what it prints goes to the host's hooks.log, its tail to us when it fails.

    What the app's env files hold is hidden in the tail; the scripts that do it must have been installed.
    """
    order = call("run_hook", path(root), cmd(run, max(1, round(seconds)), command, *env_files))
    return Shell(f"{order} {here(json.dumps(dict(stdin)))}")
