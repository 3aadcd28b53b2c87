"""Bring one artifact to the hosts of a run: through the connections that are open, or each host fetches it by itself."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from ..commands import artifact
from ..errors import RunFailed
from ..fleet import Fleet
from ..inventory.values import Host
from ..plan import Facts
from ..transport import Broken, Outcome

if TYPE_CHECKING:
    from ..parcel import Parcel

RECEIVE = "receive the artifact"


class Shipping:
    """Know who has which artifact; `parcel` is the one that was given to this command, if any."""

    def __init__(self, run: str, hosts: Mapping[str, Host], facts: Mapping[str, Facts], fleet: Fleet) -> None:
        self.id = run
        self.hosts = hosts
        self.facts = facts
        self.fleet = fleet
        self.parcel: Parcel | None = None
        self.packed: dict[str, str] = {}  # host to the sha256 of what was packed there in this run

    @property
    def url(self) -> str:
        return self.parcel.url if self.parcel else ""

    def has(self, name: str, sha256: str) -> bool:
        """Say whether a host has an artifact; what is damaged there is found when it is unpacked."""
        return self.packed.get(name) == sha256 or (name not in self.packed and sha256 in self.facts[name].get("artifacts", ()))

    def bring(self, sha256: str, names: Collection[str]) -> dict[str, Outcome]:
        """Send an artifact to those of the hosts that have not got it and do not fetch it; return what failed, by host."""
        wanting = [name for name in names if not self.has(name, sha256)]
        if not wanting or self.url:
            return {}
        source, chunks = self._source(sha256)
        for name in wanting:
            self.fleet.emit("build", name, {"event": "step", "name": f"{RECEIVE} from {source}"})
        begun = time.monotonic()
        counted = _Counted(chunks)
        try:
            failed = self._poured(counted, wanting)
        except (Broken, OSError) as err:
            failed = dict.fromkeys(wanting, f"{source}, where it comes from: {err}")
        seconds = time.monotonic() - begun
        for name in wanting:
            if name not in failed:
                self.fleet.emit("build", name, {"event": "shipped", "source": source, "bytes": counted.bytes, "seconds": round(seconds, 1)})
        return {name: self._failed(name, why, seconds) for name, why in failed.items()}

    def _failed(self, name: str, why: str, seconds: float) -> Outcome:
        """Tell of a host that did not get it, as of a script that failed there."""
        outcome = Outcome(1 if self.fleet.lines[name].alive else None, tail=[why], step=RECEIVE, seconds=seconds)
        self.fleet.emit("build", name, {"event": "end", "code": outcome.code, "step": RECEIVE, "seconds": seconds, "tail": outcome.tail})
        return outcome

    def _poured(self, chunks: Iterable[bytes], names: Iterable[str]) -> dict[str, str]:
        """Send bytes to hosts from a thread of their own, so that an interrupt is heard meanwhile; return what went wrong where."""
        orders = {name: artifact.take(self.hosts[name].app.root, self.id) for name in names}
        failed: dict[str, dict[str, str]] = self.fleet.together(lambda _: self.fleet.pour(chunks, orders), ["artifact"], self.fleet.hang_up)
        return failed["artifact"]

    def _source(self, sha256: str) -> tuple[str, Iterable[bytes]]:
        """Name where an artifact can be had, and give its bytes."""
        if self.parcel and self.parcel.file and self.parcel.sha256 == sha256:
            return self.parcel.name, self.parcel.chunks()
        if holder := next((name for name in self.hosts if self.has(name, sha256)), None):
            return holder, self.fleet.draw(holder, partial(artifact.give, self.hosts[holder].app.root, sha256))
        raise RunFailed(f"no host has the artifact {sha256[:7]} any more, and this command was not given it. No host was switched.\n"
                        "Next:  the fab deploy of before once more, with its --artifact")


class _Counted:
    """Count bytes on their way."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks = chunks
        self.bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            self.bytes += len(chunk)
            yield chunk
