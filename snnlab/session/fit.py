"""A training that leaves a record: fit, test of the chosen epoch, result; stopped from outside too."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from snnlab.config.plugins import plugin_files
from snnlab.config.schema import Experiment
from snnlab.data.data_module import EventDataModule
from snnlab.errors import ConfigError, DamagedError, Interrupted, RecordError
from snnlab.files import write_json, write_npz
from snnlab.kernels.function import kernels_of
from snnlab.memory import is_out_of_memory, smaller
from snnlab.nn import BuiltNetwork
from snnlab.nn.operations import Totals, connection_sparsity, counted, footprint_bytes
from snnlab.nn.summary import learned_figures
from snnlab.printable import masked
from snnlab.process import end_undisturbed
from snnlab.runs.loggers import LoggedRun, MetricsCSV
from snnlab.runs.predictions import Predictions, layer_names
from snnlab.runs.provenance import config_hash, provenance
from snnlab.runs.recorded import archive_result, read_ended, search_of
from snnlab.runs.renamed_settings import renamed
from snnlab.runs.run_folder import SPLIT, Result, config_text, create_run_folder, locked, log_file, logged_warnings
from snnlab.session import Session
from snnlab.session.build_trainer import annealing, averaging, mode_callbacks, monitors, norm_note, pictures
from snnlab.session.launcher import Job, process_group, shared_threads
from snnlab.session.opened_run import write_hot_pixels
from snnlab.session.weights import KEY, counted_before, found_before, record_trained_on, recorded_before
from snnlab.target_kinds import IGNORED
from snnlab.training.checkpoints import read_checkpoint
from snnlab.training.distributed import gathered
from snnlab.training.health import DivergenceGuard, RisenLoss, SilenceWarning
from snnlab.training.module import SpikingModule
from snnlab.training.progress import Bar, Timing, console_callbacks
from snnlab.training.ranks import Team, team_of
from snnlab.training.resuming import LongerRun, Resumption
from snnlab.training.snapshots import Selection, Snapshots, StopAtOnce, StopOnSignal, StoppedError
from snnlab.training.weight_averaging import averaged

_log = logging.getLogger(__name__)


def received_signal(error: BaseException) -> signal.Signals | None:
    """Return the signal that an exception stands for, or None if it is any other trouble.

    While the network trains it is ours. Around that, Lightning turns Ctrl-C into `sys.exit(1)`, and SIGTERM into an
    exit of its own.
    """
    if isinstance(error, StoppedError | Interrupted):
        return signal.Signals(error.signum)
    if isinstance(error, SIGTERMException):
        return signal.SIGTERM
    if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt | Interrupted):
        return received_signal(error.__context__)
    return signal.SIGINT if isinstance(error, KeyboardInterrupt) else None


@contextmanager
def ctrl_c_comes_back() -> Iterator[None]:
    """Let Ctrl-C work again afterwards: Lightning switches it off for good when it shuts down."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)


def interrupted(
    which: signal.Signals, trainer: L.Trainer, folder: Path, chosen: int | None, repeats: str = ""
) -> Interrupted:
    """Return what the user is told.

    Args:
        chosen: The epoch in `best.ckpt`, from 0; None where there is none.
        repeats: What will be trained again, in words.
    """
    done, total = trainer.current_epoch, trainer.max_epochs
    of = f" of {total}" if total and total > 0 else ""
    if not done:
        kept = "its configuration and its log; no epoch was over"
    elif chosen is None:
        kept = "the last epoch's weights, metrics and log"
    else:
        kept = f"the weights of the last epoch and of the best (epoch {chosen + 1}), metrics and log"
    words = f"interrupted after {done}{of} epochs, nothing was tested; {folder} keeps {kept}"
    words += f"\n  {repeats}" if repeats else ""
    words += f"\n  snnlab train resume={folder} goes on"
    return Interrupted(words, which)


# Of a test, what says how near the answers are.
_SCORES = ("loss", "accuracy", "mae", "rmse", "r2")


