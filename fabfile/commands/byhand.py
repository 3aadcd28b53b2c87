"""A server that a person takes out of rotation at HAProxy: no run and no timer puts it back, and who did it stands beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..inventory.values import Balancer
from .balancer import RESTORE_LIMIT
from .shell import Shell, call, cmd, path

# A deploy takes a server that is drained without a file in $drained_dir for somebody's decision, and leaves it out.
LIBRARY = r"""
hand_dir=$HOME/.gapless/byhand
hand_on() { # backend.server status; who took it out, when and why: more fields for an event
    case $2 in UP* | 'no check'*) return 0 ;; esac
    [ ! -s "$hand_dir/$1" ] || sed -n '1{s/^{/,/;s/}$//;p;}' "$hand_dir/$1"
}
refuse_drained() { # backend server; a run beats for what it drained, and one that is gone does not
    file=$drained_dir/$1.$2
    [ ! -e "$file" ] || [ "$(age "$file")" -gt 45 ] || fail "$1/$2 was drained by run $(cat "$file"), which puts it back by itself"
}
take_out() { # socket backend server record allowed
    [ -S "$1" ] || fail "there is no socket $1 here" "Is HAProxy up? It is its 'stats socket', which this user must see"
    row=$(server_row "$1" "$2" "$3")
    [ -n "$row" ] || fail "HAProxy has no server $2/$3" "Name it as HAProxy does: server: in hosts.yaml"
    refuse_drained "$2" "$3"
    case $row in
    *' MAINT'*)
        say "{\"event\":\"already\"$(hand_on "$2.$3" "${row#* }")}"
        return
        ;;
    *' DRAIN'*)
        if [ ! -e "$drained_dir/$2.$3" ]; then
            say "{\"event\":\"already\"$(hand_on "$2.$3" "${row#* }")}"
            return
        fi ;;
    *' UP'* | *' no check'*)
        if [ "$5" = no ] && [ "$(others_up "$1" "$2" "$3")" -eq 0 ]; then
            say '{"event":"alone"}'
            return
        fi ;;
    esac
    mkdir -p -m 700 "$hand_dir" && printf '%s\n' "$4" >"$hand_dir/$2.$3.next" && [ -s "$hand_dir/$2.$3.next" ] ||
        fail "$hand_dir cannot be written; without it nobody would know why $2/$3 is out"
    mv "$hand_dir/$2.$3.next" "$hand_dir/$2.$3"
    order "$1" "set server $2/$3 state drain"
    rm -f "$drained_dir/$2.$3"
    # Two that are taken out at the same moment both saw each other up.
    case $row in *' UP'* | *' no check'*)
        if [ "$5" = no ] && [ "$(others_up "$1" "$2" "$3")" -eq 0 ]; then
            order "$1" "set server $2/$3 state ready"
            rm -f "$hand_dir/$2.$3"
            say '{"event":"alone"}'
            return
        fi ;;
    esac
    say '{"event":"out"}'
}
wait_calm() { # socket backend server limit-seconds
    calm=0 end=$(($(date +%s) + $4))
    # Three reads in a row: a request may be between the frontend and the server when one is taken.
    while row=$(server_row "$1" "$2" "$3"); [ $calm -lt 3 ] && [ "$(date +%s)" -le "$end" ]; do
        if [ "${row%% *}" = 0 ]; then calm=$((calm + 1)); else calm=0; fi
        sleep 0.1
    done
    say "{\"event\":\"left\",\"sessions\":${row%% *}}"
}
bring_back() { # socket backend server limit-seconds
    refuse_drained "$2" "$3"
    restore "$1" "$2" "$3" "$4" "$(cat "$drained_dir/$2.$3" 2>/dev/null || true)"
    rm -f "$hand_dir/$2.$3"
}
"""


def take_out(balancer: Balancer, server: str, record: Mapping[str, object], allowed: bool) -> Shell:
    """
    Give the server no new sessions until somebody brings it back; `record` says who, when and why.

    Reports `out`; or `already`; or `alone` when it is the last one up and that is not `allowed`: then it stays in.
    """
    return call("take_out", path(balancer.socket), cmd(balancer.backend, server, json.dumps(dict(record)), "yes" if allowed else "no"))


def wait_calm(balancer: Balancer, server: str, limit: float) -> Shell:
    """Wait until the server has no sessions, `limit` seconds at most; report how many are `left`."""
    return call("wait_calm", path(balancer.socket), cmd(balancer.backend, server, int(limit)))


def bring_back(balancer: Balancer, server: str, well: bool = True) -> Shell:
    """Put the server back into rotation, whoever took it out but a run that lives; if it is `well`, wait until HAProxy calls it up."""
    return call("bring_back", path(balancer.socket), cmd(balancer.backend, server, RESTORE_LIMIT if well else 0))
