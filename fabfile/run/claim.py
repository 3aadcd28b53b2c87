"""Claim the hosts of a run: lock all or none, read the truth of each, refuse what is not fit."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from .. import ownership, plan
from ..commands import lock, node, pm2, releases
from ..commands.shell import Step
from ..errors import LockHeld, PreflightFailed
from ..fleet import Fleet
from ..inventory.values import Host, Targets
from ..plan import Facts, Options
from ..transport import Outcome


class Claim:
    """Hold the locks of one run; `owner` is its record on each host."""

    def __init__(self, targets: Targets, options: Options, owner: Mapping[str, Any], fleet: Fleet) -> None:
        self.targets = targets
        self.options = options
        self.owner = owner
        self.fleet = fleet
        self.hosts = {host.name: host for host in targets.hosts}
        self.abandoned: dict[str, str] = {}  # hosts that a dead run held, and which
        self._telling = threading.Lock()

    def take(self, over: Sequence[str] = ()) -> dict[str, Facts]:
        """
        Lock every host and return its facts; raise, with everything given back, if one of them is held or not fit.

        `over` names the runs whose locks are taken over, the last one last. So are, unasked, those of a run that died where nothing
        that serves was in hand.
        """
        if self.owner["resumes"]:
            self.fleet.open()  # half taken over, what a dead run left would be the work of two
        try:
            outcomes, unreached = self._ask_all(over)
            if not unreached:
                facts, unfit = self.weigh(outcomes)
                self.refuse(held_by(outcomes), unfit)
                return facts
        except BaseException:
            self.give_back()
            raise
        self._drop()
        raise self.fleet.out_of_reach(unreached)

    def _ask_all(self, over: Sequence[str]) -> tuple[dict[str, Outcome], dict[str, str]]:
        """
        Log in everywhere, and lock each host as soon as it is reached; return what they said, and why some were not reached.

        The first host decides between two deployers: no other is locked before it, and none at all if another deployer has it.
        """
        first = min(self.hosts)
        decided = threading.Event()
        outcomes: dict[str, Outcome] = {}
        unreached: dict[str, str] = {}

        def may_lock(name: str) -> bool:
            if name == first:
                return True
            self.fleet.lines[name].warm()  # while the first one is asked
            decided.wait()
            return first in outcomes and not outcomes[first].last("held")

        def reach_and_lock(name: str) -> None:
            try:
                if why := self.fleet.reach(name):
                    unreached[name] = why
                elif name in self.hosts and may_lock(name):
                    outcomes[name] = self._ask(name, over)
            finally:
                if name == first:
                    decided.set()

        names = list(self.fleet.lines)
        self.fleet.together(reach_and_lock, sorted(names, key=lambda name: name != first), self.fleet.hang_up)
        return {name: outcomes[name] for name in names if name in outcomes}, {name: unreached[name] for name in names if name in unreached}

    def look(self) -> dict[str, Outcome]:
        """Ask every host the same, and who holds its lock, but take none: nothing is written."""
        locks = {name: Step("lock", lock.show(host.app.root)) for name, host in self.hosts.items()}
        return self.fleet.together(lambda name: self._learn("plan", name, locks[name]), locks, self.fleet.hang_up)

    def _ask(self, name: str, over: Sequence[str]) -> Outcome:
        """Lock a host; where a run is in the way that is gone and is taken over, or had nothing in hand, take its place."""
        outcome = self._learn("claim", name, self._take(name, over[-1] if over else ""))
        abandoned = taken_over(held_by({name: outcome}), over)
        if not abandoned:
            return outcome
        run = str(ownership.run_of(abandoned[name]))
        with self._telling:
            if run not in over and run not in self.abandoned.values():
                self.fleet.emit("claim", "", {"event": "phase", "what": f"takes over from run {run}, which died with nothing in hand"})
            self.abandoned[name] = run
        return self._learn("claim", name, self._take(name, run))

    def _take(self, name: str, over: str) -> Step:
        return Step("lock", lock.take(self.hosts[name].app.root, json.dumps(dict(self.owner)), over))

    def _learn(self, phase: str, name: str, locked: Step) -> Outcome:
        """Ask a host for all that a claim wants to know; a host that has not got these very scripts of ours is sent the one that tells."""
        host = self.hosts[name]
        app = host.app
        tools = Step("tools", node.tools(host.node_bin, host.pm2_home))
        steps = [
            tools,
            Step("write access", releases.write_access(app.root), quick=True),
            Step("shared", releases.shared_is_there(app.root, app.shared_files), quick=True),
            locked,
            Step("facts", pm2.facts_by_installed(app.root, app.processes)),
        ]

        def wanting(told: Outcome) -> list[Step]:
            return [] if pm2.is_ours(told.last("facts")) else [tools, Step("facts", pm2.facts(app.root, app.processes))]

        return self.fleet.run(phase, name, steps, wanting)

    def weigh(self, outcomes: Mapping[str, Outcome]) -> tuple[dict[str, Facts], dict[str, list[str]]]:
        """Give the facts of each host that told them, and what makes hosts unfit."""
        facts: dict[str, Facts] = {name: found for name, outcome in outcomes.items() if (found := outcome.last("facts"))}
        unfit = {name: [_bad(outcome)] for name, outcome in outcomes.items() if not outcome.ok}
        for name, outcome in outcomes.items():
            if name in facts:
                unfit.setdefault(name, []).extend(plan.unfit(self.hosts[name], facts[name], self.options))
            elif outcome.ok:
                unfit[name] = ["its facts did not come through; does its login shell print or exit?"]
        return facts, {name: texts for name, texts in unfit.items() if texts}

    def refuse(self, held: Mapping[str, ownership.Held], unfit: Mapping[str, list[str]]) -> None:
        """Raise what stands in the way: locks that are held, then hosts that are not fit."""
        if held:
            raise LockHeld(ownership.told(held, self.targets.selector), all(ownership.gone(each) for each in held.values()))
        if unfit:
            told = "\n".join(f"  {name}: {text}" for name, texts in unfit.items() for text in texts)
            raise PreflightFailed(f"{len(unfit)} of {len(self.hosts)} hosts are not fit for it; nothing was touched.\n{told}")

    def give_back(self) -> None:
        """Drop the locks that are ours, and nothing that is another's; what we took over is still to be finished, and stays."""
        if self.owner["resumes"]:
            self.fleet.close()
            return
        self.fleet.open_what_can_be()
        self._drop()

    def _drop(self) -> None:
        """Drop the locks that are ours wherever there is a living connection, and hang up."""
        reached = [host for name, host in self.hosts.items() if self.fleet.lines[name].alive]
        self.fleet.each("unlock", {host.name: [Step("unlock", lock.drop(host.app.root, self.owner["run"]))] for host in reached})
        self.fleet.close()


def found_tools(host: Host, facts: Facts) -> Step:
    """Use the tools where claim found them."""
    return Step("tools", node.tools_again(facts["path"], host.pm2_home, facts["pm2"]), quick=True)


def taken_over(held: Mapping[str, ownership.Held], over: Sequence[str] = ()) -> dict[str, ownership.Held]:
    """Choose the locks whose owner is gone and whose place is taken: it had nothing in hand, or is one of the runs `over`."""
    gone = {name: each for name, each in held.items() if ownership.gone(each)}
    return {name: each for name, each in gone.items() if ownership.harmless(each) or ownership.run_of(each) in over}


def held_by(outcomes: Mapping[str, Outcome]) -> dict[str, ownership.Held]:
    return {name: event for name, outcome in outcomes.items() if (event := outcome.last("held"))}


def _bad(outcome: Outcome) -> str:
    return outcome.last_words if outcome.code is not None else f"the link was lost: {outcome.last_words}"
