"""Make the parts of a lab: directory, repository, keys, configuration, and a running init per host."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

from . import cache, egress, system, texts
from .hosts import BALANCER, Host, LabError
from .loopback import Loopback
from .namespaces import Namespaces

CHECKOUT = Path(__file__).resolve().parents[2]
SUBNETS = 250
Ground = Namespaces | Loopback


def lab_dir(name: str) -> Path:
    """Return a lab's directory; it is short, since unix socket paths end at 107 bytes."""
    return Path(f"/tmp/gapless-{name}")


def ground_for(mode: str, name: str, number_: int) -> Ground:
    """Return the ground for a mode."""
    grounds: dict[str, type[Ground]] = {"namespace": Namespaces, "loopback": Loopback}
    if mode not in grounds:
        raise LabError(f"mode {mode!r}: it is one of {', '.join(grounds)}")
    return grounds[mode](name, number_)


def place(name: str, mode: str, count: int) -> tuple[Ground, list[Host]]:
    """Choose where the hosts stand; the balancer comes first."""
    folder = lab_dir(name)
    ground = ground_for(mode, name, free_number(name, mode))
    names = [BALANCER, *(f"lab{index}" for index in range(1, count + 1))]
    return ground, [ground.host(each, index, folder / each) for index, each in enumerate(names)]


def free_number(name: str, mode: str) -> int:
    """Choose the subnet (or the ports) by the name, so that a lab comes back where it was."""
    first = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    kind = Namespaces if mode == "namespace" else Loopback
    for step in range(SUBNETS):
        candidate = (first + step) % SUBNETS + 1
        if kind.free(candidate):
            return candidate
    raise LabError("every subnet of the lab is taken")


def make_repo(dest: Path) -> None:
    """Build the app's repository and fetch what its releases depend on."""
    try:
        from .repo import build_repo
    except ModuleNotFoundError as missing:
        if missing.name != f"{__package__}.repo":
            raise
        print("lab: tests/lab/repo.py is not there; the lab has no app", flush=True)
        return
    build_repo(dest)
    cache.warm(dest)


def write_files(folder: Path, hosts: list[Host], gateway: str | None) -> None:
    """Write keys and configuration of all hosts."""
    for host in hosts:
        for part in ("home/shop", "home/db"):
            (host.folder / part).mkdir(parents=True)
    egress.write(folder, [host.folder / "home" for host in hosts], gateway)
    (folder / "db").mkdir()
    keygen(folder / "id_ed25519")
    user = pwd.getpwuid(os.getuid()).pw_name
    entries = [(host.name, host.address, host.ssh_port) for host in hosts]
    (folder / "ssh_config").write_text(texts.ssh_config(entries, user=user, folder=folder))
    for host in hosts:
        write_host_files(host, folder)
    known = [texts.known_host(host.address, host.ssh_port, (host.folder / "hostkey.pub").read_text()) for host in hosts]
    (folder / "known_hosts").write_text("".join(known))
    servers = [(host.name, host.address, host.http_port) for host in hosts[1:]]
    bind = f"{hosts[0].address}:{hosts[0].http_port}"
    (hosts[0].folder / "home/haproxy").mkdir()
    text = texts.haproxy_config(bind=bind, socket=hosts[0].socket, servers=servers)
    (hosts[0].folder / "haproxy.cfg").write_text(text)


def write_host_files(host: Host, folder: Path) -> None:
    """Write what one host's sshd needs."""
    (host.folder / "home/repo.git").symlink_to(folder / "repo.git")
    keygen(host.folder / "hostkey")
    shutil.copy(folder / "id_ed25519.pub", host.folder / "authorized_keys")
    config = texts.sshd_config(address=host.address, port=host.ssh_port, files=host.folder, env=host_env(host))
    (host.folder / "sshd_config").write_text(config)


