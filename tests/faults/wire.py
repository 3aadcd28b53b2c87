"""Be the cable between us and one host's sshd: a relay on loopback that can stall, slow down, reset and refuse."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import Self

CHUNK = 16_384
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST instead of FIN


class Wire:
    """Relay TCP connections to an address; what is done to it is done to every connection through it."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.delay = 0.0
        self.refuses = False
        self._flows = threading.Event()
        self._flows.set()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.flow()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        self._listener.close()
        self.reset()

    def stall(self) -> None:
        """Pass nothing on, in either direction; what is sent meanwhile waits."""
        self._flows.clear()

    def flow(self) -> None:
        """Pass on again, all that waited first."""
        self._flows.set()

    def reset(self) -> int:
        """End every connection by RST; say how many there were."""
        doomed, self._open = self._open, set()
        for end in doomed:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.shutdown(socket.SHUT_RD)  # wakes the thread that reads it
            end.close()
        return len(doomed) // 2

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.refuses:
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                near.close()
                continue
            threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(self.target, timeout=10)
        except OSError:
            near.close()
            return
        far.settimeout(None)
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open |= {near, far}
        threading.Thread(target=self._pump, args=(near, far), daemon=True).start()
        self._pump(far, near)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                self._flows.wait()
                time.sleep(self.delay)
                sink.sendall(data)
        with contextlib.suppress(OSError):
            if sink in self._open:  # else it is to end by RST, and an orderly end would come before that
                sink.shutdown(socket.SHUT_WR)
