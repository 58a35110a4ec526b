"""`snnlab data`: the recordings of an experiment: packed, looked at, verified, found, deleted."""

from __future__ import annotations

from snnlab.cli.options import figure_file, split_options
from snnlab.config.compose import compose_once
from snnlab.console import console_logging
from snnlab.errors import ConfigError, did_you_mean

USAGE = """usage: snnlab data ACTION [--figure FILE] [--all] [--config-dir DIR] [OVERRIDES]

  prepare   find or fetch the recordings, and pack them, as a training does when it begins
  inspect   how many there are, how long, how dense, of which classes, values and groups, and in how many windows; what
            the binning leaves out; a picture
  verify    read the packed copy and compare it with its checksums
  where     where the packed copy is, and how large; and copies of the recordings as they were before a change
  clean     delete the packed copy; --all: those of before too. The recordings stay

The overrides are those of snnlab train. Where recordings are missing that can be fetched, prepare, inspect and verify
fetch them too, and say from where and how much it is; data.download=false fetches nothing.

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
    experiment, _ = compose_once(overrides, options.get("--config-dir"))

    from snnlab.session import data_actions

    data_actions.act("clean_all" if "--all" in options else action, experiment, figure)
    return 0
