"""One run, from claim to finish: counted all the way, ended in order by a signal, told at its end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import plan
from ..errors import GaplessError, Interrupted, LockHeld, LockLost, Unsettled, UsageError
from ..how import How
from ..inventory.values import Targets
from ..plan import Options
from ..preload import preload
from ..report import summary
from ..report.faces import face
from ..report.stream import SCHEMA, Stream, forget_old_runs, state_dir
from .rollout import Rollout, new_id
from .signals import Stop, stopped_by

if TYPE_CHECKING:
    from ..prober import Prober, Report

RETRY = 3.0  # seconds between two looks at a lock that is waited for
AFTERMATH = 2.0  # seconds at most to go on counting after the last host: a loss may show late
COUNTED = 1.0    # seconds between two events that say how many requests were sent so far
LATER = ("prober", "run.afterwards")  # modules that are wanted after the claim, and take 20 ms to load
SOON = 0.05      # seconds from the claim on, by when the logins are under way and are waited for


@contextmanager
def running(chosen: Targets, options: Options, commit: str, how: How, *, patience: float = 0.0,
            resumes: Sequence[str] = (), check: Callable[[Rollout], None] = lambda _: None) -> Iterator[Rollout]:
    """
    Hand out a run that holds its hosts, and end it whatever happens meanwhile; raise what must be the exit code.

    `patience`: seconds to wait for a lock that somebody else holds. `resumes`: the dead runs whose place it takes, the last one last.
    `check` may raise once the hosts are held: the locks are given back then, and nothing was touched.
    """
    marks = _Marks()
    run_id = new_id()
    shown = face(how.format, how.verbose)
    try:
        stream = Stream(state_dir() / run_id, shown)
    except OSError as err:
        raise UsageError(f"{state_dir()}: no log can be kept there ({err.strerror}); set XDG_STATE_HOME to a place of yours") from None
    forget_old_runs(state_dir())
    rollout = Rollout(run_id, chosen, options, commit, stream, marks, resumes)
    groups = {group.name: [host.name for host in group.hosts] for group in chosen.groups}
    apps = sorted({host.app.name for host in chosen.hosts})
    promised = {"selector": chosen.selector, "apps": apps, "groups": groups, "floor": plan.floor(chosen.groups, options)}
    stream("start", "", {"event": "run", "schema": SCHEMA, "began": round(time.time(), 3), **promised, **rollout.owner()})
    with stopped_by(partial(_leave, rollout, stream)) as stop:
        yield from _carry_out(rollout, stream, marks, patience, check, stop)


def _claim(rollout: Rollout, stream: Stream, patience: float, check: Callable[[Rollout], None]) -> None:
    """Claim; as long as somebody else holds the lock, ask again every few seconds."""
    end = time.monotonic() + patience
    told = False
    while True:
        try:
            return rollout.claim(check)
        except LockHeld as held:
            if held.gone or time.monotonic() + RETRY > end:
                raise
            if not told:
                stream.say(f"{held.message}\nwaiting for it")
            told = True
            left = round(end - time.monotonic(), 1)
            stream("claim", "", {"event": "waiting", "what": "the lock to be free", "limit": left, "setting": "--wait"})
            time.sleep(RETRY)


def _carry_out(rollout: Rollout, stream: Stream, marks: _Marks, patience: float, check: Callable[[Rollout], None],
               stop: Stop) -> Iterator[Rollout]:
    try:
        rollout.prepare()
        preload(*LATER, after=SOON)
        _claim(rollout, stream, patience, check)
        marks.prober = prober = _prober(rollout)
        counting = _Counting(prober, stream)
    except KeyboardInterrupt:
        stop.ending = True
        rollout.give_back()
        stop.end()
        interrupted = Interrupted("interrupted while claiming; nothing was touched", stop.code)
        _close(rollout, stream, None, interrupted)
        raise interrupted from None
    except BaseException as err:
        stop.ending = True
        rollout.give_back()
        stop.end()
        _close(rollout, stream, None, err)
        raise
    error: BaseException | None = None
    try:
        yield rollout
    except KeyboardInterrupt:
        done = "what was in hand was finished or taken back, nothing new was begun" if rollout.waves.reloaded else "no host was switched"
        error = Interrupted(f"interrupted: {done}.\nNext:  fab status --hosts {rollout.targets.selector}", stop.code)
    except BaseException as err:
        error = err
    stop.ending = True
    spent = rollout.spent()
    measured = _measure(rollout, prober, error)
    counting.stop()
    error = _finish(rollout, measured, spent, error)
    stop.end()
    _conclude(rollout, stream, measured, error)


def _leave(rollout: Rollout, stream: Stream, code: int) -> None:
    """Leave at once, from within a signal: the hosts' own drivers end what they have in hand, the locks say where it stood."""
    with suppress(Exception):  # it may have come in the middle of a print
        stream.say(summary.states(rollout.waves.told_states()))
        hosts = rollout.targets.selector
        stream.say("interrupted, and left at once; what is in hand goes on by itself, the locks stay.\n"
                 f"Next:  fab resume --hosts {hosts}   or   fab abort --hosts {hosts}")
    with suppress(Exception):
        stream.face.close()
    os._exit(code)


