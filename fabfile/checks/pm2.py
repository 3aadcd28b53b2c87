"""Judge PM2 on one host: its daemon, whose it is, how it runs the app, and what it saved for the next boot."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .. import drift
from ..commands import doctor
from ..inventory.values import Process
from ..plan import NODE_AT_LEAST
from .machine import WANTED_NODE, _version
from .verdict import Known, Verdict, bad, ok, unknown, unread, warn


def daemon(known: Known) -> list[Verdict]:
    if known.facts is None or known.more is None:
        return unread()
    god = known.facts["daemon"]
    tool = known.said("tool", name="pm2")
    if god["pid"] and not (tool and tool["version"]):
        return unread()  # without PM2's module nobody can ask it; `pm2` says so
    if known.facts["trouble"]:
        return [_wedged(known, god)]
    if not god["pid"]:
        if known.facts["current"]["state"] == "absent":
            return ok("does not run yet; the first deploy starts it")
        if lost := next((each["pid"] for each in known.more["gods"] if _at_home(known, each)), None):
            file = f"{god['home']}/pm2.pid"
            return [bad(
                f"PM2's daemon (pid {lost}) runs, but {file} does not say so",
                "No deploy would find it, and would start a second one beside it.", known.there(f"echo {lost} >{doctor.word(file)}"),
            )]
        if known.elsewhere():
            return unknown(f"none in {god['home']}; the app has another one, see owner")
        means = "The app is down on this host."
        if _names(known) <= set(known.facts["saved"]):
            return [bad(f"PM2's daemon ({god['home']}) does not run", means, f"{known.fab('reload')}   starts it with what it had saved")]
        return [bad(
            f"PM2's daemon ({god['home']}) does not run, and its saved list lacks the app", means,
            f"{known.fab('reload')} --allow-downtime",
        )]
    found = [*_old_node(known), *_versions(known, god)]
    return found or ok(f"{god['version']}, pid {god['pid']}, home {god['home']}")


def _at_home(known: Known, god: Mapping[str, Any]) -> bool:
    """Say whether a daemon is of our user and of the home that we would talk to."""
    assert known.facts is not None and known.more is not None
    return bool(god["home"] == known.facts["daemon"]["home"] and god["user"] == known.more["user"])


def _names(known: Known) -> set[str]:
    return {process.name for process in known.host.app.processes}


def _wedged(known: Known, god: Mapping[str, Any]) -> Verdict:
    assert known.facts is not None and known.more is not None
    if (known.more["god"] or {}).get("state") == "T":
        return bad(
            f"PM2's daemon (pid {god['pid']}) is stopped (state T)",
            "It restarts nothing and answers nobody; in cluster mode no request comes through.", known.there(f"kill -CONT {god['pid']}"),
        )
    if not re.search("no answer within|rpc.sock is gone", known.facts["trouble"]):
        return bad(str(known.facts["trouble"]), "Nothing can be reloaded there.", known.there(known.pm2("ping")))
    means = "Nothing can be reloaded there; a new daemon is needed, and the workers end with the old one."
    return bad(str(known.facts["trouble"]), means, _replaced(known, god["pid"]))


def _replaced(known: Known, pid: int, *flags: str) -> str:
    """Spell out how to end a daemon with its workers, and start them anew."""
    kill = known.there(f"kill -9 {pid}")
    return known.drained(" ".join((f"{kill} && {known.fab('reload')}", *flags)))


def _old_node(known: Known) -> list[Verdict]:
    god = known.more["god"] if known.more else None
    if not god:
        return []
    again = known.drained(known.there(known.pm2("update")))
    if god["gone"]:
        return [bad(
            f"PM2's daemon was started by {god['binary'].removesuffix(' (deleted)')}, which is gone",
            "It can't start a cluster worker any more: the next crash is final.", again,
        )]
    version = ((god["report"] or {}).get("node") or "").removeprefix("v")
    if version and _version(version) < NODE_AT_LEAST:
        return [bad(
            f"PM2's daemon runs on node {version}, and so do its cluster workers; the gate needs {WANTED_NODE}",
            "No worker of ours would start.", again,
        )]
    return []


def _versions(known: Known, god: Mapping[str, Any]) -> list[Verdict]:
    assert known.facts is not None
    if not god.get("version") or god["version"] == known.facts["version"]:
        return []
    return [warn(
        f"PM2's daemon is {god['version']}, its command {known.facts['version']}",
        "pm2 on the command line may misread it. Evening out restarts every app there.",
        known.drained(known.there(known.pm2("update"))),
    )]


def owner(known: Known) -> list[Verdict]:
    if known.facts is None or known.more is None:
        return unread()
    return [found for god in known.elsewhere() if (found := _owned(known, god))] or ok(
        f"{known.more['user']}, {known.facts['daemon']['home']}"
    )


def _owned(known: Known, god: Mapping[str, Any]) -> Verdict | None:
    """Judge another daemon that has the app; of one whose pid file is lost `daemon` speaks."""
    assert known.facts is not None and known.more is not None
    mine, user = known.facts["daemon"], known.more["user"]
    if not _at_home(known, god):
        paste = known.yaml(f"pm2_home: {god['home']}") if god["user"] == user else known.yaml(f"user: {god['user']}")
        return bad(
            f"the app runs in the PM2 of {god['user']} ({god['home']}, pid {god['pid']}), not in {mine['home']} of {user}",
            "A deploy would start a second one beside it, and the two fight for the port.", paste,
        )
    return mine["pid"] and bad(
        f"two daemons of PM2 are at home in {mine['home']}: pid {god['pid']} has the app, pid {mine['pid']} is the one that PM2 talks to",
        "What PM2 lists is not what runs, and a deploy would be refused or start a second one.",
        _replaced(known, god["pid"], "--allow-downtime"),
    )


def mode(known: Known) -> list[Verdict]:
    if known.facts is None or known.facts["trouble"]:
        return unread()
    found = []
    for process in known.host.app.processes:
        real = {item["mode"] for item in known.facts["processes"] if item["name"] == process.name}
        if real - {process.exec_mode}:
            means = "PM2 reloads it by a restart: requests are lost each time." if "fork" in real else "hosts.yaml wants fork mode."
            found.append(bad(
                f"{process.name} runs in {'/'.join(sorted(real))} mode, hosts.yaml wants {process.exec_mode}", means,
                f"{known.fab('deploy')} --allow-downtime   replaces it, once",
            ))
        elif process.exec_mode == "fork" and process.health and not known.group.balancer:
            found.append(bad(
                f"{process.name} is meant to run in fork mode with no balancer in front",
                "Each reload is a restart; a deploy is refused without --allow-downtime.",
                "exec_mode: cluster  in hosts.yaml, or a balancer: for its group",
            ))
    return found or ok(", ".join(dict.fromkeys(process.exec_mode for process in known.host.app.processes)))


def started(known: Known) -> list[Verdict]:
    if known.facts is None or known.more is None or known.facts["trouble"]:
        return unread()
    wrappers = {each["id"]: each["wrapper"] for each in known.more["workers"]}
    interpreters = {each["id"]: each["interpreter"] for each in known.more["workers"]}
    first = {item["name"]: item for item in reversed(known.facts["processes"])}
    found = [
        text for item in first.values() if (text := _script(known, item, wrappers.get(item["id"]), interpreters.get(item["id"], "node")))
    ]
    return found or ok("the gate, from current" if first else "nothing runs yet")


def _script(known: Known, item: Mapping[str, Any], wrapper: str | None, interpreter: str) -> Verdict | None:
    name, cwd = item["name"], item["cwd"] or ""
    adopt = f"{known.fab('deploy')} --allow-downtime   replaces it, once"
    if wrapper:
        return bad(
            f"{name} was started as `pm2 start {wrapper}`",
            f"PM2 sees {wrapper}, not the app: no cluster, no reload without loss, and signals end {wrapper}.", adopt,
        )
    if "/releases/" in f"{item['script']} {cwd}" and f"{known.root}/releases/" in f"{item['script']} {cwd}":
        where = cwd if f"{known.root}/releases/" in cwd else item["script"]
        return bad(
            f"{name} stands in {where}, a resolved release path, not in {known.root}/current",
            "Whatever is deployed, each reload starts that release again.", adopt,
        )
    if interpreter not in ("node", "none") and not item["gated"]:
        return bad(
            f"{name} is run by {interpreter}", "The gate is node's; cluster mode too.",
            f"script: a file that node runs, in hosts.yaml; then {adopt}",
        )
    if not item["gated"]:
        return bad(
            f"{name} runs {item['script']}, not the gate", "Nothing holds a bad release back from its port; a deploy refuses this host.",
            adopt,
        )
    if cwd.rstrip("/") != f"{known.root}/current":
        return bad(f"{name} stands in {cwd}, not in {known.root}/current", "Its next start does not follow the link.", adopt)
    return None


def workers(known: Known) -> list[Verdict]:
    if known.facts is None or known.more is None or known.facts["trouble"]:
        return unread()
    facts, found = known.facts, []
    again = known.fab("reload")
    for item in facts["processes"]:
        if item["status"] != "online" or (item["gated"] and item["state"] not in ("open", None)):
            found.append(bad(
                f"worker {item['id']} of {item['name']} is {item['status']}{', ' + item['state'] if item['state'] else ''}",
                "It serves nobody.", f"{_errors(known, item)}   tells why; then: {again}",
            ))
        elif item["gated"] and item["release"] != facts["current"]["release"] and facts["current"]["state"] == "ok":
            found.append(bad(
                f"worker {item['id']} runs {item['release']}, current is {facts['current']['release']}",
                "Two versions answer side by side.", again,
            ))
        if item["died"] and item["up_ms"] < drift.RECENT:
            found.append(warn(drift.died(item), "It crashes under what it serves, and PM2 hides it.", _errors(known, item)))
    if facts["daemon"]["pid"] and facts["current"]["state"] == "ok" and not known.elsewhere():
        for process in known.host.app.processes:
            if text := drift.miscounted(process, facts):
                found.append(_miscounted(process, facts, f"{text} (instances: {process.instances})", again))
    found += [
        bad(f"pid {each['pid']} runs {each['release']}, unknown to PM2", "It serves old code on the shared port, unseen.", again)
        for each in facts["strays"] if not known.elsewhere()  # else it is that daemon's, and `owner` says so
    ]
    return found or ok(f"{len(facts['processes'])} open" if facts["processes"] else "nothing runs yet")


def _miscounted(process: Process, facts: Mapping[str, Any], text: str, again: str) -> Verdict:
    """Judge another number of workers than hosts.yaml's: none, too few, or, as `fab scale` leaves them, more."""
    count = drift.kept(process, facts)
    if not count:
        return bad(text, "The app is down there.", f"{again} --allow-downtime")
    more = count > drift.wanted(process, facts)
    return warn(text, "More than is meant; a reload goes by hosts.yaml." if more else "Less capacity than is meant.", again)


