"""Read the nodes of hosts.yaml into values, and check what must fit together across its keys."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from . import keys, words
from .kinds import Bad, fields, mapping, only, overlay, respelled, scalar
from .values import App, Around, Balancer, Composed, Group, Host, Metrics, Process, Ssh, Update
from .words import shown, suggestion
from .yamltext import Findings, Mapping, Mark, Node, Scalar

SSH_PORT = 22


class _Seat(NamedTuple):
    """Hold a host as it was written; its name waits until all hosts are known."""

    mark: Mark
    ssh: Ssh
    server: str
    extra: dict[str, str]

    @property
    def address(self) -> tuple[str, int]:
        """Spell host and port in one way, so that the same machine is found under two spellings."""
        try:
            host = str(ip_address(self.ssh.host))
        except ValueError:
            host = self.ssh.host.lower()
        return host, self.ssh.port or SSH_PORT


class _Draft(NamedTuple):
    """Hold a leaf group before its hosts have names and every finding is known."""

    name: str
    seats: tuple[_Seat, ...]
    app: App | None
    update: Update
    balancer: Balancer | None
    protected: bool

    def group(self, names: dict[tuple[str, int], str]) -> Group:
        hosts = tuple(
            Host(names[seat.address], seat.ssh, self.app, seat.server, **seat.extra) for seat in self.seats if self.app
        )
        return Group(self.name, hosts, self.update, self.balancer, self.protected)


class _Family(NamedTuple):
    """Hold a group of groups before it is known that it does not hold itself."""

    name: str
    members: tuple[Scalar, ...]
    protected: bool


class Reader:
    """Read one file; what is wrong goes to the findings, and only a file without any becomes values."""

    def __init__(self, findings: Findings, directory: Path) -> None:
        self.findings = findings
        self.directory = directory
        self.app: Mapping | None = None
        self.defaults: Mapping | None = None
        self.files: dict[str, str | None] = {}
        self.claimed: dict[tuple[str, int], str] = {}
        self.around = Around(str(directory))

    def read(self, root: Node) -> tuple[tuple[Group, ...], tuple[Composed, ...]]:
        """Give leaf and composed groups in the order of the file."""
        if not isinstance(root, Mapping):
            self.findings.stop(root.mark, f"a {root.kind} alone; the file wants the keys app and groups")
        groups = self._top(root)
        leaves, composed = self._sort_out(groups)
        drafts = [self._leaf(name, node) for name, node in leaves.items()]
        families = {name: self._family(name, node, groups) for name, node in composed.items()}
        names = _host_names(seat for draft in drafts for seat in draft.seats)
        self._check_names(groups, set(names.values()))
        below = _below(families)
        self._check_cycles(families, below)
        self.findings.check()
        return (
            tuple(draft.group(names) for draft in drafts),
            tuple(
                Composed(name, tuple(leaf for leaf in leaves if leaf in below[name]), family.protected)
                for name, family in families.items()
            ),
        )

    def _top(self, root: Mapping) -> Mapping:
        """Keep what all groups share, and give the groups."""
        top = fields(root, keys.TOP, self.findings, ["groups"])
        self.app, self.defaults = top.get("app"), top.get("defaults")
        self.files = {key: self._local(top.get(key)) for key in keys.FILES}
        self.around = self._around(top)
        for node, spec in ((self.app, keys.APP), (self.defaults, keys.UPDATE)):
            if node:
                fields(node, spec, self.findings)
        groups: Mapping = top.get("groups") or Mapping(root.mark, {})
        if "groups" in top and not groups.entries:
            self.findings.add(groups.mark, "groups: is empty; name at least one group")
        return groups

    def _around(self, top: dict[str, Any]) -> Around:
        """Gather what runs beside a run and after it; a path in it is one of this machine."""
        metrics: Metrics = top.get("metrics", Metrics())
        metrics = metrics._replace(textfile=self._local(metrics.textfile))
        return Around(str(self.directory), top.get("hooks", ()), top.get("notify", ()), metrics)

    def _local(self, path: str | None) -> str | None:
        """Find a path of this machine from the directory of hosts.yaml, wherever the user stands."""
        return os.path.normpath(self.directory / os.path.expanduser(path)) if path else None

    def _note(self, what: str, bad: Bad) -> None:
        for mark, message in bad.notes:
            self.findings.add(mark, f"{what}: {message}")

    def _sort_out(self, groups: Mapping) -> tuple[dict[str, Mapping], dict[str, Mapping]]:
        """Part groups of hosts from groups of groups."""
        leaves: dict[str, Mapping] = {}
        composed: dict[str, Mapping] = {}
        for name, entry in groups.entries.items():
            try:
                node = mapping(entry.node)
                (composed if "groups" in node.entries else leaves)[name] = node
                scalar(words.group_name).read(Scalar(entry.key, name, plain=False))
            except Bad as bad:
                self._note("groups", bad)
        return leaves, composed

    # Groups of hosts

    def _leaf(self, name: str, node: Mapping) -> _Draft:
        values = fields(node, keys.LEAF, self.findings, ["hosts"])
        files: dict[str, Any] = {key: self._local(values.get(key)) or self.files[key] for key in keys.FILES}
        balancer = Balancer(**values["balancer"], **files) if "balancer" in values else None
        seats = tuple(self._seats(name, values.get("hosts", ()), files))
        if balancer:
            self._check_servers(seats)
        app = self._app(node, values.get("app"), values.get("run", ()))
        return _Draft(
            name=name,
            seats=seats,
            app=self._adjust(app, values) if app else None,
            update=self._update(node),
            balancer=balancer,
            protected=values.get("protected", False),
        )

    def _seats(self, group: str, nodes: Iterable[Node], files: dict[str, Any]) -> Iterable[_Seat]:
        for node in nodes:
            try:
                seat = self._seat(node, files)
            except Bad as bad:
                self._note("hosts", bad)
                continue
            owner = self.claimed.get(seat.address)
            if owner:
                self.findings.add(seat.mark, f"hosts: {shown(seat.ssh.host)} is there already, in {owner}")
            self.claimed[seat.address] = owner or f"group {shown(group)} on line {seat.mark.line}"
            yield seat

    def _seat(self, node: Node, files: dict[str, Any]) -> _Seat:
        values = keys.SEAT.read(node)
        ssh = Ssh(
            host=values["host"],
            port=values.get("port"),
            user=values.get("user"),
            key=self._local(values.get("key")),
            host_key=values.get("host_key"),
            **files,
        )
        extra: dict[str, str] = {key: values[key] for key in ("node_bin", "pm2_home") if key in values}
        return _Seat(node.mark, ssh, values.get("server", ssh.host), extra)

    def _check_servers(self, seats: Iterable[_Seat]) -> None:
        """Find hosts that the balancer couldn't tell apart: draining one would drain the other."""
        seen: set[str] = set()
        for seat in seats:
            try:
                words.server_name(seat.server)
            except ValueError as error:
                self.findings.add(seat.mark, f"hosts: {error}; give its name in the backend as server:")
            if seat.server in seen:
                again = f"hosts: a second server {shown(seat.server)} in this backend"
                self.findings.add(seat.mark, f"{again}; tell them apart with server:")
            seen.add(seat.server)

    def _update(self, group: Mapping) -> Update:
        """Read the update settings of a group over the defaults."""
        node = only(overlay(self.defaults, group), keys.UPDATE)
        update = Update(**fields(node, keys.UPDATE, self.findings))
        self._check_longer(node, update, "healthy_deadline", "min_healthy_time")
        self._check_longer(node, update, "progress_deadline", "healthy_deadline")
        return update

    def _check_longer(self, node: Mapping, update: Update, longer: str, shorter: str) -> None:
        if getattr(update, longer) > getattr(update, shorter):
            return
        entry = node.entries.get(longer) or node.entries[shorter]
        values = f"{longer} is {getattr(update, longer):g}s, {shorter} is {getattr(update, shorter):g}s"
        self.findings.add(entry.node.mark, f"{longer} must be longer than {shorter}; {values}")

    # The app

    def _app(self, group: Mapping, own: Mapping | None, wanted: tuple[Scalar, ...]) -> App | None:
        """Read the app of a group: the one of the file, with the group's own keys over it."""
        if not own and not self.app:
            self.findings.add(group.mark, "no app; say what to deploy, under app at the top of the file or here")
            return None
        node = _overlay_app(self.app, own) if own else self.app
        assert node is not None
        values = fields(node, keys.APP, self.findings, keys.REQUIRED)
        node = respelled(node, keys.APP)
        self._check_run(wanted, _process_names(node))
        processes = self._processes(node, values)
        if not processes or any(key not in values for key in keys.REQUIRED):
            return None
        shared, build = values.pop("shared", {}), values.pop("build", {})
        kept = {key: value for key, value in values.items() if key not in keys.PROCESS and key != "processes"}
        if kept["repo"].startswith(("./", "../")):
            kept["repo"] = self._local(kept["repo"])
        files, dirs = shared.get("files", ()), shared.get("dirs", ())
        return App(**kept, **build, processes=processes, shared_files=files, shared_dirs=dirs)

    def _processes(self, node: Mapping, values: dict[str, Any]) -> tuple[Process, ...]:
        """Read the processes; the short form is one process called like the app."""
        short = [key for key in keys.PROCESS if key in node.entries]
        if "processes" not in node.entries:
            if "script" not in node.entries:
                self.findings.add(node.mark, 'the key "script" is missing (or "processes", where there are several)')
            return self._short_form(values)
        for key in short:
            self.findings.add(node.entries[key].key, f'{key}: belongs to a process; put it below one under "processes"')
        processes: tuple[Process, ...] = values.get("processes", ())
        return processes

    def _short_form(self, values: dict[str, Any]) -> tuple[Process, ...]:
        own = {key: values[key] for key in keys.PROCESS if key in values}
        return (Process(values["name"], **own),) if "name" in values and "script" in own else ()

    def _adjust(self, app: App, values: dict[str, Any]) -> App:
        """Narrow the app to what the group runs, the way the group runs it."""
        chosen = {name.text for name in values["run"]} if "run" in values else {process.name for process in app.processes}
        own = {key: values[key] for key in ("health", "instances") if key in values}
        return app._replace(processes=tuple(process._replace(**own) for process in app.processes if process.name in chosen))

    def _check_run(self, wanted: tuple[Scalar, ...], known: Iterable[str]) -> None:
        for name in wanted:
            if known and name.text not in known:
                advice = suggestion(name.text, known) or f"; there is {', '.join(known)}"
                self.findings.add(name.mark, f"run: no process is called {shown(name.text)}{advice}")

    # Groups of groups

    def _family(self, name: str, node: Mapping, groups: Mapping) -> _Family:
        if "hosts" in node.entries:
            self.findings.add(node.entries["hosts"].key, "hosts: a group names hosts or groups, not both")
        values = fields(_without(node, "hosts"), keys.COMPOSED, self.findings)
        members = tuple(member for member in values.get("groups", ()) if self._is_group(member, groups))
        return _Family(name, members, values.get("protected", False))

    def _is_group(self, member: Scalar, groups: Mapping) -> bool:
        if member.text in groups.entries:
            return True
        advice = suggestion(member.text, groups.entries) or f"; there is {', '.join(groups.entries)}"
        self.findings.add(member.mark, f"groups: no group is called {shown(member.text)}{advice}")
        return False

    def _check_cycles(self, families: dict[str, _Family], below: dict[str, set[str]]) -> None:
        """Find each membership that leads back to its own group."""
        for name, family in families.items():
            for member in family.members:
                if name == member.text or name in below.get(member.text, ()):
                    self.findings.add(member.mark, f"groups: {shown(name)} would hold itself")

    def _check_names(self, groups: Mapping, hosts: set[str]) -> None:
        for name, entry in groups.entries.items():
            if name in hosts:
                self.findings.add(entry.key, f"groups: {shown(name)} is a host too; --hosts couldn't tell them apart")


