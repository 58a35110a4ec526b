"""`snnlab train -m`: a run for each combination of values, and the table of what they came to."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from snnlab.commands.options import split_options
from snnlab.config.grids import Axes, read_axes
from snnlab.config.launch import Launch
from snnlab.config.resumable import MAY_CHANGE
from snnlab.errors import ConfigError, Interrupted, RecordError, SnnlabError
from snnlab.masking import masked
from snnlab.record.grid import Grid, print_grouped, read_grid, write_table
from snnlab.search.words import describe, figure, shown
from snnlab.settings import key_of

if TYPE_CHECKING:
    from snnlab.search.crew import Ended
    from snnlab.search.engines import Engine
    from snnlab.search.task import Task

_log = logging.getLogger(__name__)
_FLAGS = ("-m", "--multirun")
_SAID = ("test/accuracy", "test/loss", "val/accuracy", "val/loss")


class Watch:
    """Keeps the record of the runs that Hydra starts one after the other.

    Args:
        overrides: As typed.

    Raises:
        ConfigError: if the grid cannot be read, or a setting of it has no value.
    """

    def __init__(self, overrides: Sequence[str]) -> None:
        self._axes, self._overrides = read_axes(overrides), overrides
        self._grid: Grid | None = None

    def note(self) -> None:
        """Note the run that Hydra is at."""
        from hydra.core.hydra_config import HydraConfig

        node = HydraConfig.get()
        folder = Path(node.sweep.dir).absolute()
        if not self._axes.swept or node.mode is None or node.mode.name != "MULTIRUN":
            return
        if self._grid is None:
            self._grid = Grid(folder, self._overrides, list(self._axes.swept))
        place = Path(node.runtime.output_dir).absolute().relative_to(folder)
        self._grid.runs[str(place)] = self._axes.values(list(node.overrides.task))
        if folder.is_dir():
            self._grid.write()

    def end(self) -> None:
        """Print and write the table, where there is more than one run; where none was begun, leave nothing behind."""
        if self._grid is None or not self._grid.folder.is_dir():
            return
        if any((self._grid.folder / place / "config.yaml").is_file() for place in self._grid.runs):
            end(self._grid)
        else:
            self._grid.remove()


def end(grid: Grid) -> None:
    """Print the table of a grid, write it, and say where."""
    grid.write()
    if len(grid.runs) > 1:
        print_grouped(grid)
        print(shown(write_table(grid)))
    print(grid.folder, flush=True)


def run_grid(launch: Launch, arguments: Sequence[str]) -> int:
    """Train the runs of a grid several at a time; return the exit status: 2 where one failed.

    Args:
        launch: Where.
        arguments: What stands behind `snnlab train`, without what is in `launch`.

    Raises:
        ConfigError: if the grid cannot be read, or its folder holds the runs of another.
        RecordError: if its folder cannot be written.
        Interrupted: after Ctrl-C or SIGTERM.
    """
    plain = [text for text in arguments if text not in _FLAGS]
    options, overrides = split_options(f"train -m launcher={launch.launcher}", plain, ("--config-dir", "-cd"))
    axes = read_axes(overrides)
    tasks, grid, shared = _planned(axes, overrides, options.get("--config-dir") or options.get("-cd"))
    if grid is None:
        return 2
    _require_same(grid, axes)
    grid.write()
    failures = _trained(replace(launch, workers=min(launch.workers, len(tasks))), grid, tasks, shared)
    end(grid)
    return 2 if failures or len(tasks) < len(grid.runs) else 0


def _planned(axes: Axes, overrides: Sequence[str], given: str | None) -> tuple[dict[str, Task], Grid | None, bool]:
    """Compose every run, and say whether they share out GPUs; a mistake in one is said, and the others are trained."""
    from snnlab.config.composing import compose_job
    from snnlab.config.folders import own_folder
    from snnlab.config.launch import shares_gpus
    from snnlab.console import say_error
    from snnlab.search.task import Task

    own = own_folder(given)
    tasks: dict[str, Task] = {}
    wrong: dict[str, Mapping[str, str]] = {}
    mistakes: set[str] = set()
    folder: Path | None = None
    shared = True
    quiet = [] if "trainer.enable_progress_bar" in map(key_of, axes.fixed) else ["trainer.enable_progress_bar=false"]
    for number, point in enumerate(axes.points()):
        said = [*quiet, *axes.fixed, *point]
        try:
            experiment, folder, run = compose_job(said, own, number, folder)
        except SnnlabError as error:
            if str(error) not in mistakes:
                say_error(error)
            mistakes.add(str(error))
            wrong[str(number)] = axes.values(point)
            continue
        shared &= shares_gpus(experiment.trainer)
        tasks[str(run.relative_to(folder))] = Task(str(run), said, None if own is None else str(own), str(Path.cwd()))
    if folder is None:
        return {}, None, shared
    runs = {place: axes.values(list(task.overrides)) for place, task in tasks.items()}
    return tasks, Grid(folder, overrides, list(axes.swept), {**runs, **wrong}), shared


def _require_same(grid: Grid, axes: Axes) -> None:
    """Refuse to go on with runs of other settings: what a run's folder holds stays as it is.

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
            f"{grid.folder}: holds runs of other settings ({other[0]}); hydra.sweep.dir=FOLDER begins another grid"
        )


def _trained(launch: Launch, grid: Grid, tasks: dict[str, Task], shared: bool) -> int:
    """Train the runs, on GPUs that they share out where there are several; return how many failed."""
    from snnlab.search.engines import engine

    crew_engine = engine(launch, grid.folder)
    try:
        return _with_engine(launch, crew_engine, grid, tasks, shared)
    except OSError as error:
        raise RecordError(f"{grid.folder}: {error.strerror or error}; {_goes_on(grid)}") from error
    finally:
        crew_engine.close()


def _with_engine(launch: Launch, crew_engine: Engine, grid: Grid, tasks: dict[str, Task], shared: bool) -> int:
    from snnlab.commands.trial import number_of_gpus, rehearse, train_task
    from snnlab.search.crew import Crew, stopping, wait_for
    from snnlab.search.task import Work

    crew = Crew(crew_engine, Work(train_task, rehearse), launch.slots)
    outcomes: list[str] = []

    def ended(one: Ended) -> None:
        outcomes.append(one.outcome["status"])
        _log.info("run %s  %s  | %d of %d", one.key, _line(one, grid), len(outcomes), len(tasks))

    with stopping(crew):
        if launch.launcher == "joblib" and shared:
            crew.devices = wait_for(crew_engine.submit(0, number_of_gpus))
        crew.run(_with_threads(launch, tasks), ended)
    if crew.trouble:
        raise RecordError(f"{crew.trouble}\n  {_goes_on(grid)}")
    if crew.stopped is not None:
        done = f"{len(outcomes)} of {len(tasks)}"
        raise Interrupted(f"stopped with {done} runs finished\n  {_goes_on(grid)}", int(crew.stopped))
    return outcomes.count("failed")


def _with_threads(launch: Launch, tasks: dict[str, Task]) -> dict[str, Task]:
    """Share out the threads, where the user has not set them."""
    if any("threads" in map(key_of, task.overrides) for task in tasks.values()):
        return tasks
    from snnlab.search.engines import threads_each

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
    return f"the same command with hydra.sweep.dir={shown(grid.folder)} goes on"
