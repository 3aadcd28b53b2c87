"""Wiring shared by the verbs: the `task` decorator, --hosts, one run from claim to finish, the exit code."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import invoke

from .errors import GaplessError, Interrupted, LockHeld, LockLost, Unsettled, UsageError
from .signals import Stop, stopped_by

if TYPE_CHECKING:
    from .look import Look
    from .plan import Options
    from .prober import Prober, Report
    from .recovery import Left
    from .report.plain import Plain
    from .rollout import Rollout
    from .values import Targets

# A required positional would swallow the next token (`fab reload --help` would reload a host called "--help"), and an
# automatic -h for --hosts would hide help.
task = partial(invoke.task, positional=[], auto_shortflags=False)

HOSTS = "groups and hosts from hosts.yaml, comma separated; !x leaves x out"
REF = "branch, tag or commit; default: app.ref"
DOWNTIME = "accept lost requests where they can't be kept (fork mode, first adoption)"
VERBOSE = "print every step"
WAIT = "wait so long for a lock that is held: 90s, 10m"
YES = "go on without asking, for a group that is protected"

RETRY = 3.0  # seconds between two looks at a lock that is waited for
AFTERMATH = 2.0  # seconds to go on counting after the last host: a loss may show late

_done: list[str] = []  # hosts of fab's -H that the running verb has dealt with already, see `selector`


def selector(c: Any, hosts: str) -> str:
    """
    Return what --hosts or -H names; raise UsageError when neither does.

    `fab -H a,b deploy` calls a task once per host, which would cut one deploy in two: the first call takes them all, the
    others find them done and return "".
    """
    original = getattr(c, "original_host", "")
    if hosts and original:
        raise UsageError("-H and --hosts both name hosts; say it once: fab VERB --hosts SELECTOR")
    if hosts:
        return hosts
    if not original:
        raise UsageError("no hosts named; say which: --hosts GROUP (fab --list shows the verbs, hosts.yaml the groups)")
    if original in _done:
        _done.remove(original)  # each comes once per verb: `fab -H a,b build reload` is two runs
        return ""
    named = _core_hosts()
    if original not in named.split(","):
        named = original
    _done.extend(named.split(","))
    _done.remove(original)
    return named


def _core_hosts() -> str:
    """Read fab's own -H/--hosts from the command line; Fabric hands each task just one of them."""
    words = sys.argv[1:]
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in ("-H", "--hosts"):
            return following
        for flag in ("--hosts=", "-H"):
            if word.startswith(flag):
                return word[len(flag):].removeprefix("=")
    return ""


def targets(hosts: str) -> Targets:
    """Read hosts.yaml and select; contact nobody."""
    from . import inventory

    return inventory.load(inventory.find(Path.cwd())).select(hosts)


def widths(text: str) -> tuple[str, ...]:
    """Read --max-parallel: "2", "25%" or a list of them for the waves, "1,25%,100%"."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if bad := [part for part in found if not re.fullmatch(r"[1-9][0-9]*|([1-9][0-9]?|100)%", part)]:
        raise UsageError(f"--max-parallel: {bad[0]!r} is neither a number of hosts nor a percentage")
    return found


@contextmanager
def look(c: Any, hosts: str) -> Iterator[Look | None]:
    """Open the fleet to look at it; takes no lock."""
    named = selector(c, hosts)
    if not named:
        yield None
        return
    from .look import Look

    with _tells_interrupt():
        view = Look(targets(named), print)
        try:
            yield view
        finally:
            view.close()


@contextmanager
def _tells_interrupt() -> Iterator[None]:
    """End with 130 on Ctrl-C where no lock is held yet; fab by itself says 1, which would be a failed deploy."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted") from None


def state_dir() -> Path:
    """Give the directory for logs and reports on this machine."""
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "gapless"


def confirm(chosen: Targets, yes: bool) -> None:
    """Ask for the name of a protected group on a terminal; demand --yes without one."""
    if yes or not chosen.protected:
        return
    name = chosen.protected[0]
    if not sys.stdin.isatty():
        raise UsageError(f"{name} is protected: say --yes to go on without a terminal")
    try:
        typed = input(f"{name} is protected. Type its name to go on: ").strip()
    except EOFError:
        typed = ""
    if typed != name:
        raise UsageError("that was another name; nothing was done")


