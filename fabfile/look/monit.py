"""What each worker uses and does right now, beside what the balancer sees of its host; once, or again and again on a terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ..commands import ask, balancer, node
from ..commands.shell import Step
from ..errors import Unsettled
from ..report import terminal
from ..report.summary import table
from .view import Look

EVERY = 2.0  # seconds
HEAD = ("host", "worker", "release", "state", "cpu", "memory", "lag", "req/s", "p95", "restarts", "up", "balancer")

Sample = Mapping[str, Any]


class Monit:
    """Hold the last sample of each host, and of each server at the balancers."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self.samples: dict[str, Sample] = {}
        self.traffic: dict[str, Sample] = {}   # host to what its balancer says of it
        self.lost: dict[str, str] = dict(look.unreachable)
        self.groups = [group for group in look.targets.groups if group.balancer]
        self.fleet = look.fleet
        self.fleet.emit = self.hear

    def hear(self, phase: str, host: str, event: Mapping[str, Any]) -> None:
        if event["event"] == "sample":
            self.samples[host] = event
            self.lost.pop(host, None)

    def once(self) -> None:
        """Print one table, and raise when a host could not be asked."""
        reached = [host for host in self.look.hosts if host not in self.look.unreachable]
        self.fleet.together(lambda host: self.ask(host, 0.0), reached, self.fleet.hang_up)
        self.fronts()
        self.show()
        if self.lost:
            raise Unsettled("not every host could be asked\n" + "\n".join(f"  {host}: {why}" for host, why in self.lost.items()))

    def live(self) -> None:
        """Repaint the table until the caller is interrupted, or nobody reads any more."""
        for host in self.look.hosts:
            threading.Thread(target=self.keep, args=(host,), daemon=True).start()
        try:
            while terminal.is_read():
                terminal.paint(self.text().splitlines())
                self.fronts()
                time.sleep(EVERY)
        finally:
            self.fleet.stopping.set()

    def keep(self, host: str) -> None:
        """Ask a host again and again, over a new connection where the last one was lost."""
        fleet = self.fleet
        while not fleet.stopping.is_set():
            if fleet.lines[host].alive:
                self.ask(host, EVERY)
            if fleet.stopping.wait(EVERY):
                return
            fleet.lines[host].close()
            if why := fleet.reach(host):
                self.lost[host] = why

    def ask(self, host: str, every: float) -> None:
        """Run the sampler on a host; note why, if it ends where it should not."""
        app = self.look.hosts[host]
        wanted = {"names": [process.name for process in app.app.processes], "every_ms": int(every * 1000)}
        outcome = self.fleet.run("monit", host, [
            Step("tools", node.tools(app.node_bin, app.pm2_home)), Step("monit", ask.monit(app.app.root, wanted)),
        ])
        if not outcome.ok or every:
            self.lost[host] = outcome.last_words
            self.samples.pop(host, None)

    def fronts(self) -> None:
        """Ask each balancer what it sees; one that can't be asked says nothing."""
        for group in self.groups:
            front = group.balancer
            if front is None or f"balancer {front.host}" in self.look.unreachable:
                continue
            outcome = self.fleet.run("monit", f"balancer {front.host}", [Step("traffic", balancer.traffic(front))])
            servers = {event.pop("name"): event for event in outcome.events if event.pop("event") == "traffic"}
            self.traffic |= {host.name: servers[host.server] for host in group.hosts if host.server in servers}

    # ------------------------------------------------------------------ what is shown

    def show(self) -> None:
        self.look.page.say(table(HEAD, [row for row, _ in self.rows()]))
        for _, record in self.rows():
            self.look.page.tell("worker", **record)

    def text(self) -> str:
        return table(HEAD, [row for row, _ in self.rows()]) + f"\n{time.strftime('%H:%M:%S')}, every {EVERY:.0f} s until Ctrl-C"

    def rows(self) -> Iterator[tuple[list[str], dict[str, Any]]]:
        """Give a row and a record for each worker, or for a host that has none."""
        for host in self.look.hosts:
            sample = self.samples.get(host)
            front = self.traffic.get(host)
            if not sample or not sample["workers"]:
                why = self.lost.get(host) or (sample and (sample["trouble"] or "no worker")) or "no answer yet"
                yield [host, "-", "-", str(why), *["-"] * 7, seen(front)], {"host": host, "why": why, "balancer": front}
                continue
            for worker in sorted(sample["workers"], key=lambda worker: (worker["name"], worker["id"])):
                record = {key: value for key, value in worker.items() if key != "id"}
                more = {"host": host, "worker": worker["id"], "balancer": front, "machine": sample["machine"]}
                yield row(host, worker, front), {**more, **record}


def row(host: str, worker: Sample, front: Sample | None) -> list[str]:
    return [
        host, str(worker["id"]), worker["release"] or "-", state(worker),
        unit(worker["cpu"], "%", 0), unit(worker["memory"] and worker["memory"] / 1e6, " MB", 0), unit(worker["lag_p95_ms"], " ms", 1),
        unit(worker["requests_per_s"], "", 1), unit(worker["latency_p95_ms"], " ms", 0),
        str(worker["restarts"]) + (f" ({worker['died']} died)" if worker["died"] else ""), age(worker["up_ms"]), seen(front),
    ]


def state(worker: Sample) -> str:
    """Say how a worker is: PM2's word unless it is online, then the gate's, then what its own health route answered."""
    if worker["status"] != "online":
        return str(worker["status"])
    health = worker["health"]
    if health and health["status"] != 200:
        return f"unhealthy ({health['status'] or health.get('why', 'no answer')})"
    word = worker["state"] or "online"
    return "healthy" if health and word == "open" else str(word)


def seen(front: Sample | None) -> str:
    """Say what the balancer sees of a host."""
    if front is None:
        return "-"
    status = front["status"]  # "UP 2/3" still takes traffic
    where = "in" if status.startswith(("UP", "no check")) else f"OUT ({status})"
    return f"{where}, {front['rate']} req/s, {front['sessions']} now"


def unit(value: float | None, suffix: str, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}{suffix}"


def age(ms: float | None) -> str:
    """Write how long ago in the two units that matter."""
    if ms is None:
        return "-"
    seconds = int(ms / 1000)
    for size, word, less, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            return f"{seconds // size}{word} {seconds % size // less}{small}"
    return f"{seconds}s"

