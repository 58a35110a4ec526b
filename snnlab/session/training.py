"""Starts, resumes or reproduces a run: `snnlab train` without its command line."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from snnlab.config.recorded_run import changed_settings, compose_run
from snnlab.config.schema import Experiment
from snnlab.console import quiet_lightning, silence
from snnlab.errors import DamagedError, Interrupted, RunFolderError, ShareDone
from snnlab.files import require_writable
from snnlab.printable import masked
from snnlab.process import collect_as_usual
from snnlab.runs.provenance import ComparedItem, compare_runs, environment_differences
from snnlab.runs.recorded import RecordedRun, read_run, read_run_if_ended
from snnlab.runs.run_folder import CONFIG, REPEAT_SUFFIX, Result, locked
from snnlab.session.cluster import record_slurm_run, requeue, requeued_run
from snnlab.session.fit import fit_and_test, train_other_rank
from snnlab.session.last_checkpoint import changed_kernels, check_epochs, read_resumption
from snnlab.session.session import Session
from snnlab.training.resuming import Resumption

_log = logging.getLogger(__name__)


def run(session: Session, started: float) -> Result:
    """Train, test the chosen epoch and write the run folder; resume the run if SLURM has requeued the job.

    Args:
        started: `time.perf_counter()` when the command began.

    Raises:
        ShareDone: at the end, in the processes of a distributed training but the first.
    """
    collect_as_usual()
    experiment, folder = session.experiment, session.folder
    is_other_rank = session.is_other_rank
    if is_other_rank:
        silence()
    if requeued := requeued_run(experiment):
        return _train_or_requeue(lambda: resume(requeued, (), None, started, compose_initial=lambda: experiment))
    if not is_other_rank and os.path.isfile(folder / CONFIG):
        raise RunFolderError(folder, "contains a run", f"resume={folder} continues it, another folder starts a new one")
    if not is_other_rank:
        require_writable(folder)
    with quiet_lightning():
        session.prepare()
        if is_other_rank:
            train_other_rank(session)
        record_slurm_run(experiment, folder)
        return _train_or_requeue(lambda: fit_and_test(session, started))


def resume(
    run: Path,
    overrides: Sequence[str],
    config_dir: str | Path | None,
    started: float,
    command: Sequence[str] | None = None,
    compose_initial: Callable[[], Experiment] | None = None,
) -> Result:
    """Resume a run from its newest checkpoint, and return its result; that of a complete run at once.

    Args:
        overrides: Changes of the configuration, as far as `snnlab.config.recorded_run` allows them.
        started: `time.perf_counter()` when the command began.
        command: The command line; None: the run is resumed without one.
        compose_initial: Composes the experiment that this process was started with, if not with `resume`.
    """
    collect_as_usual()
    before = compose_run(run, (), config_dir, "record")
    now = compose_run(run, overrides, config_dir, "training", compose_initial)
    changed = changed_settings(before.record or {}, now.record or {})
    folder = run.absolute()
    is_other_rank = Session(now, folder).is_other_rank
    if is_other_rank:
        silence()
    with nullcontext() if is_other_rank else locked(folder):
        done = read_completed(folder, run)
        if done is not None and "trainer.max_epochs" not in changed:
            _log.info("%s is complete; there is nothing to resume", run)
            if is_other_rank:
                raise ShareDone(0)
            return done
        resumption = read_resumption(folder, changed, extend_schedule=_changes_schedule(before, now, changed))
        typed = command or ("snnlab", "train", f"resume={run}", *overrides)
        kernels = changed_kernels(resumption.node, now.backend)
        resumption = replace(resumption, command=[masked(word) for word in typed], kernels=kernels)
        if resumption.checkpoint is not None:
            now = now.without_initial_weights()  # its weights are in the checkpoint
        check_epochs(now.trainer.get("max_epochs"), resumption)
        return _continue_run(now, folder, started, resumption)


def read_completed(folder: Path, run: Path) -> Result | None:
    """Return the result of a complete run, else None; a run with unreadable files counts as incomplete.

    Args:
        run: The same folder, as the user typed it.
    """
    try:
        recorded = read_run_if_ended(folder)
        if recorded is None or recorded.status != "completed":
            return None
        recorded.check_files()
    except DamagedError as error:
        _log.warning("%s: %s cannot be read (%s) and is written anew", run, error.path.name, error.reason)
        return None
    return recorded.result()


def _changes_schedule(before: Experiment, now: Experiment, changed: Mapping[str, Any]) -> bool:
    """Return whether the learning rate schedule changes; the schedules of snnlab span the whole run."""
    over_the_run = "type" in (now.scheduler or {}) and "trainer.max_epochs" in changed
    return before.scheduler != now.scheduler or over_the_run


def _continue_run(experiment: Experiment, folder: Path, started: float, resumption: Resumption) -> Result:
    with quiet_lightning():
        if experiment.threads is None and resumption.node:  # another number changes the last digits of sums
            experiment = replace(experiment, threads=resumption.node["threads"])
        session = Session(experiment, folder)
        session.prepare()
        if session.is_other_rank:
            train_other_rank(session, resumption)
        return fit_and_test(session, started, resumption)


def _train_or_requeue(training: Callable[[], Result]) -> Result:
    """Train; if SLURM stops it by its signal before the time limit, requeue the job and raise again."""
    try:
        return training()
    except Interrupted as stop:
        if stop.signum == signal.SIGUSR1:
            requeue()
        raise


class Reproduction(NamedTuple):
    """The result of a reproduction.

    Attributes:
        folder: The folder of the new run.
        findings: The comparisons of old and new run.
        environment_differences: If the runs differ, the differences in versions, hardware and numerics, as text.
    """

    folder: Path
    findings: Sequence[ComparedItem]
    environment_differences: Sequence[str]


def repeat(recorded: RecordedRun, overrides: Sequence[str], started: float) -> Reproduction:
    """Train again with the recorded configuration, and compare the results; the new run is next to the old one.

    Args:
        overrides: Overrides that a record cannot contain, such as the folder of the data.
        started: `time.perf_counter()` when the command began.
    """
    experiment = compose_run(recorded.folder, [*_numerics_overrides(recorded), *overrides], use="training")
    folder = recorded.folder.with_name(f"{datetime.now():%Y-%m-%d_%H-%M-%S.%f}_{experiment.seed}{REPEAT_SUFFIX}")
    experiment = replace(experiment, command=("snnlab", "reproduce", str(recorded.folder)))
    again = read_run(run(Session(experiment, folder), started).folder)
    findings = compare_runs(recorded, again)
    same = all(finding.same for finding in findings)
    return Reproduction(again.folder, findings, () if same else environment_differences(recorded, again))


def _numerics_overrides(recorded: RecordedRun) -> list[str]:
    """Return the overrides that set the recorded threads, backend and first layer on this machine."""
    numerics = {"threads": recorded.required("threads"), **recorded.required("numerics")}
    names = ("threads", "backend", "sparse_input")
    return [f"{name}={str(numerics[name]).lower()}" for name in names if name in numerics]
