"""Rank and world size of this process, as set by torchrun or SLURM."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from snnlab.errors import ConfigError


@dataclass(frozen=True)
class RankInfo:
    """Position of this process in the process group of a training.

    Args:
        rank: Rank of this process, 0 <= rank < world_size; rank 0 writes the run folder.
        world_size: Number of processes on all machines.
        local_rank: Rank among the processes on this machine.
        local_world_size: Number of processes on this machine.
        launcher: Name of the launcher that started the processes; None if rank 0 did.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    launcher: str | None = None

    @property
    def is_rank_zero(self) -> bool:
        """True for rank 0, which decides, writes and prints."""
        return self.rank == 0

    def as_environment(self) -> dict[str, str]:
        """Return torchrun's environment variables with these values, which Lightning reads."""
        ranks = {"RANK": self.rank, "WORLD_SIZE": self.world_size, "LOCAL_RANK": self.local_rank}
        machines = {"LOCAL_WORLD_SIZE": self.local_world_size, "GROUP_RANK": self.rank // self.local_world_size}
        return {name: str(number) for name, number in {**ranks, **machines}.items()}


SINGLE_PROCESS = RankInfo()

_SLURM = "trainer=slurm"


def ranks_of_command(overrides: Sequence[str]) -> RankInfo | None:
    """Return the process group that torchrun or SLURM started; None for a single process.

    Several SLURM tasks are one training only with `trainer=slurm`: without it they are separate runs.
    """
    if (rank_info := _by_torchrun()) or _SLURM not in overrides:
        return rank_info
    if "SLURM_PROCID" not in os.environ:
        raise ConfigError("trainer", "slurm needs tasks that srun starts", "on one machine use trainer=ddp")
    return _by_slurm()


def ranks_of_training(world_size: int) -> RankInfo | None:
    """Return the process group of a training that torchrun or SLURM started; None for a single process.

    Args:
        world_size: Number of processes of the training.
    """
    rank_info = _by_torchrun() or (_by_slurm() if world_size > 1 else None)
    if rank_info is not None and not rank_info.is_rank_zero:
        raise ConfigError("trainer", "several tasks of srun are one training only with trainer=slurm")
    return rank_info


def has_launcher() -> bool:
    """Return whether torchrun or SLURM started the processes of a training."""
    return (_by_torchrun() or _by_slurm()) is not None


def _by_torchrun() -> RankInfo | None:
    env = os.environ
    if "TORCHELASTIC_RUN_ID" not in env or int(env["WORLD_SIZE"]) == 1:
        return None
    return RankInfo(
        *(int(env[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")), launcher="torchrun"
    )


def _by_slurm() -> RankInfo | None:
    env = os.environ
    world_size, machines = int(env.get("SLURM_NTASKS", "1")), int(env.get("SLURM_NNODES", "1"))
    if world_size == 1 or "SLURM_PROCID" not in env:
        return None
    return RankInfo(
        int(env["SLURM_PROCID"]), world_size, int(env["SLURM_LOCALID"]), world_size // machines, launcher="srun"
    )