def _overlay_app(base: Mapping | None, own: Mapping) -> Mapping:
    """Put a group's app over the file's; where it changes between short form and processes, the other form goes."""
    if base and "processes" in own.entries:
        base = _without(base, *keys.PROCESS)
    elif base and "script" in own.entries:
        base = _without(base, "processes")
    return overlay(base, own)


def _process_names(node: Mapping) -> list[str]:
    """List the processes that are written down, whatever else is wrong with them."""
    several, alone = node.entries.get("processes"), node.entries.get("name")
    if several:
        return list(several.node.entries) if isinstance(several.node, Mapping) else []
    return [alone.node.text] if alone and isinstance(alone.node, Scalar) else []


def _without(node: Mapping, *gone: str) -> Mapping:
    return only(node, [key for key in node.entries if key not in gone])


def _host_names(seats: Iterable[_Seat]) -> dict[tuple[str, int], str]:
    """Name each host as it was written; one that is there with several ports needs the port in its name."""
    seats = list(seats)
    machines = Counter(host for host, _ in {seat.address for seat in seats})
    return {
        seat.address: _with_port(seat) if machines[seat.address[0]] > 1 else seat.ssh.host for seat in seats
    }


def _with_port(seat: _Seat) -> str:
    host = f"[{seat.ssh.host}]" if ":" in seat.ssh.host else seat.ssh.host
    return f"{host}:{seat.address[1]}"


def _below(families: dict[str, _Family]) -> dict[str, set[str]]:
    """Follow each group of groups to every group below it; once for all, for a file may hold thousands."""
    members = {name: {member.text for member in family.members} for name, family in families.items()}
    return {name: _reach(name, members) for name in families}


def _reach(name: str, members: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    ahead = set(members[name])
    while ahead:
        here = ahead.pop()
        seen.add(here)
        ahead |= members.get(here, set()) - seen
    return seen
