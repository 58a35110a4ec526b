"""SLURM jobs that are requeued: the run that a job continues."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

from snnlab.config.schema import Experiment
from snnlab.errors import RunFolderError
from snnlab.files import unwritable, write_text
from snnlab.runs.provenance import config_hash
from snnlab.runs.run_folder import config_text

_log = logging.getLogger(__name__)


# In output_dir, or next to a run that is reproduced: one file per job and configuration, with the path of the run.
_FOLDER = ".slurm"


def slurm_job() -> str | None:
    """Return the id of this SLURM job, or None outside of SLURM."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def requeued_run(experiment: Experiment) -> Path | None:
    """Return the run that this SLURM job started with the same configuration before it was requeued, or None."""
    if int(os.environ.get("SLURM_RESTART_COUNT", "0")) < 1 or (file := _slurm_file(experiment)) is None:
        return None
    folder = Path(file.read_text(encoding="utf-8")) if file.is_file() else None
    return folder if folder is not None and folder.is_dir() else None


def record_slurm_run(experiment: Experiment, folder: Path) -> None:
    """Write the path of the run for this SLURM job; do nothing outside of SLURM."""
    if (file := _slurm_file(experiment)) is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, str(folder))
    except OSError as error:
        raise unwritable(file, error) from error


def requeue() -> None:
    """Requeue this SLURM job."""
    name = slurm_job()
    assert name is not None
    try:
        subprocess.run(["scontrol", "requeue", name], check=True, capture_output=True, text=True, timeout=60)
    except (FileNotFoundError, subprocess.SubprocessError) as error:
        raise RunFolderError("", f"scontrol requeue {name} failed: {error}") from error
    _log.info("requeued SLURM job %s", name)


def _slurm_file(experiment: Experiment) -> Path | None:
    name = slurm_job()
    if name is None:
        return None
    config = config_hash(config_text(experiment.record or {}))[:16]
    # Next to the run that is reproduced: its recorded output_dir may not exist on this machine.
    folder = experiment.of_run.parent if experiment.of_run else Path(experiment.output_dir).expanduser().absolute()
    return folder / _FOLDER / f"{name}_{config}"
