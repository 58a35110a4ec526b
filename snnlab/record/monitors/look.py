"""The vitals of a network in the middle of its training, of which the training notices nothing.

Axes: T steps, B recordings.
"""

from __future__ import annotations

import copy
import logging

import lightning as L
import torch
from torch import Tensor

from snnlab.diagnosis.measure import measure
from snnlab.diagnosis.vitals import Vitals
from snnlab.events.frames import Batch, Mix
from snnlab.events.targets import kind_of
from snnlab.nn.network import run_line
from snnlab.nn.temporal import Counts
from snnlab.seeds import Stream, derived_seed
from snnlab.training.mixed import batch_loss
from snnlab.training.module import SpikingModule

_log = logging.getLogger(__name__)


def look(trainer: L.Trainer, module: SpikingModule, batch: Batch, dt: float | None) -> Vitals | None:
    """Return what recordings do in the network as it stands, forward from rest and backward.

    They go through a copy, so that weights, gradients, running means and hooks of the network stay as they are, and
    nobody who waits for its gradients (other processes, a sum over several batches) hears of these; random numbers are
    put back.

    Args:
        trainer: What trains it.
        module: The network and its loss.
        batch: The recordings.
        dt: Length of a step, ms, or None.

    Returns None, and says why, for a network that cannot be copied, or run by one of several processes alone.
    """
    if any(isinstance(layer, torch.nn.SyncBatchNorm) for layer in module.network.modules()):
        _log.warning("monitors: batch norm over several processes would wait for the others; layers are not looked at")
        return None
    try:
        network = copy.deepcopy(module.network)
    except (RuntimeError, TypeError) as error:  # a layer of a plugin may keep what its last call computed
        reason = str(error).splitlines()[0]
        _log.warning("monitors: the network cannot be copied, so that its layers are not looked at (%s)", reason)
        return None
    network.run = run_line  # computing again would show each layer's input twice
    device = batch.x.device

    def objective(y: Tensor, counts: Counts) -> Tensor:
        return batch_loss(module.loss, y, batch, counts)[0]

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derived_seed(module.seed, Stream.DROPOUT, trainer.global_step, 0))
        with trainer.precision_plugin.train_step_context():
            return measure(network, batch.x, batch.lengths, objective, dt=dt)


def first_of(batch: Batch, number: int) -> Batch:
    """Return the first recordings of a batch."""
    labels_of_steps = kind_of(batch.targets) == "steps"
    targets = batch.targets[:, :number] if labels_of_steps else batch.targets[:number]
    mix = None if batch.mix is None else Mix(*(values[:number] for values in batch.mix))
    return batch._replace(
        frames=batch.x[:, :number],
        lengths=batch.lengths[:number],
        targets=targets,
        index=batch.index[:number],
        mix=mix,
    )
