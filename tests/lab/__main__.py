"""Bring the lab up, end it, or look at it: python -m tests.lab up|down|status."""

from __future__ import annotations

import argparse
import sys
import time

from . import system
from .fleet import DEFAULT_NAME, Lab, take_down
from .hosts import LabError


def main() -> int:
    """Do what the command line says; errors are one line, not a traceback."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, order, help_ in (("up", up, "start a fleet"), ("down", down, "end it"), ("status", status, "show it")):
        sub = verbs.add_parser(verb, help=help_)
        sub.add_argument("--name", default=DEFAULT_NAME)
        sub.set_defaults(order=order)
        if verb == "up":
            sub.add_argument("--hosts", type=int, default=3)
            sub.add_argument("--mode", choices=("namespace", "loopback"))
            sub.add_argument("--disk", help='size of each app root, such as "300m"')
    args = parser.parse_args()
    try:
        args.order(args)
    except (LabError, system.MissingPrograms) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; everything that was started has ended", file=sys.stderr)
        return 130
    return 0


def up(args: argparse.Namespace) -> None:
    """Start a lab and say how to use it."""
    begun = time.monotonic()
    lab = Lab.up(args.name, args.hosts, args.mode, disk=args.disk)
    print(f"up in {time.monotonic() - begun:.1f} s; try: ssh -F {lab.ssh_config} lab1 pm2 ls; the app: {lab.url}")


def down(args: argparse.Namespace) -> None:
    """End a lab, or clean up after a dead one."""
    print(f"lab '{args.name}' is down" if take_down(args.name) else f"lab '{args.name}' was not up")


def status(args: argparse.Namespace) -> None:
    """Show each host: address, processes, and what HAProxy thinks of it."""
    lab = Lab.attach(args.name)
    servers = lab.servers()
    print(f"lab '{lab.name}' ({lab.mode}) in {lab.dir}; through the balancer: {lab.url}")
    for name, host in lab.members.items():
        seen = servers[name]
        print(f"{name}  {host.address}:{host.ssh_port}  {host.url}  {len(lab.pids(name))} processes  {seen['status']}")


if __name__ == "__main__":
    sys.exit(main())
