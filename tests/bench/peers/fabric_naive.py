"""Deploy step by step, all hosts at each step, as most fabfiles do: fabric_naive.py JOB, a JSON with hosts, ssh_config and steps."""

import json
import sys

from fabric import Config, Connection, ThreadingGroup

job = json.load(open(sys.argv[1]))
config = Config(runtime_ssh_path=job["ssh_config"])
group = ThreadingGroup.from_connections([Connection(host, config=config) for host in job["hosts"]])
for _, command in job["steps"]:
    group.run(command, hide=True, in_stream=False)
group.close()
