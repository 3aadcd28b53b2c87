"""Do things to a fleet at random, as hands and faults do; after each one `fab status` and a second reading must say the same.

    python -m tests.lab.walk --name NAME [--steps 50] [--seed N]     on a lab that is up, with something deployed on it
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab import second
from tests.lab.conftest import Done, Site
from tests.lab.fleet import Lab
from tests.lab.texts import BACKEND

TRIES = 8  # looks until two readings around a status agree: what was done may take its time
GATES = """for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null | grep -q '^node .*gate.cjs' && echo ${p#/proc/}; done"""


class Walk:
    """Hold a fleet on its way; `gone` names hosts whose sshd is stopped, `shaken` those where a worker died since the last mending."""

    def __init__(self, site: Site, seed: int) -> None:
        self.site = site
        self.lab = site.lab
        self.chance = random.Random(seed)
        self.gone: set[str] = set()
        self.shaken: set[str] = set()
        self.actions: list[Callable[[str], str]] = [
            self.kill_worker, self.halt_worker, self.wake, self.delete_worker, self.stop_worker, self.move_link, self.cut_link,
            self.take_release, self.kill_daemon, self.halt_daemon, self.balance, self.balance, self.close_door, self.leave_lock, self.pin,
            self.mend, self.mend, self.mend,
        ]

    def step(self) -> str:
        """Do one thing to one host, and say what."""
        host = self.chance.choice(self.lab.names)
        return self.chance.choice(self.actions)(host)

    # ------------------------------------------------------------------ what hands and faults do

    def pids(self, host: str, script: str = GATES) -> list[str]:
        return self.lab.run(host, script, check=False).stdout.split()

    def signal(self, host: str, signal: str) -> str:
        pids = self.pids(host)
        if not pids:
            return f"{host}: no worker to send {signal}"
        pid = self.chance.choice(pids)
        self.lab.run(host, f"kill -{signal} {pid}")
        return f"{host}: {signal} to worker {pid}"

    def kill_worker(self, host: str) -> str:
        self.shaken.add(host)
        return self.signal(host, "KILL")

    def halt_worker(self, host: str) -> str:
        return self.signal(host, "STOP")

    def wake(self, host: str) -> str:
        for pid in [*self.pids(host), *self.pids(host, "cat ~/.pm2/pm2.pid")]:
            self.lab.run(host, f"kill -CONT {pid}", check=False)
        return f"{host}: all that was halted goes on"

    def pm2(self, host: str, verb: str) -> str:
        if not self.daemon_answers(host):
            return f"{host}: PM2 does not answer, so no pm2 {verb}"
        number = self.chance.choice("01")
        self.lab.pm2(host, verb, number, check=False)
        return f"{host}: pm2 {verb} {number}"

    def daemon_answers(self, host: str) -> bool:
        """Ask /proc: the command line would start a daemon, or wait for one for ever."""
        pid = "".join(self.pids(host, "cat ~/.pm2/pm2.pid"))
        state = self.lab.run(host, f"sed 's/^.*) //' /proc/{pid or 0}/stat | cut -c1", check=False).stdout.strip()
        return state in ("S", "R")

    def delete_worker(self, host: str) -> str:
        return self.pm2(host, "delete")

    def stop_worker(self, host: str) -> str:
        return self.pm2(host, "stop")

    def move_link(self, host: str) -> str:
        release = self.chance.choice(self.lab.run(host, "ls ~/shop/releases").stdout.split() or ["nothing"])
        self.lab.run(host, f"ln -sfn releases/{release} ~/shop/current")
        return f"{host}: current moved to {release}"

    def cut_link(self, host: str) -> str:
        self.lab.run(host, "rm -f ~/shop/current")
        return f"{host}: current removed"

    def take_release(self, host: str) -> str:
        self.lab.run(host, 'd=$(readlink ~/shop/current) && mkdir -p ~/aside && mv ~/shop/"$d" ~/aside/', check=False)
        return f"{host}: the current release is taken away"

    def kill_daemon(self, host: str) -> str:
        self.lab.run(host, "kill -9 $(cat ~/.pm2/pm2.pid)", check=False)
        return f"{host}: PM2's daemon killed"

    def halt_daemon(self, host: str) -> str:
        self.lab.run(host, "kill -STOP $(cat ~/.pm2/pm2.pid)", check=False)
        return f"{host}: PM2's daemon halted"

    def balance(self, host: str) -> str:
        word = self.chance.choice(["state maint", "state drain", "state ready", "weight 0", "weight 1"])
        self.lab.haproxy(f"set server {BACKEND}/{host} {word}")
        return f"{host}: {word} at HAProxy"

    def close_door(self, host: str) -> str:
        if host in self.gone:
            return self.open_door(host)
        self.lab.stop_sshd(host)
        self.gone.add(host)
        return f"{host}: sshd stopped"

    def open_door(self, host: str) -> str:
        self.lab.start_sshd(host)
        self.gone.discard(host)
        return f"{host}: sshd started"

    def leave_lock(self, host: str) -> str:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        record = {"run": "walk-1", "verb": "deploy", "who": "eve", "from": "here", "boot": boot, "pid": 1, "start": "x", "at": int(time.time()), "ci": ""}
        self.lab.run(host, f"mkdir -p ~/shop/.gapless/lock && cd ~/shop/.gapless/lock && echo '{json.dumps(record)}' >owner.json && echo 'reload x' >phase")
        return f"{host}: a dead run left its lock"

    def pin(self, host: str) -> str:
        self.lab.run(host, """echo '{"env_files": {"shop": "/nowhere"}}' >~/shop/.gapless/run/reload.json""")
        return f"{host}: its env file pinned"

    # ------------------------------------------------------------------ mending

    def mend(self, host: str) -> str:
        self.make_whole(host)
        return f"{host}: mended"

    def mend_all(self) -> None:
        self.make_whole(*self.lab.names)

    def make_whole(self, *hosts: str) -> None:
        """Undo by hand what hands did to these hosts, and have one reload do the rest."""
        for host in hosts:
            self.open_door(host)
            self.wake(host)
            self.lab.run(host, """
                rm -rf ~/shop/.gapless/lock ~/shop/.gapless/run/reload.json
                for d in ~/aside/*; do [ ! -e "$d" ] || mv "$d" ~/shop/releases/; done
                cd ~/shop/releases && ln -sfn releases/"$(ls -d */.gapless-stable | tail -n 1 | cut -d/ -f1)" ~/shop/current""")
            for word in ("weight 1", "state ready"):
                self.lab.haproxy(f"set server {BACKEND}/{host} {word}")
        done = self.reload(hosts)
        if done.code:
            for host in hosts:
                self.lab.pm2(host, "resurrect", check=False)
            done = self.reload(hosts)
        assert done.code == 0, done.out
        self.shaken.difference_update(hosts)

    def reload(self, hosts: tuple[str, ...]) -> Done:
        return self.site.fab("reload", "--allow-downtime", "--max-parallel", "100%", hosts=",".join(hosts))

    # ------------------------------------------------------------------ the comparison

    def check(self) -> list[str]:
        """List where status and the second reading differ, once two second readings around it agree."""
        found: list[str] = []
        for _ in range(TRIES):
            before = second.fleet(self.lab)
            status = self.site.fab("status", "--format", "json")
            if before != second.fleet(self.lab):
                time.sleep(1)
                continue
            found = self.differences(status.code, [json.loads(line) for line in status.out.splitlines() if line.startswith("{")], before)
            if not found:
                return []
            time.sleep(1)
        return found or ["the fleet never stood still"]

    def differences(self, code: int, said: list[dict[str, Any]], truth: dict[str, dict[str, Any]]) -> list[str]:
        hosts = {event["host"]: event for event in said if event["event"] == "host"}
        found = [f"{host}: {text}" for host, event in hosts.items() for text in self.apart(host, event, truth[host])]
        good = all(event["state"] == "ok" and not (event["run"] or {}).get("dead") for event in hosts.values())
        if (code == 0) != (good and not any(event["drift"] for event in said if event["event"] == "front")):
            found.append(f"exit {code}, but the hosts are {[event['state'] for event in hosts.values()]}")
        return found if len(hosts) == len(truth) else [*found, "a host is missing"]

    def apart(self, host: str, said: dict[str, Any], true: dict[str, Any]) -> list[str]:
        """Compare one host, field by field."""
        pairs = [("in rotation", said["rotation"] == "in", true["in"])]
        if host in self.gone:
            return [f"{what}: {one} is not {other}" for what, one, other in [*pairs, ("read", said["read"], False)] if one != other]
        if not said["read"]:
            return [f"was not read: {said['state']}"]
        answers = sorted({release for port in said["answers"] for release in port["releases"]})
        pairs += [
            ("link", (said["link"]["release"], said["link"]["state"] == "ok"), (true["link"], true["whole"])), ("runs", said["runs"], true["runs"]),
            ("well", said["well"], true["well"]), ("healthy", said["healthy"].split("/")[0], f"{true['well']}"), ("answers", answers, true["answers"]),
            ("daemon", bool(said["pm2"]["pid"]), true["daemon"]), ("pinned", said["pinned"], true["pinned"]),
            ("lock", (said["run"] or {}).get("run"), true["lock"]),
        ]
        if not said["trouble"] and true["daemon"]:
            pairs.append(("halted", sorted(item["pid"] for item in said["workers"] if item.get("halted")), true["halted"]))
        whole = self.whole(true)
        if host in self.shaken and said["state"] != "ok":
            whole = False  # PM2 has restarted a worker that died: status says so, for a while
        pairs.append(("ok", said["state"] == "ok", whole))
        return [f"{what}: status says {one}, it is {other} ({said['state']})" for what, one, other in pairs if one != other]

    @staticmethod
    def whole(true: dict[str, Any]) -> bool:
        return bool(
            true["whole"] and true["runs"] == {true["link"]: 2} and true["well"] == 2 and true["in"] and not true["pinned"]
            and true["answers"] == [true["link"]] and not true["silent"]
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    typed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        walk = Walk(Site(Lab.attach(typed.name), Path(folder)), typed.seed)
        walk.mend_all()
        wrong = 0
        print(f"seed {typed.seed}")
        for number in range(1, typed.steps + 1):
            did = walk.step()
            found = walk.check()
            wrong += bool(found)
            print(f"== {number:3} {did}: {'; '.join(found) or 'both say the same'}", flush=True)
        walk.mend_all()
        print(f"== {typed.steps} actions, {wrong} of them told wrongly")


if __name__ == "__main__":
    main()
