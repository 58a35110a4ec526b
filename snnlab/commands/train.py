"""`snnlab train`: from overrides to a trained network and its record.

`run` reads straight down. What only looks at the configuration comes first, then what needs heavy imports, then
what takes time; the run's folder is written last before the training.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnlab.commands.processes.outside import outside
from snnlab.commands.requeueing import begun_before, remember, requeue
from snnlab.commands.resume import resume, run_to_resume
from snnlab.config.launch import split_launch
from snnlab.errors import NOT_WINDOWS, ConfigError, Interrupted, RecordError

if TYPE_CHECKING:
    from snnlab.config.schema import Experiment
    from snnlab.data.module import EventDataModule
    from snnlab.nn import BuiltNetwork
    from snnlab.record.run_folder import Result
    from snnlab.training.module import SpikingModule

_log = logging.getLogger(__name__)


def train(*overrides: str | Mapping[str, Any], config_dir: str | Path | None = None, **settings: Any) -> Result:
    """Train as `snnlab train` does, and return the result.

    What it does is said on stderr, a line an epoch, unless the program has set up logging for itself.

        train("model=conv_lif", "neuron.tau_mem=10")
        train(model="conv_lif", neuron={"tau_mem": 10}, trainer={"max_epochs": 5}, seed=1)
        train({"model.layers.lif2.tau_mem": 5})
        train(resume="outputs/NAME/TIME_SEED")

    Args:
        overrides: As on the command line, or mappings of settings to values.
        config_dir: A folder of YAML files of your own.
        settings: Files of groups and settings by their names; the settings within a group as a mapping.

    Raises:
        SnnlabError: for a mistake in the configuration or the data; nothing is left behind.
        TypeError: for what is neither an override nor a value.
    """
    started = time.perf_counter()
    if sys.platform == "win32":
        raise ConfigError("", NOT_WINDOWS)

    from snnlab.config.folders import config_folder, groups, own_folder
    from snnlab.config.python_values import as_overrides
    from snnlab.console import log_unless_set_up

    given = as_overrides(overrides, settings, groups(config_folder(), own_folder(config_dir)), "snnlab.train")
    if team := outside(given):
        raise ConfigError(
            "snnlab.train",
            f"{team.by} is for the command line, -m snnlab train ...",
            "from Python trainer=ddp starts the processes of one machine itself",
        )
    log_unless_set_up()
    command = ("snnlab.train", *given, *([] if config_dir is None else [f"config_dir={config_dir}"]))
    if asked := run_to_resume(given):
        result = resume(*asked, config_dir, started, command)
    else:
        from snnlab.config.composing import compose_once

        experiment, folder = compose_once(given, config_dir)
        result = run(replace(experiment, command=command), folder, started)
    _log.info("%s", result.summary)
    return result


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    from snnlab.console import console_logging

    console_logging()
    team = outside(arguments)
    if team is None:
        return _runs(arguments, started)
    if not team.leads:
        from snnlab.commands.processes.outside import connect
        from snnlab.commands.processes.rank import serve

        return serve(team, connect(team))

    from snnlab.commands.processes.group import end_of_jobs, open_meeting

    open_meeting(team)
    try:
        return _runs(arguments, started)
    finally:
        end_of_jobs(team)


def _runs(arguments: list[str], started: float) -> int:
    from snnlab.config.arguments import read_arguments
    from snnlab.config.composing import compose_once, let_hydra_answer

    command = ("snnlab", "train", *arguments)
    if run_to_resume(arguments):
        say_result(_resumed(arguments, started))
        return 0
    launch, rest = split_launch(arguments)
    asked = read_arguments(rest)
    if asked.flags:
        let_hydra_answer(asked.flags, asked.overrides, asked.config_dir)
        return 0
    if asked.several:
        from snnlab.commands.grid import run_grid

        return run_grid(launch, asked.overrides, asked.config_dir, started, command)
    experiment, folder = compose_once(asked.overrides, asked.config_dir)
    experiment = replace(experiment, command=command)
    if experiment.mode == "shapes":
        from snnlab.commands.shapes import show_shapes

        show_shapes(experiment, folder)
        return 0
    say_result(run(experiment, folder, started))
    return 0


def _resumed(arguments: list[str], started: float) -> Result:
    from snnlab.commands.options import split_options

    options, overrides = split_options("train resume=RUN", arguments)
    asked = run_to_resume(overrides)
    assert asked is not None
    command = ("snnlab", "train", *arguments)
    return _or_requeued(lambda: resume(*asked, options.get("--config-dir"), started, command))


def say_result(result: Result) -> None:
    """Print what a run came to, and its folder as the last line."""
    from snnlab.record.table import print_result

    print_result(result)
    print(result.folder, flush=True)


def run(experiment: Experiment, folder: Path, started: float) -> Result:
    """Train, test the chosen epoch, write the record; or go on with it, where SLURM has started the job again.

    Args:
        started: `time.perf_counter()` when the command began.

    Raises:
        SnnlabError: for a mistake found before the training; the folder is then not written.
    """
    from snnlab.console import quiet_lightning
    from snnlab.files import require_writable
    from snnlab.record.run_folder import CONFIG

    if experiment.mode == "shapes":
        raise ConfigError("mode", "shapes trains nothing and has no result", "it is for the command line")
    if begun := begun_before(experiment):
        return _or_requeued(lambda: resume(begun, (), None, started, begun=lambda: experiment))
    if os.path.isfile(folder / CONFIG):
        raise RecordError(folder, "holds a run", f"resume={folder} goes on with it, another folder begins a new one")
    require_writable(folder)
    with experiment.located_errors(), quiet_lightning():
        module, data, built = assembled(experiment, folder)

        from snnlab.commands.fit import fit_and_test

        remember(experiment, folder)
        return _or_requeued(lambda: fit_and_test(experiment, folder, module, data, built, started))


def _or_requeued(training: Callable[[], Result]) -> Result:
    """Train; where SLURM's signal before the end of the time stops it, ask for more before that is passed on."""
    try:
        return training()
    except Interrupted as stop:
        if stop.signum == signal.SIGUSR1:
            requeue()
        raise


