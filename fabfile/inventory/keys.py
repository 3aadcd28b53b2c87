"""The keys of hosts.yaml: which there are, what may stand under each, and what an editor says of it."""

from __future__ import annotations

from typing import Any

from . import words
from .kinds import Bad, Kind, Spec, at_length, each, either, items, later, many, nodes, nodes_by_name, optional, record, scalar, table
from .values import Health, Hook, Metrics, Notice, Process
from .yamltext import Node, Scalar

KEEP_RELEASES = 2        # one to run, one to go back to
REQUIRED = ("name", "repo", "root")


def _names(node: Node) -> tuple[Scalar, ...]:
    """Read a list of names that stand elsewhere in the file; where each was written is kept, for it may not exist."""
    NAMES.read(node)
    return tuple(item for item in items(node) if isinstance(item, Scalar))


NAMES = many(scalar(words.any_text), empty=False)

HEALTH: Kind[Health | None] = optional(either(
    scalar(words.health_path).giving(lambda path: Health(path=path)),
    record({
        "path": scalar(words.health_path).about("The route that answers 200 when the worker can serve."),
        "timeout": scalar(words.positive_duration).about("How long one answer may take."),
    }).giving(lambda given: Health(**given)),
)).about("The health route: a worker gets no request before it answers 200. none: ready is started and stable.")

INSTANCES = scalar(words.instances).about("Workers: a number, or max for one per core.")

PROCESS: Spec = {
    "script": scalar(words.script_path).about("The file that node runs, such as dist/main.js; not the npm command around it."),
    "instances": INSTANCES,
    "port": optional(scalar(words.whole(1, 65535))).about("Given to the app as PORT."),
    "health": HEALTH,
    "env_file": optional(scalar(words.inner_path)).about("Read at each start, relative to the release."),
    "env": table(words.variable, scalar(words.any_text)).giving(lambda given: tuple(given.items())).about("Variables that are no secret."),
    "exec_mode": scalar(words.one_of("cluster", "fork")).about("PM2's mode; in fork mode it restarts instead of reloading."),
}


def _processes(given: dict[str, dict[str, Any]]) -> tuple[Process, ...]:
    return tuple(Process(name, **values) for name, values in given.items())


SHARED: Spec = {
    "files": many(scalar(words.inner_path)).about("Files in root/shared that are linked into every release."),
    "dirs": many(scalar(words.inner_path)).about("Directories in root/shared that are linked into every release."),
}

STEPS = each(scalar(words.plain_text))

BUILD: Spec = {
    "run": STEPS.about("Commands that make a release, run in it one after another."),
    "on": scalar(words.one_of("each", "first")).about("Each host builds, or the first one does and the others are sent what it built."),
}


def _build(given: dict[str, Any]) -> dict[str, Any]:
    return {"build": given["run"], "build_on": given.get("on", "each")}


APP: Spec = {
    "name": scalar(words.process_name).about("The PM2 process name."),
    "repo": scalar(words.repo_url).about("The git repository that the hosts fetch from; ./path is relative to this file."),
    "ref": scalar(words.git_ref).about("Branch, tag or commit that is deployed without --ref."),
    "root": scalar(words.root_path).about("The app's directory on the hosts: releases/ shared/ current .gapless/."),
    "build": at_length(STEPS.giving(lambda steps: {"build": steps}), record(BUILD, ["run"]).giving(_build)).about(
        "Commands that make a release, run in it one after another; or these (run) and where (on)."
    ),
    "migrate": optional(scalar(words.plain_text)).about("Run from the new release on one host, once per deploy."),
    "shared": record(SHARED).about("What lives in root/shared and is linked into every release."),
    "header": optional(scalar(words.header_name)).about("The response header that names the release; none for no header."),
    "keep_releases": scalar(words.whole(KEEP_RELEASES)).about("How many good releases stay on a host."),
    "min_free_mb": scalar(words.whole(0)).about("Refuse to build where less disk than this is free."),
    "processes": table(words.process_name, record(PROCESS, ["script"]), empty=False).giving(_processes).about(
        "The PM2 processes by name, where the app has several."
    ),
    **PROCESS,
}


