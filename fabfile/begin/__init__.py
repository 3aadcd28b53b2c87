"""The first hosts.yaml of an app: what can be found out, what must be asked, and the file."""
