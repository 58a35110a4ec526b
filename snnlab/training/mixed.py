"""The loss and the answers of a batch whose recordings were mixed with each other.

Axes: T steps, B samples, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnlab.events.frames import Batch
from snnlab.nn.temporal import Counts
from snnlab.training.losses import Loss


def batch_loss(loss: Loss, y: Tensor, batch: Batch, counts: Counts) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a batch, mixed or not, and its parts by name.

        mean_b [(1 - w_b) loss(y_b, targets_b) + w_b loss(y_b, mix.targets_b)],   w = mix.weight

    Args:
        loss: What the network is trained for.
        y: The network's output.
        batch: The batch.
        counts: What its spiking layers did.

    Shape:
        y `[T, B, K]`; scalars come out.
    """
    if batch.mix is None:
        return loss(y, batch.targets, batch.lengths, counts)
    own, parts = loss(y, batch.targets, batch.lengths, counts, 1 - batch.mix.weight)
    others, more = loss(y, batch.mix.targets, batch.lengths, counts, batch.mix.weight)
    return own + others, {name: part + more[name] for name, part in parts.items()}


def counted_targets(batch: Batch) -> Tensor:
    """Return what counts as right: of recordings of mixed classes the one with the larger weight."""
    if batch.mix is None:
        return batch.targets
    return torch.where(batch.mix.weight > 0.5, batch.mix.targets, batch.targets)
