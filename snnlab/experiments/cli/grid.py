"""`snnlab train -m`: a run for each combination of values, and the table of their results."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from snnlab.config.compose import compose_grid_run
from snnlab.config.folders import config_folder, groups, user_folder
from snnlab.config.grids import Axes, LauncherSettings, read_axes, shares_gpus
from snnlab.config.overrides import repetition_warnings, require_overrides, to_hydra_grammar
from snnlab.config.recorded_run import CHANGEABLE_ON_RESUME
from snnlab.config.schema import Experiment
from snnlab.console import say_error
from snnlab.errors import ConfigError, Interrupted, RunFolderError, ShareDone, SnnlabError
from snnlab.experiments.executor import FinishedTask, executor
from snnlab.experiments.workers import Outcome, RunTask, threads_per_run
from snnlab.files import require_writable
from snnlab.printable import masked
from snnlab.runs.pooled_folds import print_folds
from snnlab.runs.run_folder import Result, print_result_and_folder
from snnlab.runs.runs_table import FOLD, Grid, print_grid, read_grid, write_table
from snnlab.runs.tables import format_path, format_settings, format_value
from snnlab.session.session import Session, check_experiment
from snnlab.spec.override_texts import key_of

_log = logging.getLogger(__name__)

_LOGGED_METRICS = ("test/accuracy", "test/loss", "val/accuracy", "val/loss")


def finish(grid: Grid) -> None:
    """Print the table of a grid, write it, and print its path."""
    grid.write()
    if len(grid.runs) > 1:
        print_grid(grid)
        print_folds(grid)
        print(format_path(write_table(grid)))
    print(grid.folder, flush=True)


def run_grid(
    launch: LauncherSettings, overrides: Sequence[str], config_dir: str | None, started: float, command: Sequence[str]
) -> int:
    """Train the runs of a grid; return the exit status: 2 where one failed.

    Args:
        launch: Where the runs are trained, and how many at a time.
        overrides: Those of `snnlab train -m`.
        started: `time.perf_counter()` when the command began.
    """
    for warning in repetition_warnings(overrides):
        _log.warning(warning)
    require_overrides(overrides, user_folder(config_dir))
    hydra_overrides = to_hydra_grammar(overrides, groups(config_folder(), user_folder(config_dir)), several=True)
    axes = _with_all_folds(read_axes(hydra_overrides))
    planned_runs = _compose_all(axes, config_dir, command, here=launch.launcher in ("basic", "joblib"))
    folder = planned_runs[0].grid
    runs: dict[str, Mapping[str, str]] = {planned.subfolder: axes.values(planned.overrides) for planned in planned_runs}
    grid = Grid(folder, hydra_overrides, list(axes.swept), runs)
    _require_same(grid, axes)
    require_writable(folder)
    sessions = [Session(planned.experiment) for planned in planned_runs]
    if launch.launcher == "basic" and len({session.processes.world_size for session in sessions}) > 1:
        raise ConfigError("trainer.devices", "the runs of a grid must have the same number of processes")
    is_other_rank = sessions[0].is_other_rank
    if axes.swept and not is_other_rank:
        grid.write()
    from snnlab.experiments.session.trial import number_of_gpus, train_or_resume, train_task  # brings Lightning

    if launch.launcher == "basic":
        failures = _train_one_by_one(
            planned_runs, lambda planned: train_or_resume(planned.experiment, planned.folder, config_dir, started)
        )
    else:
        tasks = _tasks(axes, planned_runs, config_dir)
        shared = launch.launcher == "joblib" and all(
            shares_gpus(planned.experiment.trainer) for planned in planned_runs
        )
        launch = replace(launch, workers=min(launch.workers, len(tasks)))
        failures = _train_in_workers(launch, grid, tasks, train_task, number_of_gpus if shared else None)
    if axes.swept and not is_other_rank:
        finish(grid)
    return 2 if failures else 0


def _with_all_folds(axes: Axes) -> Axes:
    """Return the axes with all folds of `data.folds=N`, where no fold is named."""
    number = next((text.partition("=")[2] for text in axes.fixed if key_of(text) == "data.folds"), "")
    is_named = FOLD in axes.swept or any(key_of(text) == FOLD for text in axes.fixed)
    if is_named or not number.isdecimal():
        return axes
    return replace(axes, swept={**axes.swept, FOLD: [f"{FOLD}={fold}" for fold in range(int(number))]})


class _PlannedRun(NamedTuple):
    """One run of a grid: its overrides, its experiment, the grid's folder and its own."""

    overrides: list[str]
    experiment: Experiment
    grid: Path
    folder: Path

    @property
    def subfolder(self) -> str:
        return str(self.folder.relative_to(self.grid))


