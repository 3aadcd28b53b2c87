"""One run: its phases, its locks, its ends, and what a dead one left."""
