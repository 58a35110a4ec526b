"""How `snnlab find` tries learning rates and batch sizes: a few steps of the experiment's training, kept nowhere."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch

from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError
from snnlab.nn.footprint import footprint
from snnlab.session import Session
from snnlab.session.build_trainer import annealing
from snnlab.training.finding import Found, RateRange, StepClock, Tried, available_memory, judge
from snnlab.training.memory import is_out_of_memory

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
    session = _alone(experiment, folder, steps)
    growing = RateRange(low, high, steps)
    _trainer(session, growing).fit(session.module, datamodule=session.data)
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
    session = _alone(experiment, folder, steps)
    data = session.data
    most, tried = min(last, data.split.train.size), list[Tried]()
    size, reason = min(4, most), f"--to {last}" if most == last else "the training set has no more"
    while size <= most:
        data.settings = replace(data.settings, batch_size=size)
        memory, left = _memory(session), available_memory()
        on_gpu = session.module.device.type == "cuda"
        if not on_gpu and memory is not None and left is not None and _ROOM * memory > left:
            return tried, f"a batch of {size} takes about {memory / 1e9:.1f} GB, and {left / 1e9:.1f} GB are left"
        try:
            tried.append(_timed(session, memory))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return tried, f"a batch of {size} is out of memory"
        size *= 2
    return tried, reason


def _timed(session: Session, memory: float | None) -> Tried:
    clock = StepClock()
    trainer = _trainer(session, clock)
    on_gpu = trainer.strategy.root_device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)
    trainer.fit(session.module, datamodule=session.data)
    peak = float(torch.cuda.max_memory_allocated(trainer.strategy.root_device)) if on_gpu else memory
    return Tried(session.data.settings.batch_size, clock.recordings_per_s, peak)


def _alone(experiment: Experiment, folder: Path, steps: int) -> Session:
    """Prepare a training of some steps in this process, of which nothing is logged, validated or drawn."""
    ends: dict[str, Any] = {"max_epochs": -1, "max_steps": steps, "limit_val_batches": 0, "enable_progress_bar": False}
    trainer = {key: value for key, value in experiment.trainer.items() if key not in ("min_epochs", "min_steps")}
    silent = {"scheduler": None, "logger": None, "callbacks": None, "pictures": None, "monitors": None}
    trainer |= {**ends, "enable_checkpointing": False, "log_every_n_steps": 1}
    session = Session(replace(experiment, trainer=trainer, average=None, **silent), folder)
    session.prepare()
    return session


def _trainer(session: Session, callback: L.Callback) -> L.Trainer:
    trainer = session.trainer([callback, *annealing(session.experiment, session.network)])
    session.computed_on(trainer.strategy.root_device)
    return trainer


def _memory(session: Session) -> float | None:
    settings, (make, _) = session.data.settings, session.optimization
    try:
        return footprint(session.built, settings.frame_shape, settings.steps, settings.batch_size, make).peak
    except (RuntimeError, ValueError) as error:
        _log.debug("the memory of a step is not known: %s", error)
        return None


def require_steps(steps: int, least: int) -> None:
    """Raise a ConfigError for fewer steps than tell anything."""
    if steps < least:
        raise ConfigError("find: --steps", f"must be >= {least}, got {steps}")