def _errors(known: Known, item: Mapping[str, Any]) -> str:
    return known.there(f"tail -n 50 {doctor.word(item['errors'])}; cat {doctor.word(known.root)}/.gapless/run/crash-*.log")


def dump(known: Known) -> list[Verdict]:
    if known.facts is None or known.more is None:
        return unread()
    file, is_ = known.more["dump"]["path"], known.more["dump"]["is"]
    running = {item["name"] for item in known.facts["processes"]}
    found = []
    safe = "saved list" if running and running == _names(known) and all(drift.well(item) for item in known.facts["processes"]) else ""
    # PM2 writes the file anew, for everybody to read.
    save = known.there(f"{known.pm2('save')} && chmod 600 {doctor.word(file)}")
    save = save if safe else f"first mend the workers, then: {save}"
    if is_ and not is_["readable"] and not is_["dangling"]:
        found.append(warn(
            f"{file} ({is_['owner']}'s) can't be read", "Whether PM2 starts the app after a reboot is not known.",
            known.asking(f"sudo chown {known.more['user']} {doctor.word(file)}"),
        ))
    elif known.more["dump"]["broken"]:
        found.append(warn(f"{file} can't be read as PM2's list", "After a reboot PM2 starts nothing.", save, safe))
    elif missing := running - set(known.facts["saved"]):
        found.append(warn(
            f"{file} lacks {', '.join(sorted(missing))}" if is_ else f"there is no {file}", "After a reboot PM2 does not start it.", save,
            safe,
        ))
    if is_ and not is_["dangling"] and int(is_["mode"], 8) & 0o077:
        found.append(warn(
            f"{file} has mode {is_['mode'].zfill(4)}, not 0600",
            "It holds the environment of every app: each user of that host can read it.", known.there(f"chmod 600 {doctor.word(file)}"),
            "dump mode" if is_["mine"] else "",
        ))
    return found or ok(f"{file} has {', '.join(sorted(set(known.facts['saved'])))}" if is_ else "nothing is deployed yet")
