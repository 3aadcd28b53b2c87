#!/bin/sh
# Start one ssh per host, all at once, each with the same command: floor.sh SSH_CONFIG COMMAND HOST...
config=$1 command=$2 all='' failed=0
shift 2
for host; do
    ssh -F "$config" "$host" "$command" </dev/null &
    all="$all $!"
done
for pid in $all; do wait "$pid" || failed=1; done
exit $failed
