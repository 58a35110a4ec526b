"""A training, begun, gone on with or repeated: `snnlab train` without its command line."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from snnlab.config.recorded_run import changes, compose_run, today
from snnlab.config.schema import Experiment
from snnlab.console import quiet_lightning
from snnlab.errors import ConfigError, DamagedError, Interrupted, RecordError
from snnlab.files import require_writable
from snnlab.printable import masked
from snnlab.runs.provenance import Finding, compare, surroundings
from snnlab.runs.recorded import Recorded, read_ended, read_run
from snnlab.runs.run_folder import CONFIG, REPEATED, Result, locked
from snnlab.session.cluster import begun_before, remember, requeue
from snnlab.session.fit import fit_and_test
from snnlab.session.last_checkpoint import check_epochs, other_kernels, read_resumption
from snnlab.session.session import Session
from snnlab.training.resuming import Resumption

_log = logging.getLogger(__name__)


def run(session: Session, started: float) -> Result:
    """Train, test the chosen epoch, write the record; or go on with it, where SLURM has started the job again.

    Args:
        started: `time.perf_counter()` when the command began.

    Raises:
        SnnlabError: for a mistake found before the training; the folder is then not written.
    """
    experiment, folder = session.experiment, session.folder
    if experiment.mode == "shapes":
        raise ConfigError("mode", "shapes trains nothing and has no result", "it is for the command line")
    if begun := begun_before(experiment):
        return _or_requeued(lambda: resume(begun, (), None, started, begun=lambda: experiment))
    if os.path.isfile(folder / CONFIG):
        raise RecordError(folder, "holds a run", f"resume={folder} goes on with it, another folder begins a new one")
    require_writable(folder)
    with experiment.located_errors(), quiet_lightning():
        session.prepare()
        remember(experiment, folder)
        return _or_requeued(lambda: fit_and_test(session, started))


def resume(
    run: Path,
    overrides: Sequence[str],
    config_dir: str | Path | None,
    started: float,
    command: Sequence[str] | None = None,
    begun: Callable[[], Experiment] | None = None,
) -> Result:
    """Let a run go on from its newest checkpoint, and return its result; that of a complete one is returned at once.

    Args:
        overrides: What is different from now on; see `snnlab.config.recorded_run`.
        started: `time.perf_counter()` when the command began.
        command: What was typed for it; None: nothing, something else goes on with it.
        begun: Composes the experiment that this process was told to train, where that is how it came to the run.

    Raises:
        SnnlabError: for a setting that cannot change, a damaged checkpoint, other recordings.
    """
    before = compose_run(run, (), config_dir, "record")
    now = compose_run(run, overrides, config_dir, "training", begun)
    changed = changes(before.record or {}, now.record or {})
    folder = run.absolute()
    with locked(folder):
        done = completed(folder, run)
        if done is not None and "trainer.max_epochs" not in changed:
            _log.info("%s is complete; there is nothing to resume", run)
            return done
        resumption = read_resumption(folder, changed, longer=_other_schedule(before, now, changed))
        said = command or ("snnlab", "train", f"resume={run}", *overrides)
        kernels = other_kernels(resumption.node, now.backend)
        resumption = replace(resumption, command=[masked(word) for word in said], kernels=kernels)
        if resumption.checkpoint is not None:
            now = replace(now, init_from=None)  # its weights are in the checkpoint
        check_epochs(now.trainer.get("max_epochs"), resumption)
        return _go_on(now, folder, started, resumption)


def completed(folder: Path, run: Path) -> Result | None:
    """Return the result of a run that is complete, else None: one whose files cannot be read is tested once more.

    Args:
        run: The same as it was named.
    """
    try:
        recorded = read_ended(folder)
        if recorded is None or recorded.status != "completed":
            return None
        recorded.check_files()
    except DamagedError as error:
        _log.warning("%s: %s cannot be read (%s) and is written anew", run, error.path.name, error.reason)
        return None
    known = {field.name for field in fields(Result)}
    said = {key: value for key, value in recorded.page.items() if key in known}
    return Result(folder, **{**said, "name": recorded.name})


def _other_schedule(before: Experiment, now: Experiment, changed: Mapping[str, Any]) -> bool:
    """Return whether the learning rate is to follow another schedule; those of ours are as long as the run."""
    over_the_run = "type" in (now.scheduler or {}) and "trainer.max_epochs" in changed
    return before.scheduler != now.scheduler or over_the_run


def _go_on(experiment: Experiment, folder: Path, started: float, resumption: Resumption) -> Result:

    with experiment.located_errors(), quiet_lightning():
        if experiment.threads is None and resumption.node:  # sums differ in their last digits with other numbers
            experiment = replace(experiment, threads=resumption.node["threads"])
        session = Session(experiment, folder)
        session.prepare()
        return fit_and_test(session, started, resumption)


def _or_requeued(training: Callable[[], Result]) -> Result:
    """Train; where SLURM's signal before the end of the time stops it, ask for more before that is passed on."""
    try:
        return training()
    except Interrupted as stop:
        if stop.signum == signal.SIGUSR1:
            requeue()
        raise


class Repeated(NamedTuple):
    """What came of a run that was trained again.

    Attributes:
        folder: The new run's.
        findings: What is the same and what is not.
        surroundings: Where something is not, what differs in versions, hardware and numerics, in words.
    """

    folder: Path
    findings: Sequence[Finding]
    surroundings: Sequence[str]


def repeat(recorded: Recorded, overrides: Sequence[str], started: float) -> Repeated:
    """Train again as a record says, and compare all that came of it; the new run stands beside the old one.

    Args:
        overrides: What is named again.
        started: `time.perf_counter()` when the command began.

    Raises:
        SnnlabError: for an override of what the run learned from, and for whatever a training refuses.
    """
    experiment = compose_run(recorded.folder, [*_replayed(recorded), *overrides], use="training")
    folder = recorded.folder.with_name(f"{datetime.now():%Y-%m-%d_%H-%M-%S.%f}_{experiment.seed}{REPEATED}")
    experiment = replace(experiment, command=("snnlab", "reproduce", str(recorded.folder)))
    again = read_run(run(Session(experiment, folder), started).folder)
    findings = compare(recorded, again)
    same = all(finding.same for finding in findings)
    return Repeated(again.folder, findings, () if same else surroundings(recorded, again))


def _replayed(recorded: Recorded) -> list[str]:
    """Return the overrides that make this machine do as the record says."""
    numerics = {"threads": recorded.required("threads"), **recorded.required("numerics")}
    names = ("threads", "backend", "sparse_input")
    return [f"{name}={str(today(name, numerics[name])).lower()}" for name in names if name in numerics]
