"""`snnlab sweep`: a search that resumes, runs in parallel, and tests the winner with fresh seeds."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

from snnlab.cli.command import Call, ConfigDir, FileGroup, command
from snnlab.cli.new import experiment_text, with_plugins
from snnlab.config.compose import compose_experiment
from snnlab.config.folders import user_folder
from snnlab.console import console_logging
from snnlab.errors import ConfigError, Interrupted, RunFolderError, SnnlabError, did_you_mean, one_line
from snnlab.experiments import search_report
from snnlab.experiments.executor import Executor, executor
from snnlab.experiments.search_plan import (
    FILE,
    SearchPlan,
    check_common_overrides,
    check_full_names,
    command_arguments,
    first_difference,
    read_plan,
    read_sweep_yaml,
    tried_error,
)
from snnlab.experiments.search_runner import SearchRunner
from snnlab.experiments.session.experiment_files import split_sweep_settings, sweep_settings, with_declared_numbers
from snnlab.experiments.space import Values
from snnlab.experiments.study import (
    STORAGE_ERRORS,
    SearchStudy,
    quiet_optuna,
    require_optuna,
)
from snnlab.experiments.sweep_settings import change_settings, parse_settings
from snnlab.experiments.winner import Winner, find_winner
from snnlab.experiments.workers import DryRun
from snnlab.files import unwritable, write_text
from snnlab.printable import masked
from snnlab.runs.recorded import flat
from snnlab.runs.run_folder import locked, require_no_links
from snnlab.runs.signature import read_signature
from snnlab.runs.statistics import small_validation_warning
from snnlab.runs.tables import format_path

_log = logging.getLogger(__name__)

_RESUME = "resume="


@command("sweep", section="train and compare", page="search")
def sweep_command(
    *overrides: Annotated[str, FileGroup("sweep", "default")], config_dir: ConfigDir = None, call: Call
) -> None:
    """Search for better settings.

    sweep=FILE is one of configs/sweep (snnlab list sweeps) or of DIR/sweep; it sets the search space (sweep.space), the
    objectives (sweep.objectives), the number of trials and where they run; sweep.KEY=VALUE changes it. All other
    overrides are those of snnlab train and apply to every trial. Trials are never tested: the best are trained again
    with other seeds, the mean over seeds chooses the winner, and the winner is trained and tested with fresh seeds.
    resume=FOLDER continues a killed search: finished trials are kept and not repeated; for a moved search, or another
    user's, repeat all overrides.

    The last line on stdout is the folder: sweep.yaml, study.db, trials/, finalists/, winner/, trials.csv, search.json,
    plots/ and config/, which holds the winner as an experiment.

    Examples:
        snnlab sweep
        snnlab sweep sweep=pareto data=nmnist model=conv_lif sweep.trials=50 sweep.workers=4
        snnlab sweep 'sweep.space={optimizer.lr: {low: 1e-4, high: 1e-2, log: true}, neuron: [lif, cuba_lif]}'
        snnlab sweep sweep.sampler=grid 'sweep.space={neuron.tau_mem: [5, 10, 20], neuron.surrogate.width: [0.25, 0.5]}'
        snnlab sweep 'sweep.objectives={val/accuracy: maximize, val/spikes_per_sample: minimize}'
        snnlab sweep 'sweep.prune={by: median, after: 3}' sweep.trials=null sweep.hours=2
        snnlab sweep sweep.engine=submitit 'sweep.submitit={slurm_partition: gpu, gpus_per_node: 1, timeout_min: 240}'
        snnlab sweep resume=outputs/NAME/TIME_sweep sweep.trials=40
    """
    console_logging()
    sweep(*overrides, config_dir=config_dir, started=call.started)


def sweep(*overrides: str, config_dir: str | Path | None = None, started: float | None = None) -> Path:
    """Search as `snnlab sweep` does, and return the sweep's folder.

    Args:
        overrides: As on the command line.
        config_dir: The user's folder of YAML files.
        started: `time.perf_counter()` when the command began.
    """
    require_optuna()
    folders = [text.removeprefix(_RESUME) for text in overrides if text.startswith(_RESUME)]
    others = [text for text in overrides if not text.startswith(_RESUME)]
    plan = _resumed_plan(folders, others, config_dir) if folders else _new_plan(others, config_dir)
    _run_search(plan, time.perf_counter() if started is None else started, resumed=bool(folders))
    return plan.folder


def _new_plan(overrides: list[str], config_dir: str | Path | None) -> SearchPlan:
    user_dir = user_folder(config_dir)
    settings, common = sweep_settings(overrides, user_dir)
    found, space = parse_settings(settings)
    check_common_overrides(common, space)
    experiment, _ = compose_experiment(list(common), user_dir)
    check_full_names(space, flat({"neuron": experiment.neuron, **(experiment.record or {})}))
    now = datetime.now().strftime("%Y-%m-%d_%H-%M-%S.%f")
    folder = Path(experiment.output_dir).expanduser().absolute() / experiment.name / f"{now}_sweep"
    user_dir_text = None if user_dir is None else str(user_dir)
    declared = with_declared_numbers(space, found.space, common, user_dir_text)
    found, space = parse_settings({**settings, "space": declared})
    return SearchPlan(folder, experiment.name, found, space, common, user_dir_text, experiment.seed, str(Path.cwd()))


def _resumed_plan(folders: list[str], overrides: list[str], config_dir: str | Path | None) -> SearchPlan:
    if len(folders) > 1 or not folders[0]:
        raise ConfigError("resume", "name one sweep's folder, such as resume=outputs/NAME/TIME_sweep")
    folder = Path(folders[0]).expanduser()
    require_no_links(folder)
    if read_signature(folder, FILE) is None:
        return _plan_of_repeated_overrides(folder, overrides, config_dir)
    settings, others = split_sweep_settings(overrides)
    if others:
        raise ConfigError(others[0], "all trials of a search have the same overrides; these cannot change")
    return read_plan(folder, change_settings(read_sweep_yaml(folder)["sweep"], settings))


def _plan_of_repeated_overrides(folder: Path, overrides: list[str], config_dir: str | Path | None) -> SearchPlan:
    """Return the search that the typed overrides describe; it must be the same as the folder's, which is only compared.

    The folder's overrides and working folder may be another user's; they would decide what is fetched, where
    files are written, and which code is imported.
    """
    content = read_sweep_yaml(folder)
    plan = _new_plan(overrides, config_dir) if overrides else None
    other = None if plan is None else first_difference(plan, content)
    if plan is None or other is not None:
        differs, command = f" (the typed ones differ in {other})" if other else "", " ".join(command_arguments(content))
        raise ConfigError(
            folder,
            "was not started here by you, or was moved or edited since",
            f"repeat all its overrides to continue{differs}: snnlab sweep resume={folder} {command}",
        )
    return replace(plan, folder=folder.absolute(), seed=content["seed"])


def _run_search(plan: SearchPlan, started: float, *, resumed: bool) -> None:
    # Imported late: it brings Lightning, three seconds, and mistakes are reported before.
    from snnlab.experiments.session.trial import count_shared_gpus, dry_run, train_task

    try:
        with executor(plan.sweep, plan.folder, train_task) as workers:
            if not resumed:
                _log.info("searching %s; first each end and choice is tried, and one batch trained", plan.space)
                values = list(plan.space.probes())
                probes = [plan.trial_overrides(proposed) for proposed in values]
                _check_rehearsal(plan, values, workers.call(dry_run, probes, plan.config_dir, plan.working_folder))
            if plan.sweep.engine == "joblib":
                workers.devices = workers.call(
                    count_shared_gpus, list(plan.common), plan.config_dir, plan.working_folder
                )
            _run_trials(plan, workers, started)
    except (*STORAGE_ERRORS, OSError) as error:  # for example a full disk
        cause = error.__cause__ or error
        reason = getattr(cause, "orig", None) or getattr(cause, "strerror", None) or cause
        raise RunFolderError(masked(str(plan.folder)), masked(str(reason)), _continue_hint(plan)) from error


def _run_trials(plan: SearchPlan, workers: Executor, started: float) -> None:
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(plan.folder, error) from error
    with locked(plan.folder):
        plan.write()
        (plan.folder / search_report.SUMMARY).unlink(missing_ok=True)  # of fewer trials
        _log.info("if this process ends early, %s", _continue_hint(plan))
        identity = {"overrides": list(plan.common), "seed": plan.seed}
        study = SearchStudy(plan.folder, plan.sweep, plan.space, identity)
        driver = SearchRunner(plan, study, workers, started)
        driver.run()
        _raise_if_stopped(plan, study, workers)
        driver.check_failures()
        _finish(plan, study, workers)


def _check_rehearsal(plan: SearchPlan, values: Sequence[Values], found: DryRun) -> None:
    """Raise for errors in the settings that a worker found while it tried values and packed the recordings."""
    if found.error:
        raise tried_error(found.error, values[found.probe])
    for name in plan.sweep.objectives:
        if name not in found.metrics:
            hint = did_you_mean(name, found.metrics)
            raise ConfigError(f"sweep.objectives.{name}", "is not logged", hint, found.metrics)
    if warning := small_validation_warning(found.val_size):
        _log.warning(warning)


def _raise_if_stopped(plan: SearchPlan, study: SearchStudy, workers: Executor) -> None:
    if workers.fatal_error:
        raise RunFolderError("", workers.fatal_error, _continue_hint(plan))
    if workers.stopped is not None:
        count = study.count()
        done = f"{count.finished} of {study.limit}" if study.limit else str(count.finished)
        raise Interrupted(f"stopped with {done} trials finished\n  {_continue_hint(plan)}", int(workers.stopped))


def _finish(plan: SearchPlan, study: SearchStudy, workers: Executor) -> None:
    """Find the winner, print, write and draw."""
    from snnlab.experiments.search_plots import draw, importances

    search_report.write_trials(plan, study)
    winner = find_winner(plan, study, workers)
    _raise_if_stopped(plan, study, workers)
    names = plan.sweep.names()
    with quiet_optuna():
        found = {name: importances(study.study, index) for index, name in enumerate(names)}
        files = draw(study.study, names, plan.folder / "plots")
    search_report.write_summary(plan, study, winner, found)
    search_report.print_trials(plan, study)
    search_report.print_importance({name: parts for name, parts in found.items() if parts})
    if warning := search_report.few_recordings_warning(study):
        print(warning)
    if winner:
        search_report.print_winner(plan, winner)
        _print_experiment(plan, winner)
    for file in files:
        print(format_path(file))
    print(f"{_continue_hint(plan, more=study.count().finished)}\n{plan.folder}", flush=True)


def _print_experiment(plan: SearchPlan, winner: Winner) -> None:
    name = "best"
    folder = plan.folder / "config"
    path = folder / "experiment" / f"{name}.yaml"
    command = with_plugins(f"snnlab train --config-dir {format_path(folder)} experiment={name}", plan.common)
    user_dir = Path(plan.config_dir) if plan.config_dir else folder
    try:
        text = experiment_text(name, plan.trial_overrides(winner.finalists[0].values), command, user_dir)
    except SnnlabError as error:  # for example an override that drops a layer
        print(f"the winner cannot be written as an experiment ({one_line(error)}); use the run's config.yaml")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    print(command if not plan.config_dir else f"{format_path(path)}: the winner, for {plan.config_dir}/experiment")


def _continue_hint(plan: SearchPlan, more: int | None = None) -> str:
    trials = f" sweep.trials={2 * more}" if more else ""
    return f"snnlab sweep resume={format_path(plan.folder)}{trials} continues"
