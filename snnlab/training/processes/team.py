"""Who trains together, and what all of them agree on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# A process that is not heard of for so long is taken for lost; one that has ended is noticed at once.
_PATIENCE = timedelta(minutes=10)


@dataclass(frozen=True)
class Team:
    """The processes of a training, as one of them sees them.

    Args:
        rank: Which of them this is, 0 <= rank < world; 0 writes the record.
        world: Number of processes on all machines.
        local_rank: Which of those on this machine this is.
        local_world: Number of processes on this machine.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that decides, writes and speaks."""
        return self.rank == 0

    @property
    def machine(self) -> int:
        """Which of the machines this is."""
        return self.rank // self.local_world


ALONE = Team()
# How gloo and NCCL say that the other end is gone.
_GONE = re.compile(r"gloo|NCCL|Connection (was )?(closed|reset|refused)|Broken pipe|Socket")


def join(team: Team, store: Any, *, gpu: bool) -> None:
    """Connect this process with the others; returns when all are there.

    Args:
        team: The processes.
        store: A store of torch's, for this training alone.
        gpu: Whether they compute on GPUs; what they agree on goes from CPU to CPU in any case.
    """
    backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
    dist.init_process_group(backend, store=store, rank=team.rank, world_size=team.world, timeout=_PATIENCE)


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
