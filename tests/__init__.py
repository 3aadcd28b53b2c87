"""Tests; all are imported from the root of the checkout: tests.load, tests.lab.fleet."""
