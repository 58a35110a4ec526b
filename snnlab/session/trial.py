"""What a worker does for a search or a suite: check, look at the recordings, train."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from snnlab.config.compose import compose_once
from snnlab.config.grids import shares_gpus
from snnlab.config.overrides import merged
from snnlab.config.schema import Experiment
from snnlab.data.duplicates import Duplicates
from snnlab.errors import DataError, MissingPackageError, RecordError, SnnlabError, UnsetError, one_line
from snnlab.experiments.pruning import watched
from snnlab.experiments.space import overrides, written
from snnlab.experiments.suite_plan import Plan, Survey
from snnlab.experiments.suite_runner import search_plan
from snnlab.experiments.workers import AROUND, Outcome, Rehearsal, Status, Task
from snnlab.files import write_text
from snnlab.runs.run_folder import CONFIG, Result, is_locked
from snnlab.session import Session
from snnlab.session.build_data import data_notes
from snnlab.session.build_store import find_duplicates
from snnlab.session.session import check_build
from snnlab.session.training import resume, run
from snnlab.settings import key_of

_WAIT_S = 0.5
# One batch of each, and nothing drawn.
_SHORT = (
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=1",
    "logger=none",
    "pictures=null",
    "test=false",
    "trainer.enable_progress_bar=false",
)


def train_task(task: Task) -> Outcome:
    """Train, or go on where the folder holds a run that was begun; whatever stops it is returned in words."""
    started = time.perf_counter()
    with quiet():
        try:
            _enter(task.place)
            return _outcome("completed", None, _trained(task, started), started)
        except KeyboardInterrupt as stop:
            return _outcome("interrupted", str(stop), None, started)
        except SnnlabError as error:
            # What the disk refuses, it would refuse the next trial too.
            full = isinstance(error, RecordError) and isinstance(error.__cause__, OSError)
            return _outcome("stopped" if full else "failed", one_line(error), None, started)
        except Exception as error:  # a trial's failure is recorded, and the others go on
            folder = Path(task.folder)
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / "traceback.txt", traceback.format_exc())
            return _outcome("failed", f"{type(error).__name__}: {error}".splitlines()[0], None, started)


def train_or_resume(experiment: Experiment, folder: Path, config_dir: str | None, started: float) -> Result:
    """Train in this process, or go on where the folder holds a run that was begun."""
    if (folder / CONFIG).is_file():
        return resume(folder, (), config_dir, started)
    return run(Session(experiment, folder), started)


def rehearse(probes: Sequence[Sequence[str]], config_dir: str | None, place: str) -> Rehearsal:
    """Build what each list of overrides describes, and train one batch of the first; its record is thrown away.

    Args:
        probes: Overrides.
        place: The working folder.
    """
    os.chdir(place)
    with quiet(), TemporaryDirectory() as folder:
        for number, probe in enumerate(probes):
            try:
                check_build(list(probe), Path(config_dir) if config_dir else None)
            except SnnlabError as error:
                return Rehearsal(error, probe=number)
        try:
            where = f"hydra.run.dir={written(str(Path(folder) / 'run'))}"
            experiment, path = compose_once([*probes[0], *_SHORT, where], config_dir)
            result = run(Session(experiment, path), time.perf_counter())
        except SnnlabError as error:
            return Rehearsal(error)
        return Rehearsal(None, list(_metrics(result)), result.selection["val_size"])


def survey(probes: Sequence[Sequence[str]], config_dir: str | None, place: str) -> Survey:
    """Find and pack the recordings of the first list of overrides that builds; train nothing.

    Args:
        probes: Overrides of the arms.
        place: The working folder.
    """
    os.chdir(place)
    mistake: SnnlabError | None = None
    own = Path(config_dir) if config_dir else None
    with quiet():
        for probe in probes:
            try:
                check_build(list(probe), own)
            except (UnsetError, MissingPackageError) as error:
                return Survey(gap=error)
            except SnnlabError as error:
                mistake = mistake or error
            else:
                return _recordings(compose_once(list(probe), own)[0])
    return Survey(mistake=mistake)


def _recordings(experiment: Experiment) -> Survey:
    copies: Duplicates | None = None
    try:
        session = Session(experiment)
        copies = find_duplicates(session.settings, session.store, session.dataset)
        data_notes(session.data)
    except (DataError, MissingPackageError) as error:
        return Survey(gap=error, **_said(copies))
    except SnnlabError as error:
        return Survey(mistake=error)
    return Survey(gpus=number_of_gpus() if shares_gpus(experiment.trainer) else 0, **_said(copies))


def _said(copies: Duplicates | None) -> dict[str, Any]:
    return {} if copies is None else {"duplicates": copies.said, "apart": copies.passed}


def check_arm(plan: Plan, dataset: str, arm: str) -> None:
    """Refuse an arm on a dataset that is wrong, or is tuned in what is."""
    folder = Path(plan.config_dir) if plan.config_dir else None
    own = plan.arm_overrides(dataset, arm)
    check_build(merged(own), folder)
    if plan.suite.tuning(arm) is None:
        return
    for values in search_plan(plan, dataset, arm, merged).space.probes():
        try:
            check_build(merged([*own, *overrides(values)]), folder)
        except SnnlabError as error:
            raise error.moved(place=f"tune.space: {error.place}") from error


def gpus_to_share(overrides: Sequence[str], config_dir: str | None, place: str) -> int:
    """Return how many GPUs this machine has for trainings with some overrides; 0 where they say on what they run.

    Args:
        overrides: What all of them have.
        place: The working folder.
    """
    if (number := number_of_gpus()) < 2:
        return 0
    os.chdir(place)
    with quiet():
        experiment, _ = compose_once(list(overrides), config_dir)
    return number if shares_gpus(experiment.trainer) else 0


def number_of_gpus() -> int:
    """Return how many GPUs this machine has."""
    return torch.cuda.device_count()


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise RecordError(folder, error.strerror, "it is the working folder of this training") from error


def _trained(task: Task, started: float) -> Result:
    def composed() -> tuple[Experiment, Path]:
        return compose_once([*task.overrides, f"hydra.run.dir={written(task.folder)}"], task.config_dir)

    folder = Path(task.folder)
    while is_locked(folder):  # the worker of a driver that was killed, at its last checkpoint
        time.sleep(_WAIT_S)
    with watched(task.watched):
        if (folder / CONFIG).is_file():
            around = [text for text in task.overrides if key_of(text) in AROUND]
            return resume(folder, merged(around), task.config_dir, started, begun=lambda: composed()[0])
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
    """Return a run's figures, and its speed; not its peak of memory, which a process keeps from trial to trial."""
    speed = result.timing.get("samples_per_s")
    return {**result.metrics, **({"timing/samples_per_s": float(speed)} if speed else {})}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the console for a line a trial; what the run says goes to its log.txt."""
    logger = logging.getLogger("snnlab")
    before: list[logging.Handler] = logger.handlers
    logger.handlers = [logging.NullHandler()]
    propagates, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before, propagates
