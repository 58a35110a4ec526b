"""What the batches of a step count, so that a step is that of one process with all of its recordings in one batch.

DDP takes the mean of the gradients over processes, and Lightning that over the batches that it accumulates, as if all
were of one size. At an epoch's end they are not, and the labelled steps of a batch hardly ever are as many as those of
another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import lightning as L
import torch
from torch import Tensor, nn

from snnlab.data.sampler import BatchSampler
from snnlab.training.processes.team import summed

Number = int | Tensor


class Size(NamedTuple):
    """How many recordings of a batch count.

    Attributes:
        own: Of this process's batch; 0 where it has one only to have something.
        of_all: Of the batches that all processes have at this moment.
    """

    own: int
    of_all: int


class Shares:
    """Weighs the losses of a step's batches.

        loss * n * processes / first,   at the step's last batch gradients * batches * first / all

    A loss is a mean over n recordings, or n labelled steps; `first` is their number in the step's first batch, `all`
    that in all of them, of all processes each. Of batches of one size nothing is changed.
    """

    def __init__(self) -> None:
        self._first: Number = 1
        self._all: Number = 0

    def weighed(
        self,
        trainer: L.Trainer,
        batch_idx: int,
        size: Size,
        loss: Tensor,
        parts: Mapping[str, Tensor],
        labelled: Tensor | None,
        parameters: Iterable[nn.Parameter],
    ) -> Tensor:
        """Return a batch's loss as it is to be backpropagated; all processes have to ask together.

        Parts beside a loss over labelled steps are means over recordings, and weighed so; of several batches a step,
        whose labelled steps nobody knows before, they count as the loss does.

        Args:
            trainer: What takes the steps.
            batch_idx: The batch's number in the epoch.
            size: How many recordings it has.
            loss: The loss and the parts beside it.
            parts: The same by themselves, the loss first.
            labelled: Over how many labelled steps the loss is a mean; None: over the recordings.
            parameters: Those that are trained.
        """
        if labelled is None:
            weight = self._weight(trainer, batch_idx, *size, parameters)
            return loss if weight == 1 else loss * weight
        labelled = (labelled if size.own else torch.zeros_like(labelled)).to(loss.dtype)
        weight = self._weight(trainer, batch_idx, labelled, summed(labelled), parameters)
        if trainer.accumulate_grad_batches > 1:
            return loss * weight
        itself, *beside = parts.values()
        return sum((part * (size.own * trainer.world_size / size.of_all) for part in beside), itself * weight)

    def _weight(
        self, trainer: L.Trainer, batch_idx: int, own: Number, of_all: Number, parameters: Iterable[nn.Parameter]
    ) -> float | Tensor:
        """Return the weight of a batch's loss; at the step's last batch let the gradients so far have theirs too."""
        batches = trainer.accumulate_grad_batches
        if batch_idx % batches == 0:
            self._first, self._all = _one_or_more(of_all), 0
        self._all = self._all + of_all
        weight = own * trainer.world_size / self._first
        if batches == 1 or not _ends_step(trainer, batch_idx):
            return weight
        change = batches * self._first / _one_or_more(self._all)
        if isinstance(change, Tensor) or change != 1:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(change)
        return weight * change


def size_of(trainer: L.Trainer, batch_idx: int, recordings: int) -> Size:
    """Return how many recordings of a training batch count.

    Args:
        trainer: What trains on it.
        batch_idx: Its number in the epoch.
        recordings: How many there are in this process's batch.
    """
    if trainer.world_size == 1:
        return Size(recordings, recordings)
    sampler = trainer.train_dataloader.sampler  # type: ignore[union-attr]
    assert isinstance(sampler, BatchSampler)
    return Size(*sampler.sizes(batch_idx))


def _ends_step(trainer: L.Trainer, batch_idx: int) -> bool:
    """Return whether the optimizer steps behind a batch."""
    number = batch_idx + 1
    last = trainer.is_last_batch or number >= trainer.num_training_batches
    return last or number % trainer.accumulate_grad_batches == 0


def _one_or_more(number: Number) -> Number:
    return number.clamp(min=1) if isinstance(number, Tensor) else max(number, 1)
