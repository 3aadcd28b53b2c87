"""Write docs/speed.md and docs/speed.svg from the figures of a bench. Pure but for `write`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from . import figures, plot, table, targets

Data = Mapping[str, Any]
WHO = {
    "floor": "one `ssh` per host, all at once, each with the whole work as one sh script: what anybody can do by hand",
    "barriers": "the same, with the two barriers that ours keeps: nobody migrates before all have built, nobody flips before the migration is done",
    "fused": "Fabric's `ThreadingGroup`, the same script as one `run()` per host",
    "gated": "Fabric connections, the same script with the same two barriers: what they cost whatever else is done",
    "guarded": "the same, and no host builds before all are locked, the first one first, and none is unlocked before all are reloaded: what any"
               " deploy with the promises of ours costs on Fabric, even if it had no facts to read, no journal, no history of the run and no report",
    "naive": "Fabric's `ThreadingGroup`, a `run()` per step, as most fabfiles do it",
    "pyinfra": "a pyinfra deploy, with its own operations where it has them",
    "capistrano": "a Capistrano deploy, with its own flow and its git plugin",
    "gapless": "`fab deploy --hosts bench` with `max_parallel: 100%`; locks, facts, gate, journal, history and report are in it",
    "rolling": "the same with `max_parallel: 1`, one host after another",
    "probed": "the same for an app with a port, so that its prober asks every host all the while",
}
DRAWN = {
    "gapless": "gapless", "floor": "floor (ssh)", "barriers": "barriers (ssh)", "fused": "fused Fabric", "gated": "fused Fabric, two barriers", "guarded": "fused Fabric, our barriers", "naive": "naive Fabric",
    "pyinfra": "pyinfra", "capistrano": "Capistrano",
}
TEXT = """\
# Speed: what a deploy costs, beside others

![wall, CPU and memory against the number of hosts](speed.svg)

Measured by `make bench` on {date}, {cpus} cores, {ssh}, Python {python}, commit {commit}. The raw figures are in `speed.json`;
`python -m tests.bench --again docs/speed.json --write docs` writes this page from them anew.

## Aims, and what was measured

{targets}

Ratios are medians over pairs: each run stands beside the floor run just before it, or the run of fused Fabric in the same turn. The column
`guarded` has the same ratios of bare Fabric that waits where ours must, and does nothing else: where even that misses an aim, it is what Fabric
and the waiting cost on this machine.

## Method

- **Fleet**: real OpenSSH servers, each with an address, key, home, process and mount namespace of its own, behind a line of {rtt:g} ms
  per round trip. The line delays packets (a TUN device and a small program), so TCP's handshake and slow start pay it too.
- **Work**: lock, mirror fetch of one new commit, release directory, checkout, two links, build (`sleep 0.2`), migration on one host, flip
  by rename, reload (0.3 s), health, prune to five, a line of history, unlock. git and sh are real; node and PM2 are stubs that take
  as long as said, so that only what carries the work is compared. Every run is checked on every host: right commit, links, one migration.
- **Who**:
{who}
- **Figures**: wall of the whole process; CPU of the controller's control group, daemons and children in it; memory as the highest sum of
  PSS over its tree, sampled in a run of its own; logins and exec channels from the servers' logs. `line CPU` is what the delay
  line took (with what answers the prober), `busy` the share of the machine that was taken by others: above 0.4, distrust wall.

## Figures

{sizes}
## Growth, from the smallest fleet to the largest

{growth}

{many}
## Caveats

- {noise}
- Hosts and controller share {cpus} cores. From about ten hosts on wall is bound by the CPU of both, so a contestant whose *hosts* work less
  looks faster; on separate machines only the controller's CPU and the round trips remain. Trust ratios, CPU and counts before seconds.
- The floor is not the limit: OpenSSH's default key exchange with post-quantum sntrup761 costs a client about 0.1 s of CPU per login,
  Paramiko's curve25519 a tenth of that. That is why anything built on Fabric passes below it with many hosts.
