"""The processes of a training: how many there are, on which devices, and what each of them needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from snnlab.compat import BatchNormNd, without_launcher
from snnlab.config.schema import Experiment
from snnlab.config.trainer_settings import precision_of
from snnlab.data.data_module import EventDataModule
from snnlab.errors import ConfigError, join_names
from snnlab.process import available_cpus
from snnlab.session.targets import partial_target
from snnlab.training.ranks import RankInfo, has_launcher

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
    if strategy in _STRATEGIES and strategy != "auto":
        node["strategy"] = without_launcher(DDPStrategy())  # a notebook refuses the name alone
    try:
        trainer = partial_target(node, [L.Trainer], ("lightning.pytorch",), "trainer")()
    except (MisconfigurationException, RuntimeError) as error:  # RuntimeError: for a mismatch with the SLURM job
        raise ConfigError("trainer", " ".join(str(error).split())) from error
    processes = Processes(trainer.num_devices * trainer.num_nodes, trainer.num_devices, trainer.strategy.root_device)
    _require_cores(processes)
    if processes.world_size > 1 and strategy not in _STRATEGIES:
        raise ConfigError("trainer.strategy", f"expected one of {join_names(_STRATEGIES)}, got {strategy!r}")
    if experiment.trainer.get("sync_batchnorm"):
        raise ConfigError(
            "trainer.sync_batchnorm",
            "torch's SyncBatchNorm does not support steps after a recording's end or per_step",
            "remove it: each process normalizes its own recordings",
        )
    return processes


def _require_cores(processes: Processes) -> None:
    most = _PROCESSES_PER_CORE * available_cpus()
    if processes.device.type == "cpu" and processes.local_world_size > most and not has_launcher():
        raise ConfigError(
            "trainer.devices",
            f"{processes.local_world_size} processes are too many for {available_cpus()} cores",
            f"set {most} or fewer, or start them with torchrun",
        )


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


def rank_settings(trainer: Mapping[str, Any], rank_info: RankInfo | None) -> dict[str, Any]:
    """Return the trainer settings for one process of a training.

    Args:
        rank_info: Rank and world size; None: one process on one device, whatever the settings say.
    """
    if rank_info is None or rank_info.world_size == 1:
        devices = trainer.get("devices", 1)
        several = devices not in (1, "1") and not (isinstance(devices, list | tuple) and len(devices) == 1)
        one = {"devices": 1} if several else {}
        strategy = {"strategy": "auto"} if str(trainer.get("strategy")) in _STRATEGIES else {}
        return {**trainer, **one, **strategy, "num_nodes": 1}

    unused = _STRATEGIES[trainer.get("strategy", "auto")]
    return {**trainer, "strategy": without_launcher(DDPStrategy(find_unused_parameters=unused))}
