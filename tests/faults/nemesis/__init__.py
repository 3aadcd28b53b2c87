"""
Break one thing, and mend it again: each fault is a context manager that undoes itself, whatever happens in between.

None of them waits by itself: when a fault begins and when it ends is a moment in the history (case.py).
"""

from .balancer import balancer_deaf, balancer_reloaded, balancer_restarted
from .controller import nothing, paused, signalled
from .host import daemon_killed, daemon_stopped, disk_full, port_taken
from .network import answers_lost, link_down, reset, slowed, stalled, through
from .sshd import login_shell, sessions_killed, sshd_with

__all__ = [
    "answers_lost", "balancer_deaf", "balancer_reloaded", "balancer_restarted", "daemon_killed", "daemon_stopped", "disk_full", "link_down",
    "login_shell", "nothing", "paused", "port_taken", "reset", "sessions_killed", "signalled", "slowed", "sshd_with", "stalled", "through",
]