- Stubs answer at once. A real node adds its start (about 50 ms of host CPU, some five times a deploy), a real reload the boot of the app.
- The repository is a path on the host: a fetch over the network would add the same to all.
{left_out}"""


def page(data: Data) -> str:
    """Write the page."""
    about = data["about"]
    present = {name for found in data["sizes"].values() for name in found}
    return TEXT.format(
        **{name: about[name] for name in ("date", "cpus", "ssh", "python", "commit", "rtt")},
        targets=table.markdown(targets.COLUMNS, targets.rows(data)),
        who="\n".join(f"  - `{name}`: {text}" for name, text in WHO.items() if name in present),
        sizes="\n".join(f"### {size} host{'s' * (size != '1')}\n\n{table.of(found)}\n" for size, found in data["sizes"].items()),
        growth=table.markdown(("contestant", "CPU s per further host", "MiB per further host", "wall s per further host"), growth(data)),
        many=many(data["many"]),
        noise=noise(data),
        left_out="\n".join(f"- Left out: {name}, {why}." for name, why in about["left_out"].items()) + "\n" if about["left_out"] else "",
    )


def noise(data: Data) -> str:
    """Say how much of the machine others took meanwhile."""
    shares = [run["busy"] for found in data["sizes"].values() for each in found.values() for run in each["runs"]]
    return (
        f"Others took {median(shares):.0%} of this machine in the median run, {min(shares):.0%} in the quietest and {max(shares):.0%} in the busiest;\n"
        "  the more it is, the less the seconds say. CPU, memory and counts suffer least."
    )


def growth(data: Data) -> list[list[str]]:
    """Give a row per contestant: what each further host costs."""
    names = dict.fromkeys(name for found in data["sizes"].values() for name in found)
    found = {name: [targets.growth(name, figure)(data) for figure in ("cpu", "memory", "wall")] for name in names}
    return [[name, *("-" if value is None else f"{value:.3f}" for value in values)] for name, values in found.items()]


def many(found: Mapping[str, Any]) -> str:
    """Tell how a fleet went that is larger than any other contestant could wait for."""
    if not found:
        return ""
    short, long = found["short"], found["long"]
    told = [
        f"## {found['hosts']} hosts\n",
        f"Complete, in {short['wall']:.1f} s: every host runs the commit, one migration,",
        f"{short['logins']:.1f} logins and {short['channels']:.1f} channels per host.",
        f"Controller: {short['cpu']:.2f} s of CPU, {short['memory']:.0f} MiB at the most.",
        f"With a build of {found['build']:g} s: {long['wall']:.1f} s.",
    ]
    if "build_cpu" in found:
        told.append(f"Of these the build phase took {found['build_seconds']:.1f} s and {found['build_cpu']:.2f} s of controller CPU.")
    if "waiting_cpu" in found:
        told.append(f"In the {found['waiting_seconds']:.1f} s in which all hosts were building it took {found['waiting_cpu']:.2f} s.")
    elif "build_cpu" in found:
        told.append("The first host had built before the last began (their CPU is this machine's), so there was no time of mere waiting to measure.")
    return "\n".join([*told, ""])


def picture(data: Data) -> str:
    """Draw wall, CPU and memory; ours only once, for a probed app differs in little."""
    panels: dict[str, dict[str, dict[int, float]]] = {"wall, s": {}, "controller CPU, s": {}, "peak memory, MiB": {}}
    for size, found in data["sizes"].items():
        for name, each in found.items():
            cell = figures.cell(each)
            values = (cell["wall"]["median"], cell["cpu"]["median"], cell["memory"]) if name in DRAWN else ()
            for series, value in zip(panels.values(), values, strict=False):
                if value:
                    series.setdefault(DRAWN[name], {})[int(size)] = value
    if data["many"]:
        for series, figure in zip(panels.values(), ("wall", "cpu", "memory"), strict=True):
            series.setdefault(DRAWN["gapless"], {})[data["many"]["hosts"]] = data["many"]["short"][figure]
    return plot.draw(panels)


def write(data: Data, folder: Path) -> None:
    """Write the figures, the page and the picture."""
    (folder / "speed.json").write_text(json.dumps(data, indent=1) + "\n")
    (folder / "speed.md").write_text(page(data))
    (folder / "speed.svg").write_text(picture(data))
