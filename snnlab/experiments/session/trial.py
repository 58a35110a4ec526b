"""The tasks of a worker of a search or a suite: check, inspect the recordings, train."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from snnlab.config.compose import compose_experiment
from snnlab.config.grids import shares_gpus
from snnlab.config.merging import merge_overrides
from snnlab.config.schema import Experiment
from snnlab.data.duplicates import Duplicates
from snnlab.errors import DataError, MissingPackageError, RunFolderError, SnnlabError, UnsetError, one_line
from snnlab.experiments.pruning import report_as
from snnlab.experiments.space import overrides, written
from snnlab.experiments.suite_plan import PreflightResult, SuitePlan
from snnlab.experiments.suite_runner import tuning_plan
from snnlab.experiments.workers import MACHINE_SETTINGS, DryRun, Outcome, RunTask, Status
from snnlab.files import write_text
from snnlab.runs.run_folder import CONFIG, Result, is_locked
from snnlab.session import Session
from snnlab.session.build_data import data_notes
from snnlab.session.build_store import find_duplicates
from snnlab.session.session import compose_and_check
from snnlab.session.training import resume, run
from snnlab.spec.override_texts import key_of

_WAIT_S = 0.5
# One batch per stage, and no plots.
_ONE_BATCH = (
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=1",
    "logger=none",
    "plots=null",
    "test=false",
    "trainer.enable_progress_bar=false",
)


def train_task(task: RunTask) -> Outcome:
    """Train, or resume if the folder contains a run; return any error as text."""
    started = time.perf_counter()
    with silence_console():
        try:
            _change_folder(task.working_folder)
            return _outcome("completed", None, _train_run(task, started), started)
        except KeyboardInterrupt as stop:
            return _outcome("interrupted", str(stop), None, started)
        except SnnlabError as error:
            # A full disk would stop the next trial too.
            full = isinstance(error, RunFolderError) and isinstance(error.__cause__, OSError)
            return _outcome("stopped" if full else "failed", one_line(error), None, started)
        except Exception as error:  # the failure is recorded, and the other trials continue
            folder = Path(task.folder)
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / "traceback.txt", traceback.format_exc())
            return _outcome("failed", f"{type(error).__name__}: {error}".splitlines()[0], None, started)


def train_or_resume(experiment: Experiment, folder: Path, config_dir: str | None, started: float) -> Result:
    """Train in this process, or resume if the folder contains a run."""
    if (folder / CONFIG).is_file():
        return resume(folder, (), config_dir, started)
    return run(Session(experiment, folder), started)


def dry_run(probes: Sequence[Sequence[str]], config_dir: str | None, working_folder: str) -> DryRun:
    """Build the experiment of each list of overrides, and train one batch of the first; its run folder is deleted.

    Args:
        probes: Lists of overrides.
        working_folder: The working folder.
    """
    os.chdir(working_folder)
    with silence_console(), TemporaryDirectory() as folder:
        for number, probe in enumerate(probes):
            try:
                compose_and_check(list(probe), Path(config_dir) if config_dir else None)
            except SnnlabError as error:
                return DryRun(error, probe=number)
        try:
            run_folder = f"hydra.run.dir={written(str(Path(folder) / 'run'))}"
            experiment, path = compose_experiment([*probes[0], *_ONE_BATCH, run_folder], config_dir)
            result = run(Session(experiment, path), time.perf_counter())
        except SnnlabError as error:
            return DryRun(error)
        return DryRun(None, list(_metrics(result)), result.selection["val_size"])


def preflight(probes: Sequence[Sequence[str]], config_dir: str | None, working_folder: str) -> PreflightResult:
    """Find and pack the recordings of the first list of overrides that builds; train nothing.

    Args:
        probes: Overrides of the methods.
        working_folder: The working folder.
    """
    os.chdir(working_folder)
    mistake: SnnlabError | None = None
    own = Path(config_dir) if config_dir else None
    with silence_console():
        for probe in probes:
            try:
                compose_and_check(list(probe), own)
            except (UnsetError, MissingPackageError) as error:
                return PreflightResult(gap=error)
            except SnnlabError as error:
                mistake = mistake or error
            else:
                return _inspect_recordings(compose_experiment(list(probe), own)[0])
    return PreflightResult(mistake=mistake)


def _inspect_recordings(experiment: Experiment) -> PreflightResult:
    copies: Duplicates | None = None
    try:
        session = Session(experiment)
        copies = find_duplicates(session.settings, session.store, session.dataset)
        data_notes(session.data)
    except (DataError, MissingPackageError) as error:
        return PreflightResult(gap=error, **_duplicate_fields(copies))
    except SnnlabError as error:
        return PreflightResult(mistake=error)
    return PreflightResult(gpus=number_of_gpus() if shares_gpus(experiment.trainer) else 0, **_duplicate_fields(copies))


def _duplicate_fields(copies: Duplicates | None) -> dict[str, Any]:
    return {} if copies is None else {"duplicates": copies.summary, "apart": copies.passed}


def check_method(plan: SuitePlan, dataset: str, method: str) -> None:
    """Raise a SnnlabError for a mistake of a method on a dataset, or of its search space."""
    folder = Path(plan.config_dir) if plan.config_dir else None
    own = plan.method_overrides(dataset, method)
    merge = partial(merge_overrides, config_dir=folder)
    compose_and_check(merge(own), folder)
    if plan.suite.tuning_settings(method) is None:
        return
    for values in tuning_plan(plan, dataset, method, merge).space.probes():
        try:
            compose_and_check(merge([*own, *overrides(values)]), folder)
        except SnnlabError as error:
            raise error.with_fields(place=f"tune.space: {error.place}") from error


def count_shared_gpus(overrides: Sequence[str], config_dir: str | None, working_folder: str) -> int:
    """Return the number of GPUs that trials can share; 0 for one GPU, or if the overrides choose the devices.

    Args:
        overrides: The overrides of all trials.
        working_folder: The working folder.
    """
    if (number := number_of_gpus()) < 2:
        return 0
    os.chdir(working_folder)
    with silence_console():
        experiment, _ = compose_experiment(list(overrides), config_dir)
    return number if shares_gpus(experiment.trainer) else 0


def number_of_gpus() -> int:
    """Return the number of GPUs of this machine."""
    return torch.cuda.device_count()


def _change_folder(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise RunFolderError(folder, error.strerror, "it is the working folder of this training") from error


def _train_run(task: RunTask, started: float) -> Result:
    def composed() -> tuple[Experiment, Path]:
        return compose_experiment([*task.overrides, f"hydra.run.dir={written(task.folder)}"], task.config_dir)

    folder = Path(task.folder)
    while is_locked(folder):  # the worker of a killed search still writes its last checkpoint
        time.sleep(_WAIT_S)
    with report_as(task.trial_address):
        if (folder / CONFIG).is_file():
            around = [text for text in task.overrides if key_of(text) in MACHINE_SETTINGS]
            return resume(
                folder,
                merge_overrides(around),
                task.config_dir,
                started,
                compose_initial=lambda: composed()[0],
            )
        return run(Session(*composed()), started)


def _outcome(status: Status, error: str | None, result: Result | None, started: float) -> Outcome:
    selection: dict[str, Any] = result.selection if result else {}
    return {
        "status": status,
        "error": error,
        "metrics": _metrics(result) if result else {},
        "fit_s": float(result.timing.get("fit_s") or 0.0) if result else 0.0,
        "wall_s": time.perf_counter() - started,
        "epochs": int(selection.get("epochs") or 0),
        "val_size": int(selection.get("val_size") or 0),
    }


def _metrics(result: Result) -> dict[str, float]:
    """Return the metrics and the speed of a run; no peak memory, which a process keeps from trial to trial."""
    speed = result.timing.get("samples_per_s")
    return {**result.metrics, **({"timing/samples_per_s": float(speed)} if speed else {})}


@contextmanager
def silence_console() -> Iterator[None]:
    """Keep log messages off the console, which shows one line per trial; they go to the run's log.txt."""
    logger = logging.getLogger("snnlab")
    before: list[logging.Handler] = logger.handlers
    logger.handlers = [logging.NullHandler()]
    propagates, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before, propagates