def _measure(rollout: Rollout, prober: Prober, error: BaseException | None) -> Report:
    """Count on for a moment, then close the books."""
    patience = min(AFTERMATH, max(group.update.min_healthy_time for group in rollout.targets.groups))
    if rollout.waves.reloaded and rollout.probe_targets():
        rollout.emit("finish", "", {"event": "waiting", "what": "losses that show late", "limit": patience, "setting": "min_healthy_time"})
        time.sleep(patience)
    return prober.stop(grace=2 if isinstance(error, Interrupted) else None)


def _finish(rollout: Rollout, measured: Report, spent: Mapping[str, float], error: BaseException | None) -> BaseException | None:
    """Look again, write history and unlock; what that finds is part of how the run ended."""
    if isinstance(error, LockLost):
        rollout.leave()  # everything is another run's now
        return error
    try:
        rollout.finish(_record(rollout, measured, spent, error))
    except Unsettled as found:
        if error is None:
            return found
        if isinstance(error, GaplessError):
            return Unsettled(f"{error.message}\n{found.message}")
        rollout.emit("finish", "", {"event": "phase", "what": str(found.message)})
    return error


def _record(rollout: Rollout, measured: Report, spent: Mapping[str, float], error: BaseException | None) -> dict[str, Any]:
    """Say of a run what its hosts keep of it; `phases` has the seconds of each, `waves` how many came one after another."""
    return {
        **rollout.owner(), "release": rollout.release, "commit": rollout.commit, "seconds": round(measured.seconds, 1),
        "outcome": "ok" if error is None else str(getattr(error, "code", 1)), "sent": measured.sent, "lost": measured.lost,
        "phases": dict(spent), "waves": rollout.waves.rounds, **rollout.moves(),
    }


def _conclude(rollout: Rollout, stream: Stream, measured: Report, error: BaseException | None) -> None:
    """Print what runs now and what was counted; raise what must be the exit code."""
    stream("finish", "", {"event": "requests", **measured.to_dict()})
    if rollout.waves.reloaded and (error is None or isinstance(error, (Interrupted, LockLost))):  # any other error tells the states itself
        stream.say("")
        stream.say(summary.states(rollout.waves.told_states()))
    if rollout.waves.reloaded or measured.lost:
        stream.say(summary.requests(measured))
    for log in stream.logs() if error else [stream.folder]:
        stream.say(f"log: {str(log).replace(str(Path.home()), '~')}")
    if measured.lost and (error is None or isinstance(error, GaplessError)):
        lost = f"{measured.lost} of {measured.sent} requests were lost in {summary.places(measured)}; the lines above say how."
        told = f"{error.message}\n{lost}" if error else f"{lost}\nNext:  fab status --hosts {rollout.targets.selector}"
        error = Unsettled(told)
    _close(rollout, stream, measured, error)
    if error:
        raise error


def _close(rollout: Rollout, stream: Stream, measured: Report | None, error: BaseException | None) -> None:
    """End the stream with its summary, which is all of the run in one event."""
    record = summary.record(rollout, measured, error, stream.folder)
    if rollout.facts:
        from . import afterwards

        afterwards.tell(summary.Ended(stream.folder, rollout.targets, record), stream.say)
    stream("finish", "", {"event": "summary", "schema": SCHEMA, **record})
    stream.close(error)
    if isinstance(error, GaplessError):
        error.told = True


class _Marks:
    """Tell the prober what goes on, as soon as there is one."""

    prober: Prober | None = None

    def __call__(self, label: str) -> None:
        if self.prober:
            self.prober.mark(label)


class _Counting:
    """Tell the stream once a second how many requests were sent, lost, and failed anywhere, until `stop`."""

    def __init__(self, prober: Prober, stream: Stream) -> None:
        self.prober = prober
        self.stream = stream
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._count, name="counting", daemon=True)
        self._thread.start()

    def _count(self) -> None:
        while not self._over.wait(COUNTED):
            seen = self.prober.snapshot()
            failed = sum(tally.failed for tally in seen.tallies)
            self.stream("probe", "", {"event": "probe", "sent": seen.sent, "lost": seen.lost, "failed": failed})

    def stop(self) -> None:
        self._over.set()
        self._thread.join(COUNTED)


def _prober(rollout: Rollout) -> Prober:
    """Begin to ask each balancer where a loss counts; each host directly, where a loss counts only if no balancer is in front."""
    from ..prober import BASELINE, Prober, Rate, Target

    asked = rollout.probe_targets()
    counted = max(1, sum(counts for _, _, counts, _ in asked))
    rate = Rate(keep_alive=max(2.0, 10.0 / counted), new=max(1.0, 5.0 / counted))
    prober = Prober([Target(name, url, counts, header) for name, url, counts, header in asked], rate)
    prober.start(BASELINE)
    return prober