@contextmanager
def run(c: Any, hosts: str, options: Options, *, yes: bool = False, verbose: bool = False, wait: str = "",
        source: bool = False) -> Iterator[Rollout | None]:
    """
    Claim the hosts, hand the rollout to the verb, finish and report, whatever happens in between.

    What a dead run left in hand is put right first. Yields None when nothing is left to do: that run was about
    the same, or fab calls the verb again for a host that the first call has dealt with.
    """
    named = selector(c, hosts)
    if not named:
        yield None
        return
    from . import plan

    chosen = targets(named)
    plan.refuse_downtime(chosen.fleet, options.allow_downtime)
    patience = _patience(wait)
    commit = _commit(chosen, options) if source else ""
    confirm(chosen, yes)
    claimed = False
    try:
        with _rollout(chosen, options, commit, verbose, patience=patience) as rollout:
            claimed = True
            yield rollout
        return
    except LockHeld as held:
        if claimed or not held.gone:
            raise
        finished = _put_right(chosen, options, commit, verbose, held)
    if finished:
        yield None
        return
    with _rollout(chosen, options, commit, verbose, patience=patience) as rollout:
        yield rollout


def _put_right(chosen: Targets, options: Options, commit: str, verbose: bool, held: LockHeld) -> bool:
    """
    Finish what a dead run left if it was about the same (True); before another deploy take it back.

    Raise what held us up where neither is meant: only a person knows what is to become of that run.
    """
    from . import recovery

    with _tells_interrupt():
        try:
            left = recovery.find(chosen, print)
        except UsageError as err:
            raise LockHeld(f"{held.message}\n{err.message}") from None
    same = left.same(options, commit, [host.name for host in chosen.hosts])
    if not same and options.verb != "deploy":
        raise held
    print(f"{str(held.message).splitlines()[0]}\n{'it was about the same: it is finished' if same else 'it is taken back first'}")
    verb, carry_out = ("resume", recovery.resume) if same else ("abort", recovery.take_back)
    with _rollout(chosen, left.options(verb), str(left.owner.get("commit", "")), verbose, resumes=left.runs) as rollout:
        carry_out(rollout, left)
    return same


@contextmanager
def take_up(c: Any, hosts: str, verb: str, *, yes: bool = False, verbose: bool = False) -> Iterator[tuple[Rollout, Left] | None]:
    """Find the dead run that holds these hosts, take its place, and hand both to the verb."""
    named = selector(c, hosts)
    if not named:
        yield None
        return
    from . import recovery

    chosen = targets(named)
    confirm(chosen, yes)
    with _tells_interrupt():
        left = recovery.find(chosen, print)
    with _rollout(chosen, left.options(verb), str(left.owner.get("commit", "")), verbose, resumes=left.runs) as rollout:
        yield rollout, left


@contextmanager
def _rollout(chosen: Targets, options: Options, commit: str, verbose: bool, *, patience: float = 0.0,
             resumes: Sequence[str] = ()) -> Iterator[Rollout]:
    from .report.plain import Plain
    from .rollout import Rollout, new_id

    marks = _Marks()
    run_id = new_id()
    try:
        face = Plain(state_dir() / f"{run_id}.log", verbose)
    except OSError as err:
        raise UsageError(f"{state_dir()}: no log can be kept there ({err.strerror}); set XDG_STATE_HOME to a place of yours") from None
    rollout = Rollout(run_id, chosen, options, commit, face, marks, resumes)
    with stopped_by(partial(_leave, rollout, face)) as stop:
        yield from _carry_out(rollout, face, marks, patience, stop)


def _patience(wait: str) -> float:
    """Read --wait, in seconds; none is 0."""
    from . import words

    try:
        return words.duration(wait) if wait else 0.0
    except ValueError as err:
        raise UsageError(f"--wait: {err}") from None


def _claim(rollout: Rollout, face: Plain, patience: float) -> None:
    """Claim; as long as somebody else holds the lock, ask again every few seconds."""
    import time

    end = time.monotonic() + patience
    told = False
    while True:
        try:
            return rollout.claim()
        except LockHeld as held:
            if held.gone or time.monotonic() + RETRY > end:
                raise
            if not told:
                face.say(f"{held.message}\nwaiting for it")
            told = True
            time.sleep(RETRY)


