"""As fabric_barriers.py, but no host builds before all are locked, the first one first, and none is unlocked before all are reloaded."""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from fabric import Config, Connection

job = json.load(open(sys.argv[1]))
config = Config(runtime_ssh_path=job["ssh_config"])
connections = [Connection(host, config=config) for host in job["hosts"]]
decided = threading.Event()


def claim(connection):
    """Start the script, and lock its host as soon as the first one is."""
    connection.open()
    channel = connection.transport.open_session()
    channel.exec_command(job["guarded"])
    running = channel, channel.makefile("r")
    if connection is not connections[0]:
        decided.wait()
    go(running)
    decided.set()
    return running


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
    all_running = list(pool.map(claim, connections))
    list(pool.map(go, all_running))
    go(all_running[0])
    list(pool.map(lambda running: go(running, 1 if running is all_running[0] else 2), all_running))
    codes = list(pool.map(end, all_running))
for connection in connections:
    connection.close()
sys.exit(max(codes))
