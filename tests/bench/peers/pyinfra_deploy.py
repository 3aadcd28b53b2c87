"""Deploy as a pyinfra deploy, with its own operations where it has them; the environment names the JOB, a JSON with steps and release."""

import json
import os

from pyinfra import host
from pyinfra.operations import files, server

job = json.load(open(os.environ["BENCH_JOB"]))
root = f"{host.data.home}/{job['root']}"
release = f"{root}/releases/{job['release']}"
own = {
    "release": lambda: files.directory(name="release", path=release),
    "link file": lambda: files.link(name="link file", path=f"{release}/.env", target="../../shared/.env"),
    "link dir": lambda: files.link(name="link dir", path=f"{release}/uploads", target="../../shared/uploads"),
}
for step, command in job["steps"]:
    if step in own:
        own[step]()
    else:
        server.shell(name=step, commands=[command])
