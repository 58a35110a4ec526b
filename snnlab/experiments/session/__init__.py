"""Trials of searches and suites, and their published records: written, checked."""
