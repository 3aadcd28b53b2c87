"""Judge how commands ended against the fleet as it is, and bring a fleet to rest as its own advice says."""

from __future__ import annotations

from fabfile.errors import GaplessError
from fabfile.ownership import HARMLESS
from tests.model.seam import COMMIT, type_in
from tests.model.world import Command, World

DONE, FAILED, USAGE, HELD, UNFIT, UNSETTLED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
RELOADS = ("deploy", "reload", "rolling", "rollback", "resume", "abort")


def judge(world: World, command: Command) -> None:
    """Compare the exit code of a command that is over with the fleet."""
    if not command.over or command.dead:
        world.count("killed" if command.dead else "frozen")
        return
    error = command.main.error
    if error is not None and not isinstance(error, GaplessError):
        world.broken(f"{command.verb} ended with {error!r}")
    world.tell(f"  exit {command.code}: {command.text.splitlines()[0] if command.text else ''}")
    world.count(f"exit {command.code}: {command.verb.split()[0]}")
    _locks(world, command)
    if command.alone:
        _agrees(world, command)


def _names(world: World, command: Command) -> list[str]:
    selector = command.verb.split("--hosts ")[1].split()[0]
    return [host.name for host in world.targets(selector).hosts]


def _locks(world: World, command: Command) -> None:
    """Have it give back its locks, or say how to; one where nothing was in hand is taken over by the next run unasked."""
    for host in world.hosts.values():
        owner = host.lock.owner["run"] if host.lock and host.lock.owner else None
        if _never_began(command):
            continue
        if owner in command.runs and host.lock and host.lock.phase.split(" ")[0] not in HARMLESS and f"--id {owner}" not in command.text:
            world.broken(f"{host.name} is still locked by {owner}, and it does not say so: {command.text}")


def _never_began(command: Command) -> bool:
    """Say whether it was to take up another run, and ended in its claim: what that one left is still to be finished."""
    return command.rollout is not None and bool(command.rollout.resumes) and not command.rollout.facts


def _agrees(world: World, command: Command) -> None:
    word = command.verb.split()[0]
    if command.code == DONE and word in RELOADS:
        _all_good(world, command)
    if command.code == DONE and (word == "deploy" or (word == "resume" and command.rollout and command.rollout.options.aim == "deploy")):
        _all_new(world, command)
    if command.code in (USAGE, HELD, UNFIT) or (command.code == FAILED and word in RELOADS[:4]):
        _all_as_before(world, command)
    if command.code == FAILED and word in RELOADS:
        _all_good(world, command)
    if command.code in (UNSETTLED, INTERRUPTED):
        _named(world, command)


def _all_good(world: World, command: Command) -> None:
    """Have every host whole and in rotation; after a failure one that was neither before may be so still."""
    now = world.states()
    for name in _names(world, command):
        host = world.hosts[name]
        if command.code == FAILED and now[name] == command.before[name]:
            continue
        if host.runs() != ({host.current} - {None}) or not world.well(name):
            world.broken(f"exit {command.code}, but {name} runs {host.runs()} under {host.current}, well: {world.well(name)}")
        if world.out(name) and not (command.code == FAILED and command.before[name][3]):
            world.broken(f"exit {command.code}, but {name} is out of rotation")


def _all_new(world: World, command: Command) -> None:
    assert command.rollout is not None
    if not command.rollout.release.endswith(command.rollout.commit[:7]):
        world.broken(f"exit 0, but {command.rollout.release} is not of commit {command.rollout.commit[:7]}")
    for name in _names(world, command):
        if world.hosts[name].current != command.rollout.release:
            world.broken(f"exit 0, but {name} is on {world.hosts[name].current}, not {command.rollout.release}")


def _all_as_before(world: World, command: Command) -> None:
    now = world.states()
    for name in _names(world, command):
        current, runs, well, _ = command.before[name]
        if well and runs == {current} - {None} and (now[name][0], now[name][1]) != (current, runs):
            world.broken(f"exit {command.code} says that {name} is as before, but it went from {current} to {now[name][0]}")


def _named(world: World, command: Command) -> None:
    """Have each host that it touched and that is not well, or is out because of it, named in the report."""
    said = command.text + "\n".join(world.story[command.began:])
    touched = command.rollout.waves.reloaded if command.rollout else {}
    for name in _names(world, command):
        if ((name in touched and not world.well(name)) or (world.out(name) and not command.before[name][3])) and name not in said:
            world.broken(f"exit {command.code} does not name {name}")


# ---------------------------------------------------------------- rest


def come_to_rest(world: World, way: str) -> None:
    """Take all faults away and do as the commands say, until a plain deploy ends well; the fleet is then as any other."""
    calm(world)
    for _ in range(8):
        done = type_in(world, "deploy", ref=COMMIT.format(0xFFFFFF))
        judge(world, done)
        if done.code == DONE:
            break
        follow_advice(world, done, way)
    else:
        world.broken("it does not come to rest")
    at_rest(world)


def calm(world: World) -> None:
    """End every fault, let frozen commands go on, and wait for what works by itself."""
    world.tell("all faults gone")
    for place in (*world.hosts.values(), *world.fronts.values()):
        place.away_until = place.ahead = 0.0
    for host in world.hosts.values():
        host.build_breaks = host.driver_dies = host.going_back_fails = host.migration_fails = host.migration_dies = False
    for front in world.fronts.values():
        front.refuses.clear()
        front.hangs.clear()
        for server in front.servers.values():
            server.state = "ready" if server.state == "maint" else server.state
    for command in world.living:
        command.faults.clear()
        command.thaw()
    world.go_on()
    world.advance(240)


def follow_advice(world: World, ended: Command, way: str) -> None:
    """Type what a command that did not end well said to type."""
    if "fab migrate --resolved" in ended.text:
        resolved = type_in(world, "migrate", resolved="done")
        judge(world, resolved)
    elif f"Next:  fab {way}" in ended.text or "Next:  fab resume" in ended.text:
        taken = type_in(world, way)
        judge(world, taken)
        if taken.code == USAGE:
            apart(world, taken, way)
        elif taken.code != DONE and "fab migrate --resolved" in taken.text:
            follow_advice(world, taken, way)
    elif "fab unlock --hosts all --id r" in ended.text:  # a clock was set back: the dead one looks alive
        judge(world, type_in(world, "unlock", id=ended.text.rsplit("--id ", 1)[1].split()[0]))
    else:
        world.broken(f"nothing helps here: exit {ended.code}: {ended.text}")


def apart(world: World, ended: Command, way: str) -> None:
    """Take up several dead runs, each with its own hosts."""
    if "runs were left unfinished" not in ended.text:
        world.broken(f"nothing helps here: exit {ended.code}: {ended.text}")
    for group in world.groups:
        judge(world, type_in(world, way, hosts=group.name))


def at_rest(world: World) -> None:
    """Have every host on the one release, well, in rotation, unlocked, and have status say so."""
    for name, host in world.hosts.items():
        if host.lock is not None or host.replacing:
            world.broken(f"at rest {name} is still locked")
        if world.out(name) or (host.runs(), len(host.workers)) != ({host.current}, 2):
            world.broken(f"at rest {name} runs {host.runs()} under {host.current}, out: {world.out(name)}")
    if len({host.current for host in world.hosts.values()}) != 1:
        world.broken("at rest the hosts are on several releases")
    status = type_in(world, "status")
    judge(world, status)
    if status.code != DONE:
        world.broken(f"at rest status says: {status.text}")
