"""
Carry a plan out: claim, build, migrate, reload in waves, finish.

Each phase is one script per host. Between phases and waves stand barriers: no host migrates before all have built, no wave
starts after one that failed. What a host says is asked again where it was not heard: unknown is never taken for failed.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from . import plan, probe
from .commands import balancer, journal, lock, node, pm2, releases
from .commands.shell import Step, softly
from .errors import LockHeld, PreflightFailed, RunFailed, Unsettled
from .fleet import Emit, Fleet
from .plan import Facts, Options
from .transport import Outcome
from .values import Balancer, Group, Host, Targets

PROBE_LIMIT = 15.0  # seconds until the new release must have answered through the balancer


@dataclass
class Reloaded:
    """Say how the reload of one host ended: new, old, unknown or untouched, and why if it failed."""

    state: str
    was: str | None = None
    now: str | None = None
    why: str = ""
    lines: list[str] = field(default_factory=list)
    out_of_rotation: str = ""


def new_id() -> str:
    """Name a run: when it began here, and chance, for two may begin in the same second."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


class Rollout:
    """Hold one run over the targets; the verbs call its phases in order."""

    def __init__(self, run: str, targets: Targets, options: Options, commit: str, emit: Emit, mark: Callable[[str], None]) -> None:
        self.id = run
        self.targets = targets
        self.options = options
        self.commit = commit
        self.emit = emit
        self.mark = mark                      # tells the prober what is going on now
        self.release = ""
        self.facts: dict[str, Facts] = {}
        self.reloaded: dict[str, Reloaded] = {}
        self.groups = {host.name: group for group in targets.groups for host in group.hosts}
        self.hosts = {host.name: host for host in targets.hosts}
        # One drain at a time: two that both see the other up would empty the pool together.
        self.turns = {group.balancer.host: threading.Lock() for group in targets.groups if group.balancer}
        balancers = {f"balancer {group.balancer.host}": group.balancer.ssh for group in targets.groups if group.balancer}
        self.fleet = Fleet({**{host.name: host.ssh for host in targets.hosts}, **balancers}, emit)

    # ------------------------------------------------------------------ claim

    def claim(self) -> None:
        """Lock every host and read its truth; raise, with everything given back, if one of them is not fit."""
        self.begin("claim", "lock, facts")
        self.fleet.open()
        first, *rest = sorted(self.hosts)
        try:
            # The first host in order decides between two deployers; the others follow together.
            outcomes = self.fleet.each("claim", {first: self.claim_steps(first)})
            if outcomes[first].last("held") is None:
                outcomes |= self.fleet.each("claim", {name: self.claim_steps(name) for name in rest})
            self.judge(outcomes)
        except BaseException:
            self.unlock()
            raise

    def claim_steps(self, name: str) -> list[Step]:
        host = self.hosts[name]
        app = host.app
        return [
            Step("tools", node.tools(host.node_bin, host.pm2_home)),
            Step("room", releases.room_for(app.root, app.min_free_mb)),
            Step("shared", releases.shared_is_there(app.root, app.shared_files)),
            Step("lock", lock.take(app.root, json.dumps(self.owner()))),
            Step("facts", pm2.facts(app.root, [process.name for process in app.processes])),
        ]

    def owner(self) -> dict[str, Any]:
        return {
            "run": self.id, "verb": self.options.verb, "who": getpass.getuser(), "from": socket.gethostname(), "pid": os.getpid(),
            "at": int(time.time()), "ci": os.environ.get("GITHUB_RUN_ID") or os.environ.get("CI_JOB_URL") or "",
        }

    def judge(self, outcomes: Mapping[str, Outcome]) -> None:
        held = {name: event["owner"] for name, outcome in outcomes.items() if (event := outcome.last("held"))}
        if held:
            raise LockHeld(told_lock(held))
        problems = {name: [bad_claim(outcome)] for name, outcome in outcomes.items() if not outcome.ok}
        for name, outcome in outcomes.items():
            if facts := outcome.last("facts"):
                self.facts[name] = facts
                problems.setdefault(name, []).extend(plan.unfit(self.hosts[name], facts, self.options))
            elif outcome.ok:
                problems[name] = ["its facts did not come through; does its login shell print or exit?"]
        problems = {name: texts for name, texts in problems.items() if texts}
        if problems:
            told = "\n".join(f"  {name}: {text}" for name, texts in problems.items() for text in texts)
            raise PreflightFailed(f"{len(problems)} of {len(self.hosts)} hosts are not fit for it; nothing was touched.\n{told}")

    # ------------------------------------------------------------------ build

    def build(self) -> None:
        """Fetch, check out and build one new release on every host; none is switched if one of them fails."""
        self.release = plan.next_release(self.facts.values(), self.commit)
        self.begin("build", self.release)
        outcomes = self.fleet.each("build", {name: self.build_steps(host) for name, host in self.hosts.items()})
        bad = {name: outcome for name, outcome in outcomes.items() if not outcome.ok}
        if bad:
            self.fleet.each("build", {name: [Step("discard", releases.discard(self.hosts[name].app.root, self.release))] for name in bad})
            raise RunFailed(self.told("build", bad, "No host was switched: all serve what they served before."))

    def build_steps(self, host: Host) -> list[Step]:
        app, release, group = host.app, self.release, self.groups[host.name]
        ref = self.options.ref or app.ref
        return [
            self.tools(host),
            Step("fetch", releases.fetch(app.root, app.repo, self.commit)),
            Step("check out", releases.check_out(app.root, release, self.commit)),
            Step("link shared", releases.link_shared(app.root, release, "file", app.shared_files)),
            Step("link shared", releases.link_shared(app.root, release, "dir", app.shared_dirs)),
            *(Step(command, node.build_step(app.root, release, self.id, command)) for command in app.build),
            Step("install gate", pm2.install(app.root)),
            Step("complete", releases.complete(app.root, release, plan.marker(app, plan.timing(group), release, self.commit, ref))),
        ]

    def tools(self, host: Host) -> Step:
        """Use the tools where claim found them: looking twice could find others."""
        return Step("tools", node.tools(self.facts[host.name]["path"], host.pm2_home))

    # ------------------------------------------------------------------ migrate

    def migrate(self) -> None:
        """Run the migration once, on the first host that has one, from the new release."""
        host = next((host for host in self.hosts.values() if host.app.migrate), None)
        if host is None:
            return
        self.begin("migrate", f"{host.app.migrate} on {host.name}")
        work = {"release": self.release, "command": host.app.migrate, "env_file": host.app.processes[0].env_file}
        outcome = self.detached("migrate", host, "migrate", self.id, work)
        end = outcome.last("done", "broken")
        if end is None:
            unknown = "Whether the migration ran is UNKNOWN. No host was switched."
            raise Unsettled(self.told("migrate", {host.name: outcome}, unknown))
        if end["event"] == "broken":
            outcome.tail = [end["why"], *end["lines"]]
            stays = "No host was switched. What the migration changed before it failed stays."
            raise RunFailed(self.told("migrate", {host.name: outcome}, stays))

    # ------------------------------------------------------------------ which release

    def existing(self, to: str) -> dict[str, str | None]:
        """Name each host's release to reload: the one that runs, a named one, or the newest."""
        if to:
            return dict.fromkeys(self.hosts, self.newest("" if to == "newest" else to))
        return self.each_has("current release", {name: facts["current"]["release"] for name, facts in self.facts.items()})

    def earlier(self, to: str) -> dict[str, str | None]:
        """Name each host's release to go back to: a named one, or its last good one."""
        if to:
            return dict.fromkeys(self.hosts, self.newest(to))
        return self.each_has("earlier release that was ever healthy", {name: plan.earlier(facts) for name, facts in self.facts.items()})

    def each_has(self, what: str, found: dict[str, str | None]) -> dict[str, str | None]:
        if none := [name for name, release in found.items() if release is None]:
            raise PreflightFailed(f"{', '.join(none)}: no {what}; nothing was touched.")
        return found

    def newest(self, name: str) -> str:
        """Return the release of this name, or the newest, that is complete on every host."""
        whole = [{each["id"] for each in facts["releases"] if each["complete"] and not each["bad"]} for facts in self.facts.values()]
        common = sorted(set.intersection(*whole), key=plan.number)
        if name and name not in common:
            there = ", ".join(common) or "none"
            raise PreflightFailed(f"{name} is not a complete release on every host; there are: {there}. Nothing was touched.")
        if not common:
            raise PreflightFailed("no release is complete on every host; nothing was touched. Next:  fab build")
        return name or common[-1]

    # ------------------------------------------------------------------ reload

    def reload(self, release: Mapping[str, str | None]) -> None:
        """Reload every host to its release, in waves; groups side by side unless told otherwise. Raise if one failed."""
        self.begin("reload", ", ".join(sorted({each or "" for each in release.values()})))
        groups = {group.name: group for group in self.targets.groups}

        def in_waves(name: str) -> None:
            group = groups[name]
            for wave in plan.waves(group.hosts, self.options.max_parallel or group.update.max_parallel):
                self.wave(group, wave, release)

        if self.options.one_group_at_a_time:
            for name in groups:
                in_waves(name)
        else:
            self.fleet.together(in_waves, groups)
        failed = {name: end for name, end in self.reloaded.items() if end.state != "new"}
        if failed:
            self.after_failure(failed)

    def wave(self, group: Group, hosts: Iterable[Host], release: Mapping[str, str | None]) -> None:
        """Reload some hosts of a group together, if nothing has failed or been interrupted yet."""
        by_name = {host.name: host for host in hosts}

        def one(name: str) -> None:
            self.reloaded[name] = Reloaded("unknown", why="its reload goes on by itself on the host")
            self.reloaded[name] = self.reload_host(group, by_name[name], str(release[name]), self.id)

        if self.fleet.stopping.is_set():
            return
        self.fleet.together(one, by_name)
        if any(self.reloaded[name].state != "new" for name in by_name):
            self.fleet.stopping.set()

    def reload_host(self, group: Group, host: Host, release: str, run: str, bad: str | None = None) -> Reloaded:
        """Drain, reload, restore, probe: one host's way through a wave."""
        self.mark(f"reload {host.name}")
        if group.balancer is None:
            return self.drive(group, host, release, run, drained=False, bad=bad)
        drain = Step("drain", balancer.drain(group.balancer, host.server, group.update.drain_timeout))
        with self.turns[group.balancer.host]:
            outcome = self.balance(group.balancer, host, drain)
        if not outcome.ok:
            end = Reloaded("untouched", why=f"could not be drained: {last_words(outcome)}")
            return self.put_back(group.balancer, host, end)
        end = self.drive(group, host, release, run, drained=outcome.last("alone") is None, bad=bad)
        if outcome.last("drained") is None:
            return end
        if end.state == "unknown":
            end.out_of_rotation = "its state is not known to be good, so it was left drained"
            return end
        return self.probed(group.balancer, host, self.put_back(group.balancer, host, end))

    def drive(self, group: Group, host: Host, release: str, run: str, drained: bool, bad: str | None) -> Reloaded:
        """Have the host's driver reload it, and read how that ended."""
        work = plan.driver(host, group, self.facts[host.name], release, self.id, drained, self.options.allow_downtime, bad)
        end = ended(self.detached("reload", host, "driver", run, work))
        end.now = release if end.state == "new" else end.was
        return end

    def put_back(self, front: Balancer, host: Host, end: Reloaded) -> Reloaded:
        """Put a host back into rotation, or say that it is out."""
        outcome = self.balance(front, host, Step("restore", balancer.restore(front, host.server)))
        if not outcome.ok:
            end.out_of_rotation = last_words(outcome)
            end.why = end.why or f"could not be put back into rotation: {last_words(outcome)}"
            end.state = "unknown"
        return end

    def probed(self, front: Balancer, host: Host, end: Reloaded) -> Reloaded:
        """See the new release answer through the balancer, as a client would."""
        if end.state != "new" or not front.url:
            return end
        url, name = self.through(front, _route(host))
        why = probe.answers(url, name, host.app.header, str(end.now), PROBE_LIMIT)
        if why:
            end.state, end.why = "unknown", why
        return end

    def balance(self, front: Balancer, host: Host, step: Step) -> Outcome:
        """Speak to the balancer's host about one server; events carry the server's host as their own."""
        name = f"balancer {front.host}"
        outcome = self.fleet.run(step.name, name, [step])
        if outcome.code is None and self.fleet.reopen(name):  # both orders may be given twice
            outcome = self.fleet.run(step.name, name, [step])
        said = outcome.last("drained", "alone", "maintenance", "restored") or {"event": "failed"}
        self.emit(step.name, host.name, {"event": step.name, "ok": outcome.ok, "said": said["event"], "seconds": outcome.seconds})
        return outcome

    def detached(self, phase: str, host: Host, script: str, run: str, work: Mapping[str, Any]) -> Outcome:
        """Start work that outlives our link, and follow it to its final event; if the link dies, come back and ask."""
        tools = self.tools(host)
        root = host.app.root
        install = Step("install", pm2.install(root))
        outcome = self.fleet.run(phase, host.name, [tools, install, Step(script, pm2.start(root, run, script, work))])
        while outcome.code is None and self.fleet.reopen(host.name):
            outcome = self.fleet.run(phase, host.name, [tools, Step(script, pm2.follow(root, run, script))])
        return outcome

    def after_failure(self, failed: Mapping[str, Reloaded]) -> None:
        """Take the hosts already done back, as on_failure says, and tell the whole of it."""
        done = [name for name, end in self.reloaded.items() if end.state == "new"]
        back = [name for name in done if self.goes_back(name)]
        if back:
            self.begin("roll back", ", ".join(back))
            self.take_back(back)
        raise self.verdict(failed)

    def goes_back(self, name: str) -> bool:
        update = self.groups[name].update
        return update.auto_revert and update.on_failure == "rollback_all" and self.reloaded[name].was is not None

    def take_back(self, names: Iterable[str]) -> None:
        """Return these hosts to what they ran before, in the same waves as forward."""
        back = set(names)
        self.fleet.stopping.clear()

        def one(name: str) -> None:
            group, host = self.groups[name], self.hosts[name]
            was, failed = str(self.reloaded[host.name].was), self.reloaded[host.name].now
            end = self.reload_host(group, host, was, f"{self.id}-back", bad=failed)
            end.state, end.was = "old" if end.state == "new" else "unknown", was
            self.reloaded[host.name] = end

        def in_waves(name: str) -> None:
            group = next(each for each in self.targets.groups if each.name == name)
            for wave in plan.waves([host for host in group.hosts if host.name in back], group.update.max_parallel):
                self.fleet.together(one, [host.name for host in wave])

        self.fleet.together(in_waves, [group.name for group in self.targets.groups])

    def verdict(self, failed: Mapping[str, Reloaded]) -> RunFailed | Unsettled:
        states = {end.state for end in self.reloaded.values()}
        lines = []
        for name, end in failed.items():
            lines.append(f"{name} failed in reload: {end.why}")
            lines += [f"  | {line}" for line in end.lines if line.strip()][:20]
        lines += [f"  {name}: {text}" for name, text in self.told_states().items()]
        lines.append(f"Next:  fab status --hosts {self.targets.selector}")
        safe = states <= {"old", "untouched"}
        return (RunFailed if safe else Unsettled)("\n".join(lines))

    # ------------------------------------------------------------------ finish

    def finish(self, record: Mapping[str, Any]) -> None:
        """Append to the history, unlock, prune; always, whatever came before. Raise Unsettled where a lock may have stayed."""
        self.begin("finish", "history, unlock, prune")
        self.fleet.open_what_can_be()
        reached = [name for name in self.facts if self.fleet.lines[name].alive]
        outcomes = self.fleet.each("finish", {name: self.finish_steps(self.hosts[name], record) for name in reached})
        self.fleet.close()
        stayed = [name for name in self.facts if name not in outcomes or not outcomes[name].ok]
        if stayed:
            raise Unsettled(f"{', '.join(stayed)}: could not be unlocked.\nNext:  fab unlock --hosts {','.join(stayed)} --id {self.id}")

    def finish_steps(self, host: Host, record: Mapping[str, Any]) -> list[Step]:
        app, facts = host.app, self.facts[host.name]
        gone = plan.doomed(facts, app.keep_releases, [self.release])
        return [
            Step("history", softly(journal.append(app.root, record))),
            Step("unlock", lock.drop(app.root, self.id)),
            Step("prune", softly(releases.prune(app.root, gone))),
        ]

    def unlock(self) -> None:
        """Give back what was claimed, and nothing that is another's."""
        self.fleet.open_what_can_be()
        reached = [host for name, host in self.hosts.items() if self.fleet.lines[name].alive]
        self.fleet.each("unlock", {host.name: [Step("unlock", lock.drop(host.app.root, self.id))] for host in reached})
        self.fleet.close()

    # ------------------------------------------------------------------ measuring

    def probe_targets(self) -> list[tuple[str, str, bool, str | None]]:
        """List what the prober asks: name, url, whether a failure is a lost request, Host header."""
        found: list[tuple[str, str, bool, str | None]] = []
        for group in self.targets.groups:
            if group.balancer and group.balancer.url:
                url, header = self.through(group.balancer, _route(group.hosts[0]))
                found.append((f"balancer {group.name}", url, True, header))
            for host in group.hosts:
                found += self.direct(host, counted=not (group.balancer and group.balancer.url))
        return found

    def through(self, front: Balancer, route: str) -> tuple[str, str | None]:
        """Give the balancer's url with the health route; an ssh name in it is looked up where ssh looks it up."""
        parts = urlsplit(front.url or "")
        path = parts.path if parts.path not in ("", "/") else route
        if parts.hostname != front.host:
            return urlunsplit(parts._replace(path=path)), None
        address = self.fleet.lines[f"balancer {front.host}"].address()
        netloc = f"{address}:{parts.port}" if parts.port else address
        return urlunsplit(parts._replace(netloc=netloc, path=path)), parts.netloc

    def direct(self, host: Host, counted: bool) -> Iterator[tuple[str, str, bool, str | None]]:
        """Give the host's own address, on the ports where its workers were found listening."""
        for port in sorted({port for item in self.facts[host.name]["processes"] for port in item["ports"]}):
            yield host.name, f"http://{self.fleet.lines[host.name].address()}:{port}{_route(host)}", counted, None

    # ------------------------------------------------------------------ telling

    def told_states(self) -> dict[str, str]:
        """Say for each host what it runs now."""
        return {name: told_state(self.reloaded[name]) if name in self.reloaded else "was not touched" for name in self.hosts}

    def begin(self, phase: str, what: str) -> None:
        self.mark(phase)
        self.emit(phase, "", {"event": "phase", "what": what})

    def told(self, phase: str, bad: Mapping[str, Outcome], after: str) -> str:
        """Tell a failed phase: host, step, last lines, state now, next command."""
        lines = []
        for name, outcome in bad.items():
            how = "lost: outcome unknown" if outcome.code is None else "failed"
            lines.append(f"{name} {how} in {phase}, step: {outcome.step or 'start'}")
            lines += [f"  | {line}" for line in outcome.tail[-20:]]
        return "\n".join([*lines, after, f"Next:  fab status --hosts {self.targets.selector}"])


