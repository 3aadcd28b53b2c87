"""As fabric_fused.py, but nobody migrates before all have built, and nobody flips before the migration is done."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

from fabric import Config, Connection

job = json.load(open(sys.argv[1]))
config = Config(runtime_ssh_path=job["ssh_config"])
connections = [Connection(host, config=config) for host in job["hosts"]]


def begin(connection):
    """Start the script, and wait until it has built."""
    connection.open()
    channel = connection.transport.open_session()
    channel.exec_command(job["gated"])
    heard = channel.makefile("r")
    heard.readline()
    return channel, heard


def go(running):
    """Let one go on, and wait until it has said so."""
    channel, heard = running
    channel.sendall(b"\n")
    heard.readline()


def end(running):
    channel, _ = running
    channel.sendall(b"\n")
    channel.shutdown_write()
    return channel.recv_exit_status()


with ThreadPoolExecutor(len(connections)) as pool:
    all_running = list(pool.map(begin, connections))
    go(all_running[0])
    list(pool.map(go, all_running[1:]))
    codes = list(pool.map(end, all_running))
for connection in connections:
    connection.close()
sys.exit(max(codes))
