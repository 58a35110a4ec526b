"""`snnlab train`: from overrides to a trained network and its record.

`run` reads straight down. What only looks at the configuration comes first, then what needs heavy imports, then
what takes time; the run's folder is written last before the training.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from snnlab.commands.processes.outside import outside
from snnlab.commands.requeueing import begun_before, remember, requeue
from snnlab.commands.resume import resume, run_to_resume
from snnlab.config.launch import split_launch
from snnlab.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from snnlab.commands.grid import Watch
    from snnlab.config.schema import Experiment
    from snnlab.data.module import EventDataModule
    from snnlab.nn import BuiltNetwork
    from snnlab.record.run_folder import Result
    from snnlab.training.module import SpikingModule

_log = logging.getLogger(__name__)


def train(*overrides: str, config_dir: str | Path | None = None) -> Result:
    """Train as `snnlab train` does, and return the result.

    Args:
        overrides: As on the command line: `"model=conv_lif"`, `"neuron.tau_mem=10"`, `"resume=outputs/NAME/TIME_SEED"`.
        config_dir: A folder of YAML files of your own.

    Raises:
        SnnlabError: for a mistake in the configuration or the data; nothing is left behind.
    """
    started = time.perf_counter()
    if place := outside(overrides):
        raise ConfigError(
            f"snnlab.train: {place.by} is for the command line, -m snnlab train ...; from Python trainer=ddp starts the"
            " processes of one machine itself"
        )
    if asked := run_to_resume(overrides):
        return resume(*asked, config_dir, started)

    from snnlab.config.composing import compose_once

    experiment, folder = compose_once(list(overrides), config_dir)
    return run(experiment, folder, started)


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    from snnlab.console import console_logging

    console_logging()
    place = outside(arguments)
    if place is not None and place.rank:
        from snnlab.commands.processes.member import serve

        return serve(place)
    if place is None:
        return _runs(arguments, started)

    from snnlab.commands.processes.crew import end_of_jobs, open_meeting

    open_meeting(place)
    try:
        return _runs(arguments, started)
    finally:
        end_of_jobs(place)


def _runs(arguments: list[str], started: float) -> int:
    from snnlab.config.composing import run_hydra
    from snnlab.console import say_error
    from snnlab.errors import SnnlabError

    if run_to_resume(arguments):
        _say(_resumed(arguments, started))
        return 0
    launch, arguments = split_launch(arguments)
    if launch.launcher != "basic":
        from snnlab.commands.grid import run_grid

        return run_grid(launch, arguments)
    watch = _watch(arguments)
    mistakes: list[str] = []

    def job(experiment: Experiment, folder: Path) -> None:
        if experiment.mode == "shapes":
            from snnlab.commands.shapes import show_shapes

            show_shapes(experiment, folder)
            return
        _say(run(experiment, folder, started))

    def failed(error: SnnlabError) -> None:
        if str(error) not in mistakes:  # runs of a grid may share one
            say_error(error)
        mistakes.append(str(error))

    run_hydra(arguments, job, failed, watch.note if watch else None)
    if watch:
        watch.end()
    return 2 if mistakes else 0


def _watch(arguments: list[str]) -> Watch | None:
    """Return what keeps the record of several runs, where there are to be several."""
    if not {"-m", "--multirun"} & set(arguments):
        return None
    from snnlab.commands.grid import Watch
    from snnlab.config.composing import split_overrides

    return Watch(split_overrides(arguments)[0])


def _resumed(arguments: list[str], started: float) -> Result:
    from snnlab.commands.options import split_options

    options, overrides = split_options("train resume=RUN", arguments, ("--config-dir",))
    asked = run_to_resume(overrides)
    assert asked is not None
    return _or_requeued(lambda: resume(*asked, options.get("--config-dir"), started))


def _say(result: Result) -> None:
    from snnlab.record.table import print_result

    print_result(result)
    print(result.folder, flush=True)


def run(experiment: Experiment, folder: Path, started: float) -> Result:
    """Train, test the chosen epoch, write the record; or go on with it, where SLURM has started the job again.

    Args:
        experiment: What to do.
        folder: Where the run is recorded.
        started: `time.perf_counter()` when the command began.

    Raises:
        SnnlabError: for a mistake found before the training; the folder is then not written.
    """
    from snnlab.console import quiet_lightning

    if experiment.mode == "shapes":
        raise ConfigError("mode: shapes trains nothing and has no result; it is for the command line")
    if begun := begun_before(experiment):
        return _or_requeued(lambda: resume(begun, (), None, started, lambda: experiment))
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
    from snnlab.config import assemble
    from snnlab.config.goal import check_goal
    from snnlab.config.plugins import import_plugins

    import_plugins(experiment)
    assemble.set_threads(experiment.threads)
    settings = assemble.data_settings(experiment)
    built = assemble.network(experiment, settings)
    if experiment.init_from is not None:
        from snnlab.commands.loading import init_from

        _log.info(init_from(built.network, Path(experiment.init_from).expanduser()))
    loss = assemble.loss(experiment)
    check_goal(experiment, settings, loss, built)
    # Only to find mistakes before the recordings are packed, and before the schedule refers to them.
    changing = assemble.annealing(experiment, built.network)
    assemble.trainer(experiment, folder, [*assemble.pictures(experiment), *assemble.monitors(experiment), *changing])
    optimizer = assemble.optimizer(experiment, built)
    assemble.processes(experiment)
    dataset = assemble.dataset(experiment)
    module = assemble.module(experiment, settings, built, loss, optimizer, dataset.class_names)
    store = assemble.store(dataset, settings)
    data = assemble.data_module(experiment, settings, store, dataset)
    assemble.count_classes(loss, data)
    for note in [*dataset.notes, *assemble.data_notes(data)]:
        _log.info(note)
    return module, data, built
