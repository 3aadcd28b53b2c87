"""hosts.yaml: what it may say, and the values that it stands for."""