def _alone(width: str) -> tuple[str, ...]:
    return (width,)


UPDATE: Spec = {
    "max_parallel": either(scalar(words.width).giving(_alone), each(scalar(words.width), empty=False)).about(
        "Hosts updated at once: a number, 25%, or a list with one width per wave."
    ),
    "min_healthy_time": scalar(words.duration).about("How long new workers must stay healthy."),
    "healthy_deadline": scalar(words.positive_duration).about("By when a new worker must be healthy; on the way back three times that."),
    "progress_deadline": scalar(words.positive_duration).about("By when something must have moved on."),
    "drain_timeout": scalar(words.duration).about("How long the balancer may take to empty a host."),
    "kill_timeout": scalar(words.kill_timeout).about("How long a stopping worker may finish what is in flight; 2s or more."),
    "auto_revert": scalar(words.boolean).about("false is the same as on_failure: pause."),
    "on_failure": scalar(words.one_of("rollback_all", "rollback_failed", "pause")).about(
        "What becomes of the hosts that are done already when one fails."
    ),
}

BALANCER: Spec = {
    "kind": scalar(words.one_of("haproxy")).about("What kind of balancer it is."),
    "host": scalar(words.host_name).about("The ssh host that the balancer runs on."),
    "socket": scalar(words.remote_path).about("HAProxy's runtime socket there, with level admin."),
    "backend": scalar(words.server_name).about("The backend that the hosts are servers of."),
    "url": scalar(words.web_url).about("Where clients come in, and where requests are counted."),
}

HOST: Spec = {
    "host": scalar(words.host_name).about("Its name, address or alias in ssh config."),
    "port": scalar(words.whole(1, 65535)).about("Its ssh port."),
    "user": scalar(words.user_name).about("The user to log in as."),
    "key": scalar(words.local_path).about("The private key to log in with, a file of this machine."),
    "host_key": scalar(words.host_key).about("Its pinned host key, as known_hosts has it."),
    "server": scalar(words.server_name).about("Its server name in the balancer's backend."),
    "node_bin": scalar(words.remote_path).about("The directory of node and pm2 there, where the login shell can't find them."),
    "pm2_home": scalar(words.remote_path).about("PM2_HOME there."),
}

SEAT: Kind[dict[str, Any]] = either(scalar(words.host_name).giving(lambda host: {"host": host}), record(HOST, ["host"]))

FILES: Spec = {
    "ssh_config": scalar(words.local_path).about("A file to read instead of ~/.ssh/config."),
    "known_hosts": scalar(words.local_path).about("A file of host keys that alone counts, for jump hosts and balancers too."),
}
PROTECTED = scalar(words.boolean).about("Ask for the group's name before anything is written to it.")

LEAF: Spec = {
    "hosts": nodes(SEAT).about("The hosts of the group: names, or mappings that say more."),
    "run": Kind(_names, NAMES.said).about("The processes of the app that this group runs."),
    "balancer": record(BALANCER, ["kind", "host", "socket", "backend"]).about(
        "What stands in front of the group: each host is drained before its reload."
    ),
    "protected": PROTECTED,
    **FILES,
    "app": later(APP).about("An app of its own: each key replaces the one of the file's app."),
    "health": HEALTH,
    "instances": INSTANCES,
    **UPDATE,
}

COMPOSED: Spec = {"groups": Kind(_names, NAMES.said).about("The groups that it is made of."), "protected": PROTECTED}


def _group() -> dict[str, Any]:
    """Say in JSON Schema what a group may be: groups of groups and groups of hosts have keys of their own."""
    leaf = record(LEAF, ["hosts"]).schema
    # The balancer knows a host by its own name, unless `server` says another.
    named = {"pattern": words.server_name.schema["pattern"]}
    server = {**named, "if": {"not": {"required": ["server"]}}, "then": {"properties": {"host": named}}}
    behind = {"if": {"required": ["balancer"]}, "then": {"properties": {"hosts": {"items": server}}}}
    return {"type": "object", "if": {"required": ["groups"]}, "then": record(COMPOSED).schema, "else": {**leaf, "allOf": [behind]}}


