"""The real code over hosts that live in memory: thousands of sequences of commands and faults."""
