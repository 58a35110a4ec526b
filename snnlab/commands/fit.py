"""The part of a training that leaves a record: fit, test of the chosen epoch, result."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException

from snnlab.commands.interruption import ctrl_c_comes_back, interrupted, received_signal
from snnlab.commands.processes.group import process_group, shared_threads
from snnlab.commands.processes.job import Job
from snnlab.commands.processes.outside import team_of
from snnlab.commands.testing import chosen_metrics
from snnlab.config.plugins import plugin_files
from snnlab.config.schema import Experiment
from snnlab.data.module import EventDataModule
from snnlab.errors import ConfigError, DamagedError, RecordError
from snnlab.files import write_json
from snnlab.kernels.function import kernels_of
from snnlab.masking import masked
from snnlab.record.earlier_results import archive_result, search_of
from snnlab.record.hot_pixels import write_hot_pixels
from snnlab.record.lock import locked
from snnlab.record.logged_run import LoggedRun
from snnlab.record.metrics_csv import MetricsCSV
from snnlab.record.provenance import config_hash, provenance
from snnlab.record.run_folder import SPLIT, Result, config_text, create_run_folder, log_file, logged_warnings
from snnlab.record.run_reading import read_ended
from snnlab.session import Session
from snnlab.session.build_trainer import annealing, averaging, mode_callbacks, monitors, norm_note, pictures
from snnlab.session.trained_before import KEY, counted, found_before, record_trained_on, recorded_before
from snnlab.signals import end_undisturbed
from snnlab.training.callbacks.progress import console_callbacks
from snnlab.training.callbacks.risen_loss import RisenLoss
from snnlab.training.callbacks.selection import Selection
from snnlab.training.callbacks.silence import SilenceWarning
from snnlab.training.callbacks.timing import Timing
from snnlab.training.divergence import DivergenceGuard
from snnlab.training.memory import is_out_of_memory, smaller
from snnlab.training.processes.ranks import Team
from snnlab.training.resuming.longer import LongerRun
from snnlab.training.resuming.resumption import Resumption
from snnlab.training.resuming.snapshots import Snapshots
from snnlab.training.resuming.stopping import StopOnSignal, StoppedError

_log = logging.getLogger(__name__)


@dataclass
class _Watched:
    """A training and what watches it."""

    trainer: L.Trainer
    timing: Timing
    selection: Selection
    snapshots: Snapshots
    logged: LoggedRun


@ctrl_c_comes_back()
def fit_and_test(session: Session, started: float, resumption: Resumption | None = None) -> Result:
    """Train, test the chosen epoch and write the record; a failure or an interruption on the way is recorded too.

    Args:
        session: What is trained; its folder is where the run is recorded, and one that is resumed is locked by the
            caller.
        started: `time.perf_counter()` when the command began.

    Raises:
        RecordError: if the folder cannot be written, or another process trains in it.
        ProcessError: if one of several processes of the training ends before it is over.
        Interrupted: after Ctrl-C, SIGTERM or SIGHUP; nothing is tested then.
        Exception: whatever stopped the training, after `status: failed` was written.
    """
    experiment, folder, data, wanted = session.experiment, session.folder, session.data, session.processes
    text = config_text(experiment.record or {})
    hashes = {"data_fingerprint": data.store.fingerprint, "split_hash": data.split.hash}
    if resumption:
        resumption.require_same(hashes, wanted.world)
    command = _command(experiment, folder, resumption)
    kernels = kernels_of(experiment.backend)
    identity = {"config_hash": config_hash(text), **hashes, "command": command, "kernels": kernels}
    with shared_threads(experiment.threads, wanted.local) as threads, ExitStack() as held:
        job = Job(experiment, folder, resumption, identity, threads, wanted.gpu)
        if wanted.world > 1:
            _log.info("%d processes begin", wanted.world)
        group = held.enter_context(process_group(job, wanted.world, wanted.local, team_of(wanted.world)))
        watched = _watched(job, session, started, group.team)
        if resumption:
            resumption.require_callbacks(watched.trainer.callbacks)  # type: ignore[attr-defined]
        numerics = _numerics(job, watched, session)
        device, of_all = watched.trainer.strategy.root_device, wanted.recorded(data.settings.batch_size)
        source = provenance(config_text=text, **hashes, device=device, processes=of_all, **numerics)
        create_run_folder(folder, text, plugin_files(experiment.plugins))
        search = search_of(folder)
        archive_result(folder)
        if not resumption:
            held.enter_context(locked(folder))
        result = Result(folder, "failed", experiment.seed, resumed=watched.snapshots.resumed, search=search)
        result.control, result.provenance = experiment.control, source
        result.name = (experiment.record or {}).get("name", experiment.name)  # as config.yaml has it: no secrets
        result.provenance["command"] = command
        with _recorded(result, watched, data), log_file(folder), group.or_lost(folder):
            before = recorded_before(folder, data) if resumption else found_before(experiment, data)
            _record_data(folder, experiment, data, before)
            if resumption and resumption.checkpoint:
                _log.info(resumption.words(watched.trainer.max_epochs))
                if words := resumption.kernels_words():
                    _log.warning(words)
            if note := norm_note(wanted, session.network, data.settings.batch_size):
                _log.warning(note)
            group.join(gpu=wanted.gpu)
            _fit(job, watched, session)
            result.selection = {**_selection(watched, data), **counted(before)}
            result.metrics = _tested(job, watched, session)
            result.status = "completed"
            watched.logged.conclude(watched.trainer, result.metrics)
    return result


def _record_data(folder: Path, experiment: Experiment, data: EventDataModule, before: Mapping[str, Any] | None) -> None:
    """Write which recordings are for what, and what is left out of them."""
    split = {**data.split.as_record(), "classes": data.class_names}
    write_json(folder / SPLIT, split if before is None else {**split, KEY: before})
    record_trained_on(folder, experiment, data)
    write_hot_pixels(folder, data.hot)


def _command(experiment: Experiment, folder: Path, resumption: Resumption | None) -> list[str]:
    """Return what was typed when the run was begun, without passwords."""
    if resumption is None:
        return [masked(word) for word in experiment.command]
    begun = resumption.node.get("command")
    with suppress(DamagedError):  # which was said, and it is written anew
        if begun is None and (ended := read_ended(folder)):  # it ended before its first checkpoint
            begun = ended.page.get("provenance", {}).get("command")
    return list(begun or resumption.command)


def take_share(job: Job, session: Session, team: Team) -> None:
    """Do the same as `fit_and_test` in another process than the first, without a record."""
    watched = _watched(job, session, 0.0, team)
    _numerics(job, watched, session)
    _fit(job, watched, session)
    _tested(job, watched, session)


def _numerics(job: Job, watched: _Watched, session: Session) -> dict[str, Any]:
    """Decide how the network is computed, and return it."""
    trainer = watched.trainer
    before = job.resumption.node.get("first_layer") if job.resumption else None
    found = session.computed_on(trainer.strategy.root_device, before)
    # Each checkpoint says it, so that what goes on from one does not decide again.
    watched.snapshots.identity["first_layer"] = found.first_layer
    return {**found._asdict(), "precision": str(trainer.precision)}


def _fit(job: Job, watched: _Watched, session: Session) -> None:
    checkpoint = job.resumption.checkpoint if job.resumption else None
    watched.trainer.fit(session.module, datamodule=session.data, ckpt_path=checkpoint, weights_only=True)


def _tested(job: Job, watched: _Watched, session: Session) -> dict[str, float]:
    objects = session.module, session.data, watched.selection, session.built
    return chosen_metrics(watched.trainer, *objects, job.experiment.test)


def _watched(job: Job, session: Session, started: float, team: Team) -> _Watched:
    """Build the trainer with all that watches it; in another process than the first, with what all need alike."""
    experiment, folder, resumption = job.experiment, job.folder, job.resumption
    validates = session.data.split.val.size > 0 and experiment.trainer.get("limit_val_batches") != 0
    selection = Selection(folder / "checkpoints", experiment.selection if validates else "last")
    resumed = resumption.resumed if resumption else []
    identity = {**job.identity, "processes": team.world}
    snapshots = Snapshots(selection, experiment.checkpoint_every_s, identity, resumed)
    timing, logged = Timing(started), LoggedRun(experiment.record or {}, folder)
    speaking = [
        *console_callbacks(timing, bar=experiment.trainer.get("enable_progress_bar", True)),
        SilenceWarning(),
        RisenLoss(),
        *pictures(experiment),
        *monitors(experiment),
        logged,
    ]
    callbacks = [
        timing,
        DivergenceGuard(),
        *(speaking if team.leads else []),
        *annealing(experiment, session.network),
        *averaging(experiment),
        *mode_callbacks(experiment, folder),
        *([LongerRun(resumption)] if resumption else []),
        MetricsCSV(folder / "metrics.csv"),
        selection,
        snapshots,
        StopOnSignal(snapshots),
    ]
    trainer = session.trainer(callbacks, resumption.logged_steps if resumption else None, team)
    return _Watched(trainer, timing, selection, snapshots, logged)


@contextmanager
def _recorded(result: Result, watched: _Watched, data: EventDataModule) -> Iterator[None]:
    """Write the result, whatever happens inside, and put what the user can act on into words."""
    try:
        yield
    except BaseException as error:
        selection, folder = watched.selection, result.folder
        if which := received_signal(error):
            end_undisturbed()
            result.status, result.error = "interrupted", f"stopped by {which.name}"
            result.selection, result.metrics = _selection(watched, data), dict(selection.values)
            repeats = error.repeats if isinstance(error, StoppedError) else ""
            raise interrupted(which, watched.trainer, folder, selection.epoch, repeats) from None
        result.error = f"{type(error).__name__}: {error}"
        if isinstance(error, OSError):
            raise _incomplete(folder, error) from error
        if is_out_of_memory(error):
            raise ConfigError("", *smaller(data.settings.batch_size, data.settings.steps)) from error
        if isinstance(error, MisconfigurationException):  # of what Lightning looks at only while it trains
            raise ConfigError("trainer", " ".join(str(error).split())) from error
        raise
    finally:
        result.timing = watched.timing.summary()
        try:
            result.warnings = logged_warnings(result.folder)
            result.write()
        except OSError as error:
            raise _incomplete(result.folder, error) from error


def _incomplete(folder: Path, error: OSError) -> RecordError:
    named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else folder
    place = folder if folder in named.absolute().parents else named
    hint = f"the run is incomplete: snnlab train resume={folder} goes on"
    return RecordError(place, error.strerror or error, hint)


def _selection(watched: _Watched, data: EventDataModule) -> dict[str, Any]:
    return {
        "rule": watched.selection.rule,
        "epoch": watched.selection.epoch,
        "epochs": watched.trainer.current_epoch,
        **data.sizes(),
        "val_rule": data.split.rule,
    }
