"""The keys of hosts.yaml: which there are, and what may stand under each."""

from __future__ import annotations

from . import words
from .kinds import Bad, Spec, each, is_none, items, many, mapping, optional, record, scalar, table
from .values import Health, Hook, Metrics, Notice, Process
from .yamltext import Node, Scalar

KEEP_RELEASES = 2        # one to run, one to go back to


def _health(node: Node) -> Health | None:
    if is_none(node):
        return None
    if isinstance(node, Scalar):
        return Health(path=scalar(words.health_path)(node))
    return Health(**record({"path": scalar(words.health_path), "timeout": scalar(words.positive_duration)})(node))


def _widths(node: Node) -> tuple[str, ...]:
    """Read one width, or a list with one for each wave; waves may be equal."""
    return (scalar(words.width)(node),) if isinstance(node, Scalar) else each(scalar(words.width), empty=False)(node)


def _names(node: Node) -> tuple[Scalar, ...]:
    """Read a list of names that stand elsewhere in the file; where each was written is kept, for it may not exist."""
    many(scalar(str), empty=False)(node)
    return tuple(item for item in items(node) if isinstance(item, Scalar))


def _hosts(node: Node) -> tuple[Node, ...]:
    return items(node, empty=False)


def _variables(node: Node) -> tuple[tuple[str, str], ...]:
    return tuple(table(words.variable, scalar(str))(node).items())


PROCESS: Spec = {
    "script": scalar(words.script_path),
    "instances": scalar(words.instances),
    "port": optional(scalar(words.whole(1, 65535))),
    "health": _health,
    "env_file": optional(scalar(words.inner_path)),
    "env": _variables,
    "exec_mode": scalar(words.one_of("cluster", "fork")),
}


def _processes(node: Node) -> tuple[Process, ...]:
    if not mapping(node).entries:
        raise Bad((node.mark, "is empty; name at least one"))
    return tuple(
        Process(name, **values) for name, values in table(words.process_name, record(PROCESS, ["script"]))(node).items()
    )


SHARED: Spec = {"files": many(scalar(words.inner_path)), "dirs": many(scalar(words.inner_path))}

APP: Spec = {
    "name": scalar(words.process_name),
    "repo": scalar(words.repo_url),
    "ref": scalar(words.git_ref),
    "root": scalar(words.root_path),
    "build": each(scalar(words.plain_text)),
    "migrate": optional(scalar(words.plain_text)),
    "shared": record(SHARED),
    "header": optional(scalar(words.header_name)),
    "keep_releases": scalar(words.whole(KEEP_RELEASES)),
    "min_free_mb": scalar(words.whole(0)),
    "processes": _processes,
    **PROCESS,
}

UPDATE: Spec = {
    "max_parallel": _widths,
    "min_healthy_time": scalar(words.duration),
    "healthy_deadline": scalar(words.positive_duration),
    "progress_deadline": scalar(words.positive_duration),
    "drain_timeout": scalar(words.duration),
    "kill_timeout": scalar(words.kill_timeout),
    "auto_revert": scalar(words.boolean),
    "on_failure": scalar(words.one_of("rollback_all", "rollback_failed", "pause")),
}

BALANCER: Spec = {
    "kind": scalar(words.one_of("haproxy")),
    "host": scalar(words.host_name),
    "socket": scalar(words.remote_path),
    "backend": scalar(words.server_name),
    "url": scalar(words.web_url),
}

HOST: Spec = {
    "host": scalar(words.host_name),
    "port": scalar(words.whole(1, 65535)),
    "user": scalar(words.user_name),
    "key": scalar(words.local_path),
    "host_key": scalar(words.host_key),
    "server": scalar(words.server_name),
    "node_bin": scalar(words.remote_path),
    "pm2_home": scalar(words.remote_path),
}

LEAF: Spec = {
    "hosts": _hosts,
    "run": _names,
    "balancer": record(BALANCER, ["kind", "host", "socket", "backend"]),
    "protected": scalar(words.boolean),
    "ssh_config": scalar(words.local_path),
    "known_hosts": scalar(words.local_path),
    "app": mapping,
    "health": _health,
    "instances": scalar(words.instances),
    **UPDATE,
}

COMPOSED: Spec = {"groups": _names, "protected": scalar(words.boolean)}

HOOK: Spec = {
    "at": scalar(words.moment),
    "run": scalar(words.plain_text),
    "where": scalar(words.one_of("local", "remote")),
    "each": scalar(words.one_of("once", "wave", "host")),
    "timeout": scalar(words.positive_duration),
    "on_failure": scalar(words.one_of("stop", "warn")),
}

NOTICE: Spec = {
    "kind": scalar(words.one_of("webhook", "slack", "github", "command")),
    "url": scalar(words.url_or_source),
    "run": scalar(words.plain_text),
    "repo": scalar(words.github_repo),
    "token": scalar(words.secret_source),
    "environment": scalar(words.group_name),
    "on": scalar(words.one_of("always", "failure")),
}

METRICS: Spec = {"textfile": scalar(words.local_path), "otlp": scalar(words.web_url)}

WANTED_BY = {"webhook": ("url",), "slack": ("url",), "github": ("repo", "token"), "command": ("run",)}  # of a notice, by its kind


def _hook(node: Node) -> Hook:
    values = record(HOOK, ["at", "run"])(node)
    when, phase = values.pop("at").split(" ")
    hook = Hook(when, phase, **values)
    if hook.each == "wave" and phase != "reload":
        raise Bad((node.mark, f"each: wave belongs to reload; {phase} has no waves, write once or host"))
    if (when, phase, hook.where) == ("before", "claim", "remote"):
        raise Bad((node.mark, "before claim nobody has logged in yet; write where: local, or after claim"))
    return hook


def _notice(node: Node) -> Notice:
    values = record(NOTICE, ["kind"])(node)
    if missing := [key for key in WANTED_BY[values["kind"]] if key not in values]:
        raise Bad((node.mark, f"kind {values['kind']} wants the key {missing[0]}"))
    return Notice(**values)


def _metrics(node: Node) -> Metrics:
    return Metrics(**record(METRICS)(node))


TOP: Spec = {
    "app": mapping, "groups": mapping, "ssh_config": scalar(words.local_path), "defaults": mapping, "known_hosts": scalar(words.local_path),
    "hooks": each(_hook), "notify": each(_notice), "metrics": _metrics,
}
