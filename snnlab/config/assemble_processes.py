"""How many processes an experiment asks for, and what Lightning's trainer is given for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from snnlab.compat import BatchNormNd, unlaunched
from snnlab.config.schema import Experiment
from snnlab.config.targets import partial_target
from snnlab.errors import ConfigError, listing

if TYPE_CHECKING:
    from snnlab.data.module import EventDataModule
    from snnlab.training.processes.ranks import Team

# Of Lightning's strategies those that train a network as one process would; whether all parameters have to be used.
_STRATEGIES = {
    "auto": False,
    "ddp": False,
    "ddp_find_unused_parameters_false": False,
    "ddp_find_unused_parameters_true": True,
}


class Processes(NamedTuple):
    """The processes of a training."""

    world: int
    local: int
    gpu: bool

    def recorded(self, batch_size: int) -> dict[str, int]:
        """Return what a run's record says of them.

        Args:
            batch_size: Recordings a step of each.
        """
        machines = self.world // self.local
        return {"number": self.world, "machines": machines, "recordings_per_step": self.world * batch_size}


def processes(experiment: Experiment) -> Processes:
    """Return how many processes the experiment's trainer asks for on this machine.

    Raises:
        ConfigError: if the trainer cannot be built, or shares its work in a way that is not ours.
    """
    import lightning as L
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch.strategies import DDPStrategy

    quiet = {"logger": False, "callbacks": [], "enable_checkpointing": False, "precision": None}
    node = {**experiment.trainer, **quiet, "enable_progress_bar": False, "enable_model_summary": False}
    strategy = experiment.trainer.get("strategy", "auto")
    if strategy in _STRATEGIES and strategy != "auto":
        node["strategy"] = unlaunched(DDPStrategy())  # the name alone is refused in a notebook
    try:
        trainer = partial_target(node, [L.Trainer], ("lightning.pytorch",), "trainer")()
    except (MisconfigurationException, RuntimeError) as error:  # the latter of what SLURM was asked for
        raise ConfigError("trainer", " ".join(str(error).split())) from error
    found = Processes(
        trainer.num_devices * trainer.num_nodes, trainer.num_devices, trainer.strategy.root_device.type == "cuda"
    )
    if found.world > 1 and strategy not in _STRATEGIES:
        raise ConfigError("trainer.strategy", f"expected one of {listing(_STRATEGIES)}, got {strategy!r}")
    if experiment.trainer.get("sync_batchnorm"):
        raise ConfigError(
            "trainer.sync_batchnorm",
            "torch's joint batch norm knows no steps past a recording's end and no per_step",
            "leave it out: each process normalises its own recordings",
        )
    return found


def require_shares(found: Processes, experiment: Experiment, data: EventDataModule) -> None:
    """Check that each process has a recording, or a window, to evaluate.

    Raises:
        ConfigError: if there are fewer than processes.
    """
    parts = [("validation", data.split.val)] if experiment.trainer.get("limit_val_batches") != 0 else []
    parts += [("test", data.split.test)] if experiment.test else []
    for name, part in parts:
        many = data.places_of(part).size
        if 0 < many < found.world:
            what = "recordings" if data.windows is None else "windows"
            raise ConfigError(
                "trainer.devices",
                f"{many} {name} {what} cannot be divided among {found.world} processes",
                f"train in fewer, or with more {name} recordings",
            )


def norm_note(found: Processes, network: nn.Module, batch_size: int) -> str | None:
    """Return in words what several processes change for batch norm, or None where there is none of it.

    Args:
        batch_size: Recordings a step of each.
    """
    norms = [name for name, layer in network.named_modules() if isinstance(layer, BatchNormNd)]
    if found.world == 1 or not norms:
        return None
    return (
        f"batch norm ({listing(norms)}) takes the {batch_size} recordings of each process for itself, not the"
        f" {found.world * batch_size} of a step; the running means are those of the first process"
    )


def shared(trainer: Mapping[str, Any], team: Team | None) -> dict[str, Any]:
    """Return a trainer's settings for one of a team's processes, or for this process alone.

    Args:
        team: The processes; None: this one is alone, whatever the settings ask for.
    """
    if team is None or team.world == 1:
        devices = trainer.get("devices", 1)
        several = devices not in (1, "1") and not (isinstance(devices, list | tuple) and len(devices) == 1)
        one = {"devices": 1} if several else {}
        strategy = {"strategy": "auto"} if str(trainer.get("strategy")) in _STRATEGIES else {}
        return {**trainer, **one, **strategy, "num_nodes": 1}
    from lightning.pytorch.strategies import DDPStrategy

    unused = _STRATEGIES[trainer.get("strategy", "auto")]
    return {**trainer, "strategy": unlaunched(DDPStrategy(find_unused_parameters=unused))}
