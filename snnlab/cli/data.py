"""Fetch, pack, inspect, verify and delete recordings.

The overrides are those of snnlab train. prepare, inspect and verify also fetch missing recordings that can be fetched,
and print source and size; data.download=false fetches nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from snnlab.cli.command import ConfigDir, File, command
from snnlab.config.compose import compose_experiment
from snnlab.console import console_logging


@command("data prepare", section="data and files")
def prepare(*overrides: str, config_dir: ConfigDir = None) -> None:
    """Find or fetch the recordings, and pack them, as a training does at its start.

    Examples:
        snnlab data prepare data=folder data.root=FOLDER ...
    """
    _act("prepare", overrides, config_dir)


@command("data inspect")
def inspect(
    *overrides: str, figure: Annotated[str | None, "file", File((".png",))] = None, config_dir: ConfigDir = None
) -> None:
    """Print number, duration, event density, classes, values, groups and windows of recordings; plot examples.

    It also prints the events that binning drops.

    Args:
        figure: file of the examples

    Examples:
        snnlab data inspect                                          the embedded digits
        snnlab data inspect data=nmnist data.root=FOLDER --figure nmnist.png
    """
    _act("inspect", overrides, config_dir, figure)


@command("data verify")
def verify(*overrides: str, config_dir: ConfigDir = None) -> None:
    """Read the packed copy and compare it with its checksums."""
    _act("verify", overrides, config_dir)


@command("data where")
def where(*overrides: str, config_dir: ConfigDir = None) -> None:
    """Print path and size of the packed copy, and of older copies made before the recordings changed."""
    _act("where", overrides, config_dir)


@command("data clean")
def clean(*overrides: str, all_: bool = False, config_dir: ConfigDir = None) -> None:
    """Delete the packed copy; the recordings stay.

    Args:
        all_: older copies too

    Examples:
        snnlab data clean --all data=nmnist data.root=FOLDER
    """
    _act("clean_all" if all_ else "clean", overrides, config_dir)


def _act(action: str, overrides: Sequence[str], config_dir: str | None, figure: str | None = None) -> None:
    console_logging()
    experiment, _ = compose_experiment(overrides, config_dir)

    from snnlab.session import data_actions

    data_actions.run_action(action, experiment, figure)
