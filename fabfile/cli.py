"""Wiring shared by the verbs: the `task` decorator, --hosts, from what was typed to a run."""

from __future__ import annotations

import copy
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import invoke

from .errors import Interrupted, LockHeld, UsageError
from .how import How, Seen

if TYPE_CHECKING:
    from .basis import Forecast
    from .inventory.values import Targets
    from .look.view import Look
    from .parcel import Parcel
    from .plan import Options
    from .report.page import Page
    from .run.recovery import Left
    from .run.rollout import Rollout

HOSTS = "groups and hosts from hosts.yaml, comma separated; !x leaves x out"
REF = "branch, tag or commit; default: app.ref"
ARTIFACT = "a .tar.gz that holds the built app, to deploy instead of building: a file here, https://... for the hosts to fetch, or env:NAME"
SHA256 = "what the artifact must be; needed for an address, which may end in #sha256=HEX instead"
DOWNTIME = "accept lost requests where they can't be kept (fork mode, first adoption)"
WIDTH = "hosts of a group reloaded together: N or N%"
FORMAT = "plain, live or json; default: live on a terminal, else plain"
HELP = {
    "hosts": HOSTS, "yes": "go on without asking, for a group that is protected", "wait": "wait so long for a lock that is held: 90s, 10m",
    "verbose": "print every step", "format": FORMAT, "plan": "look at the hosts, say what would be done, write nothing there",
    "plan_id": "do just what this plan says, or nothing if anything has moved since",
}

_done: list[str] = []  # hosts of fab's -H that the running verb has dealt with already, see `selector`


def task(body: Callable[..., None], help: Mapping[str, str], name: str | None = None) -> Any:
    """
    Make a task of a function whose every parameter after the context has a default.

    A required positional would swallow the next token (`fab reload --help` would reload a host called "--help"), and an
    automatic -h for --hosts would hide help.
    """
    made: Any = invoke.task(body, klass=_Verb, positional=[], auto_shortflags=False, help=dict(help), name=name)
    made.pre = _NothingAfterwards()
    return made


class _Verb(invoke.Task[Any]):
    """Make a task cheap to copy: Invoke copies all in depth before it looks which one was typed, 3 ms of each command."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Verb:
        copied = copy.copy(self)
        copied.help = dict(self.help)  # Invoke takes out of it what it has told
        return copied


class _NothingAfterwards(list[Any]):
    """Stand for the tasks that come before a verb, of which there are none; looked at, refuse what stands after `--`."""

    def __iter__(self) -> Iterator[Any]:
        # Fabric runs what follows -- as a command of its own, on hosts that only its -H names, and ends in a traceback; Invoke drops it.
        if "--" in sys.argv and "--complete" not in sys.argv:
            raise UsageError("nothing is known of what stands after --; a command for hosts: fab exec --hosts GROUP --command 'uptime'")
        return super().__iter__()


def writes(**help: str) -> Callable[[Callable[..., None]], Any]:
    """Make a verb of a function (context, How, own flags): it gets the flags of every command that writes, and words for its own."""
    return partial(_with_shared, How, help)


def looks(name: str | None = None, /, **help: str) -> Callable[[Callable[..., None]], Any]:
    """Make a verb of a function (context, Seen, own flags), by another name if need be: it gets the flags of every command that looks."""
    return partial(_with_shared, Seen, help, name=name)


def _with_shared(shared: type[How] | type[Seen], help: Mapping[str, str], body: Callable[..., None], name: str | None = None) -> Any:
    """Give a verb the shared flags beside its own, in its signature too: Invoke reads flags from there."""
    common = shared._field_defaults

    @wraps(body)
    def verb(c: Any, **flags: Any) -> None:
        from .report.page import Page

        how = shared(**{name: flags.pop(name, default) for name, default in common.items()})
        with Page(how.format).refused():
            _refuse_dry(c)
            body(c, how, **flags)

    context, _, *own = signature(body).parameters.values()
    mine = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=default) for name, default in common.items()]
    verb.__signature__ = Signature([context, mine[0], *own, *mine[1:]])  # type: ignore[attr-defined]
    return task(verb, {**{name: HELP[name] for name in common}, **{name.replace("_", "-"): text for name, text in help.items()}}, name)


def _refuse_dry(c: Any) -> None:
    """Refuse the flag of fab and inv themselves that looks like a plan: it only keeps their own `run` from running."""
    if hasattr(c, "config") and c.config.run.dry:
        raise UsageError("-R/--dry belongs to fab and inv, and would keep this verb from nothing. What it would do is said by --plan")


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
    from .inventory import loading as inventory

    return inventory.load(inventory.find(Path.cwd())).select(hosts)


def widths(text: str) -> tuple[str, ...]:
    """Read --max-parallel: "2", "25%" or a list of them for the waves, "1,25%,100%"."""
    found = tuple(part.strip() for part in text.split(",")) if text else ()
    if bad := [part for part in found if not re.fullmatch(r"[1-9][0-9]{0,8}|([1-9][0-9]?|100)%", part)]:
        raise UsageError(f"--max-parallel: {bad[0]!r} is neither a number of hosts nor a percentage")
    return found


def number(flag: str, text: str) -> int:
    """Read a flag that is a number; Invoke's own reading ends in a traceback."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise UsageError(f"{flag} {text}: give a number")
    return int(text)


