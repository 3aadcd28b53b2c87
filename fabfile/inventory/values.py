"""The values that hosts.yaml stands for: frozen, checked, with every default filled in."""

from __future__ import annotations

from typing import NamedTuple


class Health(NamedTuple):
    """Say how a worker proves that it is ready: GET `path` answers 200 within `timeout` seconds."""

    path: str = "/health"
    timeout: float = 5.0


class Process(NamedTuple):
    """Name one PM2 process of the app; `instances` is a number or "max" (one per core)."""

    name: str
    script: str
    instances: int | str = "max"
    port: int | None = None
    health: Health | None = Health()
    env_file: str | None = ".env"
    env: tuple[tuple[str, str], ...] = ()
    exec_mode: str = "cluster"


class App(NamedTuple):
    """Say what to deploy: where it comes from, how it is built, what runs."""

    name: str
    repo: str
    root: str
    processes: tuple[Process, ...]
    ref: str = "main"
    build: tuple[str, ...] = ()
    build_on: str = "each"                   # each | first: the others are sent what it built
    migrate: str | None = None
    shared_files: tuple[str, ...] = ()
    shared_dirs: tuple[str, ...] = ()
    header: str | None = "x-release"
    keep_releases: int = 5
    min_free_mb: int = 500

    @property
    def route(self) -> str:
        """Give the health route to ask for from outside: that of the first process which has one."""
        return next((process.health.path for process in self.processes if process.health), "/")


class Update(NamedTuple):
    """Hold the rolling-update settings under Nomad's names; durations are seconds."""

    max_parallel: tuple[str, ...] = ("1",)   # one width per wave, each "N" or "N%"; the last one repeats
    min_healthy_time: float = 10.0
    healthy_deadline: float = 120.0
    progress_deadline: float = 600.0
    drain_timeout: float = 30.0
    kill_timeout: float = 30.0
    auto_revert: bool = True
    on_failure: str = "rollback_all"         # rollback_all | rollback_failed | pause


class Balancer(NamedTuple):
    """Name the balancer in front of a group; `host` is an ssh host, `socket` HAProxy's runtime socket there."""

    kind: str
    host: str
    socket: str
    backend: str
    url: str | None = None                   # where clients come in; the prober asks here
    ssh_config: str | None = None            # as its group's hosts
    known_hosts: str | None = None

    @property
    def ssh(self) -> Ssh:
        return Ssh(host=self.host, ssh_config=self.ssh_config, known_hosts=self.known_hosts)


class Ssh(NamedTuple):
    """Override what ~/.ssh/config says of a host; None leaves it to ssh config."""

    host: str
    port: int | None = None
    user: str | None = None
    key: str | None = None
    host_key: str | None = None              # pinned: "ssh-ed25519 AAAA..."
    ssh_config: str | None = None            # a file to read instead of ~/.ssh/config
    known_hosts: str | None = None           # a file of host keys that alone counts, for its jump hosts too


class Host(NamedTuple):
    """Name one machine, with the app as its group and itself adjust it."""

    name: str
    ssh: Ssh
    app: App
    server: str                              # its server name in the balancer's backend
    node_bin: str | None = None              # directory of node and pm2 where the login shell can't find them
    pm2_home: str | None = None


class Group(NamedTuple):
    """Name hosts that are updated together, behind one balancer or none."""

    name: str
    hosts: tuple[Host, ...]
    update: Update = Update()
    balancer: Balancer | None = None
    protected: bool = False


class Composed(NamedTuple):
    """Name several leaf groups at once; groups of groups are already followed to their leaves."""

    name: str
    leaves: tuple[str, ...]
    protected: bool = False


class Hook(NamedTuple):
    """Name a command of the user's that runs beside a phase; `timeout` is seconds."""

    when: str                                # before | after
    phase: str                               # claim | build | migrate | reload | finish
    run: str
    where: str = "local"                     # local: here, beside hosts.yaml; remote: on a host, in the app's root
    each: str = "once"                       # once | wave | host; a remote one that runs once takes the first host
    timeout: float = 60.0
    on_failure: str = "stop"                 # stop | warn


class Notice(NamedTuple):
    """Name somebody who is told how a run ended; what is secret is named by its source, `env:NAME` or `file:PATH`."""

    kind: str                                # webhook | slack | github | command
    url: str = ""                            # of a webhook, or a source
    run: str = ""                            # of a command
    repo: str = ""                           # of github: owner/name
    token: str = ""                          # of github, a source
    environment: str = ""
    on: str = "always"                       # always | failure


class Metrics(NamedTuple):
    """Say where the figures of a run go: a file for node_exporter on this machine, an OTLP/HTTP collector."""

    textfile: str | None = None
    otlp: str | None = None


class Around(NamedTuple):
    """Hold what runs beside a run and after it; `directory` is that of hosts.yaml, where local commands stand."""

    directory: str = "."
    hooks: tuple[Hook, ...] = ()
    notify: tuple[Notice, ...] = ()
    metrics: Metrics = Metrics()


class Targets(NamedTuple):
    """Hold what a selector chose: leaf groups, each narrowed to its chosen hosts."""

    selector: str
    groups: tuple[Group, ...]
    fleet: tuple[Group, ...]                 # the same groups, not narrowed
    protected: tuple[str, ...] = ()          # names of protected groups (leaf or composed) that hold a chosen host
    around: Around = Around()

    @property
    def hosts(self) -> tuple[Host, ...]:
        return tuple(host for group in self.groups for host in group.hosts)

    @property
    def places(self) -> dict[str, Ssh]:
        """Name all that a run has to reach: the hosts, and those of their balancers."""
        balancers = {f"balancer {group.balancer.host}": group.balancer.ssh for group in self.groups if group.balancer}
        return {**{host.name: host.ssh for host in self.hosts}, **balancers}
