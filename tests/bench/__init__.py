"""What it costs: timed runs, each against what it has to wait for anyway."""