def packed(artifact: str, sha256: str) -> Parcel | None:
    """Read --artifact and --sha256; contact nobody."""
    if not (artifact or sha256):
        return None
    from .parcel import parcel

    return parcel(artifact, sha256)


@contextmanager
def look(c: Any, seen: Seen, first: Callable[[Targets], None] = lambda chosen: None) -> Iterator[Look | None]:
    """Open the fleet to look at it; takes no lock. What can be wrong with what was typed is found by `first`, before."""
    named = selector(c, seen.hosts)
    if not named:
        yield None
        return
    from .look.view import Look
    from .report.page import Page

    page = Page(seen.format)
    with page.ended(), _tells_interrupt(page):
        chosen = targets(named)
        first(chosen)
        view = Look(chosen, page)
        try:
            yield view
        finally:
            view.close()


@contextmanager
def _tells_interrupt(page: Page) -> Iterator[None]:
    """End with 130 on Ctrl-C (143 on SIGTERM) where no run is under way; fab by itself says 1, which would be a failed deploy."""
    from .run import signals

    with signals.stopped_by(partial(_leave, page)) as stop:
        try:
            yield
        except KeyboardInterrupt:
            raise Interrupted("interrupted", stop.code) from None


def _leave(page: Page, code: int) -> None:
    """Leave at once, from within a signal: what hangs, a login say, is not waited for."""
    with suppress(Exception), page.refused():  # it may have come in the middle of a print
        raise Interrupted("interrupted, and left at once", code)
    os._exit(code)


def confirm(chosen: Targets, how: How | Seen, yes: bool, show: Callable[[], None] = lambda: None) -> None:
    """Ask for the name of a protected group on a terminal, once `show` has shown what is ahead; demand --yes where nobody can be asked."""
    if yes or not chosen.protected:
        return
    name = chosen.protected[0]
    if os.environ.get("CI") or how.format == "json" or not sys.stdin.isatty():
        raise UsageError(f"{name} is protected: say --yes to go on without a terminal")
    from .report.page import Page

    with _tells_interrupt(Page(how.format)):
        show()
        try:
            typed = input(f"{name} is protected. Type its name to go on: ").strip()
        except EOFError:
            typed = ""
    if typed != name:
        raise UsageError("that was another name; nothing was done")


@contextmanager
def run(c: Any, how: How, options: Options, *, source: bool = False, parcel: Parcel | None = None) -> Iterator[Rollout | None]:
    """
    Claim the hosts, hand the rollout to the verb, finish and report, whatever happens in between.

    `source`: the verb makes a release, of a commit or of the artifact `parcel`.

    What a dead run left in hand is put right first. Yields None when nothing is left to do: that run was about
    the same, a plan was all that was asked for, or fab calls the verb again for a host that the first call has dealt with.
    """
    from .report.page import Page

    kept = _ahead().kept(how) if how.plan_id else None
    planned = str(kept["selector"]) if kept and not getattr(c, "original_host", "") else ""
    named = selector(c, how.hosts or planned)
    if not named:
        yield None
        return
    yield from _run(named, how, options, source, parcel, Page(how.format), kept)


