"""`snnlab data`: packs, inspects, verifies, locates and deletes the recordings of an experiment."""

from __future__ import annotations

from snnlab.cli.options import figure_file, split_options
from snnlab.config.compose import compose_experiment
from snnlab.console import console_logging
from snnlab.errors import ConfigError, did_you_mean

USAGE = """usage: snnlab data ACTION [--figure FILE] [--all] [--config-dir DIR] [OVERRIDES]

  prepare   find or fetch the recordings, and pack them, as a training does at its start
  inspect   print number, duration, event density, classes, values, groups and windows of the recordings, and the events
            that binning drops; plot examples
  verify    read the packed copy and compare it with its checksums
  where     print path and size of the packed copy, and of older copies made before the recordings changed
  clean     delete the packed copy; --all: older copies too. The recordings stay

The overrides are those of snnlab train. prepare, inspect and verify also fetch missing recordings that can be fetched,
and print source and size; data.download=false fetches nothing.

  snnlab data inspect                                          the embedded digits
  snnlab data inspect data=nmnist data.root=FOLDER --figure nmnist.png
  snnlab data prepare data=folder data.root=FOLDER ...
  snnlab data clean --all data=nmnist data.root=FOLDER
"""
ACTIONS = ("prepare", "inspect", "verify", "where", "clean")


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    action, *rest = arguments
    if action not in ACTIONS:
        raise ConfigError("data", f"there is no action '{action}'", did_you_mean(action, ACTIONS), ACTIONS)
    options, overrides = split_options(f"data {action}", rest)
    figure = figure_file(options, (".png",))
    console_logging()
    experiment, _ = compose_experiment(overrides, options.get("--config-dir"))

    from snnlab.session import data_actions

    data_actions.run_action("clean_all" if "--all" in options else action, experiment, figure)
    return 0
