"""
As fabric_fused.py, but nobody migrates before all have built, and nobody flips before the migration is done: JOB gated.

JOB guarded: besides, no host builds before all are locked, the first one first, and none is unlocked before all are reloaded.
"""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from fabric import Config, Connection

job, script = json.load(open(sys.argv[1])), sys.argv[2]
guarded = script == "guarded"
config = Config(runtime_ssh_path=job["ssh_config"])
connections = [Connection(host, config=config) for host in job["hosts"]]
decided = threading.Event()


def begin(connection):
    """Start the script, and wait until it has built; guarded, until it is locked, which it is as soon as the first one is."""
    connection.open()
    channel = connection.transport.open_session()
    channel.exec_command(job[script])
    heard = channel.makefile("r")
    if guarded:
        if connection is not connections[0]:
            decided.wait()
        channel.sendall(b"\n")
    heard.readline()
    decided.set()
    return channel, heard


def go(running, words=1):
    """Let one go on, by so many words, and wait until it has said so."""
    channel, heard = running
    channel.sendall(b"\n" * words)
    for _ in range(words):
        heard.readline()


def end(running):
    channel, _ = running
    channel.sendall(b"\n")
    channel.shutdown_write()
    return channel.recv_exit_status()


with ThreadPoolExecutor(len(connections)) as pool:
    first, *others = all_running = list(pool.map(begin, connections))
    if guarded:
        list(pool.map(go, all_running))  # to have built
    go(first)                            # to have migrated
    if guarded:
        list(pool.map(go, all_running, [1, *(2 for _ in others)]))  # to be reloaded: the others pass by the migration
    else:
        list(pool.map(go, others))
    codes = list(pool.map(end, all_running))
for connection in connections:
    connection.close()
sys.exit(max(codes))