def _compose_all(axes: Axes, config_dir: str | None, command: Sequence[str], *, here: bool) -> list[_PlannedRun]:
    """Compose and build every run."""
    planned_runs: list[_PlannedRun] = []
    mistakes: dict[str, tuple[SnnlabError, str]] = {}
    folder: Path | None = None
    for number, point in enumerate(axes.points()):
        run_overrides = [*axes.fixed, *point]
        try:
            experiment, folder, run = compose_grid_run(run_overrides, config_dir, number, folder)
            check_experiment(experiment, run, here=here)
            planned_runs.append(_PlannedRun(run_overrides, replace(experiment, command=command), folder, run))
        except SnnlabError as error:
            mistakes.setdefault(str(error), (error, " ".join(point)))
    if len(mistakes) == 1 and not axes.swept:
        raise next(error for error, _ in mistakes.values())
    if mistakes:
        lines = [str(_with_values(point, error)) for error, point in mistakes.values()]
        raise ConfigError("", "\n".join([*lines, "  nothing was trained; every run of a grid must be valid"]))
    return planned_runs


def _with_values(point: str, error: SnnlabError) -> SnnlabError:
    """Return the error of a run with the run's values added, unless its place names them."""
    known = not point or (not error.where and error.place == point)
    return error if known else error.with_fields(message=f"{error.message} (with {point})")


def _train_one_by_one(planned_runs: Sequence[_PlannedRun], train: Callable[[_PlannedRun], Result]) -> int:
    """Train the runs in this process; return how many failed."""
    failed = 0
    for planned in planned_runs:
        try:
            print_result_and_folder(train(planned))
        except ShareDone:
            continue  # the next run needs this process too
        except SnnlabError as error:
            say_error(error)
            failed += 1
    return failed


def _tasks(axes: Axes, planned_runs: Sequence[_PlannedRun], config_dir: str | None) -> dict[str, RunTask]:
    """Return the workers' tasks, by the runs' relative folders."""
    user_dir = user_folder(config_dir)
    quiet = [] if "trainer.enable_progress_bar" in map(key_of, axes.fixed) else ["trainer.enable_progress_bar=false"]
    here, where = None if user_dir is None else str(user_dir), str(Path.cwd())
    return {
        planned.subfolder: RunTask(str(planned.folder), [*quiet, *planned.overrides], here, where)
        for planned in planned_runs
    }


def _require_same(grid: Grid, axes: Axes) -> None:
    """Refuse to continue a grid with other settings than those of its recorded runs."""
    before = read_grid(grid.folder)
    if before is None:
        return
    free = {*CHANGEABLE_ON_RESUME, *before.keys} - {"trainer.max_epochs", "test"}
    fixed = [
        [text for text in texts if key_of(text) not in free and not text.startswith("hydra.")]
        for texts in (before.overrides, list(map(masked, axes.fixed)))
    ]
    other = [text for text in [*fixed[0], *fixed[1]] if (text in fixed[0]) != (text in fixed[1])]
    other += [subfolder for subfolder, values in grid.runs.items() if before.runs.get(subfolder, values) != values]
    if other:
        raise ConfigError(
            grid.folder, f"holds runs of other settings ({other[0]})", "hydra.sweep.dir=FOLDER starts another grid"
        )


def _train_in_workers(
    launch: LauncherSettings,
    grid: Grid,
    tasks: dict[str, RunTask],
    train: Callable[[RunTask], Outcome],
    gpus: Callable[[], int] | None,
) -> int:
    """Train the runs in workers, each on its own GPU where there are several; return how many failed."""
    outcomes: list[str] = []

    def report(one: FinishedTask) -> None:
        outcomes.append(one.outcome["status"])
        _log.info("run %s  %s  | %d of %d", one.key, _outcome_text(one, grid), len(outcomes), len(tasks))

    try:
        with executor(launch, grid.folder, train) as workers:
            if gpus is not None:
                workers.devices = workers.call(gpus)
            workers.run_all(_with_threads(launch, tasks), report)
    except OSError as error:
        raise RunFolderError(grid.folder, error.strerror or error, _continue_hint(grid)) from error
    if workers.fatal_error:
        raise RunFolderError("", workers.fatal_error, _continue_hint(grid))
    if workers.stopped is not None:
        done = f"{len(outcomes)} of {len(tasks)}"
        raise Interrupted(f"stopped with {done} runs finished\n  {_continue_hint(grid)}", int(workers.stopped))
    return outcomes.count("failed")


def _with_threads(launch: LauncherSettings, tasks: dict[str, RunTask]) -> dict[str, RunTask]:
    if any("threads" in map(key_of, task.overrides) for task in tasks.values()):
        return tasks
    shared = f"threads={threads_per_run(launch)}"
    return {subfolder: replace(task, overrides=[shared, *task.overrides]) for subfolder, task in tasks.items()}


def _outcome_text(one: FinishedTask, grid: Grid) -> str:
    outcome, values = one.outcome, format_settings(grid.runs[one.key])
    if outcome["status"] == "failed":
        return f"failed: {outcome['error']}  {values}"
    logged = [name for name in _LOGGED_METRICS if name in outcome["metrics"]]
    metrics = "  ".join(f"{name} {format_value(outcome['metrics'][name])}" for name in logged[:2])
    return f"{metrics}  {values}  {outcome['wall_s']:.1f} s"


def _continue_hint(grid: Grid) -> str:
    return f"the same command with hydra.sweep.dir={format_path(grid.folder)} continues"
