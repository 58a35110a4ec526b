"""Processes that torchrun or SLURM has started: each runs `snnlab train`, and all but rank 0 wait for jobs."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from snnlab.errors import ConfigError, RecordError
from snnlab.files import unwritable, write_text
from snnlab.runs.run_folder import config_hash, config_text
from snnlab.training.ranks import Team

if TYPE_CHECKING:
    from snnlab.config.schema import Experiment

_log = logging.getLogger(__name__)

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


# In output_dir, or beside a run that is repeated: one file for each job and configuration, that holds the run's folder.
_FOLDER = ".slurm"


def job() -> str | None:
    """Return the name by which SLURM knows this job, or None outside of one."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def begun_before(experiment: Experiment) -> Path | None:
    """Return the run that this job began with the same configuration before SLURM started it again, if there is one."""
    if int(os.environ.get("SLURM_RESTART_COUNT", "0")) < 1 or (note := _note(experiment)) is None:
        return None
    folder = Path(note.read_text(encoding="utf-8")) if note.is_file() else None
    return folder if folder is not None and folder.is_dir() else None


def remember(experiment: Experiment, folder: Path) -> None:
    """Note which run this job is beginning, in a job of SLURM.

    Raises:
        RecordError: if that cannot be written.
    """
    if (note := _note(experiment)) is None:
        return
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_text(note, str(folder))
    except OSError as error:
        raise unwritable(note, error) from error


def requeue() -> None:
    """Ask SLURM to start this job again.

    Raises:
        RecordError: if it does not.
    """
    name = job()
    assert name is not None
    try:
        subprocess.run(["scontrol", "requeue", name], check=True, capture_output=True, text=True, timeout=60)
    except (FileNotFoundError, subprocess.SubprocessError) as error:
        raise RecordError("", f"scontrol requeue {name} did not work: {error}") from error
    _log.info("SLURM was asked to start job %s again", name)


def _note(experiment: Experiment) -> Path | None:
    name = job()
    if name is None:
        return None
    which = config_hash(config_text(experiment.record or {}))[:16]
    # Beside the run that is repeated: where it was recorded is perhaps not this machine's.
    place = experiment.of_run.parent if experiment.of_run else Path(experiment.output_dir).expanduser().absolute()
    return place / _FOLDER / f"{name}_{which}"
