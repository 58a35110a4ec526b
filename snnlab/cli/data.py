"""Fetch, pack, inspect, verify and delete recordings; look into one file.

The overrides are those of snnlab train. prepare, inspect and verify also fetch missing recordings that can be fetched,
and print source and size; data.download=false fetches nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated

from snnlab.cli.command import AS_RECORDED, ConfigDir, File, FileReading, command
from snnlab.config.compose import compose_experiment
from snnlab.console import console_logging
from snnlab.errors import ConfigError


@command("data prepare", section="data and files")
def prepare(*overrides: str, config_dir: ConfigDir = None) -> None:
    """Find or fetch the recordings, and pack them, as a training does at its start.

    Examples:
        snnlab data prepare data=folder data.root=FOLDER ...
    """
    _act("prepare", overrides, config_dir)


@command("data inspect")
def inspect(
    file: Annotated[str | None, "file"] = None,
    *overrides: str,
    figure: Annotated[str | None, "file", File((".png",))] = None,
    reading: FileReading = AS_RECORDED,
    config_dir: ConfigDir = None,
) -> None:
    """Print number, duration, event density, classes, values, groups and windows of recordings; plot examples.

    It also prints the events that binning drops. Of one FILE it prints the format, the camera's size, duration, number
    of events and what is wrong with them, in memory that does not grow with a camera's file; a picture of its first
    million events only with --figure.

    Args:
        file: a file of events, in place of a dataset
        figure: file of the examples

    Examples:
        snnlab data inspect                                          the embedded digits
        snnlab data inspect data=nmnist data.root=FOLDER --figure nmnist.png
        snnlab data inspect recording.aedat4 --figure recording.png
    """
    if file is not None and (Path(file).suffix or Path(file).is_file()):
        if overrides:
            raise ConfigError(overrides[0], f"is a setting of a dataset, and {file} is one file", "leave it out")
        _actions().inspect_file(Path(file).expanduser(), reading.given, figure)
        return
    if reading.given:
        hint = "settings of a dataset say how it is read"
        raise ConfigError(next(iter(reading.given)), "is for one file of events", hint)
    words = overrides if file is None else (file, *overrides)  # no file: composing says what the word may be
    _act("inspect", words, config_dir, figure)


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
    _actions().run_action(action, experiment, figure)


def _actions() -> ModuleType:
    from snnlab.session import data_actions  # late: a mistake in the configuration needs no torch

    return data_actions
