"""
Show it: three hosts deployed, broken on purpose and saved, under load; then the same releases through plain `pm2 reload`.

Brings up its own fleet on this machine (tests/lab), and takes it down again unless told to keep it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import load
from tests.lab import asking, contrast
from tests.lab.asking import Wrong
from tests.lab.fleet import Lab
from tests.lab.hosts import LabError

ROOT = Path(__file__).parents[2]
Row = tuple[str, ...]


@dataclass(frozen=True)
class Act:
    """Name one thing to show: the words for the table, what is typed, and the exit code that it must end with."""

    text: str
    words: tuple[str, ...]
    code: int = 0
    path: str = "/"


FIRST = Act("v1: first deploy, nothing runs yet", ("deploy", "--ref", "v1"))
GOOD = Act("v2: good release, 3 s requests in flight", ("deploy", "--ref", "v2"))
ACTS = (
    Act("v3: throws at boot", ("deploy", "--ref", "v3-throws"), code=1),
    Act("v4: /health answers 500", ("deploy", "--ref", "health-500"), code=1, path="/health"),
    Act("v5: boots in 8 s (on one host)", ("deploy", "--ref", "slow-boot", "--hosts", "lab1")),
    Act("rolling reload, one host at a time", ("rolling",)),
    Act("rollback to v1", ("rollback", "--to", "0001")),
)
LOSSES: list[Row] = [("release", "what we did", "exit", "sent", "lost")]
WRONGS: list[Row] = [("after a good release (v2)", "what we did", "exit", "wrong")]


def main() -> int:
    parser = argparse.ArgumentParser(description="Deploy, break and save a local fleet, and count the requests.")
    parser.add_argument("--keep", action="store_true", help="leave the fleet up afterwards")
    arguments = parser.parse_args()
    begun = time.monotonic()
    try:
        lab = Lab.up("lab", bound=not arguments.keep)
    except LabError as err:
        print(err, file=sys.stderr)
        return 1
    try:
        losses, wrongs, good = ours(lab)
        more_losses, more_wrongs = usual()
        print(f"\n{table(LOSSES + losses + [('',) * 5] + more_losses)}\n\n{table(WRONGS + wrongs + more_wrongs)}\n")
        print(f"{time.monotonic() - begun:.0f} s in all; the load is {__package__.replace('.', '/')}'s own, not gapless's prober")
        return 0 if good else 1
    except KeyboardInterrupt:
        return 130
    finally:
        if arguments.keep:
            print("\nThe fleet is still up. Try: fab status --hosts lab   fab rollback --hosts lab   ... and then: make lab-down")
        else:
            lab.down()


def ours(lab: Lab) -> tuple[list[Row], list[Row], bool]:
    """Play the acts on the fleet; return both tables' rows, and whether every one ended as it must, without a loss."""
    asking.put_in(lab)
    code = fab(*FIRST.words)
    rows: list[Row] = [(FIRST.text, told(FIRST), str(code), "-", "-")]
    good = code == 0
    wrongs: list[Wrong] = []
    if good:
        asking.take_out(lab)
    for act in (GOOD, *ACTS):
        words = tuple(oldest(lab) if word == "0001" else word for word in act.words)
        with loaded(lab, act.path) as tally:
            code = fab(*words)
        print(f"load: {tally.summary()}")
        rows.append((act.text, told(act), str(code), f"{tally.total:,}", f"{tally.lost:,}"))
        good = good and code == act.code and tally.lost == 0
        if act is GOOD:
            wrongs = asked(lab, code)
    fab("status")
    return rows, [wrong.row() for wrong in wrongs], good and not any(wrong.wrong for wrong in wrongs)


def asked(lab: Lab, code: int) -> list[Wrong]:
    """Ask through the balancer who answers, and each worker for the variable that was taken out of the env file."""
    return [
        Wrong("answers by old code", told(GOOD), code, *asking.by_old_code(lab.url, "v2")),
        Wrong("workers with a variable that was taken out", told(GOOD), code, *asking.holders(map(lab.host_url, lab.names))),
    ]


def usual() -> tuple[list[Row], list[Row]]:
    """Measure the usual way on a host of its own."""
    print("\nThe usual way, on a host of its own: plain `pm2 reload` of the same releases.")
    losses: list[Row] = []
    wrongs: list[Row] = []
    with Lab.up("usual", hosts=1, bound=True) as lab:
        plain = contrast.Plain(lab, "lab1")
        for result in plain.losses():
            print(f"{result.text}: exit {result.exit_code}, {result.lost} of {result.sent} lost")
            losses.append((result.text, "pm2 reload", str(result.exit_code), f"{result.sent:,}", f"{result.lost:,}"))
        for wrong in (plain.old_code(), plain.old_variable()):
            print(f"{wrong.text}: exit {wrong.exit_code}, {wrong.wrong} of {wrong.asked}")
            wrongs.append(wrong.row())
    return losses, wrongs


def oldest(lab: Lab) -> str:
    """Name the first release that is still on the hosts."""
    return sorted(lab.run("lab1", "ls ~/shop/releases").stdout.split())[0]


def told(act: Act) -> str:
    return f"fab {act.words[0]}"


def fab(*words: str) -> int:
    """Type one command, and show it as it would be seen."""
    command = [*words, *(() if "--hosts" in words else ("--hosts", "lab"))]
    print(f"\n$ fab {' '.join(command)}", flush=True)
    environment = {key: value for key, value in os.environ.items() if key != "GAPLESS_INVENTORY"}
    return subprocess.run([str(Path(sys.executable).parent / "fab"), *command], cwd=ROOT, env=environment, check=False).returncode


@contextmanager
def loaded(lab: Lab, path: str) -> Iterator[load.Tally]:
    """Put 200 requests a second on the balancer, beside requests of 3 s that are always in flight."""
    with load.running(lab.url, path=path, rate=200, slow=3, slow_path="/slow?ms=3000", post_path="/items") as tally:
        time.sleep(1)
        yield tally
        time.sleep(1)


def table(rows: list[Row]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    aligned = ["ljust", "ljust", "rjust", "rjust", "rjust"]
    return "\n".join("  ".join(getattr(cell, side)(width) for cell, side, width in zip(row, aligned, widths)).rstrip() for row in rows)


if __name__ == "__main__":
    sys.exit(main())
