"""The part of a training that leaves a record: fit, test of the chosen epoch, result."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch

from snnlab.commands.interruption import ctrl_c_comes_back, interrupted, received_signal
from snnlab.config import assemble
from snnlab.config.debugging import mode_callbacks
from snnlab.config.schema import Experiment
from snnlab.data.module import EventDataModule
from snnlab.errors import ConfigError, RecordError
from snnlab.events.targets import IGNORED
from snnlab.nn import BuiltNetwork
from snnlab.nn.kernels.ops import compiles_first
from snnlab.nn.neurons.membrane import LeakyMembrane
from snnlab.record.files import write_json, write_npz
from snnlab.record.hot_pixels import write_hot_pixels
from snnlab.record.metrics_csv import MetricsCSV
from snnlab.record.predictions import Predictions, layer_names
from snnlab.record.provenance import provenance
from snnlab.record.run_folder import Result, create_run_folder, log_file
from snnlab.training.callbacks.bar import Bar
from snnlab.training.callbacks.progress import console_callbacks
from snnlab.training.callbacks.selection import Selection
from snnlab.training.callbacks.silence import SilenceWarning
from snnlab.training.callbacks.timing import Timing
from snnlab.training.heap import keep_heap
from snnlab.training.memory import is_out_of_memory, smaller
from snnlab.training.module import SpikingModule

_log = logging.getLogger(__name__)


@ctrl_c_comes_back()
def fit_and_test(
    experiment: Experiment,
    folder: Path,
    module: SpikingModule,
    data: EventDataModule,
    built: BuiltNetwork,
    started: float,
) -> Result:
    """Train, test the chosen epoch and write the record; a failure or an interruption on the way is recorded too.

    Raises:
        RecordError: if the folder cannot be written.
        Interrupted: after Ctrl-C or SIGTERM; nothing is tested then.
        Exception: whatever stopped the training, after `status: failed` was written.
    """
    validates = data.split.val.size > 0 and experiment.trainer.get("limit_val_batches") != 0
    rule = experiment.selection if validates else "last"
    selection = Selection(folder / "checkpoints", rule)
    timing = Timing(started)
    told = [
        timing,
        *console_callbacks(timing, bar=experiment.trainer.get("enable_progress_bar", True)),
        SilenceWarning(),
        *assemble.pictures(experiment),
        *mode_callbacks(experiment, folder),
    ]
    callbacks = [*told, MetricsCSV(folder / "metrics.csv"), selection]
    trainer = assemble.trainer(experiment, folder, callbacks)
    backend, heap_kept = assemble.backend(experiment, trainer.strategy.root_device), keep_heap()
    first_layer = assemble.first_layer(experiment, built, data, backend)
    if compiles_first(backend, (layer.cell for layer in built.network.modules() if isinstance(layer, LeakyMembrane))):
        _log.info("the loops of the neurons are compiled, once for this installation: some 20 s")
    config_text = create_run_folder(folder, experiment.record or {})
    result = Result(folder, "failed", experiment.seed)
    try:
        with log_file(folder):
            write_json(folder / "split.json", {**data.split.as_record(), "classes": data.class_names})
            write_hot_pixels(folder, data.hot)
            result.provenance = provenance(
                config_text=config_text,
                data_fingerprint=data.store.fingerprint,
                split_hash=data.split.hash,
                device=trainer.strategy.root_device,
                backend=backend,
                first_layer=first_layer,
                heap_kept=heap_kept,
            )
            trainer.fit(module, datamodule=data)
            result.selection = _selection(selection, trainer, data)
            result.metrics = _metrics(trainer, module, data, selection, built, experiment.test)
            result.status = "completed"
    except BaseException as error:
        if which := received_signal(error):
            result.status, result.error = "interrupted", f"stopped by {which.name}"
            result.selection, result.metrics = _selection(selection, trainer, data), dict(selection.values)
            raise interrupted(which, trainer, folder, selection.epoch) from None
        result.error = f"{type(error).__name__}: {error}"
        if isinstance(error, OSError):
            raise RecordError(f"{folder}: {error.strerror or error}; the run is incomplete") from error
        if is_out_of_memory(error):
            raise ConfigError(smaller(data.settings.batch_size, data.settings.steps)) from error
        raise
    finally:
        result.timing = timing.summary()
        result.write()
    return result


def _selection(selection: Selection, trainer: L.Trainer, data: EventDataModule) -> dict[str, Any]:
    split = data.split
    return {
        "rule": selection.rule,
        "epoch": selection.epoch,
        "epochs": trainer.current_epoch,
        "train_size": split.train.size,
        "val_size": split.val.size,
        "test_size": split.test.size,
        "val_rule": split.rule,
    }


def _metrics(
    trainer: L.Trainer,
    module: SpikingModule,
    data: EventDataModule,
    selection: Selection,
    built: BuiltNetwork,
    test: bool,
) -> dict[str, float]:
    """Return the flat metrics of the chosen epoch, and write its predictions."""
    last = {f"last/{k}": float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
    if selection.epoch is not None:  # None where no epoch was trained: the network is tested as it began
        _load_weights(module, selection.best_path)
    metrics: dict[str, float] = {}
    arrays = {"layers": layer_names(built.spiking)}
    stages = [("val", bool(last)), ("test", test and data.split.test.size > 0)]
    for stage in (name for name, wanted in stages if wanted):
        values, of_stage = _evaluate(trainer, module, data, stage)
        metrics.update(values)
        arrays.update(of_stage)
    write_npz(Path(trainer.default_root_dir) / "predictions.npz", arrays)
    params = sum(p.numel() for p in module.network.parameters())
    return {**metrics, **last, "params": float(params)}


def _evaluate(
    trainer: L.Trainer, module: SpikingModule, data: EventDataModule, stage: str
) -> tuple[Mapping[str, float], dict[str, Any]]:
    predictions = Predictions(stage)
    callbacks, loggers = trainer.callbacks, trainer.loggers  # type: ignore[attr-defined]
    # The chosen epoch's validation has been logged when it was trained: a second time would bend its curve.
    kept = [callback for callback in callbacks if isinstance(callback, Bar)]
    trainer.callbacks = [predictions, *kept]  # type: ignore[attr-defined]
    trainer.loggers = loggers if stage == "test" else []
    try:
        if stage == "test":
            (values,) = trainer.test(module, datamodule=data, verbose=False)
        else:
            (values,) = trainer.validate(module, datamodule=data, verbose=False)
    finally:
        trainer.callbacks, trainer.loggers = callbacks, loggers  # type: ignore[attr-defined]
    arrays = predictions.arrays()
    targets = arrays[f"{stage}_target"]
    sizes = {f"{stage}/recordings": float(len(targets))}
    if data.settings.targets == "steps":
        sizes[f"{stage}/labelled_steps"] = float((targets != IGNORED).sum())
    return {**values, **sizes}, arrays


def _load_weights(module: SpikingModule, checkpoint: Path) -> None:
    state = torch.load(checkpoint, map_location=module.device, weights_only=True)["state_dict"]
    module.load_state_dict(state)