def _route(host: Host) -> str:
    """Give the health route to ask for; the first process with one."""
    return next((process.health.path for process in host.app.processes if process.health), "/")


def bad_claim(outcome: Outcome) -> str:
    return last_words(outcome) if outcome.code is not None else f"the link was lost: {last_words(outcome)}"


def last_words(outcome: Outcome) -> str:
    return "; ".join(outcome.tail[-3:]) or f"exit code {outcome.code} in {outcome.step}"


def told_lock(held: Mapping[str, Mapping[str, Any] | None]) -> str:
    lines = []
    for name, owner in held.items():
        if owner is None:
            lines.append(f"{name}: locked by an unknown owner (its record is empty)")
            continue
        who, age = f"{owner['who']}@{owner['from']}", int(time.time() - owner["at"])
        lines.append(f"{name}: {who} has been at {owner['verb']} for {age} s (run {owner['run']}, pid {owner['pid']})")
    lines.append("Nothing was changed. Wait for it; if it is dead: fab unlock --hosts ... --id RUN")
    return "\n".join(lines)


def ended(outcome: Outcome) -> Reloaded:
    """Read a driver's final event; none means unknown."""
    begin = outcome.last("begin")
    was = begin["from"] if begin else None
    end = outcome.last("done", "reverted", "broken", "lost")
    if end is None or end["event"] == "lost":
        return Reloaded("unknown", was, why=f"its driver: {end['why']}" if end else f"no answer: {last_words(outcome)}")
    if end["event"] == "done":
        return Reloaded("new", was)
    state = {"reverted": "untouched" if end.get("untouched") else "old", "broken": "unknown"}[end["event"]]
    why = end["why"] + (f"; and going back failed: {end['back']}" if "back" in end else "")
    return Reloaded(state, was, why=why, lines=end.get("lines") or [])


def told_state(end: Reloaded) -> str:
    text = {
        "new": f"runs {end.now}, healthy",
        "old": f"is back on {end.was}, healthy" if end.was else "runs nothing: this was its first release",
        "untouched": "was not changed",
        "unknown": f"UNKNOWN: {end.why}",
    }[end.state]
    return f"{text}; OUT OF ROTATION: {end.out_of_rotation}" if end.out_of_rotation else text
