"""`snnlab train -m`: a run for each combination of values, and the table of their results."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from snnlab.config.compose import compose_job
from snnlab.config.folders import config_folder, groups, own_folder
from snnlab.config.grids import Axes, Launch, read_axes, shares_gpus
from snnlab.config.overrides import checked, repeated
from snnlab.config.recorded_run import MAY_CHANGE
from snnlab.config.schema import Experiment
from snnlab.console import say_error
from snnlab.errors import ConfigError, Interrupted, RecordError, SnnlabError
from snnlab.experiments.executor import Ended, executor
from snnlab.experiments.workers import Outcome, Task, threads_each
from snnlab.files import require_writable
from snnlab.printable import masked
from snnlab.runs.run_folder import Result, say_result
from snnlab.runs.runs_table import Grid, print_grouped, read_grid, write_table
from snnlab.runs.tables import describe, figure, shown
from snnlab.session.session import check_builds
from snnlab.settings import key_of

_log = logging.getLogger(__name__)

_SAID = ("test/accuracy", "test/loss", "val/accuracy", "val/loss")


def end(grid: Grid) -> None:
    """Print the table of a grid, write it, and print its path."""
    grid.write()
    if len(grid.runs) > 1:
        print_grouped(grid)
        print(shown(write_table(grid)))
    print(grid.folder, flush=True)


def run_grid(
    launch: Launch, overrides: Sequence[str], config_dir: str | None, started: float, command: Sequence[str]
) -> int:
    """Train the runs of a grid; return the exit status: 2 where one failed.

    Args:
        launch: Where the runs are trained, and how many at a time.
        overrides: Those of `snnlab train -m`.
        started: `time.perf_counter()` when the command began.

    Raises:
        ConfigError: if a run of it is wrong, before any is trained, or its folder holds the runs of another grid.
        RecordError: if its folder cannot be written.
        Interrupted: after Ctrl-C or SIGTERM.
    """
    for words in repeated(overrides):
        _log.warning(words)
    given = checked(overrides, groups(config_folder(), own_folder(config_dir)), several=True)
    axes = read_axes(given)
    jobs = _checked(axes, config_dir, command, here=launch.launcher in ("basic", "joblib"))
    folder = jobs[0].grid
    runs: dict[str, Mapping[str, str]] = {job.place: axes.values(job.overrides) for job in jobs}
    grid = Grid(folder, given, list(axes.swept), runs)
    _require_same(grid, axes)
    require_writable(folder)
    if axes.swept:
        grid.write()
    from snnlab.session.trial import number_of_gpus, train_or_resume, train_task  # brings Lightning

    if launch.launcher == "basic":
        failures = _one_by_one(jobs, lambda job: train_or_resume(job.experiment, job.folder, config_dir, started))
    else:
        tasks = _tasks(axes, jobs, config_dir)
        shared = launch.launcher == "joblib" and all(shares_gpus(job.experiment.trainer) for job in jobs)
        launch = replace(launch, workers=min(launch.workers, len(tasks)))
        failures = _trained(launch, grid, tasks, train_task, number_of_gpus if shared else None)
    if axes.swept:
        end(grid)
    return 2 if failures else 0


class _Job(NamedTuple):
    """One run of a grid: its overrides, its experiment, the grid's folder and its own."""

    overrides: list[str]
    experiment: Experiment
    grid: Path
    folder: Path

    @property
    def place(self) -> str:
        return str(self.folder.relative_to(self.grid))


def _checked(axes: Axes, config_dir: str | None, command: Sequence[str], *, here: bool) -> list[_Job]:
    """Compose and build every run.

    Raises:
        ConfigError: with the mistakes of the runs, each once.
    """
    jobs: list[_Job] = []
    mistakes: dict[str, tuple[SnnlabError, str]] = {}
    folder: Path | None = None
    for number, point in enumerate(axes.points()):
        said = [*axes.fixed, *point]
        try:
            experiment, folder, run = compose_job(said, config_dir, number, folder)
            check_builds(experiment, run, here=here)
            jobs.append(_Job(said, replace(experiment, command=command), folder, run))
        except SnnlabError as error:
            mistakes.setdefault(str(error), (error, " ".join(point)))
    if len(mistakes) == 1 and not axes.swept:
        raise next(error for error, _ in mistakes.values())
    if mistakes:
        lines = [str(_with(point, error)) for error, point in mistakes.values()]
        raise ConfigError("", "\n".join([*lines, "  nothing was trained; every run of a grid must be valid"]))
    return jobs


