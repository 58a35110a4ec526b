"""The last part of a training: the chosen epoch on validation and test recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.loggers import Logger

from snnlab.data.module import EventDataModule
from snnlab.events.targets import IGNORED
from snnlab.files import write_npz
from snnlab.nn import BuiltNetwork
from snnlab.nn.neurons.learned import learned_figures
from snnlab.nn.operations import Totals, connection_sparsity, counted, footprint_bytes
from snnlab.record.predictions import Predictions, layer_names
from snnlab.training.callbacks.bar import Bar
from snnlab.training.callbacks.selection import Selection
from snnlab.training.checkpoints import read_checkpoint
from snnlab.training.module import SpikingModule
from snnlab.training.optimization.average import averaged
from snnlab.training.processes.team import gathered
from snnlab.training.resuming.stopping import StopAtOnce

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
