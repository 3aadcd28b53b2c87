"""Say what one host of the lab is, whichever ground it stands on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BALANCER = "lablb"
DEFAULT_NAME = "lab"


class LabError(RuntimeError):
    """The lab cannot do what it was asked; the message says why and what to type."""


@dataclass(frozen=True, slots=True)
class Host:
    """One host: where the controller finds it, and what it calls its own home."""

    name: str
    address: str
    ssh_port: int
    http_port: int
    folder: Path
    home: Path

    @property
    def root(self) -> Path:
        """Where the app lives, as the host names it."""
        return self.home / "shop"

    @property
    def socket(self) -> Path:
        """HAProxy's runtime socket, as the host names it."""
        return self.home / "haproxy/admin.sock"

    @property
    def spec(self) -> Path:
        """What init is to do."""
        return self.folder / "init.json"

    @property
    def url(self) -> str:
        """Where it answers HTTP."""
        return f"http://{self.address}:{self.http_port}"
