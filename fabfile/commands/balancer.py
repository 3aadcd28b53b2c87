"""HAProxy's runtime socket: take a server out of rotation and put it back."""

from __future__ import annotations

from ..inventory.values import Balancer
from .shell import Shell, call, cmd, path

# Column numbers of `show stat` (HAProxy management guide, 9.1): 1 pxname, 2 svname, 5 scur, 18 status, 19 weight, 24 lastchg, 25 downtime,
# 37 check_status, 38 check_code, 39 check_duration, 57 last_chk.
LIBRARY = r"""
haproxy() { # socket command
    if command -v socat >/dev/null; then printf '%s\n' "$2" | socat -t 10 - "UNIX-CONNECT:$1"
    elif command -v perl >/dev/null; then perl -MIO::Socket::UNIX -e '
        my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "$ARGV[0]: $!\n";
        print $s "$ARGV[1]\n"; print while <$s>' "$1" "$2"
    elif command -v python3 >/dev/null; then python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall((sys.argv[2] + "\n").encode())
while (data := s.recv(65536)): sys.stdout.write(data.decode())' "$1" "$2"
    else fail "this host has no socat, perl or python3 to talk to HAProxy's socket with"; fi
}
nap() { sleep 0.1 2>/dev/null || sleep 1; } # POSIX's sleep takes whole seconds
order() { # socket command
    said=$(haproxy "$1" "$2" 2>&1) || fail "HAProxy's socket $1: $said"
    [ -z "$said" ] || fail "HAProxy refused '$2': $said"
}
server_row() { haproxy "$1" "show stat" | awk -F, -v b="$2" -v s="$3" '$1 == b && $2 == s { print $5, $18; exit }'; }
others_up() { # socket backend server
    haproxy "$1" "show stat" | awk -F, -v b="$2" -v s="$3" \
        '$1 == b && $2 != s && $2 != "FRONTEND" && $2 != "BACKEND" && $18 ~ /^(UP|no check)/ { n++ } END { print n + 0 }'
}
# Each server that we have drained has a file here: the run in it, and the time of its last heartbeat.
drained_dir=$HOME/.gapless/drained
beat_drains() { # run
    for file in "$drained_dir"/*; do
        if [ "$(cat "$file" 2>/dev/null)" = "$1" ]; then touch -c "$file"; fi # it may be gone by now
    done
}
others_drained() { # socket backend server; how many others are drained by runs, whichever
    haproxy "$1" "show stat" | awk -F, -v b="$2" -v s="$3" '$1 == b && $2 != s { print $2 }' |
        while read -r name; do [ ! -e "$drained_dir/$2.$name" ] || echo "$name"; done | wc -l
}
fit() { # socket backend server; HAProxy checks a drained server too
    check=$(haproxy "$1" "show stat" | awk -F, -v b="$2" -v s="$3" '$1 == b && $2 == s { print "=" $37; exit }') || return 1
    case $check in = | '='L[467]OK*) ;; *) return 1 ;; esac
}
watch_drain() { # socket backend server run hold-seconds; puts a server back whose deployer has vanished, once it is fit
    file=$drained_dir/$2.$3
    while sleep 2; [ "$(cat "$file" 2>/dev/null)" = "$4" ]; do
        quiet=$(age "$file")
        [ "$quiet" -gt "$5" ] || continue
        if fit "$1" "$2" "$3" && [ "$(cat "$file" 2>/dev/null)" = "$4" ] && haproxy "$1" "set server $2/$3 state ready"; then
            rm -f "$file"
            return
        fi
        [ "$quiet" -lt 3600 ] || return 0
    done
}
drain() { # socket backend server limit-seconds run hold-seconds most
    [ -S "$1" ] || fail "there is no socket $1 here" "Is HAProxy up? It is its 'stats socket', which this user must see"
    row=$(server_row "$1" "$2" "$3")
    [ -n "$row" ] || fail "HAProxy has no server $2/$3" "Name it as HAProxy does: server: in hosts.yaml"
    case $row in
    # Somebody's decision, not ours: we only ever set drain.
    *' MAINT'*)
        say '{"event":"maintenance"}'
        return
        ;;
    *' DRAIN'*)
        if [ ! -e "$drained_dir/$2.$3" ]; then
            say '{"event":"maintenance"}'
            return
        fi ;;
    *' UP'* | *' no check'*)
        if [ "$(others_up "$1" "$2" "$3")" -eq 0 ]; then
            say '{"event":"alone"}'
            return
        fi
        if [ "$(others_drained "$1" "$2" "$3")" -ge "$7" ]; then
            say '{"event":"crowded"}'
            return
        fi ;;
    esac
    was=$row
    mkdir -p -m 700 "$drained_dir" && printf '%s\n' "$5" >"$drained_dir/$2.$3" && [ -s "$drained_dir/$2.$3" ] ||
        fail "$drained_dir cannot be written; without it nobody would put $2/$3 back if this deployer vanished"
    # It outlives this script, and whatever ends its process group.
    (
        trap '' HUP INT TERM PIPE
        set +eu
        watch_drain "$1" "$2" "$3" "$5" "$6"
    ) </dev/null >/dev/null 2>&1 &
    order "$1" "set server $2/$3 state drain"
    # Two that asked at the same moment both saw each other up; the one that finds nobody now goes back in.
    case $was in *' UP'* | *' no check'*)
        if [ "$(others_up "$1" "$2" "$3")" -eq 0 ]; then
            order "$1" "set server $2/$3 state ready"
            rm -f "$drained_dir/$2.$3"
            say '{"event":"alone"}'
            return
        fi ;;
    esac
    calm=0 end=$(($(date +%s) + $4))
    # Three reads in a row: a request may be between the frontend and the server when one is taken.
    while :; do
        row=$(server_row "$1" "$2" "$3")
        if [ "${row%% *}" = 0 ]; then calm=$((calm + 1)); else calm=0; fi
        [ $calm -lt 3 ] || break
        if [ "$(date +%s)" -gt "$end" ]; then
            order "$1" "set server $2/$3 state ready"
            rm -f "$drained_dir/$2.$3"
            fail "$2/$3 still had ${row%% *} sessions after $4 s of draining (drain_timeout); it was put back"
        fi
        nap
    done
    say '{"event":"drained"}'
}
restore() { # socket backend server limit-seconds run
    by=$(cat "$drained_dir/$2.$3" 2>/dev/null || true)
    [ -z "$by" ] || [ "$by" = "$5" ] || fail "$2/$3 was drained by run $by since, and is left as it is"
    order "$1" "set server $2/$3 state ready"
    rm -f "$drained_dir/$2.$3"
    end=$(($(date +%s) + $4))
    while [ "$4" -gt 0 ]; do
        row=$(server_row "$1" "$2" "$3")
        case $row in *' UP' | *' no check') break ;; esac
        [ "$(date +%s)" -le "$end" ] || fail "$2/$3 was set ready, but HAProxy says ${row#* } after $4 s"
        nap
    done
    say '{"event":"restored"}'
}
mend() { # socket backend server limit-seconds; puts back what a run drained that is gone: its host is ours now
    by=$(cat "$drained_dir/$2.$3" 2>/dev/null || true)
    [ -z "$by" ] || restore "$1" "$2" "$3" "$4" "$by"
}
traffic() { # socket backend
    haproxy "$1" "show stat" | awk -F, -v b="$2" '$1 == b && $2 != "FRONTEND" && $2 != "BACKEND" { print $2, $5, $34, $18 }' |
        while read -r name sessions rate status; do
            say "{\"event\":\"traffic\",\"name\":\"$name\",\"sessions\":$sessions,\"rate\":${rate:-0},\"status\":\"$status\"}"
        done
}
rotation() { # socket backend
    [ -S "$1" ] || fail "there is no socket $1 here" "Is HAProxy up? It is its 'stats socket', which this user must see"
    stats=$(haproxy "$1" "show stat" 2>&1) || fail "HAProxy's socket $1: $stats"
    # The last column is free text, and may hold commas.
    printf '%s\n' "$stats" | awk -F, -v b="$2" '$1 == b && $2 != "FRONTEND" && $2 != "BACKEND" {
        said = $57; for (n = 58; n <= 60 && $57 ~ /^"/ && said !~ /"$/; n++) said = said "," $n
        gsub(/["\\[:cntrl:]]/, "", said)
        print $2 "|" $5 "|" $18 "|" $19 "|" $24 "|" $25 "|" $37 "|" $38 "|" $39 "|" said }' |
        while IFS='|' read -r name sessions status weight since down check code took said; do
            by=$(head -n 1 "$drained_dir/$2.$name" 2>/dev/null | tr -cd 'A-Za-z0-9@.: _-') || by=
            check=${check#\* }
            say "{\"event\":\"server\",\"backend\":\"$2\",\"name\":\"$name\",\"sessions\":${sessions:-0},\"status\":\"$status\",\
\"weight\":${weight:-0},\"since\":${since:-0},\"downtime\":${down:-0},\"check\":\"$check\",\"code\":\"$code\",\
\"took\":${took:-null},\"said\":\"$said\",\"by\":\"$by\"$(hand_on "$2.$name" "$status")}"
        done
}
"""

