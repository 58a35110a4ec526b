"""Several processes that train one network: how they connect, agree, and share a step's batch.

DDP takes the mean of the gradients over processes, and Lightning that over the batches that it accumulates, as if all
were of one size. At an epoch's end they are not, and the labelled steps of a batch hardly ever are as many as those of
another: here a step is that of one process with all of its recordings in one batch.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import lightning as L
import torch
import torch.distributed as dist
from torch import Tensor, nn

from snnlab.data.data_module import BatchSampler
from snnlab.training.ranks import Team

# A process that is not heard of for so long is taken for lost; one that has ended is noticed at once.
_PATIENCE = timedelta(minutes=10)
# How gloo and NCCL say that the other end is gone.
_GONE = re.compile(r"gloo|NCCL|Connection (was )?(closed|reset|refused)|Broken pipe|Socket")


def join(team: Team, store: Any, *, gpu: bool) -> None:
    """Connect this process with the others; returns when all are there. Those of one machine listen to no other.

    Args:
        team: The processes.
        store: A store of torch's, for this training alone.
        gpu: Whether they compute on GPUs; what they agree on goes from CPU to CPU in any case.
    """
    if team.world == team.local_world and (name := _loopback()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", name)
    backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
    dist.init_process_group(backend, store=store, rank=team.rank, world_size=team.world, timeout=_PATIENCE)


def _loopback() -> str | None:
    """Return the name of the interface that no other machine reaches."""
    return next((name for _, name in socket.if_nameindex() if re.fullmatch(r"lo\d*", name)), None)


def leave() -> None:
    """End the connection, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def largest(value: int) -> int:
    """Return the largest of all processes' values; all have to ask at the same place."""
    if not (dist.is_available() and dist.is_initialized()):
        return value
    shared = torch.tensor([value])
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return int(shared)


def summed(value: Tensor) -> Tensor:
    """Return the sum of all processes' values, wherever they are; all have to ask at the same place."""
    if not (dist.is_available() and dist.is_initialized()):
        return value
    shared = value.clone()
    dist.all_reduce(shared)
    return shared


def gathered(value: Any) -> list[Any]:
    """Return every process's value by rank; all have to ask at the same place."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def is_loss(error: RuntimeError) -> bool:
    """Return whether an error may mean that another process has ended."""
    return isinstance(error, dist.DistError) or _GONE.search(str(error)) is not None


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
