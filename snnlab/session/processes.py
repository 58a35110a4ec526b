"""The processes of a training, which Lightning, torchrun or SLURM starts: their number, their devices, their needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from snnlab.compat import BatchNormNd
from snnlab.config.schema import Experiment
from snnlab.config.trainer_settings import precision_of
from snnlab.data.data_module import EventDataModule
from snnlab.errors import ConfigError, join_names
from snnlab.process import available_cpus
from snnlab.session.targets import partial_target

# The strategies of Lightning that train as one process would; the value is find_unused_parameters.
_STRATEGIES = {
    "auto": False,
    "ddp": False,
    "ddp_find_unused_parameters_false": False,
    "ddp_find_unused_parameters_true": True,
}


def check_precision(experiment: Experiment) -> None:
    """Refuse 16-mixed on a CPU, where Lightning silently takes another precision."""
    precision = experiment.trainer.get("precision")
    if precision is None or precision_of(precision) != "16-mixed":
        return
    accelerator = experiment.trainer.get("accelerator", "auto")
    gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerator == "cpu" or (accelerator == "auto" and not gpu):
        raise ConfigError("trainer.precision", "16-mixed needs a GPU", "a CPU computes in bf16-mixed or 32-true")


# More processes than cores are slow, and a run resumes with the number that it has. Many more take all memory.
_PROCESSES_PER_CORE = 4


class Processes(NamedTuple):
    """The processes of a training."""

    world_size: int
    local_world_size: int
    device: torch.device

    @property
    def gpu(self) -> bool:
        """True for a CUDA device."""
        return self.device.type == "cuda"

    def recorded(self, batch_size: int) -> dict[str, int]:
        """Return the numbers for the run's provenance.

        Args:
            batch_size: Recordings per step of each process.
        """
        machines = self.world_size // self.local_world_size
        return {"number": self.world_size, "machines": machines, "recordings_per_step": self.world_size * batch_size}


def find_processes(experiment: Experiment) -> Processes:
    """Return the number of processes that the trainer settings ask for, and the device of this one."""
    check_precision(experiment)
    quiet = {"logger": False, "callbacks": [], "enable_checkpointing": False, "precision": None, "profiler": None}
    node = {**experiment.trainer, **quiet, "enable_progress_bar": False, "enable_model_summary": False}
    strategy = experiment.trainer.get("strategy", "auto")
    if strategy in _STRATEGIES:
        node["strategy"] = "auto"  # a notebook refuses ddp, also for one process
    try:
        trainer = partial_target(node, [L.Trainer], ("lightning.pytorch",), "trainer")()
    except (MisconfigurationException, RuntimeError) as error:  # RuntimeError: for a mismatch with the SLURM job
        raise ConfigError("trainer", " ".join(str(error).split())) from error
    processes = Processes(trainer.num_devices * trainer.num_nodes, trainer.num_devices, trainer.strategy.root_device)
    _require_agreement(processes, trainer.num_nodes)
    if processes.world_size > 1 and strategy not in _STRATEGIES:
        raise ConfigError("trainer.strategy", f"expected one of {join_names(_STRATEGIES)}, got {strategy!r}")
    if experiment.trainer.get("sync_batchnorm"):
        raise ConfigError(
            "trainer.sync_batchnorm",
            "torch's SyncBatchNorm does not support steps after a recording's end or per_step",
            "remove it: each process normalizes its own recordings",
        )
    return processes


def launched_rank() -> int:
    """The rank that Lightning, torchrun or srun gave this process, also where srun's tasks are as many runs."""
    return rank_zero_only.rank  # pyright: ignore[reportFunctionMemberAccess]


