"""Rank and world size of this process, as set by torchrun or SLURM."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from snnlab.errors import ConfigError


@dataclass(frozen=True)
class Team:
    """Position of this process in the process group of a training.

    Args:
        rank: Rank of this process, 0 <= rank < world_size; rank 0 writes the run folder.
        world_size: Number of processes on all machines.
        local_rank: Rank among the processes on this machine.
        local_world_size: Number of processes on this machine.
        launcher: Name of the launcher that started the processes; None if rank 0 did.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    by: str | None = None

    @property
    def leads(self) -> bool:
        """True for rank 0, which decides, writes and prints."""
        return self.rank == 0

    def as_environment(self) -> dict[str, str]:
        """Return torchrun's environment variables with these values, which Lightning reads."""
        ranks = {"RANK": self.rank, "WORLD_SIZE": self.world, "LOCAL_RANK": self.local_rank}
        machines = {"LOCAL_WORLD_SIZE": self.local_world, "GROUP_RANK": self.rank // self.local_world}
        return {name: str(number) for name, number in {**ranks, **machines}.items()}


ALONE = Team()

_SLURM = "trainer=slurm"


def outside(overrides: Sequence[str]) -> Team | None:
    """Return the process group that torchrun or SLURM started; None for a single process.

    Several SLURM tasks are one training only with `trainer=slurm`: without it they are separate runs.

    Raises:
        ConfigError: if `trainer=slurm` is used outside of SLURM.
    """
    if (team := _by_torchrun()) or _SLURM not in overrides:
        return team
    if "SLURM_PROCID" not in os.environ:
        raise ConfigError("trainer", "slurm needs tasks that srun starts", "on one machine use trainer=ddp")
    return _by_slurm()


def team_of(world_size: int) -> Team | None:
    """Return the process group of a training that torchrun or SLURM started; None for a single process.

    Args:
        world_size: Number of processes of the training.

    Raises:
        ConfigError: if this is not rank 0, which alone reads the command.
    """
    team = _by_torchrun() or (_by_slurm() if world_size > 1 else None)
    if team is not None and not team.leads:
        raise ConfigError("trainer", "several tasks of srun are one training only with trainer=slurm")
    return team


def _by_torchrun() -> Team | None:
    env = os.environ
    if "TORCHELASTIC_RUN_ID" not in env or int(env["WORLD_SIZE"]) == 1:
        return None
    return Team(*(int(env[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")), by="torchrun")


def _by_slurm() -> Team | None:
    env = os.environ
    world, machines = int(env.get("SLURM_NTASKS", "1")), int(env.get("SLURM_NNODES", "1"))
    if world == 1 or "SLURM_PROCID" not in env:
        return None
    return Team(int(env["SLURM_PROCID"]), world, int(env["SLURM_LOCALID"]), world // machines, by="srun")