def _carry_out(rollout: Rollout, face: Plain, marks: _Marks, patience: float, stop: Stop) -> Iterator[Rollout]:
    from .prober import BASELINE

    try:
        _claim(rollout, face, patience)
        marks.prober = prober = _prober(rollout)
        prober.start(BASELINE)
    except KeyboardInterrupt:
        rollout.give_back()
        interrupted = Interrupted("interrupted while claiming; nothing was touched", stop.code)
        face.close(interrupted)
        raise interrupted from None
    except BaseException as err:
        rollout.give_back()
        face.close(err)
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
    measured = _measure(rollout, prober, error)
    error = _finish(rollout, measured, error)
    _conclude(rollout, face, measured, error)


def _leave(rollout: Rollout, face: Plain, code: int) -> None:
    """Leave at once, from within a signal: the hosts' own drivers end what they have in hand, the locks say where it stood."""
    from .report import summary

    with suppress(Exception):  # it may have come in the middle of a print
        face.say(summary.states(rollout.waves.told_states()))
        hosts = rollout.targets.selector
        face.say("interrupted, and left at once; what is in hand goes on by itself, the locks stay.\n"
                 f"Next:  fab resume --hosts {hosts}   or   fab abort --hosts {hosts}")
    os._exit(code)


def _measure(rollout: Rollout, prober: Prober, error: BaseException | None) -> Report:
    """Count on for a moment, then close the books."""
    import time

    if rollout.waves.reloaded:
        time.sleep(AFTERMATH)
    return prober.stop(grace=2 if isinstance(error, Interrupted) else None)


def _finish(rollout: Rollout, measured: Report, error: BaseException | None) -> BaseException | None:
    """Look again, write history and unlock; what that finds is part of how the run ended."""
    if isinstance(error, LockLost):
        rollout.leave()  # everything is another run's now
        return error
    try:
        rollout.finish(_record(rollout, measured, error))
    except Unsettled as found:
        if error is None:
            return found
        if isinstance(error, GaplessError):
            return Unsettled(f"{error.message}\n{found.message}")
        rollout.emit("finish", "", {"event": "phase", "what": str(found.message)})
    return error


def _record(rollout: Rollout, measured: Report, error: BaseException | None) -> dict[str, Any]:
    return {
        **rollout.owner(), "release": rollout.release, "commit": rollout.commit, "seconds": round(measured.seconds, 1),
        "outcome": "ok" if error is None else str(getattr(error, "code", 1)), "sent": measured.sent, "lost": measured.lost,
    }


def _conclude(rollout: Rollout, face: Plain, measured: Report, error: BaseException | None) -> None:
    """Print what runs now and what was counted; raise what must be the exit code."""
    from .report import summary

    if rollout.waves.reloaded and (error is None or isinstance(error, (Interrupted, LockLost))):  # any other error tells the states itself
        face.say("")
        face.say(summary.states(rollout.waves.told_states()))
    if rollout.waves.reloaded or measured.lost:
        face.say(summary.requests(measured))
    face.say(f"log: {str(face.log).replace(str(Path.home()), '~')}")
    if measured.lost and (error is None or isinstance(error, GaplessError)):
        lost = f"{measured.lost} of {measured.sent} requests were lost in {summary.places(measured)}; the lines above say how."
        told = f"{error.message}\n{lost}" if error else f"{lost}\nNext:  fab status --hosts {rollout.targets.selector}"
        error = Unsettled(told)
    face.close(error)
    if error:
        raise error


def _commit(chosen: Targets, options: Options) -> str:
    from . import source

    apps = {(host.app.repo, options.ref or host.app.ref) for host in chosen.hosts}
    if len(apps) > 1:
        raise UsageError(f"{chosen.selector} names hosts of {len(apps)} repositories or refs; deploy one app at a time")
    return source.resolve(*apps.pop())


class _Marks:
    """Tell the prober what goes on, as soon as there is one."""

    prober: Prober | None = None

    def __call__(self, label: str) -> None:
        if self.prober:
            self.prober.mark(label)


def _prober(rollout: Rollout) -> Prober:
    """Ask each balancer where a loss counts; each host directly, where a loss counts only if no balancer is in front."""
    from .prober import Prober, Rate, Target

    asked = rollout.probe_targets()
    counted = max(1, sum(counts for _, _, counts, _ in asked))
    rate = Rate(keep_alive=max(2.0, 10.0 / counted), new=max(1.0, 5.0 / counted))
    return Prober([Target(name, url, counts, header) for name, url, counts, header in asked], rate)
