"""Trains, tests the chosen epoch and writes the run folder; handles interruptions by signals."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
import numpy as np
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from snnlab.config.plugins import plugin_files
from snnlab.config.schema import Experiment
from snnlab.console import say_error
from snnlab.data.data_module import EventDataModule
from snnlab.errors import (
    ConfigError,
    DamagedError,
    Interrupted,
    ProcessError,
    RunFolderError,
    ShareDone,
    SnnlabError,
)
from snnlab.kernels.function import kernel_version
from snnlab.memory import is_out_of_memory, out_of_memory_hint
from snnlab.nn import BuiltNetwork
from snnlab.nn.operations import OperationCounts, connection_sparsity, count_operations, footprint_bytes
from snnlab.nn.summary import learned_metrics
from snnlab.printable import masked
from snnlab.process import ignore_further_signals
from snnlab.runs.loggers import LoggedTest, MetricsCSV, RunLogging
from snnlab.runs.predictions import Predictions, layer_names
from snnlab.runs.provenance import config_hash, provenance
from snnlab.runs.recorded import read_run_if_ended, read_run_if_usable, search_record
from snnlab.runs.run_folder import (
    CHECKPOINTS,
    DAMAGED_RESULT,
    EARLIER_RESULT,
    METRICS,
    RESULT,
    Result,
    config_text,
    create_run_folder,
    locked,
    log_file,
    write_hot_pixels,
    write_predictions,
    write_split,
)
from snnlab.session import Session
from snnlab.session.build_trainer import (
    annealing_callbacks,
    averaging_callbacks,
    layer_schedule_callbacks,
    mode_callbacks,
    monitor_callbacks,
    noise_callbacks,
    plot_callbacks,
)
from snnlab.session.processes import batch_norm_note, share_threads
from snnlab.session.weights import (
    TRAINED_BEFORE,
    find_trained_before,
    read_trained_before,
    record_trained_on,
)
from snnlab.target_kinds import IGNORED
from snnlab.training.checkpoints import read_checkpoint, weights_hash
from snnlab.training.distributed import all_gather, is_lost_process
from snnlab.training.health import DeadLayerWarning, DivergenceGuard, LossRiseWarning
from snnlab.training.progress import Bar, Timing, console_callbacks
from snnlab.training.resuming import ExtendedRun, Resumption
from snnlab.training.snapshots import BestCheckpoint, Snapshots, StopEvaluationOnSignal, StopOnSignal, StoppedError
from snnlab.training.weight_averaging import averaged_weights

_log = logging.getLogger(__name__)


def received_signal(error: BaseException) -> signal.Signals | None:
    """Return the signal that caused an exception, or None for any other error.

    During the fit, snnlab handles signals. Outside of it, Lightning turns Ctrl-C into `sys.exit(1)`, and SIGTERM into
    its own exception.
    """
    if isinstance(error, StoppedError | Interrupted):
        return signal.Signals(error.signum)
    if isinstance(error, SIGTERMException):
        return signal.SIGTERM
    if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt | Interrupted):
        return received_signal(error.__context__)
    return signal.SIGINT if isinstance(error, KeyboardInterrupt) else None


@contextmanager
def restore_sigint() -> Iterator[None]:
    """Restore the SIGINT handler afterwards: Lightning disables Ctrl-C for good when it shuts down."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)


def interruption_error(
    stop_signal: signal.Signals, trainer: L.Trainer, folder: Path, chosen: int | None, repeats: str = ""
) -> Interrupted:
    """Return the error that lists what was interrupted and what was saved.

    Args:
        chosen: The epoch in `best.ckpt`, from 0; None without that file.
        repeats: A line on what will be trained again.
    """
    done, total = trainer.current_epoch, trainer.max_epochs
    of = f" of {total}" if total and total > 0 else ""
    if not done:
        kept = "its configuration and its log; no epoch was complete"
    elif chosen is None:
        kept = "the weights of the last epoch, metrics and log"
    else:
        kept = f"the weights of the last epoch and of the best (epoch {chosen + 1}), metrics and log"
    message = f"interrupted after {done}{of} epochs, without a test; {folder} contains {kept}"
    message += f"\n  {repeats}" if repeats else ""
    message += f"\n  snnlab train resume={folder} continues it"
    return Interrupted(message, stop_signal)


