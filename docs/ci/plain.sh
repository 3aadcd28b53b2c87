#!/bin/sh
# For any CI: plain.sh COMMIT HOSTS. DEPLOY_KEY holds the private key, hosts.yaml pins the hosts' keys: known_hosts: ./known_hosts.
set -eu
# Each in place of the one before it: who cancels the job tells only the first process, and that must be the one that can end in
# order. The agent ends with it. printf is the shell's own: what it is given is in no list of processes.
exec ssh-agent sh -euc '
    printf "%s\n" "$DEPLOY_KEY" | tr -d "\r" | ssh-add -q -
    unset DEPLOY_KEY
    exec inv deploy --ref="$1" --hosts="$2" --yes --wait=10m
' sh "$@"
