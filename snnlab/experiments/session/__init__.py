"""Trials of searches and suites, and the check of published suites."""