# The test metrics that are scores.
_SCORES = ("loss", "accuracy", "mae", "rmse", "r2")


def _evaluate_chosen_epoch(training: _Training, session: Session) -> dict[str, float]:
    """Return the flat metrics of the chosen epoch, and write its predictions; all ranks must call this."""
    trainer, selection, module, data = training.trainer, training.selection, session.module, session.data
    last = {f"last/{k}": float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
    tests = session.experiment.test and data.split.test.size > 0
    # Tables show the last epoch next to the chosen one; it is tested before the chosen weights are loaded.
    if tests and selection.epoch not in (None, trainer.current_epoch - 1):
        with averaged_weights(trainer, module):
            last |= _last_scores(_run_stage(session, "test", training.bars, distributed=True))
    best = all_gather(selection.best_path)[0]  # only rank 0 knows the run's folder
    if selection.epoch is not None:  # None: no epoch was trained, so the initial network is tested
        module.load_state_dict(read_checkpoint(best)["state_dict"])
    metrics: dict[str, float] = {}
    arrays = {"layers": layer_names(session.built.spiking)}
    # The training has logged the validation of this epoch: a second time would distort its curve.
    loggers = {"val": (), "test": (LoggedTest(trainer),)}
    validated = any(name.startswith("last/val/") for name in last)
    for stage in (name for name, runs in (("val", validated), ("test", tests)) if runs):
        values, of_stage = evaluate_stage(session, stage, [*training.bars, *loggers[stage]], distributed=True)
        metrics.update(values)
        arrays.update(of_stage)
    if trainer.is_global_zero:
        write_predictions(session.folder, arrays)
    if tests and selection.epoch == trainer.current_epoch - 1:
        last |= _last_scores(metrics)
    return {**metrics, **last, **size_metrics(session.built), **learned_metrics(module.network)}


def _last_scores(values: Mapping[str, float]) -> dict[str, float]:
    """Return the scores of a test under the names of the last epoch."""
    return {f"last/{key}": value for name in _SCORES if (value := values.get(key := f"test/{name}")) is not None}


def size_metrics(built: BuiltNetwork) -> dict[str, float]:
    """Return the metrics that the network alone gives: its parameters, its size and the part of them that is 0."""
    return {
        "params": float(sum(p.numel() for p in built.network.parameters())),
        "footprint_bytes": float(footprint_bytes(built.network)),
        "connection_sparsity": connection_sparsity(built.network),
    }


def _operation_metrics(found: OperationCounts | None, stage: str) -> dict[str, float]:
    """Return the metrics of the operations, summed over all ranks, which must call this together.

    Empty if a rank could not count them.

    Args:
        found: The operations that this process has counted.
        stage: The prefix of the metrics' names: `val` or `test`.
    """
    shares = all_gather(found)
    return {} if None in shares else sum(shares, OperationCounts()).metrics(stage)


def evaluate_stage(
    session: Session, stage: str, callbacks: Sequence[L.Callback] = (), *, distributed: bool = False
) -> tuple[Mapping[str, float], dict[str, Any]]:
    """Return the metrics of a stage, `val` or `test`, and the arrays of its predictions."""
    data = session.data
    predictions = Predictions(stage, data.groups)
    with count_operations(session.module.network) if stage == "test" else nullcontext() as operations:
        values = _run_stage(session, stage, [predictions, *callbacks], distributed=distributed)
    if operations is not None:
        values = {**values, **_operation_metrics(operations.totals(), stage)}
    arrays = predictions.gather_arrays()
    targets = arrays[f"{stage}_target"]
    sizes = {f"{stage}/recordings": float(np.unique(arrays[f"{stage}_recording"]).size)}
    if data.windows is not None:
        sizes[f"{stage}/windows"] = float(len(targets))
    if data.settings.targets == "steps":
        sizes[f"{stage}/labelled_steps"] = float((targets != IGNORED).sum())
    return {**values, **sizes}, arrays


def _run_stage(
    session: Session, stage: str, callbacks: Sequence[L.Callback], *, distributed: bool
) -> Mapping[str, float]:
    """Evaluate the current network on the recordings of a stage."""
    stops = [StopEvaluationOnSignal()] if distributed and session.processes.world_size > 1 else []
    trainer = session.evaluator([*callbacks, *stops], distributed=distributed)
    run = trainer.test if stage == "test" else trainer.validate
    (values,) = run(session.module, datamodule=session.data, verbose=False)
    return values


@dataclass
class _Training:
    """The trainer of a run and its callbacks that are needed later."""

    trainer: L.Trainer
    bars: Sequence[L.Callback]
    timing: Timing
    selection: BestCheckpoint
    snapshots: Snapshots
    logged: RunLogging


@restore_sigint()
def fit_and_test(session: Session, started: float, resumption: Resumption | None = None) -> Result:
    """Train, test the chosen epoch and write the run folder; failures and interruptions are recorded too.

    Args:
        session: The experiment's objects and the run's folder; for a resumed run, the caller locks the folder.
        started: `time.perf_counter()` when the command began.

    Raises:
        ProcessError: if one rank ends before the training is complete.
        Interrupted: after Ctrl-C, SIGTERM or SIGHUP, without a test.
        Exception: any other error of the training, after `status: failed` is written.
    """
    experiment, folder, data, processes = session.experiment, session.folder, session.data, session.processes
    text = config_text(experiment.record or {})
    hashes = {"data_fingerprint": data.store.fingerprint, "split_hash": data.split.hash}
    if resumption:
        resumption.require_same(hashes, processes.world_size)
    command = _start_command(experiment, folder, resumption)
    kernels = kernel_version(experiment.backend)
    identity = {"config_hash": config_hash(text), **hashes, "command": command, "kernels": kernels}
    if processes.world_size == 1:
        rank_zero_only.rank = 0  # pyright: ignore[reportFunctionMemberAccess]  # a task of srun that is a run of its own
    with share_threads(experiment.threads, processes), ExitStack() as stack:
        training = _build_training(session, started, identity, resumption)
        if resumption:
            resumption.require_callbacks(training.trainer.callbacks)  # type: ignore[attr-defined]
        numerics = _decide_numerics(training, session, resumption)
        device, recorded = training.trainer.strategy.root_device, processes.recorded(data.settings.batch_size)
        source = provenance(config_text=text, **hashes, device=device, processes=recorded, **numerics)
        create_run_folder(folder, text, plugin_files(experiment.plugins))
        search = search_record(folder)
        earlier_weights = _earlier_weights(folder)
        _archive_result(folder)
        if not resumption:
            stack.enter_context(locked(folder))
        result = Result(folder, "failed", experiment.seed, resumed=training.snapshots.resumed, search=search)
        result.warnings = training.snapshots.warnings
        result.control, result.provenance, result.weights = experiment.control, source, earlier_weights
        result.name = (experiment.record or {}).get("name", experiment.name)  # from config.yaml: no secrets
        result.provenance["command"] = command
        with _record_outcome(result, training, data, experiment), log_file(folder, result.warnings):
            earlier = read_trained_before(folder, data) if resumption else find_trained_before(experiment, data)
            before = {} if earlier is None else {TRAINED_BEFORE: earlier}
            _record_data(folder, experiment, data, before)
            if resumption and resumption.checkpoint:
                _log.info(resumption.message(training.trainer.max_epochs))
                if warning := resumption.kernels_message():
                    _log.warning(warning)
            if note := batch_norm_note(processes, session.network, data.settings.batch_size):
                _log.warning(note)
            if processes.world_size > 1:
                _log.info("starting %d processes", processes.world_size)
            _fit(training, session, resumption)
            result.selection = {**_selection_record(training, data), **before}
            result.metrics = _evaluate_chosen_epoch(training, session)
            result.status = "completed"
            training.logged.log_final_metrics(training.trainer, result.metrics)
    return result


def _record_data(folder: Path, experiment: Experiment, data: EventDataModule, before: Mapping[str, Any]) -> None:
    """Write the split, the recordings that were trained on, and the hot pixels."""
    write_split(folder, {**data.split.as_record(), "classes": data.class_names, **before})
    record_trained_on(folder, experiment, data)
    if data.hot is not None:
        write_hot_pixels(folder, data.hot.nonzero().flatten().tolist())


def _archive_result(folder: Path) -> None:
    """Remove the result of a run that is resumed.

    A completed result becomes `result_before_N.json`, an unreadable one `result_damaged.json`, any other is deleted.
    """
    path = folder / RESULT
    try:
        recorded = read_run_if_ended(folder)
    except DamagedError:
        path.rename(folder / DAMAGED_RESULT)
        return
    if recorded is None:
        return
    if recorded.status == "completed":
        path.rename(folder / EARLIER_RESULT.format(1 + len(list(folder.glob(EARLIER_RESULT.format("*"))))))
    else:
        path.unlink()


def _earlier_weights(folder: Path) -> dict[str, str]:
    """Return the hashes in the result of a run that is resumed: a foreign checkpoint is refused before it is read."""
    ended = read_run_if_usable(folder)  # `resume` has logged a damaged one, and the file is written anew
    return dict(ended.weights) if ended else {}


def _written_weights(training: _Training) -> dict[str, str]:
    """Return the hashes of the checkpoints that this training has written, not of files that others put there."""
    found = {} if training.selection.weights is None else {"best": training.selection.weights}
    if training.snapshots.saved_position is not None:
        with suppress(RunFolderError):  # the disk is full
            found["last"] = weights_hash(training.snapshots.path)
    return found


def _start_command(experiment: Experiment, folder: Path, resumption: Resumption | None) -> list[str]:
    """Return the command that started the run, with passwords masked."""
    if resumption is None:
        return [masked(word) for word in experiment.command]
    command = resumption.node.get("command")
    if command is None and (ended := read_run_if_usable(folder)):  # the run ended before its first checkpoint
        command = ended.provenance.get("command")
    return list(command or resumption.command)


# Time in which rank 0 reports an error that all ranks have, and ends; Lightning kills it when another rank fails.
_REPORT_TIME_S = 5.0


def train_other_rank(session: Session, resumption: Resumption | None = None) -> NoReturn:
    """Do the same as `fit_and_test` on a rank other than 0, without writing anything; report only its own errors.

    Raises:
        ShareDone: when the training is complete.
    """
    with share_threads(session.experiment.threads, session.processes):
        training = _build_training(session, 0.0, {}, resumption)
        _decide_numerics(training, session, resumption)
        try:
            _fit(training, session, resumption)
            _evaluate_chosen_epoch(training, session)
        except BaseException as error:
            if received_signal(error) or (isinstance(error, RuntimeError) and is_lost_process(error)):
                os._exit(0)  # rank 0 reports it; a usual exit would wait in torch for the other processes
            _exit_with(error)
    raise ShareDone(0)


def _exit_with(error: BaseException) -> NoReturn:
    """End this process with an error; without a message if rank 0 ends meanwhile, since it has reported the same."""
    parent, deadline = os.getppid(), time.monotonic() + _REPORT_TIME_S
    while time.monotonic() < deadline:
        if os.getppid() != parent:
            os._exit(0)
        time.sleep(_REPORT_TIME_S / 100)
    if isinstance(error, SnnlabError):
        say_error(error)
    else:
        traceback.print_exception(error)
    sys.stderr.flush()
    os._exit(2)


def _decide_numerics(training: _Training, session: Session, resumption: Resumption | None) -> dict[str, Any]:
    """Decide how the network is computed, and return it for the provenance."""
    trainer = training.trainer
    sparse_input = resumption.node.get("sparse_input") if resumption else None
    found = session.set_computation(trainer.strategy.root_device, sparse_input)
    # Each checkpoint stores it, so that a resumed run does not decide again.
    training.snapshots.identity["sparse_input"] = found["sparse_input"]
    return {**found, "precision": str(trainer.precision)}


def _fit(training: _Training, session: Session, resumption: Resumption | None) -> None:
    checkpoint = resumption.checkpoint if resumption else None
    training.trainer.fit(session.module, datamodule=session.data, ckpt_path=checkpoint, weights_only=True)


def _build_training(
    session: Session, started: float, identity: Mapping[str, Any], resumption: Resumption | None
) -> _Training:
    """Build the trainer with its callbacks; on ranks other than 0 only those that all ranks need."""
    experiment, folder, is_rank_zero = session.experiment, session.folder, not session.is_other_rank
    validates = session.data.split.val.size > 0 and experiment.trainer.get("limit_val_batches") != 0
    selection = BestCheckpoint(folder / CHECKPOINTS, experiment.selection if validates else "last")
    resumed, warned = (resumption.resumed, resumption.warnings) if resumption else ([], [])
    identity = {**identity, "processes": session.processes.world_size}
    snapshots = Snapshots(selection, experiment.checkpoint_every_s, identity, resumed, warned)
    timing, logged = Timing(started), RunLogging(experiment.record or {}, folder)
    console = console_callbacks(timing, bar=experiment.trainer.get("enable_progress_bar", True))
    rank_zero_callbacks = [
        *console,
        DeadLayerWarning(),
        LossRiseWarning(),
        *plot_callbacks(experiment),
        *monitor_callbacks(experiment),
        logged,
    ]
    callbacks = [
        timing,
        DivergenceGuard(),
        *(rank_zero_callbacks if is_rank_zero else []),
        *annealing_callbacks(experiment, session.network),
        *layer_schedule_callbacks(session.network),
        *averaging_callbacks(experiment),
        *mode_callbacks(experiment, folder),
        *([ExtendedRun(resumption)] if resumption else []),
        MetricsCSV(folder / METRICS),
        selection,
        snapshots,
        StopOnSignal(snapshots),
        *noise_callbacks(experiment, session.network),  # behind those that save the weights as a batch begins
    ]
    trainer = session.trainer(callbacks, resumption.logged_steps if resumption else None, distributed=True)
    bars = [callback for callback in console if is_rank_zero and isinstance(callback, Bar)]
    return _Training(trainer, bars, timing, selection, snapshots, logged)


@contextmanager
def _record_outcome(
    result: Result, training: _Training, data: EventDataModule, experiment: Experiment
) -> Iterator[None]:
    """Write the result in every case, and turn errors that the user can fix into SnnlabErrors."""
    try:
        yield
    except BaseException as error:
        selection, folder = training.selection, result.folder
        if stop_signal := received_signal(error):
            ignore_further_signals()
            result.status, result.error = "interrupted", f"stopped by {stop_signal.name}"
            result.selection, result.metrics = _selection_record(training, data), dict(selection.values)
            repeats = error.repeats if isinstance(error, StoppedError) else ""
            raise interruption_error(stop_signal, training.trainer, folder, selection.epoch, repeats) from None
        result.error = f"{type(error).__name__}: {error}"
        if training.trainer.world_size > 1 and isinstance(error, RuntimeError) and is_lost_process(error):
            hint = f"its message is above; snnlab train resume={folder} continues the run"
            raise ProcessError("", "another process of this training has ended", hint) from error
        if isinstance(error, OSError):
            raise _incomplete_error(folder, error) from error
        if is_out_of_memory(error):
            raise ConfigError("", *out_of_memory_hint(data.settings.batch_size, data.settings.steps)) from error
        if isinstance(error, MisconfigurationException):  # for settings that Lightning checks only during the fit
            text = " ".join(str(error).split())
            named = [name for name in experiment.trainer if re.search(rf"\b{name}\b", text)]
            place = f"trainer.{named[0]}" if named else "trainer"
            raise experiment.locate(ConfigError(place, text)) from error
        if isinstance(error, ConfigError):
            raise experiment.locate(error) from error.__cause__
        raise
    finally:
        result.timing = training.timing.summary()
        try:
            result.weights |= _written_weights(training)
            result.write()
        except OSError as error:
            raise _incomplete_error(result.folder, error) from error


def _incomplete_error(folder: Path, error: OSError) -> RunFolderError:
    named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else folder
    place = folder if folder in named.absolute().parents else named
    hint = f"the run is incomplete: snnlab train resume={folder} continues it"
    return RunFolderError(place, error.strerror or error, hint)


def _selection_record(training: _Training, data: EventDataModule) -> dict[str, Any]:
    return {
        "rule": training.selection.rule,
        "epoch": training.selection.epoch,
        "epochs": training.trainer.current_epoch,
        **data.sizes(),
        "val_rule": data.split.rule,
    }
