"""Hold back every packet between two network namespaces for a while: `delay.py SECONDS NEAR FAR NET`, addresses, and the net of all that is far.

Starts in the near namespace and ends in one of its own, the far one, which others enter by its pid. Says `ready` when both ends
are up. At packet level, so that handshakes, acknowledgements and slow start pay it as on a real line.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque

TUNSETIFF = 0x400454CA
TUN_WITHOUT_HEADER = 0x1001
CLONE_NEWNET = 0x40000000
NAME = "line"
QUEUE = 10_000  # packets; a burst that waits for this process must not be dropped, as no wire would drop it
PACKET = 2048


def main() -> None:
    """Lay the line and carry packets until the end."""
    seconds, near, far, net = sys.argv[1:]
    ends = [end(near, net)]
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no network namespace")
    ends.append(end(far, near))
    print("ready", flush=True)
    carry(*ends, float(seconds))


def end(address: str, there: str) -> int:
    """Make one end of the line in the namespace where we are."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", NAME.encode(), TUN_WITHOUT_HEADER))
    orders = [
        "link set lo up", f"addr add {address}/32 dev {NAME}", f"link set {NAME} mtu 1500 txqueuelen {QUEUE} up", f"route replace {there} dev {NAME}",
    ]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(orders), text=True, check=True)
    return tun


def carry(near: int, far: int, seconds: float) -> None:
    """Pass packets on, each when its time has come; both ways are as long, so they leave in the order in which they came."""
    line: deque[tuple[float, int, bytes]] = deque()
    other = {near: far, far: near}
    while True:
        wait = max(0.0, line[0][0] - time.monotonic()) if line else None
        for tun in select.select([near, far], [], [], wait)[0]:
            due = time.monotonic() + seconds
            try:
                while True:
                    line.append((due, other[tun], os.read(tun, PACKET)))
            except BlockingIOError:
                pass
        now = time.monotonic()
        while line and line[0][0] <= now:
            _, out, packet = line.popleft()
            os.write(out, packet)


if __name__ == "__main__":
    main()
