"""
Break one thing, and mend it again: each fault is a context manager that undoes itself, whatever happens in between.

None of them waits by itself: when a fault begins and when it ends is a moment in the history (case.py).
"""

from .balancer import balancer_deaf, balancer_reloaded, balancer_restarted
from .controller import nothing, paused, reader_gone, signalled
from .host import clock_off, daemon_killed, daemon_stopped, disk_full, out_of_inodes, port_taken, read_only
from .network import answers_lost, jump, link_down, reset, slowed, stalled, through
from .sshd import dropbear, environment, login_shell, sessions_killed, sshd_with
from .tools import busybox, hidden, node_by_nvm

__all__ = [
    "answers_lost", "balancer_deaf", "balancer_reloaded", "balancer_restarted", "busybox", "clock_off", "daemon_killed", "daemon_stopped", "disk_full", "dropbear", "environment", "hidden", "jump", "link_down",
    "login_shell", "node_by_nvm", "nothing", "out_of_inodes", "paused", "port_taken", "read_only", "reader_gone", "reset", "sessions_killed", "signalled", "slowed", "sshd_with", "stalled", "through",
]