HOOK: Spec = {
    "at": scalar(words.moment).about("Before or after which phase."),
    "run": scalar(words.plain_text).about("A command for sh; what the run is about comes as JSON on its stdin."),
    "where": scalar(words.one_of("local", "remote")).about("Here beside this file, or on the hosts in root."),
    "each": scalar(words.one_of("once", "wave", "host")).about("Once, per wave of a reload, or per host."),
    "timeout": scalar(words.positive_duration).about("When it is ended, with all that it started."),
    "on_failure": scalar(words.one_of("stop", "warn")).about("Stop the run, or only tell."),
}

NOTICE: Spec = {
    "kind": scalar(words.one_of("webhook", "slack", "github", "command")).about("Who is told."),
    "url": scalar(words.url_or_source).about("Of a webhook or Slack: where it listens, or env:NAME, file:PATH where that is secret."),
    "run": scalar(words.plain_text).about("Of a command: what sh runs, with the summary as JSON on its stdin."),
    "repo": scalar(words.github_repo).about("Of GitHub: owner/name."),
    "token": scalar(words.secret_source).about("Of GitHub: where the token stands."),
    "environment": scalar(words.group_name).about("Of GitHub: the environment; what --hosts says without it."),
    "on": scalar(words.one_of("always", "failure")).about("After every run, or after one that did not end with 0."),
}

METRICS: Spec = {
    "textfile": scalar(words.local_path).about("A file for node_exporter, on this machine."),
    "otlp": scalar(words.web_url).about("A collector that takes OTLP/HTTP JSON."),
}

WANTED_BY = {"webhook": ("url",), "slack": ("url",), "github": ("repo", "token"), "command": ("run",)}  # of a notice, by its kind


def _hook(node: Node) -> Hook:
    values = record(HOOK, ["at", "run"]).read(node)
    when, phase = values.pop("at").split(" ")
    hook = Hook(when, phase, **values)
    if hook.each == "wave" and phase != "reload":
        raise Bad((node.mark, f"each: wave belongs to reload; {phase} has no waves, write once or host"))
    if (when, phase, hook.where) == ("before", "claim", "remote"):
        raise Bad((node.mark, "before claim nobody has logged in yet; write where: local, or after claim"))
    return hook


def _notice(node: Node) -> Notice:
    values = record(NOTICE, ["kind"]).read(node)
    if missing := [key for key in WANTED_BY[values["kind"]] if key not in values]:
        raise Bad((node.mark, f"kind {values['kind']} wants the key {missing[0]}"))
    return Notice(**values)


def _when(key: str, value: str, then: dict[str, Any]) -> dict[str, Any]:
    """Say in JSON Schema what must hold where a key has this value."""
    return {"if": {"properties": {key: {"const": value}}, "required": [key]}, "then": then}


HOOK_KIND = Kind(_hook, lambda: {**record(HOOK, ["at", "run"]).schema, "allOf": [
    _when("each", "wave", {"properties": {"at": {"enum": ["before reload", "after reload"]}}}),
    _when("where", "remote", {"properties": {"at": {"not": {"const": "before claim"}}}}),
]})
NOTICE_KIND = Kind(_notice, lambda: {**record(NOTICE, ["kind"]).schema, "allOf": [
    _when("kind", kind, {"required": list(wanted)}) for kind, wanted in WANTED_BY.items()
]})


TOP: Spec = {
    "app": later(APP).about("What to deploy; a group may have an app of its own."),
    "groups": nodes_by_name(words.group_name, _group).about("Where to deploy: groups of hosts, and groups of groups."),
    "ssh_config": FILES["ssh_config"],
    "defaults": later(UPDATE).about("How groups are updated; a group may say otherwise."),
    "known_hosts": FILES["known_hosts"],
    "hooks": each(HOOK_KIND).about("Commands of yours beside the phases of a run."),
    "notify": each(NOTICE_KIND).about("Who is told how a run ended."),
    "metrics": record(METRICS).giving(lambda values: Metrics(**values)).about("Where the figures of a run go."),
}
