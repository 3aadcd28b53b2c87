"""Break the way between us and a host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.faults.wire import Wire
from tests.lab import namespaces, texts
from tests.lab.fleet import Lab
from tests.lab.hosts import Host


@contextlib.contextmanager
def link_down(lab: Lab, host: str) -> Iterator[None]:
    """Pull a host's cable."""
    lab.cut(host)
    try:
        yield
    finally:
        lab.heal(host)


@contextlib.contextmanager
def answers_lost(lab: Lab, host: str) -> Iterator[None]:
    """Lose what a host sends to us, and nothing of what we send to it; the balancer is heard in both directions."""
    assert isinstance(lab.ground, namespaces.Namespaces)
    where = ["-n", lab.ground.netns(lab.host(host)), "route"]
    namespaces.ip(*where, "add", "blackhole", f"{lab.ground.gateway}/32")
    try:
        yield
    finally:
        namespaces.ip(*where, "del", "blackhole", f"{lab.ground.gateway}/32")


@contextlib.contextmanager
def stalled(wire: Wire) -> Iterator[None]:
    """Let nothing through, and lose nothing."""
    wire.stall()
    try:
        yield
    finally:
        wire.flow()


@contextlib.contextmanager
def slowed(wire: Wire, seconds: float) -> Iterator[None]:
    """Make every packet wait, in both directions."""
    wire.delay = seconds
    try:
        yield
    finally:
        wire.delay = 0.0


@contextlib.contextmanager
def reset(wire: Wire) -> Iterator[None]:
    """End the connections by RST and refuse new ones."""
    wire.refuses = True
    wire.reset()
    try:
        yield
    finally:
        wire.refuses = False


@contextlib.contextmanager
def through(lab: Lab, host: str, folder: Path) -> Iterator[tuple[Wire, Path]]:
    """Lay a wire to a host's sshd; give it with the ssh config that leads through it."""
    target = lab.host(host)
    with Wire((target.address, target.ssh_port)) as wire:
        yield wire, leading(lab, target, wire, folder, f"Host {host}\n  HostName 127.0.0.1\n  Port {wire.port}\n\n")


@contextlib.contextmanager
def jump(lab: Lab, folder: Path) -> Iterator[tuple[Wire, Path]]:
    """Put one jump host before all hosts, at the end of a wire; give the wire with the ssh config that leads through both."""
    target = lab.balancer  # its sshd is the jump host's too
    with Wire((target.address, target.ssh_port)) as wire:
        hop = texts.ssh_config([("jump", "127.0.0.1", wire.port)], user="root", folder=lab.dir)
        yield wire, leading(lab, target, wire, folder, f"Host lab*\n  ProxyJump jump\n\n{hop}")


def leading(lab: Lab, target: Host, wire: Wire, folder: Path, first: str) -> Path:
    """Write the ssh config that begins with these entries, the first that matches wins, and knows the key at the end of the wire."""
    known = folder / "known_hosts"
    known.write_text(lab.known_hosts.read_text() + texts.known_host("127.0.0.1", wire.port, (target.folder / "hostkey.pub").read_text()))
    config = folder / "ssh_config"
    config.write_text((first + lab.ssh_config.read_text()).replace(str(lab.known_hosts), str(known)))
    return config
