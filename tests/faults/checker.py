"""
Judge one case by its history: a pure function per promise, each giving the ways in which it was broken.

No clock, no fleet: what is not in the history did not happen. A case may be excused from a promise only by naming it and saying
why, in the record that opens the history, and the table of docs/faults.md shows the excuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise
from typing import Any

from tests.faults.history import Record, told

DONE, FAILED, USAGE, HELD, UNFIT, UNSETTLED, KILLED = 0, 1, 2, 3, 4, 5, -9
INTERRUPTED = (129, 130, 143)
AFTERSHOCK = 3.0  # seconds after a fault in which a client may still see what it did


class Story:
    """A history with names for its parts: the case, the command under fault (1), the same command again (2), the looks."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records

    def all(self, kind: str) -> list[Record]:
        return [record for record in self.records if record["kind"] == kind]

    def one(self, kind: str, **fields: Any) -> Record | None:
        return next((record for record in self.all(kind) if all(record.get(key) == value for key, value in fields.items())), None)

    @cached_property
    def case(self) -> Record:
        return self.all("case")[0]

    @cached_property
    def hosts(self) -> list[str]:
        return list(self.case["hosts"])

    @cached_property
    def code(self) -> int | None:
        return self.exit_of(1)

    def exit_of(self, number: int) -> int | None:
        found = self.one("exit", number=number)
        return found["code"] if found else None

    @cached_property
    def text(self) -> str:
        return told(self.records, 1)

    @cached_property
    def said_last(self) -> str:
        """Give what was printed after the last line of the clock: the report."""
        lines = self.text.splitlines()
        clocked = [number for number, line in enumerate(lines) if line[:2].isdigit() and line[2:3] == ":"]
        return "\n".join(lines[clocked[-1] + 1 if clocked else 0:])

    def look(self, when: str) -> Record:
        return self.one("look", when=when) or {"hosts": {}, "pool": {}, "status": {"code": None, "text": ""}, "strangers": {}}

    @cached_property
    def excuses(self) -> dict[str, str]:
        return dict(self.case.get("excused", {}))

    @cached_property
    def fault(self) -> tuple[float, float]:
        """Give begin and end of the faults together."""
        begun, ended = self.all("fault"), self.all("healed")
        return (begun[0]["at"] if begun else float("inf"), ended[-1]["at"] if ended else float("inf"))

    def up_to_second(self, kind: str) -> list[Record]:
        """Give the samples of the first command's time: the second one has no fault and is no case of its own."""
        second = self.one("command", number=2)
        return [record for record in self.all(kind) if second is None or record["at"] < second["at"]]

    @cached_property
    def left_at_once(self) -> bool:
        """Say whether it ended with its locks in place, so that the next command takes it up: killed, or asked to leave at once."""
        return self.code == KILLED or (self.code in INTERRUPTED and "left at once" in self.said_last)

    def status_says(self, host: str, *words: str) -> bool:
        row = next((line for line in self.look("after")["status"]["text"].splitlines() if line.split()[:1] == [host]), "")
        return any(word in row for word in words)


# ---------------------------------------------------------------- the promises


def traffic(story: Story) -> Iterator[str]:
    """Lose no request of any client; where the fault itself must cost some, only while it acts."""
    clients = story.one("clients")
    if clients is None or not clients["sent"]:
        yield "no client was there to see"
        return
    losses = clients["lost"]
    if "traffic" in story.excuses:
        begun, ended = story.fault
        losses = [loss for loss in losses if not begun - 0.5 <= loss["at"] <= ended + AFTERSHOCK]
    if losses:
        classes = ", ".join(sorted({loss["class"] for loss in losses}))
        yield f"{len(losses)} of {clients['sent']} requests were lost ({classes})"


def capacity(story: Story) -> Iterator[str]:
    """Never drain more hosts at once than the plan allows."""
    most = story.case["width"]
    for sample in story.up_to_second("pool"):
        out = sorted(host for host, status in (sample["value"] or {}).items() if status.startswith(("DRAIN", "MAINT")))
        if len(out) > most:
            yield f"{', '.join(out)} were out of rotation together at {sample['at']}; at most {most} may be"
            return


