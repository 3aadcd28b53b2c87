"""
Make one release on the hosts of a run: each builds it, or one does and its artifact is brought to the others, or an artifact was given.

Whatever fails is tidied up and told; which host serves what is not touched here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from .. import choice, plan
from ..commands import artifact, lock, node, releases
from ..commands.shell import Step
from ..fleet import Fleet
from ..inventory.values import Host, Targets
from ..plan import Facts, Options
from ..transport import Outcome
from .claim import found_tools
from .shipping import Shipping


class Building:
    """Make releases for one run."""

    def __init__(self, run: str, targets: Targets, options: Options, commit: str, fleet: Fleet, facts: Mapping[str, Facts]) -> None:
        self.id = run
        self.options = options
        self.commit = commit
        self.fleet = fleet
        self.facts = facts
        self.release = ""
        self.groups = {host.name: group for group in targets.groups for host in group.hosts}
        self.hosts = {host.name: host for host in targets.hosts}
        self.shipping = Shipping(run, self.hosts, facts, fleet)

    def make(self, release: str, names: Collection[str]) -> dict[str, Outcome]:
        """Make a release on these hosts; return what failed there, which is tidied up already."""
        self.release = release
        outcomes = self.unpack_on(names, self.options.sha256) if self.options.sha256 else self.build_on(names)
        bad = {name: outcome for name, outcome in outcomes.items() if not outcome.ok}
        self.fleet.each("build", {name: self.discard_steps(self.hosts[name]) for name in bad})
        return bad

    def build_on(self, names: Collection[str]) -> dict[str, Outcome]:
        """Build on each of these hosts; where one builds for others, on the first that wants it, unless an earlier run did."""
        sets = [[builder, *(host.name for host in others)] for builder, others in choice.builders(self.hosts.values()).items()]
        known = {tuple(name for name in members if name in names): self.artifact_of(members) for members in sets}
        wanting = {members: sha256 for members, sha256 in known.items() if members}
        building = {members[0]: len(members) > 1 for members, sha256 in wanting.items() if not sha256}
        outcomes = self.fleet.each("build", {name: self.build_steps(self.hosts[name], packs) for name, packs in building.items()})
        if not all(outcome.ok for outcome in outcomes.values()):
            return outcomes
        self.shipping.packed.update({name: str(told["sha256"]) for name, outcome in outcomes.items() if (told := outcome.last("packed"))})
        for (first, *others), sha256 in wanting.items():
            receivers = [first, *others] if sha256 else others
            outcomes |= self.unpack_on(receivers, sha256 or self.shipping.packed[first]) if receivers else {}
        return outcomes

    def artifact_of(self, names: Iterable[str]) -> str:
        """Give the sha256 of the artifact that an earlier run made of the release, if one of these hosts is complete by it."""
        found = (each for name in names for each in self.facts[name]["releases"] if each["id"] == self.release and each["complete"])
        return next((str(each["artifact"]) for each in found if each.get("artifact")), "")

    def unpack_on(self, names: Collection[str], sha256: str) -> dict[str, Outcome]:
        """Bring an artifact to hosts, and make the release of it there."""
        failed = self.shipping.bring(sha256, names)
        steps = {name: self.unpack_steps(self.hosts[name], sha256) for name in names if name not in failed}
        return self.fleet.each("build", steps) | failed

    def discard_steps(self, host: Host) -> list[Step]:
        ships = bool(self.options.sha256) or host.app.build_on == "first"
        dropped = [Step("discard", artifact.drop(host.app.root))] if ships else []
        return [*dropped, Step("discard", releases.discard(host.app.root, self.release))]

    def build_steps(self, host: Host, packs: bool) -> list[Step]:
        """Build on one host; with `packs` it is packed too, for others."""
        app, release = host.app, self.release
        env_files = {process.env_file: None for process in app.processes if process.env_file}
        return [
            Step("own", lock.enter(app.root, self.id, f"build {release}"), quick=True),
            found_tools(host, self.facts[host.name]),
            *self.fleet.runtime(host.name, app.root),  # what hides secrets in a build's words is in it
            Step("discard", releases.discard(app.root, release), quick=True),
            Step("fetch", releases.fetch(app.root, app.repo, self.commit)),
            Step("check out", releases.check_out(app.root, release, self.commit)),
            self.link_step(host),
            *(Step(command, node.build_step(app.root, release, self.id, command, env_files)) for command in app.build),
            self.script_step(host),
            *(self.pack_steps(host) if packs else [Step("complete", releases.complete(app.root, release, self.marker(host)))]),
        ]

    def pack_steps(self, host: Host) -> list[Step]:
        app = host.app
        return [
            Step("pack", artifact.pack(app.root, self.release, self.id, [*app.shared_files, *app.shared_dirs])),
            Step("complete", artifact.complete_packed(app.root, self.release, self.marker(host))),
        ]

    def unpack_steps(self, host: Host, sha256: str) -> list[Step]:
        """Make a release of an artifact that the host has by now, or is to fetch."""
        app, release, url = host.app, self.release, self.shipping.url
        return [
            Step("own", lock.enter(app.root, self.id, f"build {release}"), quick=True),
            found_tools(host, self.facts[host.name]),
            Step("discard", releases.discard(app.root, release), quick=True),
            *([Step("fetch the artifact", artifact.fetch(app.root, sha256, self.id, url))] if url else []),
            Step("unpack", artifact.unpack(app.root, release, sha256, self.id)),
            self.link_step(host),
            self.script_step(host),
            Step("complete", releases.complete(app.root, release, self.marker(host, sha256))),
        ]

    def link_step(self, host: Host) -> Step:
        app = host.app
        return Step("link shared", releases.link_shared(app.root, self.release, app.shared_files, app.shared_dirs), quick=True)

    def script_step(self, host: Host) -> Step:
        scripts = [process.script for process in host.app.processes]
        return Step("look for the script", releases.scripts_are_there(host.app.root, self.release, scripts), quick=True)

    def marker(self, host: Host, sha256: str = "") -> str:
        ref = self.options.ref or ("" if self.options.sha256 else host.app.ref)
        return plan.marker(host.app, plan.timing(self.groups[host.name]), self.release, self.commit, ref, sha256)