RESTORE_LIMIT = 30  # seconds; a check every 1-2 s with rise 2 or 3 needs some


def drain(balancer: Balancer, server: str, limit: float, run: str, hold: float, most: int) -> Shell:
    """
    Give the server no new sessions and wait until it has none, `limit` seconds at most.

    Reports `drained`; or `alone` when it is the last one up, where draining would be the outage; or `crowded` when `most` others are
    drained already, by whichever run; or `maintenance` when a person has taken it out. If the run is not heard of for `hold`
    seconds, a timer on the balancer's host puts the server back, once HAProxy's own check finds it fit.
    """
    return call("drain", path(balancer.socket), cmd(balancer.backend, server, int(limit), run, int(hold), most))


def restore(balancer: Balancer, server: str, run: str, runs: bool = True) -> Shell:
    """Put the server back into rotation and wait until HAProxy calls it up, unless nothing runs there."""
    return call("restore", path(balancer.socket), cmd(balancer.backend, server, RESTORE_LIMIT if runs else 0, run))


def mend(balancer: Balancer, server: str, runs: bool = True) -> Shell:
    """Put the server back into rotation if a run had drained it; what a person took out stays out."""
    return call("mend", path(balancer.socket), cmd(balancer.backend, server, RESTORE_LIMIT if runs else 0))


def beat(run: str) -> Shell:
    """Show the timers of the servers that this run has drained that it is alive."""
    return call("beat_drains", cmd(run))


def rotation(balancer: Balancer) -> Shell:
    """
    Report every server of the backend as an event `server`: sessions, status, weight, seconds `since` its last change and of all its
    `downtime`, the last check (its kind, code, ms and words), and who has it drained (`by`: a run, or nothing).
    """
    return call("rotation", path(balancer.socket), cmd(balancer.backend))


def traffic(balancer: Balancer) -> Shell:
    """Report what every server of the backend carries: its sessions now, and its requests in the last second."""
    return call("traffic", path(balancer.socket), cmd(balancer.backend))
