"""Break the way between us and a host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.faults.wire import Wire
from tests.lab import namespaces, texts
from tests.lab.fleet import Lab


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
        key = (target.folder / "hostkey.pub").read_text()
        known = folder / "known_hosts"
        known.write_text(lab.known_hosts.read_text() + texts.known_host("127.0.0.1", wire.port, key))
        config = folder / "ssh_config"
        # The first entry that matches wins.
        config.write_text(f"Host {host}\n  HostName 127.0.0.1\n  Port {wire.port}\n\n" + lab.ssh_config.read_text().replace(str(lab.known_hosts), str(known)))
        yield wire, config


@contextlib.contextmanager
def jump(lab: Lab, folder: Path) -> Iterator[tuple[Wire, Path]]:
    """Put one jump host before all hosts, at the end of a wire; give the wire with the ssh config that leads through both."""
    target = lab.balancer  # its sshd is the jump host's too
    with Wire((target.address, target.ssh_port)) as wire:
        known = folder / "known_hosts"
        known.write_text(lab.known_hosts.read_text() + texts.known_host("127.0.0.1", wire.port, (target.folder / "hostkey.pub").read_text()))
        hop = texts.ssh_config([("jump", "127.0.0.1", wire.port)], user="root", folder=lab.dir)
        config = folder / "ssh_config"
        config.write_text((f"Host lab*\n  ProxyJump jump\n\n{hop}" + lab.ssh_config.read_text()).replace(str(lab.known_hosts), str(known)))
        yield wire, config