def rotation(story: Story) -> Iterator[str]:
    """Leave every host in rotation, or name it as out in the report and in status."""
    before, after = story.look("before"), story.look("after")
    for host in story.hosts:
        status = after["pool"].get(host, "unknown")
        if status.startswith("UP") or before["hosts"][host]["is"] == "absent":
            continue
        if not story.status_says(host, "OUT", "DOWN", "?"):
            yield f"{host} is {status} at the balancer, and status does not say so"
        if story.code != KILLED and not named_out(story, host):
            yield f"{host} is {status} at the balancer, and the report does not say so"


def named_out(story: Story, host: str) -> bool:
    return any(host in line and ("OUT OF ROTATION" in line or "UNKNOWN" in line) for line in story.said_last.splitlines())


def link(story: Story) -> Iterator[str]:
    """Have `current` lead to a complete release at every instant; a host that had none before may be without one."""
    before = story.look("before")["hosts"]
    for host in story.hosts:
        fine = {"complete", before[host]["is"]} & {"complete", "absent"}
        wrong = [(sample["at"], seen) for sample in story.all("links") if (seen := (sample["value"] or {}).get(host)) and seen["is"] not in fine]
        if wrong:
            at, seen = wrong[0]
            yield f"{host}: current is {seen['is']} ({seen['release']}) at {at}, and in {len(wrong)} samples in all"


def truth(story: Story) -> Iterator[str]:
    """Run what is linked, or have status say that it is not so; let the exit code agree with what is there."""
    before, after = story.look("before"), story.look("after")
    for host, now in after["hosts"].items():
        if set(now["runs"]) != ({now["release"]} - {None}) and story.status_says(host, " ok"):
            yield f"{host} runs {sorted(set(now['runs']))} under a link to {now['release']}, and status calls it ok"
    yield from code_against_fleet(story, before, after)
    if story.code in (DONE, FAILED, HELD, UNFIT, *INTERRUPTED) and not story.left_at_once and after["status"]["code"] != 0:
        yield f"exit {story.code} says that the fleet is safe, but status exits {after['status']['code']}"


def code_against_fleet(story: Story, before: Record, after: Record) -> Iterator[str]:
    """Compare each host's release with what the exit code claims."""
    target = story.case.get("target") or next((line.split("build: ")[1] for line in story.text.splitlines() if "── build: " in line), None)
    target = target or next((each["what"] for each in story.all("event") if each.get("phase") == "build" and each.get("event") == "phase"), None)
    for host in story.hosts:
        was, now = before["hosts"][host]["release"], after["hosts"][host]["release"]
        if story.code == DONE and target and now != target:
            yield f"exit 0, but {host} is on {now}, not {target}"
        if story.code in (FAILED, USAGE, HELD, UNFIT) and now != was:
            yield f"exit {story.code} says that {host} is as before, but it went from {was} to {now}"


def lock(story: Story) -> Iterator[str]:
    """Leave every lock free; one that had to stay is held by a named run, and named in the report."""
    for host, now in story.look("after")["hosts"].items():
        if now["lock"] is None:
            continue
        if now["lock"] == "nobody named":
            yield f"{host} is locked by nobody that could be named"
        elif not story.left_at_once and f"--id {now['lock']}" not in story.said_last:
            yield f"{host} is still locked by {now['lock']}, and the report does not say how to unlock it"


def converge(story: Story) -> Iterator[str]:
    """Have the same command, typed again when the fault is gone, end well everywhere."""
    code = story.exit_of(2)
    if code != DONE:
        yield f"the same command again, without the fault, exits {code}"
        return
    again = story.look("again")
    hosts = {host: again["hosts"][host] for host in story.hosts}
    if len({now["release"] for now in hosts.values()}) != 1:
        yield f"after the same command again the hosts are on {sorted({str(now['release']) for now in hosts.values()})}"
    for host, now in hosts.items():
        if set(now["runs"]) != {now["release"]} or now["lock"] or not again["pool"].get(host, "").startswith("UP"):
            yield f"after the same command again {host} is {now}, {again['pool'].get(host)} at the balancer"
    if again["status"]["code"] != 0:
        yield f"after the same command again status exits {again['status']['code']}"


