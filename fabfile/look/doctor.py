"""Examine the fleet: ask every host, balancer and this machine once, judge, tell; with --fix mend what is safe, and ask again."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from .. import ownership, source
from ..checks import app, files, front, here, machine, matrix, pm2, reach, repo, room, timing
from ..checks.front import Front
from ..checks.reach import Way
from ..checks.verdict import Known, Verdict, ok, unread, worst
from ..commands import doctor, lock
from ..commands.shell import Step, softly
from ..errors import PreflightFailed, UsageError
from ..inventory.values import Group, Host, Ssh
from ..report.stream import state_dir
from ..report.terminal import width
from ..run.moment import remembered
from ..sshconfig import jump, known_as, origins
from ..transport import Outcome
from .locks import owners
from .view import Look

HERE = "this machine"
HOST_CHECKS = {
    "node": machine.node, "pm2": machine.pm2, "git": machine.git, "repo": repo.repo, "disk": room.disk, "inodes": room.inodes,
    "clock": machine.clock, "rights": machine.rights, "shared": files.shared, "env file": files.env, "leftovers": files.leftovers,
    "lock": app.lock, "migration": app.migration, "link": files.link, "daemon": pm2.daemon, "owner": pm2.owner, "mode": pm2.mode,
    "script": pm2.started, "workers": pm2.workers, "port": app.port, "health": app.health, "boot time": timing.boot,
    "drain time": timing.drain, "saved list": pm2.dump, "startup": machine.startup,
}
FRONT_CHECKS = {"socket": front.socket, "servers": front.servers, "url": front.url}

Verdicts = dict[str, dict[str, list[Verdict]]]  # host, check


class Doctor:
    """Hold one examination."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self.fleet = look.fleet
        self.page = look.page
        self.fleet.emit = self._hear
        self._heard: dict[str, float] = {}

    def examine(self, fix: bool, with_origins: bool) -> None:
        """Tell what is wrong; raise PreflightFailed if it would stop a deploy or lose requests."""
        if with_origins:
            self._tell_origins()
        verdicts = self._round()
        if fix:
            verdicts = self._mended(verdicts)
        self._show(verdicts)
        wrong = {host: [check for check, each in found.items() if worst(each) == "bad"] for host, found in verdicts.items()}
        wrong = {host: checks for host, checks in wrong.items() if checks}
        if wrong:
            told = "; ".join(f"{host}: {', '.join(checks)}" for host, checks in wrong.items())
            raise PreflightFailed(f"{told}: would stop a deploy or lose requests, see above.")

    # ------------------------------------------------------------------ read

    def _round(self) -> Verdicts:
        """Ask everybody once, and judge."""
        begun = time.time()
        outcomes = self.look.each("doctor", self._steps)
        fronts = {self._front_name(groups[0]): self._front(groups) for groups in self._fronted()}
        knowns = {
            host.name: self._known(host, group, outcomes[host.name], fronts.get(self._front_name(group)), begun)
            for group in self.look.targets.groups for host in group.hosts
        }
        neighbours = {name: known.more["addresses"] if known.more else [] for name, known in knowns.items()}
        verdicts: Verdicts = {HERE: self._here()}
        for name, known in knowns.items():
            verdicts[name] = self._host(name, known, neighbours)
        return verdicts | {name: self._balancer(each) for name, each in fronts.items()}

    def _steps(self, host: Host) -> list[Step]:
        root = host.app.root
        return [
            Step("clock", doctor.clock()), Step("room", doctor.room(root, host.pm2_home)), Step("lock", softly(lock.show(root))),
            Step("startup", softly(doctor.startup())), Step("tools", softly(doctor.tools(host.node_bin, host.pm2_home))),
            Step("facts", softly(doctor.by_node(root, doctor.wanted(host.app)))), Step("repo", doctor.repo(host.app.repo)),
        ]

    def _hear(self, phase: str, host: str, event: Mapping[str, Any]) -> None:
        if event["event"] == "clock":
            self._heard[host] = time.time()

    def _known(self, host: Host, group: Group, outcome: Outcome, behind: Front | None, begun: float) -> Known:
        looked = outcome.last("looked") or {}
        return Known(
            host, group, outcome.events, looked.get("facts"), looked.get("more"), self._offset(host.name, outcome, begun),
            behind.servers if behind else {}, behind.client if behind else "", outcome.last_words,
        )

    def _offset(self, name: str, outcome: Outcome, begun: float) -> float | None:
        """Compare clocks at the midpoint of question and answer; what half the way may account for is no offset."""
        said = outcome.last("clock")
        if said is None or name not in self._heard:
            return None
        ended = self._heard[name]
        offset = float(said["at"]) - (begun + ended) / 2
        return max(0.0, abs(offset) - (ended - begun) / 2) * (1 if offset > 0 else -1)

    def _front_name(self, group: Group) -> str:
        return f"{group.balancer.host}/{group.balancer.backend}" if group.balancer else ""

    def _fronted(self) -> list[list[Group]]:
        """Gather the groups, not narrowed, that stand behind the same backend."""
        behind: dict[str, list[Group]] = {}
        for group in self.look.targets.fleet:
            if group.balancer:
                behind.setdefault(self._front_name(group), []).append(group)
        return list(behind.values())

    def _front(self, groups: list[Group]) -> Front:
        hosts = tuple(host for group in groups for host in group.hosts)
        whole = groups[0]._replace(name=",".join(group.name for group in groups), hosts=hosts)
        balancer = whole.balancer
        assert balancer is not None
        line = f"balancer {balancer.host}"
        if line in self.look.unreachable:
            return Front(whole, balancer)
        outcome = self.fleet.run("doctor", line, [Step("balancer", doctor.front(balancer))])
        route = whole.hosts[0].app.route
        return Front(
            whole, balancer, outcome.events, self._answer(*self.fleet.url(balancer, route)) if balancer.url else None,
            front.rows(outcome.events),
        )

    def _answer(self, url: str, host: str | None) -> tuple[int, str]:
        try:
            answer = requests.get(
                url, headers={"Connection": "close", **({"Host": host} if host else {})}, allow_redirects=False, timeout=5, stream=True
            )
        except requests.RequestException as err:
            return 0, type(err).__name__
        with answer:
            return answer.status_code, answer.headers.get("location", "")

    # ------------------------------------------------------------------ judge

    def _host(self, name: str, known: Known, neighbours: Mapping[str, list[str]]) -> dict[str, list[Verdict]]:
        if name in self.look.unreachable:
            return {"ssh": [self._ssh(name)], **{check: unread() for check in (*HOST_CHECKS, "balancer")}}
        found = {"ssh": self._logged_in(known)}
        found |= {check: judge(known) for check, judge in HOST_CHECKS.items()}
        return {**found, "balancer": front.server(known, neighbours)}

    def _logged_in(self, known: Known) -> list[Verdict]:
        if not known.said("clock"):
            return [reach.blind(known.last_words, self._way(known.host.ssh))]
        return ok(f"{known.host.ssh.user or ''}{'@' if known.host.ssh.user else ''}{self.fleet.lines[known.host.name].address()}")

    def _ssh(self, line: str) -> Verdict:
        trouble = self.fleet.lines[line].trouble
        way = self._way(trouble.hop if trouble and trouble.hop else self.fleet.lines[line].ssh, hop=bool(trouble and trouble.hop))
        return reach.ssh(trouble.kind if trouble else "other", str(trouble or "not reached"), way)

    def _way(self, target: Ssh, hop: bool = False) -> Way:
        name, files = known_as(target)
        usual = Path("~/.ssh/known_hosts").expanduser()
        file = next((each for each in files if Path(each).expanduser().is_file() and Path(each).expanduser() != usual), "")
        said = {what: value for what, (value, _) in origins(target).items()}
        return Way(target, name, file, said["user"], said.get("identityfile", ""), jump(target), hop)

    def _balancer(self, each: Front) -> dict[str, list[Verdict]]:
        line = f"balancer {each.balancer.host}"
        if line in self.look.unreachable:
            return {"ssh": [self._ssh(line)], **{check: unread() for check in FRONT_CHECKS}}
        return {"ssh": ok(self.fleet.lines[line].address()), **{check: judge(each) for check, judge in FRONT_CHECKS.items()}}

    def _here(self) -> dict[str, list[Verdict]]:
        every = [line.ssh for line in self.fleet.lines.values()]
        apps = {(host.app.repo, host.app.ref) for host in self.look.targets.hosts}
        return {
            "hosts.yaml": ok(f"{len(self.look.targets.hosts)} hosts"), "ssh config": here.ssh_config(every),
            "known_hosts": here.known_hosts((ssh, known_as(ssh)[1]) for ssh in every), "versions": here.versions(), "git": here.git(),
            "logs": here.state(state_dir()), "ref": [verdict for one in sorted(apps) for verdict in self._source(*one)],
        }

    def _source(self, url: str, ref: str) -> list[Verdict]:
        try:
            return here.source("", source.resolve(url, ref), url, ref)
        except UsageError as err:
            return here.source(str(err.message), "", url, ref)

    # ------------------------------------------------------------------ mend

    def _mended(self, before: Verdicts) -> Verdicts:
        """Mend what is safe to mend under the lock of each host, look again, and tell what is well now as fixed."""
        wanted = {host: {each.mend for found in checks.values() for each in found if each.mend} for host, checks in before.items()}
        wanted = {host: mends for host, mends in wanted.items() if mends}
        if not wanted:
            return before
        abandoned = self._abandoned(wanted)
        with remembered(self.fleet, {name: self.look.hosts[name] for name in wanted}, "doctor") as deed:
            outcomes = self.fleet.each(
                "fix",
                {name: self._mending(self.look.hosts[name], mends, deed.owner, abandoned.get(name, "")) for name, mends in wanted.items()},
            )
            deed.did |= {
                name: ", ".join(sorted(wanted[name])) + ("; not all of it" if outcome.tail else "")
                for name, outcome in outcomes.items()
                if outcome.last("locked")
            }
        for name, outcome in outcomes.items():
            if not outcome.ok or outcome.tail:
                held = outcome.last("held")
                why = ownership.told({name: held}, name) if held else f"{name}: {outcome.last_words}"
                self.page.say(f"not mended: {why}")
                self.page.tell("not_mended", host=name, words=why)
        after = self._round()
        for host, checks in before.items():
            for check, found in checks.items():
                left = after[host][check]
                mended = [each for each in found if each.mend and each.mend not in {one.mend for one in left}]
                if mended:
                    fixed = [each._replace(state="fixed", means="", fix="", mend="") for each in mended]
                    after[host][check] = [*(each for each in left if each.state != "ok"), *fixed]
        return after

    def _abandoned(self, wanted: Mapping[str, set[str]]) -> dict[str, str]:
        """Name the run whose lock may be dropped: it is dead, and had nothing in hand."""
        held = {name: outcome.last("held") for name, outcome in owners(self.look).items() if name in wanted}
        return {
            name: str(ownership.run_of(each)) for name, each in held.items() if each and ownership.gone(each) and ownership.harmless(each)
        }

    def _mending(self, host: Host, mends: set[str], owner: Mapping[str, Any], abandoned: str) -> list[Step]:
        root, app_ = host.app.root, host.app
        envs = sorted({file for each in app_.processes if (file := each.env_file)})
        steps = [Step("lock", lock.take(root, json.dumps(dict(owner)), abandoned))]
        if "gapless mode" in mends:
            steps.append(Step("gapless mode", softly(doctor.mode("700", root, [".gapless"]))))
        if "env mode" in mends:
            steps.append(Step(
                "env mode", softly(doctor.mode("600", root, [place for file in envs for place in (f"shared/{file}", f"current/{file}")])),
            ))
        if "shared dirs" in mends:
            steps.append(Step("shared dirs", softly(doctor.dirs(root, app_.shared_dirs))))
        if "leftovers" in mends:
            steps.append(Step("leftovers", softly(doctor.leftovers(root))))
        if mends & {"saved list", "dump mode"}:
            steps.append(Step("tools", softly(doctor.tools(host.node_bin, host.pm2_home))))
        if "dump mode" in mends:
            steps.append(Step("dump mode", softly(doctor.dump_mode())))
        if "saved list" in mends:
            steps.append(Step("saved list", softly(doctor.save())))
        return [*steps, Step("unlock", lock.drop(root, str(owner["run"])))]

    # ------------------------------------------------------------------ tell

    def _show(self, verdicts: Verdicts) -> None:
        """Show this machine and the balancers in a line each, the hosts as a matrix, and below it what is not well."""
        for host, found in verdicts.items():
            for check, each in found.items():
                fix = "\n".join(dict.fromkeys(one.fix for one in each if one.fix))
                self.page.tell(
                    "check", host=host, check=check, state=worst(each), words="; ".join(one.words for one in each),
                    means=" ".join(dict.fromkeys(one.means for one in each if one.means)), fix=fix,
                )
        hosts = {name: found for name, found in verdicts.items() if name in self.look.hosts}
        for name, found in verdicts.items():
            if name not in hosts:
                self.page.say(f"{name}: {', '.join(f'{check} {matrix.CELLS[worst(each)]}' for check, each in found.items())}")
        for line in ["", *matrix.grid(hosts, width()), *matrix.findings(self._shown(verdicts), width())]:
            self.page.say(line)

    def _shown(self, verdicts: Verdicts) -> Verdicts:
        """Leave out what is unknown only because the host can't be reached: that is said once."""
        return {host: {"ssh": found["ssh"]} if worst(found.get("ssh", ())) == "bad" else found for host, found in verdicts.items()}

    def _tell_origins(self) -> None:
        rows = [[name, what, value, where] for name, line in self.fleet.lines.items() for what, (value, where) in origins(line.ssh).items()]
        self.page.table("ssh", ["host", "setting", "value", "from"], rows)
        self.page.say("")