def _with(point: str, error: SnnlabError) -> SnnlabError:
    """Return the error of a run with the run's values added, unless its place names them."""
    known = not point or (not error.where and error.place == point)
    return error if known else error.moved(message=f"{error.message} (with {point})")


def _one_by_one(jobs: Sequence[_Job], train: Callable[[_Job], Result]) -> int:
    """Train the runs in this process; return how many failed."""
    failed = 0
    for job in jobs:
        try:
            say_result(train(job))
        except SnnlabError as error:
            say_error(error)
            failed += 1
    return failed


def _tasks(axes: Axes, jobs: Sequence[_Job], config_dir: str | None) -> dict[str, Task]:
    """Return the workers' tasks, by the runs' relative folders."""
    own = own_folder(config_dir)
    quiet = [] if "trainer.enable_progress_bar" in map(key_of, axes.fixed) else ["trainer.enable_progress_bar=false"]
    here, where = None if own is None else str(own), str(Path.cwd())
    return {job.place: Task(str(job.folder), [*quiet, *job.overrides], here, where) for job in jobs}


def _require_same(grid: Grid, axes: Axes) -> None:
    """Refuse to continue a grid with other settings than those of its recorded runs.

    Raises:
        ConfigError: naming the first difference.
    """
    before = read_grid(grid.folder)
    if before is None:
        return
    free = {*MAY_CHANGE, *before.keys} - {"trainer.max_epochs", "test"}
    fixed = [
        [text for text in texts if key_of(text) not in free and not text.startswith("hydra.")]
        for texts in (before.overrides, list(map(masked, axes.fixed)))
    ]
    other = [text for text in [*fixed[0], *fixed[1]] if (text in fixed[0]) != (text in fixed[1])]
    other += [place for place, values in grid.runs.items() if before.runs.get(place, values) != values]
    if other:
        raise ConfigError(
            grid.folder, f"holds runs of other settings ({other[0]})", "hydra.sweep.dir=FOLDER starts another grid"
        )


def _trained(
    launch: Launch,
    grid: Grid,
    tasks: dict[str, Task],
    train: Callable[[Task], Outcome],
    gpus: Callable[[], int] | None,
) -> int:
    """Train the runs in workers, each on its own GPU where there are several; return how many failed."""
    outcomes: list[str] = []

    def ended(one: Ended) -> None:
        outcomes.append(one.outcome["status"])
        _log.info("run %s  %s  | %d of %d", one.key, _line(one, grid), len(outcomes), len(tasks))

    try:
        with executor(launch, grid.folder, train) as workers:
            if gpus is not None:
                workers.devices = workers.call(gpus)
            workers.run_all(_with_threads(launch, tasks), ended)
    except OSError as error:
        raise RecordError(grid.folder, error.strerror or error, _goes_on(grid)) from error
    if workers.trouble:
        raise RecordError("", workers.trouble, _goes_on(grid))
    if workers.stopped is not None:
        done = f"{len(outcomes)} of {len(tasks)}"
        raise Interrupted(f"stopped with {done} runs finished\n  {_goes_on(grid)}", int(workers.stopped))
    return outcomes.count("failed")


def _with_threads(launch: Launch, tasks: dict[str, Task]) -> dict[str, Task]:
    if any("threads" in map(key_of, task.overrides) for task in tasks.values()):
        return tasks
    shared = f"threads={threads_each(launch)}"
    return {place: replace(task, overrides=[shared, *task.overrides]) for place, task in tasks.items()}


def _line(one: Ended, grid: Grid) -> str:
    outcome, values = one.outcome, describe(grid.runs[one.key])
    if outcome["status"] == "failed":
        return f"failed: {outcome['error']}  {values}"
    there = [name for name in _SAID if name in outcome["metrics"]]
    figures = "  ".join(f"{name} {figure(outcome['metrics'][name])}" for name in there[:2])
    return f"{figures}  {values}  {outcome['wall_s']:.1f} s"


def _goes_on(grid: Grid) -> str:
    return f"the same command with hydra.sweep.dir={shown(grid.folder)} continues"
