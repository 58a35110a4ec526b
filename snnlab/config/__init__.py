"""From words and YAML files to a checked `Experiment`."""
