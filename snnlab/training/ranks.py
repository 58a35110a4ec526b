"""Which of the processes of a training this is, as torchrun or SLURM have made it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from snnlab.errors import ConfigError


@dataclass(frozen=True)
class Team:
    """The processes of a training, as one of them sees them.

    Args:
        rank: Which of them this is, 0 <= rank < world; 0 writes the record.
        world: Number of processes on all machines.
        local_rank: Which of those on this machine this is.
        local_world: Number of processes on this machine.
        by: Who has started them, if not rank 0, in words.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    by: str | None = None

    @property
    def leads(self) -> bool:
        """Whether this is the process that decides, writes and speaks."""
        return self.rank == 0

    def as_environment(self) -> dict[str, str]:
        """Return the same as torchrun puts it into the environment, where Lightning finds it."""
        ranks = {"RANK": self.rank, "WORLD_SIZE": self.world, "LOCAL_RANK": self.local_rank}
        machines = {"LOCAL_WORLD_SIZE": self.local_world, "GROUP_RANK": self.rank // self.local_world}
        return {name: str(number) for name, number in {**ranks, **machines}.items()}


ALONE = Team()

_SLURM = "trainer=slurm"


def outside(overrides: Sequence[str]) -> Team | None:
    """Return what torchrun or SLURM made of this process; None if it stands alone.

    Several tasks of SLURM are one training only with `trainer=slurm`: they may as well be runs of their own.

    Raises:
        ConfigError: if `trainer=slurm` stands outside of SLURM.
    """
    if (team := _by_torchrun()) or _SLURM not in overrides:
        return team
    if "SLURM_PROCID" not in os.environ:
        raise ConfigError("trainer", "slurm is for tasks that srun starts", "on one machine use trainer=ddp")
    return _by_slurm()


def team_of(world: int) -> Team | None:
    """Return what torchrun or SLURM made of this process for a training; None if it stands alone.

    Args:
        world: Number of processes of the training.

    Raises:
        ConfigError: if it is not rank 0: the others have nothing to decide.
    """
    team = _by_torchrun() or (_by_slurm() if world > 1 else None)
    if team is not None and not team.leads:
        raise ConfigError("trainer", "the tasks of srun are one training only where the command says trainer=slurm")
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
