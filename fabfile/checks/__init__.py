"""Judge what was read of hosts, balancers and this machine: facts in, verdicts out. Pure; nothing here contacts anybody."""