def orphans(story: Story) -> Iterator[str]:
    """Leave no process of ours on a host ten seconds after the end, but for the app."""
    for host, commands in story.look("after")["strangers"].items():
        yield f"{host} still runs: {'; '.join(commands)}"


def time_bound(story: Story) -> Iterator[str]:
    """End within what the case allows, whatever breaks."""
    done = story.one("exit", number=1)
    if done is None:
        yield "it never ended"
    elif done["seconds"] > story.case["limit"]:
        yield f"it took {done['seconds']:.0f} s; {story.case['limit']} s are allowed"


def explain(story: Story) -> Iterator[str]:
    """Tell, on any bad end: which host, in which phase, why, what it is now, and what to type next."""
    report = story.said_last
    if story.code in (FAILED, UNSETTLED):
        for host in story.hosts:
            if host not in report:
                yield f"the report does not mention {host}"
        if not any(f"in {phase}" in report for phase in ("build", "migrate", "reload", "claim")):
            yield "the report names no phase"
        if "Next:" not in report:
            yield "the report names no next command"
    if story.code == UNFIT and not ("nothing was touched" in report and any(host in report for host in [*story.hosts, "lablb"])):
        yield "the report does not say which host is unfit, and that nothing was touched"
    if story.code in INTERRUPTED and "interrupted" not in report:
        yield "the report does not say that it was interrupted"
    if story.code in INTERRUPTED and story.left_at_once and "Next:  fab resume" not in report:
        yield "the report does not say how to take up what it left"


def no_traceback(story: Story) -> Iterator[str]:
    """Show nobody a traceback."""
    if any("Traceback (most recent call last)" in record["line"] for record in story.all("said")):
        yield "a traceback was printed"


def known_code(story: Story) -> Iterator[str]:
    """End with a documented exit code, and with one that the case expects."""
    expected = story.case["codes"]
    if story.code not in expected:
        yield f"exit {story.code}; expected {' or '.join(map(str, expected))}"


PROMISES: dict[str, Callable[[Story], Iterator[str]]] = {
    "traffic": traffic, "capacity": capacity, "rotation": rotation, "link": link, "truth": truth, "lock": lock, "converge": converge,
    "no orphans": orphans, "time": time_bound, "explain": explain, "no traceback": no_traceback, "exit code": known_code,
}
EXCUSABLE = {"traffic"}


def judge(records: list[Record]) -> list[str]:
    """Return every broken promise of a case."""
    story = Story(records)
    refused = [f"{name} can't be excused" for name in story.excuses if name not in EXCUSABLE]
    return refused + [f"{name}: {text}" for name, promise in PROMISES.items() for text in promise(story)]


# ---------------------------------------------------------------- measures


def seconds_to_safety(records: list[Record]) -> float | None:
    """Give the seconds from the fault until no link moved and nobody was out any more, on the hosts it struck; None: one stayed out."""
    story = Story(records)
    begun = story.fault[0]
    if begun == float("inf"):
        return 0.0
    struck = story.case["struck"]
    pools, places = story.up_to_second("pool"), story.up_to_second("links")
    unsafe = [then["at"] for now, then in pairs(pools) if not all_up(now, struck)]
    unsafe += [then["at"] for now, then in pairs(places) if of(now, struck) != of(then, struck)]
    if pools and not all_up(pools[-1], struck):
        return None
    return round(max([begun, *unsafe]) - begun, 1)


def pairs(records: list[Record]) -> list[tuple[Record, Record]]:
    return list(pairwise(records))


def of(sample: Record, hosts: list[str]) -> list[Any]:
    return [(sample["value"] or {}).get(host) for host in hosts]


def all_up(sample: Record, hosts: list[str]) -> bool:
    return all((status or "").startswith("UP") for status in of(sample, hosts))
