"""Distributed training: collective operations, and the weights of losses of unequal batches.

DDP averages gradients over processes, and Lightning over accumulated batches, as if all batches had one size. At an
epoch's end they do not, and batches rarely have equal numbers of labelled steps. Here an optimizer step equals that of
one process with all its recordings in one batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import lightning as L
import torch
import torch.distributed as dist
from torch import Tensor, nn

from snnlab.data.data_module import BatchSampler

# Errors of gloo and NCCL when another process is gone.
_LOST_PEER = re.compile(r"gloo|NCCL|Connection (was )?(closed|reset|refused)|Broken pipe|Socket")


def all_reduce_max(value: int) -> int:
    """Return the largest value over all processes; all must call it at the same point."""
    if not (dist.is_available() and dist.is_initialized()):
        return value
    shared = torch.tensor([value])
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return int(shared)


def all_reduce_sum(value: Tensor) -> Tensor:
    """Return the sum over all processes, on any device; all must call it at the same point."""
    if not (dist.is_available() and dist.is_initialized()):
        return value
    shared = value.clone()
    dist.all_reduce(shared)
    return shared


def all_gather(value: Any) -> list[Any]:
    """Return the values of all processes by rank; all must call it at the same point."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def is_lost_process(error: RuntimeError) -> bool:
    """Return whether an error may mean that another process has ended."""
    return isinstance(error, dist.DistError) or _LOST_PEER.search(str(error)) is not None


Number = int | Tensor


class BatchSize(NamedTuple):
    """Number of recordings of a batch that count.

    Attributes:
        local: In the batch of this process; 0 if its batch is only a filler.
        total: In the batches of all processes together.
    """

    local: int
    total: int


class LossWeights:
    """Weights the losses of an optimizer step's batches.

        loss * n * processes / first,   at the step's last batch gradients * batches * first / all

    A loss is a mean over n recordings, or n labelled steps; `first` is their number in the step's first batch, `all`
    in all its batches, each over all processes. Batches of equal size have weight 1.
    """

    def __init__(self) -> None:
        self._first: Number = 1
        self._all: Number = 0

    def weighted_loss(
        self,
        trainer: L.Trainer,
        batch_idx: int,
        size: BatchSize,
        loss: Tensor,
        parts: Mapping[str, Tensor],
        num_labelled_steps: Tensor | None,
        parameters: Iterable[nn.Parameter],
    ) -> Tensor:
        """Return a batch's weighted loss for the backward pass; all processes must call it at the same point.

        Regularizer terms next to a loss over labelled steps are means over recordings, and are weighted by recordings.
        With several batches per step, whose labelled steps are unknown in advance, they are weighted like the loss.

        Args:
            trainer: The trainer.
            batch_idx: Index of the batch in the epoch.
            size: Its number of recordings.
            loss: The sum of the loss and its regularizer terms.
            parts: These terms one by one, the loss first.
            num_labelled_steps: Number of labelled steps that the loss averages; None: it averages recordings.
            parameters: The trained parameters.
        """
        if num_labelled_steps is None:
            weight = self._weight(trainer, batch_idx, *size, parameters)
            return loss if weight == 1 else loss * weight
        num_labelled_steps = (num_labelled_steps if size.local else torch.zeros_like(num_labelled_steps)).to(loss.dtype)
        weight = self._weight(trainer, batch_idx, num_labelled_steps, all_reduce_sum(num_labelled_steps), parameters)
        if trainer.accumulate_grad_batches > 1:
            return loss * weight
        main, *regularizers = parts.values()
        return sum((part * (size.local * trainer.world_size / size.total) for part in regularizers), main * weight)

    def _weight(
        self, trainer: L.Trainer, batch_idx: int, local: Number, total: Number, parameters: Iterable[nn.Parameter]
    ) -> float | Tensor:
        """Return the weight of a batch's loss; at the step's last batch also rescale the accumulated gradients."""
        batches = trainer.accumulate_grad_batches
        if batch_idx % batches == 0:
            self._first, self._all = _at_least_one(total), 0
        self._all = self._all + total
        weight = local * trainer.world_size / self._first
        if batches == 1 or not _is_end_of_step(trainer, batch_idx):
            return weight
        rescale = batches * self._first / _at_least_one(self._all)
        if isinstance(rescale, Tensor) or rescale != 1:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(rescale)
        return weight * rescale


def size_of(trainer: L.Trainer, batch_idx: int, recordings: int) -> BatchSize:
    """Return the number of recordings of a training batch that count.

    Args:
        trainer: The trainer.
        batch_idx: Index of the batch in the epoch.
        recordings: Number of recordings in the batch of this process.
    """
    if trainer.world_size == 1:
        return BatchSize(recordings, recordings)
    sampler = trainer.train_dataloader.sampler  # type: ignore[union-attr]
    assert isinstance(sampler, BatchSampler)
    return BatchSize(*sampler.sizes(batch_idx))


def _is_end_of_step(trainer: L.Trainer, batch_idx: int) -> bool:
    """Return whether the optimizer steps after a batch."""
    number = batch_idx + 1
    last = trainer.is_last_batch or number >= trainer.num_training_batches
    return last or number % trainer.accumulate_grad_batches == 0


def _at_least_one(number: Number) -> Number:
    return number.clamp(min=1) if isinstance(number, Tensor) else max(number, 1)
