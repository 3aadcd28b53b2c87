"""Pure text: what a host will run."""