def spawn(ground: Ground, host: Host, hosts: list[Host], disk: str | None, fds: tuple[int, int]) -> int:
    """Start a host's init and return its pid; it inherits (owner, lock) and so keeps the lab's name taken."""
    services = {"sshd": [system.path_of("sshd"), "-D", "-e", "-f", str(host.folder / "sshd_config")]}
    if host.name == BALANCER:
        services["haproxy"] = [system.path_of("haproxy"), "-db", "-f", str(host.folder / "haproxy.cfg")]
    inside = ground.mode == "namespace"
    spec = {
        "services": services,
        "mounts": mounts(host, hosts) if inside else [],
        "tmpfs": [[disk, str(host.root)]] if disk and host.name != BALANCER else [],
        "hostname": host.name if inside else None,
        "env": host_env(host),
        "log": str(host.folder / "log"),
        "owner_fd": fds[0],
    }
    host.spec.write_text(json.dumps(spec, indent=1))
    return ground.init_pid(start_init(ground.spawn_prefix(host), host.spec, fds))


def spawn_relay(folder: Path, owner: int) -> int:
    """Start the relay as if it were a host, but on this machine's own network and without a hold on the lab's name."""
    path = folder / "relay/init.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "owner_fd": owner}, indent=1))
    return start_init([], path, (owner,))


def start_init(prefix: list[str], spec: Path, fds: tuple[int, ...]) -> int:
    """Start init with a spec that lies on disk; return the pid of what was spawned."""
    command = [*prefix, sys.executable, "-I", str(Path(__file__).with_name("init.py")), str(spec)]
    with open(spec.with_name("log"), "ab") as log:
        return subprocess.Popen(
            command,
            env=json.loads(spec.read_text())["env"],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=fds,
        ).pid


def mounts(host: Host, hosts: list[Host]) -> list[tuple[str, str]]:
    """Say what a namespace host sees elsewhere than the machine does: its /srv, its users, its neighbours."""
    (host.folder / "passwd").write_text(passwd(str(host.home)))
    (host.folder / "shadow").write_text("root:*:19000::::::\nsshd:*:19000::::::\n")
    names = "".join(f"{each.address} {each.name}\n" for each in hosts)
    (host.folder / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{names}")
    pairs = [(host.folder / "home", host.home), (host.folder.parent / "db", host.home / "db")]
    pairs += [(host.folder / name, Path("/etc") / name) for name in ("passwd", "shadow", "hosts")]
    return [(str(source), str(target)) for source, target in pairs]


def passwd(home: str) -> str:
    """Copy the machine's users, with root at home in the host's /srv."""
    lines = [line.split(":") for line in Path("/etc/passwd").read_text().splitlines()]
    return "".join(":".join([*line[:5], home, "/bin/sh"] if line[0] == "root" else line) + "\n" for line in lines)


def host_env(host: Host) -> dict[str, str]:
    """Make the environment of a host's sessions: nothing of ours leaks in, npm finds the cache and the way out."""
    programs = [str(cache.pm2_bin())]
    programs += [str(Path(system.path_of(name)).parent) for name in ("node", "npm", "git")]
    programs += ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    return {
        "PATH": os.pathsep.join(dict.fromkeys(programs)),
        "HOME": str(host.home),
        "PM2_HOME": str(host.home / ".pm2"),
        "LANG": "C.UTF-8",
        "GAPLESS_LAB": str(host.folder),
        "npm_config_cache": str(cache.npm_cache()),
        **egress.read(host.folder.parent),
        "npm_config_audit": "false",
        "npm_config_fund": "false",
        "npm_config_update_notifier": "false",
        # Prisma's client and migrations run without these two programs, but it would try to download them.
        "PRISMA_QUERY_ENGINE_LIBRARY": "/bin/true",
        "PRISMA_SCHEMA_ENGINE_BINARY": "/bin/true",
        "CHECKPOINT_DISABLE": "1",
    }


def env_file(host: Host, mode: str) -> str:
    """Write the shared/.env that an operator would have put there."""
    database = host.home / "db/shop.db" if mode == "namespace" else host.folder.parent / "db/shop.db"
    values = {
        "PORT": str(host.http_port),
        "DATABASE_URL": f"file:{database}",
        "GREETING": "hello",
        "HOST_NAME": host.name,
    }
    return texts.env_file(values)


def write_env(path: Path, text: str) -> None:
    """Write a file of secrets so that it is never readable by others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)


def keygen(path: Path) -> None:
    """Make an ed25519 key pair without a passphrase."""
    command = [system.path_of("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=30)


def point_checkout_at(folder: Path) -> None:
    """Make `.lab` in the checkout lead to the default lab."""
    link = CHECKOUT / ".lab"
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        raise LabError(f"{link} is in the way; move it")
    link.symlink_to(folder)
