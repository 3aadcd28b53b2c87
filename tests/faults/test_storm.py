"""
Kill anything at any moment: who and when are chance, the promises are the same.

STORM says how many deploys, SEED which ones: a storm of the same seed strikes the same at the same seconds.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.faults import look, nemesis
from tests.faults.case import Case
from tests.faults.ground import REFS, Ground
from tests.faults.history import begun
from tests.faults.test_balancer import CUT
from tests.faults.test_pm2 import DIES_WITH_IT
from tests.lab import loopback
from tests.lab.hosts import BALANCER

STORM, SEED, TWINS = int(os.environ.get("STORM", "12")), os.environ.get("SEED", "1"), int(os.environ.get("TWINS", "8"))
LONG = 14.0  # seconds, about as long as a deploy of this fleet under this load takes
RATE = 200
ANY = (0, 1, 4, 5, -9)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

VICTIMS = {"fab": 8, "an ssh session": 4, "a script of ours": 6, "HAProxy": 2, "PM2's daemon": 2}
EXCUSED = {"HAProxy": {"traffic": CUT}, "PM2's daemon": {"traffic": DIES_WITH_IT}}


@contextmanager
def script_killed(play: Case, host: str, luck: random.Random) -> Iterator[None]:
    """Kill one process that we started on a host, whichever it is; none may be there at this moment."""
    pids = look.ours(play.site.lab, host, play.before)
    if pids:
        pid = luck.choice(pids)
        play.history.write("victim", host=host, command=look.command(pid))
        loopback.kill(pid, signal.SIGKILL)
    yield


def strike(victim: str, play: Case, host: str, luck: random.Random) -> AbstractContextManager[None]:
    lab = play.site.lab
    if victim == "fab":
        return nemesis.signalled(play.typed.process, signal.SIGKILL)
    if victim == "an ssh session":
        return nemesis.sessions_killed(lab, host)
    if victim == "a script of ours":
        return script_killed(play, host, luck)
    if victim == "PM2's daemon":
        return nemesis.daemon_killed(lab, host)
    return nemesis.balancer_restarted(lab)


@pytest.mark.parametrize("number", range(STORM))
def test_struck(case: Callable[..., Case], fleet: Ground, number: int) -> None:
    """Whatever is killed, no request is lost that had not died with it, and the next command ends well."""
    luck = random.Random(f"{SEED}-{number}")
    victim = luck.choices([*VICTIMS], [*VICTIMS.values()])[0]
    host = luck.choice([*fleet.lab.names, BALANCER] if "ss" in victim or "script" in victim else fleet.lab.names)
    moment = round(luck.uniform(0.2, LONG), 1)
    where = f" on {host}" if " " in victim else ""
    ref = fleet.other_ref()
    same, other = ("deploy", "--ref", ref), ("deploy", "--ref", next(each for each in REFS if each != ref))
    play = case(
        f"kill -9 of {victim}{where} after {moment} s (storm {SEED}-{number})", *ANY, struck=fleet.lab.names, limit=170, rate=RATE,
        excused=EXCUSED.get(victim, {}), takes_up=luck.choice([same, other, ("resume",), ("abort",)]),
    )
    with play.playing(*same):
        time.sleep(moment)
        with play.fault(strike(victim, play, host, luck), begun, most=0):
            pass


def test_two_at_the_same_instant(fleet: Ground) -> None:
    """Of two deploys that begin together exactly one goes on; the other says who does, and touches nothing."""
    luck = random.Random(SEED)
    for number in range(TWINS):
        fleet.other_ref()
        both = [fleet.begin("deploy", "--ref", ref) for ref in luck.sample(REFS, len(REFS))]
        done = [one.done() for one in both]
        texts = [one.out for one in done]
        assert sorted(one.code for one in done) == [0, 3], (number, *texts)
        assert fleet.locks() == []
        releases = {look.link(fleet.lab, host)["release"] for host in fleet.lab.names}
        assert len(releases) == 1, (number, releases, *texts)
