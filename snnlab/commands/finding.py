"""How `snnlab find` tries learning rates and batch sizes: a few steps of the experiment's training, kept nowhere."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch

from snnlab.commands.train import assembled
from snnlab.config import assemble
from snnlab.config.assemble_optimizer import make_optimizer
from snnlab.config.schema import Experiment
from snnlab.data.module import EventDataModule
from snnlab.errors import ConfigError
from snnlab.heap import keep_heap
from snnlab.nn import BuiltNetwork
from snnlab.nn.footprint import footprint
from snnlab.training.finding import Found, RateRange, StepClock, Tried, available_memory, judge
from snnlab.training.memory import is_out_of_memory
from snnlab.training.module import SpikingModule

_log = logging.getLogger(__name__)

# Python and its libraries, and gaps between tensors, take more than the tensors alone.
_ROOM = 1.7


def find_rate(experiment: Experiment, folder: Path, low: float, high: float, steps: int) -> tuple[Found, bool]:
    """Train some steps with a growing learning rate; return what was seen, and whether the loss exploded.

    Args:
        experiment: What is trained; of its schedule and its validation nothing is done.
        folder: Where its run would be recorded; nothing is written.
        low: The first rate.
        high: The last one.
        steps: Steps of the optimizer.

    Raises:
        SnnlabError: for a mistake in the configuration or the data.
    """
    alone = _alone(experiment, steps)
    module, data, built = assembled(alone, folder)
    growing = RateRange(low, high, steps)
    _trainer(alone, folder, built, data, growing).fit(module, datamodule=data)
    return judge(growing.rates, growing.losses), growing.exploded


def try_sizes(experiment: Experiment, folder: Path, last: int, steps: int) -> tuple[list[Tried], str]:
    """Train some steps with each batch size; return what was seen, and why there was no larger one.

    Args:
        experiment: What is trained; of its schedule and its validation nothing is done.
        folder: Where its run would be recorded; nothing is written.
        last: The largest size.
        steps: Steps with each, >= 2.

    Raises:
        SnnlabError: for a mistake in the configuration or the data.
    """
    alone = _alone(experiment, steps)
    module, data, built = assembled(alone, folder)
    most, tried = min(last, data.split.train.size), list[Tried]()
    size, reason = min(4, most), f"--to {last}" if most == last else "the training set has no more"
    while size <= most:
        data.settings = replace(data.settings, batch_size=size)
        memory, left = _memory(alone, data, built), available_memory()
        on_gpu = module.device.type == "cuda"
        if not on_gpu and memory is not None and left is not None and _ROOM * memory > left:
            return tried, f"a batch of {size} takes about {memory / 1e9:.1f} GB, and {left / 1e9:.1f} GB are left"
        try:
            tried.append(_timed(alone, folder, module, data, built, memory))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return tried, f"a batch of {size} is out of memory"
        size *= 2
    return tried, reason


def _timed(
    experiment: Experiment,
    folder: Path,
    module: SpikingModule,
    data: EventDataModule,
    built: BuiltNetwork,
    memory: float | None,
) -> Tried:
    clock = StepClock()
    trainer = _trainer(experiment, folder, built, data, clock)
    on_gpu = trainer.strategy.root_device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)
    trainer.fit(module, datamodule=data)
    peak = float(torch.cuda.max_memory_allocated(trainer.strategy.root_device)) if on_gpu else memory
    return Tried(data.settings.batch_size, clock.recordings_per_s, peak)


def _alone(experiment: Experiment, steps: int) -> Experiment:
    """Return an experiment of some steps in this process, of which nothing is logged, validated or drawn."""
    ends: dict[str, Any] = {"max_epochs": -1, "max_steps": steps, "limit_val_batches": 0, "enable_progress_bar": False}
    trainer = {key: value for key, value in experiment.trainer.items() if key not in ("min_epochs", "min_steps")}
    silent = {"scheduler": None, "logger": None, "callbacks": None, "pictures": None, "monitors": None}
    return replace(
        experiment,
        trainer={**trainer, **ends, "enable_checkpointing": False, "log_every_n_steps": 1},
        average=None,
        **silent,
    )


def _trainer(
    experiment: Experiment, folder: Path, built: BuiltNetwork, data: EventDataModule, callback: L.Callback
) -> L.Trainer:
    trainer = assemble.trainer(experiment, folder, [callback, *assemble.annealing(experiment, built.network)])
    assemble.first_layer(experiment, built, data, assemble.backend(experiment, trainer.strategy.root_device))
    keep_heap()
    return trainer


def _memory(experiment: Experiment, data: EventDataModule, built: BuiltNetwork) -> float | None:
    settings, make = data.settings, make_optimizer(experiment)
    try:
        return footprint(built, settings.frame_shape, settings.steps, settings.batch_size, make).peak
    except (RuntimeError, ValueError) as error:
        _log.debug("the memory of a step is not known: %s", error)
        return None


def require_steps(steps: int, least: int) -> None:
    """Raise a ConfigError for fewer steps than tell anything."""
    if steps < least:
        raise ConfigError("find: --steps", f"must be >= {least}, got {steps}")