def _run(named: str, how: How, options: Options, source: bool, parcel: Parcel | None, page: Page,
         kept: Forecast | None) -> Iterator[Rollout | None]:
    from . import plan
    from .preload import preload

    chosen = targets(named)
    if parcel:
        options = options._replace(artifact=parcel.name, sha256=parcel.sha256)
    if kept:
        options = _ahead().agreed(kept, options, named)
        refuse_unsent(options, parcel)
    chosen = plan.scaled(chosen, options)
    plan.refuse_downtime(chosen.fleet, allowed=options.allow_downtime or not options.replaces)
    patience = _patience(how.wait)
    commit = ""
    if source:
        preload("ahead" if how.plan else "run.runner")  # while git asks the repository
        commit = _commit(chosen, options)
    if how.plan:
        with _tells_interrupt(page):
            _ahead().foretell(chosen, options, commit, page)
        yield None
        return
    confirm(chosen, how, how.yes, lambda: _ahead().show(chosen, options, commit, page, patience))
    check = _ahead().holding_to(kept, commit) if kept else lambda _: None
    commit = kept["commit"] if kept else commit

    from .run.runner import running

    begin = partial(running, chosen, options, commit, how, patience=patience, check=check)
    claimed = False
    try:
        with begin() as rollout:
            claimed = True
            rollout.building.shipping.parcel = parcel
            yield rollout
        return
    except LockHeld as held:
        if claimed or not held.gone:
            raise
        finished = _put_right(chosen, options, commit, how, held, parcel, page)
    if finished:
        yield None
        return
    with begin() as rollout:
        rollout.building.shipping.parcel = parcel
        yield rollout


def _ahead() -> Any:
    """Give what plans are made and applied with: a command that has none to do with it does not load it."""
    from . import ahead

    return ahead


def refuse_unsent(options: Options, parcel: Parcel | None) -> None:
    """Want the artifact of a plan once more: a plan holds its name and sha256, and neither its bytes nor what is secret in its address."""
    if options.sha256 and parcel is None:
        raise UsageError(f"this plan is about the artifact {options.artifact}: give it again, --artifact ...; it must be the same")


def unlike_yaml(rollout: Rollout) -> str:
    """Say where a run left another number of workers than hosts.yaml wants; "" if it is the same."""
    from . import plan

    return plan.unlike_yaml(targets(rollout.targets.selector), rollout.options)


def say(how: How, text: str) -> None:
    """Say a last thing to a person, after the run's own last words."""
    from .report.page import Page

    Page(how.format).say(text)


def _put_right(chosen: Targets, options: Options, commit: str, how: How, held: LockHeld, parcel: Parcel | None, page: Page) -> bool:
    """
    Finish what a dead run left if it was about the same (True); before another deploy take it back.

    Raise what held us up where neither is meant: only a person knows what is to become of that run.
    """
    from .run import recovery

    with _tells_interrupt(page):
        try:
            left = recovery.find(chosen, page.say)
        except UsageError as err:
            raise LockHeld(f"{held.message}\n{err.message}") from None
    same = left.same(options, commit, [host.name for host in chosen.hosts])
    if not same and (options.verb != "deploy" or how.plan_id):
        raise held
    page.say(f"{str(held.message).splitlines()[0]}\n{'it was about the same: it is finished' if same else 'it is taken back first'}")
    verb, carry_out = ("resume", recovery.resume) if same else ("abort", recovery.take_back)
    with _instead_of(left, chosen, verb, how) as rollout:
        rollout.building.shipping.parcel = parcel if same else None
        carry_out(rollout, left)
    return same


@contextmanager
def take_up(c: Any, how: How, verb: str) -> Iterator[tuple[Rollout, Left] | None]:
    """Find the dead run that holds these hosts, take its place, and hand both to the verb."""
    if how.plan or how.plan_id:
        raise UsageError(f"{verb} has no plan: it ends what a dead run began. Who that was: fab lock; what runs: fab status")
    named = selector(c, how.hosts)
    if not named:
        yield None
        return
    from .report.page import Page
    from .run import recovery

    chosen = targets(named)
    confirm(chosen, how, how.yes)
    page = Page(how.format)
    with _tells_interrupt(page):
        left = recovery.find(chosen, page.say)
    with _instead_of(left, chosen, verb, how) as rollout:
        yield rollout, left


def _instead_of(left: Left, chosen: Targets, verb: str, how: How) -> AbstractContextManager[Rollout]:
    """Give the run that takes the place of a dead one, with that one's own flags and commit."""
    from .run.runner import running

    return running(chosen, left.options(verb), str(left.owner.get("commit", "")), how, resumes=left.runs)


def _patience(wait: str) -> float:
    """Read --wait, in seconds; none is 0."""
    from .inventory import words

    try:
        return words.duration(wait) if wait else 0.0
    except ValueError as err:
        raise UsageError(f"--wait: {err}") from None


def _commit(chosen: Targets, options: Options) -> str:
    """Resolve the ref; an artifact is of no commit that anybody knows, unless --ref says so."""
    from . import source

    apps = {(host.app.repo, options.ref or host.app.ref) for host in chosen.hosts}
    if len(apps) > 1:
        raise UsageError(f"{chosen.selector} names hosts of {len(apps)} repositories or refs; deploy one app at a time")
    return "" if options.sha256 and not options.ref else source.resolve(*apps.pop())
