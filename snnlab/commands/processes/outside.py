"""Processes that torchrun or SLURM has started: each runs `snnlab train`, and all but the first wait for jobs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snnlab.errors import ConfigError

if TYPE_CHECKING:
    from snnlab.training.processes.meeting import Meeting

_SLURM = "trainer=slurm"


@dataclass(frozen=True)
class Outside:
    """One of the processes that somebody else has started.

    Args:
        rank: Which of them this is.
        world: Their number.
        local_rank: Which of this machine's this is.
        local_world: The number of this machine's.
        by: Who has started them, in words.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int
    by: str


def outside(overrides: Sequence[str]) -> Outside | None:
    """Return what torchrun or SLURM made of this process; None if it stands alone.

    Several tasks of SLURM are one training only with `trainer=slurm`: they may as well be runs of their own.

    Args:
        overrides: Those of the command.

    Raises:
        ConfigError: if `trainer=slurm` stands outside of SLURM.
    """
    if (place := _by_torchrun()) or _SLURM not in overrides:
        return place
    if "SLURM_PROCID" not in os.environ:
        raise ConfigError("trainer: slurm is for tasks that srun starts; on one machine use trainer=ddp")
    return _by_slurm()


def place_of(world: int) -> Outside | None:
    """Return what torchrun or SLURM made of this process for a training; None if it stands alone.

    Args:
        world: Number of processes of the training.

    Raises:
        ConfigError: if it is not the first: those have nothing to decide.
    """
    place = _by_torchrun() or (_by_slurm() if world > 1 else None)
    if place is not None and place.rank:
        raise ConfigError("trainer: the tasks of srun are one training only where the command says trainer=slurm")
    return place


def _by_torchrun() -> Outside | None:
    env = os.environ
    if "TORCHELASTIC_RUN_ID" not in env or int(env["WORLD_SIZE"]) == 1:
        return None
    ranks = (int(env[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    return Outside(*ranks, by="torchrun")


def _by_slurm() -> Outside | None:
    env = os.environ
    world, machines = int(env.get("SLURM_NTASKS", "1")), int(env.get("SLURM_NNODES", "1"))
    if world == 1 or "SLURM_PROCID" not in env:
        return None
    return Outside(int(env["SLURM_PROCID"]), world, int(env["SLURM_LOCALID"]), world // machines, by="srun")


def connect(place: Outside) -> Meeting:
    """Return where all processes find each other, at MASTER_ADDR and MASTER_PORT.

    Args:
        place: Which of them this is.
    """
    from snnlab.training.processes.meeting import Meeting

    if place.by == "srun":
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        slurm = SLURMEnvironment(auto_requeue=False)
        address, port = slurm.main_address, slurm.main_port  # of the first machine, and of the job's number
        os.environ.update(MASTER_ADDR=address, MASTER_PORT=str(port))
    return Meeting.outside(place.rank, place.world)