def assembled(experiment: Experiment, folder: Path) -> tuple[SpikingModule, EventDataModule, BuiltNetwork]:
    """Return what is trained, on what, and the network's shapes; the recordings are packed.

    Raises:
        SnnlabError: for a mistake in the configuration or the data.
    """
    from snnlab.commands.preflight import build_parts

    settings, built, loss, optimizer = build_parts(experiment, here=True)

    from snnlab.config import assemble
    from snnlab.config.fit_checks import check_batches

    if experiment.init_from is not None:
        from snnlab.commands.loading import init_from

        _log.info(init_from(built.network, Path(experiment.init_from).expanduser()))
    # Only to find mistakes before the recordings are packed.
    changing = assemble.annealing(experiment, built.network)
    assemble.trainer(experiment, folder, [*assemble.pictures(experiment), *assemble.monitors(experiment), *changing])
    processes = assemble.processes(experiment)
    dataset = assemble.dataset(experiment)
    module = assemble.module(experiment, settings, built, loss, optimizer, dataset.class_names)
    store = assemble.store(dataset, settings)
    data = assemble.data_module(experiment, settings, store, dataset)
    assemble.require_shares(processes, experiment, data)
    check_batches(experiment, data, processes.world)
    if experiment.init_from is not None:
        from snnlab.commands.trained_before import found_before

        found_before(experiment, data, say=True)
    assemble.count_classes(loss, data)
    for note in [*dataset.notes, *assemble.data_notes(data)]:
        _log.info(note)
    for warning in assemble.data_warnings(data):
        _log.warning(warning)
    return module, data, built
