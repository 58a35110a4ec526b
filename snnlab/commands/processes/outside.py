"""Processes that torchrun or SLURM has started: each runs `snnlab train`, and all but rank 0 wait for jobs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from snnlab.errors import ConfigError
from snnlab.training.processes.ranks import Team

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


def connect(team: Team) -> Any:
    """Return the store of torch's in which all processes find each other, at MASTER_ADDR and MASTER_PORT.

    Args:
        team: Which of them this is.
    """
    from torch.distributed.rendezvous import rendezvous

    if team.by == "srun":
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        slurm = SLURMEnvironment(auto_requeue=False)
        address, port = slurm.main_address, slurm.main_port  # of the first machine, and of the job's number
        os.environ.update(MASTER_ADDR=address, MASTER_PORT=str(port))
    return next(iter(rendezvous("env://", team.rank, team.world)))[0]
