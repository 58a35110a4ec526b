"""What the first process tells the others to do, and by which words they find each other."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from snnlab.config.schema import Experiment
from snnlab.training.resuming.resumption import Resumption

# Exit status of a process that lost the others; it has nothing to say, the first one does.
LOST = 3
# Of the checkpoint, what another process reads there itself.
_LARGE = ("random", "metrics_of_processes")


@dataclass(frozen=True)
class Job:
    """One training.

    Args:
        experiment: What to do.
        folder: Where the first process records it.
        resumption: What it goes on from, or None.
        identity: What its checkpoints belong to.
        threads: Of each process.
        gpu: Whether it runs on GPUs.
    """

    experiment: Experiment
    folder: Path
    resumption: Resumption | None
    identity: Mapping[str, Any]
    threads: int
    gpu: bool

    def packed(self) -> bytes:
        """Return it as it travels to another process."""
        resumption = self.resumption
        if resumption is not None:
            resumption = replace(resumption, node=_small(resumption.node), changed=dict(resumption.changed))
        experiment = replace(self.experiment, origin=None, threads=self.threads)
        return pickle.dumps(replace(self, experiment=experiment, resumption=resumption))


def unpacked(content: bytes) -> Job:
    """Return what `Job.packed` made; only of our own first process."""
    job = pickle.loads(content)
    assert isinstance(job, Job)
    return job


def _small(node: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in node.items() if key not in _LARGE}


def job_key(number: int) -> str:
    """Return under which key the job of this number is."""
    return f"snnlab/job/{number}"


def ready_key(number: int, rank: int) -> str:
    """Return the key that a process sets when it only waits for the others."""
    return f"snnlab/ready/{number}/{rank}"


def trouble_key(number: int) -> str:
    """Return the key of what went wrong in one of the other processes, in a user's words."""
    return f"snnlab/trouble/{number}"


def connection_key(number: int) -> str:
    """Return the part of the meeting in which the processes of a job connect."""
    return f"snnlab/meeting/{number}"