def chosen_metrics(
    trainer: L.Trainer,
    module: SpikingModule,
    data: EventDataModule,
    selection: Selection,
    built: BuiltNetwork,
    test: bool,
) -> dict[str, float]:
    """Return the flat metrics of the chosen epoch, and write its predictions; all processes have to take part."""
    last = {f"last/{k}": float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
    tests = test and data.split.test.size > 0
    # A table shows the last epoch beside the chosen one; its weights are there until the chosen one's are.
    if tests and selection.epoch not in (None, trainer.current_epoch - 1):
        with averaged(trainer, module):
            last |= _scores(_pass(trainer, module, data, "test", []))
    if selection.epoch is not None:  # None where no epoch was trained: the network is tested as it began
        module.load_state_dict(read_checkpoint(selection.best_path)["state_dict"])
    metrics: dict[str, float] = {}
    arrays = {"layers": layer_names(built.spiking)}
    validated = any(name.startswith("last/val/") for name in last)
    stages = [("val", validated), ("test", tests)]
    for stage in (name for name, wanted in stages if wanted):
        values, of_stage = _evaluate(trainer, module, data, stage)
        metrics.update(values)
        arrays.update(of_stage)
    if trainer.is_global_zero:
        write_npz(Path(trainer.default_root_dir) / "predictions.npz", arrays)
    if tests and selection.epoch == trainer.current_epoch - 1:
        last |= _scores(metrics)
    return {**metrics, **last, **_size(built), **learned_figures(module.network)}


def _scores(values: Mapping[str, float]) -> dict[str, float]:
    """Return how near the answers of a test are, as those of the last epoch."""
    return {f"last/{key}": value for name in _SCORES if (value := values.get(key := f"test/{name}")) is not None}


def _size(built: BuiltNetwork) -> dict[str, float]:
    return {
        "params": float(sum(p.numel() for p in built.network.parameters())),
        "footprint_bytes": float(footprint_bytes(built.network)),
        "connection_sparsity": connection_sparsity(built.network),
    }


def costs(found: Totals | None, stage: str) -> dict[str, float]:
    """Return what the recordings cost, of all processes, which have to ask together; nothing where nobody knows.

    Args:
        found: What this process has counted.
        stage: The first part of the metrics' names.
    """
    shares = gathered(found)
    return {} if None in shares else sum(shares, Totals()).metrics(stage)


def _evaluate(
    trainer: L.Trainer, module: SpikingModule, data: EventDataModule, stage: str
) -> tuple[Mapping[str, float], dict[str, Any]]:
    predictions = Predictions(stage, data.groups)
    if stage == "test":
        with counted(module.network) as operations:
            values = _pass(trainer, module, data, stage, [predictions], trainer.loggers)
        values = {**values, **costs(operations.totals(), stage)}
    else:
        # The chosen epoch's validation has been logged when it was trained: a second time would bend its curve.
        values = _pass(trainer, module, data, stage, [predictions])
    arrays = predictions.of_all()
    targets = arrays[f"{stage}_target"]
    sizes = {f"{stage}/recordings": float(np.unique(arrays[f"{stage}_recording"]).size)}
    if data.windows is not None:
        sizes[f"{stage}/windows"] = float(len(targets))
    if data.settings.targets == "steps":
        sizes[f"{stage}/labelled_steps"] = float((targets != IGNORED).sum())
    return {**values, **sizes}, arrays


def _pass(
    trainer: L.Trainer,
    module: SpikingModule,
    data: EventDataModule,
    stage: str,
    callbacks: list[L.Callback],
    loggers: Sequence[Logger] = (),
) -> Mapping[str, float]:
    """Let the network as it is answer to the recordings of a stage, with these callbacks and loggers alone."""
    before = trainer.callbacks, trainer.loggers  # type: ignore[attr-defined]
    kept = [callback for callback in before[0] if isinstance(callback, Bar)]
    stops = [StopAtOnce()] if trainer.world_size > 1 else []
    trainer.callbacks, trainer.loggers = [*callbacks, *kept, *stops], list(loggers)  # type: ignore[attr-defined]
    try:
        run = trainer.test if stage == "test" else trainer.validate
        (values,) = run(module, datamodule=data, verbose=False)
    finally:
        trainer.callbacks, trainer.loggers = before  # type: ignore[attr-defined]
    return values


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
            result.selection = {**_selection(watched, data), **counted_before(before)}
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
    before = renamed(job.resumption.node).get("sparse_input") if job.resumption else None
    found = session.computed_on(trainer.strategy.root_device, before)
    # Each checkpoint says it, so that what goes on from one does not decide again.
    watched.snapshots.identity["sparse_input"] = found.sparse_input
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
