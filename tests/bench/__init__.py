"""Measure what a deploy costs beside the same work done by hand and by other tools: python -m tests.bench."""
