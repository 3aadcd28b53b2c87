"""As floor.py, but nobody migrates before all have built, and nobody flips before the migration is done."""

import json
import subprocess
import sys

job = json.load(open(sys.argv[1]))
ssh = ["ssh", "-F", job["ssh_config"]]
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
running = [subprocess.Popen([*ssh, host, job["gated"]], **pipes) for host in job["hosts"]]


def go(some):
    """Let these go on, and wait until each has said so."""
    for each in some:
        each.stdin.write("\n")
        each.stdin.flush()
    for each in some:
        each.stdout.readline()


for each in running:
    each.stdout.readline()
go(running[:1])
go(running[1:])
for each in running:
    each.stdin.write("\n")
    each.stdin.close()
sys.exit(max([each.wait() for each in running]))