def cluster_environment() -> ClusterEnvironment:
    """The environment from which Lightning reads rank and address; srun's tasks count only if there are several."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if "SLURM_PROCID" in os.environ and int(os.environ["SLURM_NTASKS"]) > 1:
        return SLURMEnvironment(auto_requeue=False)  # `snnlab.session.cluster` requeues
    return LightningEnvironment()


def _require_agreement(processes: Processes, machines: int) -> None:
    """Check that the processes that torchrun or SLURM has started, or those that Lightning will start, can train."""
    environment = cluster_environment()
    if processes.world_size == 1 and not isinstance(environment, TorchElasticEnvironment):
        return  # several tasks of srun are as many runs then
    try:
        environment.validate_settings(processes.local_world_size, machines)
    except ValueError as error:
        hint = "trainer.devices is the number of processes on each machine, trainer.num_nodes that of machines"
        raise ConfigError("trainer.devices", str(error), hint) from error
    if environment.creates_processes_externally:
        return
    if machines > 1:
        raise ConfigError(
            "trainer.num_nodes",
            "on several machines torchrun must start the processes, or srun with trainer=slurm",
        )
    most = _PROCESSES_PER_CORE * available_cpus()
    if processes.device.type == "cpu" and processes.local_world_size > most:
        raise ConfigError(
            "trainer.devices",
            f"{processes.local_world_size} processes are too many for {available_cpus()} cores",
            f"set {most} or fewer, or start them with torchrun",
        )


# The commands that train in several processes: Lightning starts the others with the words of the first one.
_COMMANDS = ("train", "reproduce")


def require_command_line(processes: Processes) -> None:
    """Refuse several processes where this one does not run a command that the others can run too."""
    program, *words = sys.argv
    is_ours = Path(program).name in ("snnlab", "__main__.py") and words[:1] and words[0] in _COMMANDS
    if processes.world_size > 1 and not is_ours:
        raise ConfigError(
            "trainer.devices",
            "several processes train one network by snnlab train on the command line only",
            "set trainer.devices=1 in Python, in a search, in a suite and in the workers of a grid",
        )


_THREADS = "OMP_NUM_THREADS"


@contextmanager
def share_threads(requested: int | None, processes: Processes) -> Iterator[int]:
    """Set the threads of torch during the training, also for the processes that Lightning starts; yield their number.

    Args:
        requested: The experiment's `threads`, of each process; None: OMP_NUM_THREADS, or an equal share.
    """
    before, variable = torch.get_num_threads(), os.environ.get(_THREADS)
    share = before if variable else max(1, before // processes.local_world_size)
    torch.set_num_threads(share if requested is None else requested)
    if processes.world_size > 1:
        os.environ[_THREADS] = str(torch.get_num_threads())
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
        if variable is None:
            os.environ.pop(_THREADS, None)
        else:
            os.environ[_THREADS] = variable


def require_recording_per_process(processes: Processes, experiment: Experiment, data: EventDataModule) -> None:
    """Check that each process has at least one recording, or window, to evaluate."""
    parts = [("validation", data.split.val)] if experiment.trainer.get("limit_val_batches") != 0 else []
    parts += [("test", data.split.test)] if experiment.test else []
    for name, part in parts:
        count = data.epoch_items(part).size
        if 0 < count < processes.world_size:
            what = "recordings" if data.windows is None else "windows"
            raise ConfigError(
                "trainer.devices",
                f"{count} {name} {what} cannot be divided among {processes.world_size} processes",
                f"use fewer processes or more {name} recordings",
            )


def batch_norm_note(processes: Processes, network: nn.Module, batch_size: int) -> str | None:
    """Return a note on batch norm in several processes, or None for one process or without batch norm.

    Args:
        batch_size: Recordings per step of each process.
    """
    norms = [name for name, layer in network.named_modules() if isinstance(layer, BatchNormNd)]
    if processes.world_size == 1 or not norms:
        return None
    return (
        f"batch norm ({join_names(norms)}) uses the {batch_size} recordings of each process, not all"
        f" {processes.world_size * batch_size} of a step; the running means are those of rank 0"
    )


def process_settings(trainer: Mapping[str, Any], processes: Processes | None) -> dict[str, Any]:
    """The trainer settings for one process of a training.

    Args:
        processes: All processes of the training; None: one process on one device, whatever the settings say.
    """
    if processes is None or processes.world_size == 1:
        devices = trainer.get("devices", 1)
        several = devices not in (1, "1") and not (isinstance(devices, list | tuple) and len(devices) == 1)
        one = {"devices": 1} if several else {}
        strategy = {"strategy": "auto"} if str(trainer.get("strategy")) in _STRATEGIES else {}
        return {**trainer, **one, **strategy, "num_nodes": 1}

    unused = _STRATEGIES[trainer.get("strategy", "auto")]
    # snnlab exchanges values on the CPU too, which NCCL cannot.
    backend = "cpu:gloo,cuda:nccl" if processes.gpu else "gloo"
    return {**trainer, "strategy": DDPStrategy(find_unused_parameters=unused, process_group_backend=backend)}
