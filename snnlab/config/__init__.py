"""Composes overrides and YAML files into a checked `Experiment`."""
