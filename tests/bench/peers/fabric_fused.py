"""Deploy as one fused script per host on Fabric: fabric_fused.py JOB, a JSON with hosts, ssh_config and steps."""

import json
import sys

from fabric import Config, Connection, ThreadingGroup

job = json.load(open(sys.argv[1]))
config = Config(runtime_ssh_path=job["ssh_config"])
group = ThreadingGroup.from_connections([Connection(host, config=config) for host in job["hosts"]])
group.run(job["fused"], hide=True, in_stream=False)
group.close()
