"""Faces of the event stream."""
