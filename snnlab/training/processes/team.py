"""How the processes of a training connect, and what all of them agree on."""

from __future__ import annotations

import os
import re
import socket
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from snnlab.training.processes.ranks import Team

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
