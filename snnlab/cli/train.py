"""`snnlab train`: reads the arguments, composes the experiment, builds its objects, trains, prints the result.

Fast checks come first: those of the configuration, then those that need torch, then those that need Lightning. Other
files handle grids (`snnlab.cli.grid`), resuming and SLURM's requeued jobs (`snnlab.session.training`), and the
processes of torchrun and SLURM (`snnlab.session.rank`).
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from snnlab.cli.options import split_options
from snnlab.config.compose import compose_experiment, print_configuration
from snnlab.config.folders import config_folder, groups, user_folder
from snnlab.config.grids import split_launch
from snnlab.config.overrides import as_overrides, read_arguments, run_to_resume, split_config_file
from snnlab.config.recorded_run import compose_from_config
from snnlab.config.schema import Experiment
from snnlab.console import console_logging, log_unless_set_up
from snnlab.errors import NOT_WINDOWS, ConfigError
from snnlab.runs.run_folder import Result, print_result_and_folder
from snnlab.training.ranks import ranks_of_command

_log = logging.getLogger(__name__)


def train(*overrides: str | Mapping[str, Any], config_dir: str | Path | None = None, **settings: Any) -> Result:
    """Train as `snnlab train` does, and return the result.

    It logs a line per epoch to stderr, unless the program has set up logging itself.

        train("model=conv_lif", "neuron.tau_mem=10")
        train(model="conv_lif", neuron={"tau_mem": 10}, trainer={"max_epochs": 5}, seed=1)
        train({"model.layers.lif2.tau_mem": 5})
        train(resume="outputs/NAME/TIME_SEED")
        train("outputs/NAME/TIME_SEED/config.yaml", "optimizer.lr=0.02")

    Args:
        overrides: As on the command line, or mappings of settings to values; after a run's config.yaml they change it.
        config_dir: The user's folder of YAML files.
        settings: Files of groups and settings by their names; the settings within a group as a mapping.

    Raises:
        SnnlabError: for a mistake in the configuration or the data; no run folder is written.
        TypeError: for an argument that is neither an override nor a value.
    """
    started = time.perf_counter()
    if sys.platform == "win32":
        raise ConfigError("", NOT_WINDOWS)
    typed = as_overrides(overrides, settings, groups(config_folder(), user_folder(config_dir)), "snnlab.train")
    if rank_info := ranks_of_command(typed):
        raise ConfigError(
            "snnlab.train",
            f"{rank_info.launcher} is for the command line, -m snnlab train ...",
            "from Python trainer=ddp starts the processes of one machine itself",
        )
    log_unless_set_up()
    command = ("snnlab.train", *typed, *([] if config_dir is None else [f"config_dir={config_dir}"]))
    if resumed := run_to_resume(typed):
        result = _resume(*resumed, config_dir, started, command)
    else:
        result = _train(*_compose(*split_config_file(typed), config_dir), started, command)
    _log.info("%s", result.summary)
    return result


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    console_logging()
    if (rank_info := ranks_of_command(arguments)) is None:
        return _main(arguments, started)

    from snnlab.session import rank

    return rank.run_rank(rank_info, lambda: _main(arguments, started))


def _main(arguments: list[str], started: float) -> int:
    command = ("snnlab", "train", *arguments)
    if run_to_resume(arguments):
        options, overrides = split_options("train resume=RUN", arguments)
        resumed = run_to_resume(overrides)
        assert resumed is not None
        print_result_and_folder(_resume(*resumed, options.get("--config-dir"), started, command))
        return 0
    launch, rest = split_launch(arguments)
    config_file, rest = split_config_file(rest)
    parsed = read_arguments(rest)
    if parsed.flags:
        print_configuration(parsed.flags, parsed.overrides, parsed.config_dir)
        return 0
    if parsed.several:
        from snnlab.cli import grid

        return grid.run_grid(launch, parsed.overrides, parsed.config_dir, started, command)
    experiment, folder = _compose(config_file, parsed.overrides, parsed.config_dir)
    print_result_and_folder(_train(experiment, folder, started, command))
    return 0


def _compose(
    config_file: Path | None, overrides: Sequence[str], config_dir: str | Path | None
) -> tuple[Experiment, Path]:
    """Return an experiment, read from a run's config.yaml if one is given, and the folder of its new run."""
    return (
        compose_from_config(config_file, overrides, config_dir)
        if config_file
        else compose_experiment(overrides, config_dir)
    )


def _train(experiment: Experiment, folder: Path, started: float, command: Sequence[str]) -> Result:
    """Build the experiment's objects, train, test the chosen epoch, and write the record."""
    from snnlab.session import Session  # brings torch

    session = Session(replace(experiment, command=command), folder)
    session.check_without_lightning()
    return _import_training().run(session, started)


def _import_training():
    from snnlab.session import training  # brings Lightning

    return training


def _resume(
    run: Path, overrides: Sequence[str], config_dir: str | Path | None, started: float, command: Sequence[str]
) -> Result:
    return _import_training().resume(run, overrides, config_dir, started, command)
