"""Processes that torchrun or SLURM has started, and a job that SLURM starts again."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch.distributed.rendezvous import rendezvous

from snnlab.config.schema import Experiment
from snnlab.errors import RecordError
from snnlab.files import unwritable, write_text
from snnlab.runs.provenance import config_hash
from snnlab.runs.run_folder import config_text
from snnlab.training.ranks import Team

_log = logging.getLogger(__name__)


def connect(team: Team) -> Any:
    """Return the store of torch's in which all processes find each other, at MASTER_ADDR and MASTER_PORT.

    Args:
        team: Which of them this is.
    """
    if team.by == "srun":
        slurm = SLURMEnvironment(auto_requeue=False)
        address, port = slurm.main_address, slurm.main_port  # of the first machine, and of the job's number
        os.environ.update(MASTER_ADDR=address, MASTER_PORT=str(port))
    return next(iter(rendezvous("env://", team.rank, team.world)))[0]


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
