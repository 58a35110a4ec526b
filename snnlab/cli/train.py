"""`snnlab train`: reads the arguments, composes the experiment, builds its objects, trains, prints the result.

Fast checks come first: those of the configuration, then those that need torch, then those that need Lightning. A
feature trains grids; `snnlab.session.training` handles resuming, SLURM's requeued jobs and several processes.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from snnlab.cli.command import Also, Call, ConfigDir, command
from snnlab.config.compose import compose_experiment, print_configuration
from snnlab.config.folders import config_folder, groups, user_folder
from snnlab.config.grids import split_launch
from snnlab.config.overrides import as_overrides, run_to_resume, split_config_file
from snnlab.config.recorded_run import compose_from_config
from snnlab.config.schema import Experiment
from snnlab.console import console_logging, log_unless_set_up, silence
from snnlab.errors import NOT_WINDOWS, ConfigError
from snnlab.features import provided
from snnlab.runs.run_folder import Result, print_result_and_folder
from snnlab.spec.field import Excludes

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
    """
    started = time.perf_counter()
    if sys.platform == "win32":
        raise ConfigError("", NOT_WINDOWS)
    typed = as_overrides(overrides, settings, groups(config_folder(), user_folder(config_dir)), "snnlab.train")
    log_unless_set_up()
    command = ("snnlab.train", *typed, *([] if config_dir is None else [f"config_dir={config_dir}"]))
    if resumed := run_to_resume(typed):
        result = _resume(*resumed, config_dir, started, command)
    else:
        result = _train(*_compose(*split_config_file(typed), config_dir), started, command)
    _log.info("%s", result.summary)
    return result


@command(
    "train",
    section="train and compare",
    synonyms=("fit", "run"),
    instead={
        "--config": "--config-dir DIR names a folder of YAML files, experiment=NAME one of DIR/experiment",
        "--config-name": "experiment=NAME chooses one of DIR/experiment",
        "--config-path": "--config-dir DIR names a folder of YAML files",
        "--dry-run": "snnlab show builds the network and trains nothing, --cfg job prints the configuration",
        "--experimental-rerun": "snnlab reproduce RUN trains again",
        "--version": "snnlab --version",
        "--resume": "write resume=RUN",
        "--ckpt_path": "write resume=RUN",
        "--info": "--cfg all prints the configuration, with the chosen files",
    },
    shows_settings=True,
)
def train_command(
    *overrides: str,
    multirun: Annotated[bool, Also("-m")] = False,
    cfg: Annotated[Literal["job", "hydra", "all"] | None, Also("-c"), Excludes("multirun")] = None,
    package: Annotated[str | None, "key", Also("-p")] = None,
    resolve: bool = False,
    config_dir: Annotated[ConfigDir, Also("-cd")] = None,
    call: Call,
) -> int:
    """Train and test a network that a YAML file describes.

    The tested epoch is chosen on validation data. The last line on stdout is the folder of the run. Exit status: 0, or
    2 for a mistake in the configuration or the data.

    Args:
        overrides: settings, KEY=VALUE or GROUP=FILE; a run's config.yaml first trains its experiment again
        multirun: a run for each combination of values, KEY=A,B
        cfg: print the configuration, train nothing
        package: print only this part of it
        resolve: print it with references resolved

    Examples:
        snnlab train                                              the embedded default
        snnlab train model=conv_lif data=nmnist                   another file of a group
        snnlab train neuron.tau_mem=10 model.layers.lif2.tau_mem=5 trainer.max_epochs=5
        snnlab train '+model.layers.norm1={type: batch_norm, after: conv1}'   add a layer
        snnlab train '~model.layers.pool1'                        drop one
        snnlab train -m seed=0,1,2                                several runs
        snnlab train -m data.folds=5                              cross-validation
        snnlab train resume=outputs/NAME/TIME_SEED                go on with a run that was killed or interrupted
        snnlab train outputs/NAME/TIME_SEED/config.yaml seed=1    train a run's experiment again, in a new folder
        snnlab train --cfg job                                    print the whole configuration, train nothing
        snnlab train --config-dir mine model=my_net               with YAML files of your own
    """
    console_logging()
    if not cfg and (package or resolve):
        raise ConfigError(f"train: {'--package' if package else '--resolve'}", "is for --cfg job")
    if cfg:
        config_file, rest = split_config_file(overrides)
        if config_file:
            raise ConfigError("train: --cfg", f"{config_file} is composed already", "leave it out")
        print_configuration(cfg, package, rest, config_dir, resolve=resolve)
        return 0
    ranks = ["RANK", "LOCAL_RANK"]
    if "trainer=slurm" in overrides:
        if "SLURM_PROCID" not in os.environ:
            raise ConfigError("trainer", "slurm needs tasks that srun starts", "on one machine use trainer=ddp")
        ranks.append("SLURM_PROCID")
    if any(int(os.environ.get(name, "0")) for name in ranks):
        silence()
    return _train_from_words(overrides, config_dir, multirun, call)


def _train_from_words(words: Sequence[str], config_dir: str | None, several: bool, call: Call) -> int:
    typed = ("snnlab", "train", *call.words)
    if resumed := run_to_resume(words):
        if several:
            raise ConfigError("train resume=RUN: -m", "continues one run", "leave it out")
        print_result_and_folder(_resume(*resumed, config_dir, call.started, typed))
        return 0
    launch, rest = split_launch(words, several=several)
    config_file, rest = split_config_file(rest)
    if config_file and several:
        raise ConfigError("train: -m", f"{config_file} is one run", "leave it out")
    if several:
        return provided("train -m")(launch, rest, config_dir, call.started, typed)
    print_result_and_folder(_train(*_compose(config_file, rest, config_dir), call.started, typed))
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
