"""The user's own hooks on one host: run beside a phase, with what the run is about on stdin."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from .shell import Shell, call, cmd, here, path

LIBRARY = r"""
within() { # seconds command; 124 where it was ended, with all that it started, for being late
    node -e '
        let child, late = false;
        const end = () => { try { process.kill(-child.pid, "SIGKILL"); } catch { /* it has gone by itself */ } };
        for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => { end(); process.exit(143); });
        setTimeout(() => { late = true; end(); }, process.argv[1] * 1000);
        child = require("child_process").spawn("sh", ["-c", process.argv[2]], { stdio: "inherit", detached: true });
        child.on("exit", (code) => process.exit(late ? 124 : code === null ? 137 : code));
    ' "$1" "$2"
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
