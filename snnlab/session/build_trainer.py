"""From a checked experiment to what trains its network: trainer, module, callbacks, loggers, processes."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import RichProgressBarTheme
from lightning.pytorch.loggers import Logger, MLFlowLogger, WandbLogger
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from snnlab.compat import BatchNormNd, unlaunched
from snnlab.config.schema import Experiment
from snnlab.config.trainer_settings import precision_of
from snnlab.console import draws_bars
from snnlab.data.data_module import EventDataModule
from snnlab.data.data_settings import DataSettings
from snnlab.data.events.representation import Counts
from snnlab.errors import ConfigError, MissingPackageError, listing, located
from snnlab.kernels.function import Backend, kernels_of, resolve
from snnlab.memory import keep_heap
from snnlab.nn import BuiltNetwork
from snnlab.nn.layer import reach_of
from snnlab.nn.losses import Loss
from snnlab.nn.plan import begins_on_events
from snnlab.nn.rendered import rounding_otherwise
from snnlab.nn.stages import SPARSE
from snnlab.runs.loggers import kind, remembered
from snnlab.runs.monitors import Monitors
from snnlab.runs.plots.callback import Pictures
from snnlab.runs.profile import LayerTimes, ProfileReport
from snnlab.session.build_network import freeze
from snnlab.session.build_optimizer import Optimization
from snnlab.session.targets import Inner, find_target, partial_target
from snnlab.settings import check_settings, takes
from snnlab.training.health import OverfitVerdict
from snnlab.training.module import Options, SpikingModule
from snnlab.training.ranks import Team
from snnlab.training.snapshots import WholeCheckpoints
from snnlab.training.surrogate_annealing import SurrogateAnnealing
from snnlab.training.weight_averaging import AVERAGES, Averaging

LIGHTNING = ("lightning.pytorch",)
MODULES = ("lightning.pytorch", "snnlab.runs.loggers")
# Of loggers that are packages of their own: the extra of snnlab-train that brings them.
_EXTRAS = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow"}
# Of Lightning's strategies those that train a network as one process would; whether all parameters have to be used.
_STRATEGIES = {
    "auto": False,
    "ddp": False,
    "ddp_find_unused_parameters_false": False,
    "ddp_find_unused_parameters_true": True,
}


def make_trainer(
    experiment: Experiment,
    folder: Path,
    callbacks: Sequence[L.Callback],
    logged_steps: int | None = None,
    team: Team | None = None,
) -> L.Trainer:
    """Build the trainer, see `trainer_maker`."""
    _check_precision(experiment)
    try:
        return trainer_maker(experiment, folder, callbacks, logged_steps, team)()
    except MisconfigurationException as error:
        raise ConfigError("trainer", " ".join(str(error).split())) from error


def trainer_maker(
    experiment: Experiment,
    folder: Path,
    callbacks: Sequence[L.Callback],
    logged_steps: int | None = None,
    team: Team | None = None,
) -> Callable[[], L.Trainer]:
    """Return how the trainer is built; its settings are checked, whether this machine has the device is not.

    Args:
        callbacks: Further callbacks.
        logged_steps: Of a run that is resumed, from which step on loggers forget what they were told.
        team: The processes of the training; None: this one alone, whatever the experiment asks for.
    """
    modules = (*LIGHTNING, "snnlab.experiments", *experiment.plugins)
    leads = team is None or team.leads
    loggers = build_loggers(experiment, folder, logged_steps) if leads else []
    inner = {"lightning.pytorch.callbacks": RichProgressBarTheme, "datetime": timedelta, **_own_classes(experiment)}
    nodes = _nodes(experiment.callbacks, "callbacks")
    more = [_callback(node, modules, f"callbacks.{key}", inner) for key, node in nodes]
    bars = draws_bars() and leads
    if not bars and "enable_progress_bar" not in experiment.trainer:
        # One of the user's is not drawn into a file either, and Lightning would refuse it.
        more = [callback for callback in more if not isinstance(callback, ProgressBar)]
    fixed = {"logger": loggers, "callbacks": [*more, *callbacks], "default_root_dir": str(folder)}
    fixed["plugins"] = [WholeCheckpoints(), *([TorchElasticEnvironment()] if team and team.world > 1 else [])]
    extra = {**fixed, "enable_progress_bar": bars}
    own = shared(experiment.trainer, team)
    if own.get("precision") is not None:
        own["precision"] = precision_of(own["precision"])  # of its short names Lightning warns
    inner = {"lightning.pytorch.profilers": Profiler, **_own_classes(experiment)}
    return partial_target(own, [L.Trainer], LIGHTNING, "trainer", given=tuple(fixed), extra=extra, inner=inner)


def _own_classes(experiment: Experiment) -> Inner:
    """Return that any class of a plugin, which its user has named, may be an argument."""
    return dict.fromkeys(experiment.plugins, object)


def _callback(node: Mapping[str, Any], modules: Sequence[str], place: str, inner: Inner) -> L.Callback:
    patience = node.get("patience")
    if isinstance(patience, int) and patience < 0:
        raise ConfigError(f"{place}.patience", f"must be >= 0, got {patience}")
    try:
        return partial_target(node, [Callback], modules, place, inner=inner)()
    except MisconfigurationException as error:
        raise ConfigError(place, " ".join(str(error).split())) from error


def _check_precision(experiment: Experiment) -> None:
    """Refuse a precision in which the network would not be trained, or would be in another one.

    Raises:
        ConfigError: if membranes would be in 16 bits, or 16-mixed is asked of a CPU, where Lightning takes another.
    """
    said = experiment.trainer.get("precision")
    if said is None or precision_of(said) != "16-mixed":
        return
    accelerator = experiment.trainer.get("accelerator", "auto")
    gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerator == "cpu" or (accelerator == "auto" and not gpu):
        raise ConfigError("trainer.precision", "16-mixed needs a GPU", "a CPU computes in bf16-mixed or 32-true")


def check_trainer(experiment: Experiment, folder: Path, network: nn.Module) -> None:
    """Build all that a trainer is made of, but no logger: some would make files, or ask their server.

    Raises:
        ConfigError: for the first mistake found.
    """
    check_loggers(experiment)
    callbacks = [*pictures(experiment), *monitors(experiment), *annealing(experiment, network)]
    trainer_maker(replace(experiment, logger=None), folder, [*callbacks, *averaging(experiment)])


def _nodes(group: Mapping[str, Any] | None, place: str) -> list[tuple[str, Mapping[str, Any]]]:
    nodes = [(key, node) for key, node in (group or {}).items() if node is not None]
    for key, node in nodes:
        if not isinstance(node, Mapping):
            raise ConfigError(f"{place}.{key}", f"expected a mapping with _target_, got {node!r}")
    return nodes


def pictures(experiment: Experiment) -> list[L.Callback]:
    """Return the callback that draws pictures for TensorBoard, if one is asked for."""
    return _shown_by(Pictures, experiment.plots, "plots", "plots=null draws none")


def monitors(experiment: Experiment) -> list[L.Callback]:
    """Return the callback that looks at each layer during the training, if one is asked for."""
    return _shown_by(Monitors, experiment.monitors, "monitors", "monitors=null looks at nothing")


def _shown_by(kind: type[L.Callback], node: Mapping[str, Any] | None, place: str, without: str) -> list[L.Callback]:
    if node is None:
        return []
    try:
        check_settings(kind, node, place, place)
    except ConfigError as error:
        raise error.moved(hint=error.hint or without) from error
    with located(place):
        return [kind(**node)]


def annealing(experiment: Experiment, network: nn.Module) -> list[L.Callback]:
    """Return the callback that changes the surrogates' widths, if it is asked for.

    Raises:
        ConfigError: for a mistake in its settings.
    """
    node = experiment.surrogate_annealing
    if node is None:
        return []
    check_settings(SurrogateAnnealing, node, "surrogate_annealing", "it", given=("network",))
    with located("surrogate_annealing"):
        return [SurrogateAnnealing(network, **node)]


def averaging(experiment: Experiment) -> list[L.Callback]:
    """Return the callback that averages the weights, if it is asked for.

    Raises:
        ConfigError: for a mistake in its settings.
    """
    if experiment.weight_averaging is None:
        return []
    settings = dict(experiment.weight_averaging)
    return [Averaging(AVERAGES.build(settings.pop("type", None), settings, "weight_averaging"))]


def build_loggers(experiment: Experiment, folder: Path, logged_steps: int | None) -> list[Logger]:
    """Return the experiment's loggers.

    Args:
        logged_steps: Of a run that is resumed, from which step on the loggers forget what they were told.

    Raises:
        ConfigError: for a mistake in their settings, or a package that is missing.
    """
    built = []
    for place, node, target in _named(experiment):
        _require_package(target, place)
        extra = {k: v for k, v in _of_run(target, experiment, folder, logged_steps).items() if takes(target, k)}
        try:
            inner = _own_classes(experiment)
            built.append(partial_target(node, [Logger], _modules(experiment), place, extra=extra, inner=inner)())
        except ModuleNotFoundError as error:
            raise MissingPackageError(place, error) from error
    return built


def check_loggers(experiment: Experiment) -> None:
    """Check the settings of an experiment's loggers without building any.

    Raises:
        ConfigError: for a mistake in them, or a package that is missing.
    """
    for place, node, target in _named(experiment):
        _require_package(target, place)
        needed = {name: "" for name in ("save_dir",) if takes(target, name) and name not in node}
        partial_target(node, [Logger], _modules(experiment), place, extra=needed, inner=_own_classes(experiment))


def _modules(experiment: Experiment) -> tuple[str, ...]:
    return (*MODULES, *experiment.plugins)


def _named(experiment: Experiment) -> Iterator[tuple[str, Mapping[str, Any], type[Logger]]]:

    for key, node in (experiment.logger or {}).items():
        if node is None:
            continue
        place = f"logger.{key}"
        if not isinstance(node, Mapping):
            raise ConfigError(place, f"expected a mapping with _target_, got {node!r}")
        yield place, node, find_target(node, [Logger], _modules(experiment), place)


def _of_run(target: type[Logger], experiment: Experiment, folder: Path, logged_steps: int | None) -> dict[str, Any]:
    """Return what a logger is told of the run, as far as it takes it and the YAML does not set it."""
    name = remembered(folder).get(kind(target))
    if issubclass(target, WandbLogger):
        # A name that is the run's own already, so that one killed before it could remember goes on in the same run.
        own = re.sub(r"[^\w-]", "-", f"{folder.parent.name}-{folder.name}")
        return {"save_dir": str(folder), "name": f"{folder.parent.name}/{folder.name}", "id": name or own}
    if issubclass(target, MLFlowLogger):
        run = {"experiment_name": experiment.name, "run_name": folder.name, "run_id": name}
        return run | {"tracking_uri": os.environ.get("MLFLOW_TRACKING_URI") or _database(experiment.output_dir)}
    in_folder = {"save_dir": str(folder), "name": "", "version": "tensorboard"}
    return in_folder if logged_steps is None else {**in_folder, "purge_step": logged_steps}


def _database(output_dir: str) -> str:
    """Return MLflow's name of a file for all runs: it does not write to folders any more."""
    folder = Path(output_dir).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}"


def _require_package(target: type[Logger], place: str) -> None:
    extra = _EXTRAS.get(target.__name__)
    if extra is not None and find_spec(extra) is None:
        raise MissingPackageError(place, f"the package {extra} is missing", f"pip install 'snnlab-train[{extra}]'")


def mode_callbacks(experiment: Experiment, folder: Path) -> list[L.Callback]:
    """Return the callbacks that the experiment's mode needs; none for a plain training."""
    if experiment.mode == "overfit":
        return [OverfitVerdict()]
    if experiment.mode == "profile":
        times = LayerTimes()
        return [times, ProfileReport(folder, times)]
    return []


def make_module(
    experiment: Experiment,
    data: DataSettings,
    built: BuiltNetwork,
    objective: Loss,
    steps: Optimization,
    names: Sequence[str] | None,
) -> SpikingModule:
    """Build the Lightning module."""
    make_optimizer, schedule = steps
    return SpikingModule(
        built,
        objective,
        make_optimizer,
        schedule,
        num_classes=data.num_classes,
        dt=data.step_ms,
        seed=experiment.seed,
        targets=data.targets,
        names=names,
        options=options(experiment, built.network),
    )


def options(experiment: Experiment, network: nn.Module) -> Options:
    """Return what changes how a network learns.

    Raises:
        ConfigError: for a mistake in it.
    """
    return Options(_window(experiment, network), freeze(experiment, network))


def _window(experiment: Experiment, network: nn.Module) -> int | None:
    steps = experiment.tbptt_steps
    if steps is not None and reach_of([network]) == "recording":
        raise ConfigError("tbptt_steps", "a batch_norm with per_step needs all steps at once", "set tbptt_steps: null")
    return steps


class Processes(NamedTuple):
    """The processes of a training."""

    world: int
    local: int
    device: torch.device

    @property
    def gpu(self) -> bool:
        """Whether it is a GPU of NVIDIA's."""
        return self.device.type == "cuda"

    def recorded(self, batch_size: int) -> dict[str, int]:
        """Return what a run's record says of them.

        Args:
            batch_size: Recordings a step of each.
        """
        machines = self.world // self.local
        return {"number": self.world, "machines": machines, "recordings_per_step": self.world * batch_size}


def find_processes(experiment: Experiment) -> Processes:
    """Return how many processes the experiment's trainer asks for on this machine, and the device of this one.

    Raises:
        ConfigError: if the trainer cannot be built, or shares its work in a way that is not ours.
    """
    _check_precision(experiment)
    quiet = {"logger": False, "callbacks": [], "enable_checkpointing": False, "precision": None, "profiler": None}
    node = {**experiment.trainer, **quiet, "enable_progress_bar": False, "enable_model_summary": False}
    strategy = experiment.trainer.get("strategy", "auto")
    if strategy in _STRATEGIES and strategy != "auto":
        node["strategy"] = unlaunched(DDPStrategy())  # the name alone is refused in a notebook
    try:
        trainer = partial_target(node, [L.Trainer], ("lightning.pytorch",), "trainer")()
    except (MisconfigurationException, RuntimeError) as error:  # the latter of what SLURM was asked for
        raise ConfigError("trainer", " ".join(str(error).split())) from error
    found = Processes(trainer.num_devices * trainer.num_nodes, trainer.num_devices, trainer.strategy.root_device)
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

    unused = _STRATEGIES[trainer.get("strategy", "auto")]
    return {**trainer, "strategy": unlaunched(DDPStrategy(find_unused_parameters=unused))}


class Computation(NamedTuple):
    """How a network is computed.

    Attributes:
        backend: What runs the neurons.
        kernels: The version of the kernels; None where there are none.
        approximate: Neurons whose loops round otherwise than torch.
        sparse_input: Whether the first layer sums single events.
        heap_kept: Whether freed memory is kept for the next step.
    """

    backend: Backend
    kernels: int | None
    approximate: list[str]
    sparse_input: bool
    heap_kept: bool


def decide_computation(
    experiment: Experiment,
    built: BuiltNetwork,
    data: EventDataModule,
    device: torch.device,
    before: str | None = None,
) -> Computation:
    """Decide how a network is computed on a device, and set it so.

    Args:
        before: How the first layer saw the data when the training began, if this goes on with one.

    Raises:
        ConfigError: if the backend that is asked for cannot run, or events are asked for where they cannot be.
    """
    backend = resolve(experiment.backend, device, torch.float32)
    heap_kept, first = keep_heap(), _sparse_input(experiment, built, data, backend, before)
    return Computation(backend, kernels_of(experiment.backend), rounding_otherwise(built, backend), first, heap_kept)


def _sparse_input(
    experiment: Experiment, built: BuiltNetwork, data: EventDataModule, backend: Backend, before: bool | None
) -> bool:
    """Decide whether the first layer sums single events, and return it."""
    network, wanted = built.network, experiment.sparse_input
    if wanted == "auto":
        sparse = isinstance(data.framing.kind, Counts) and density(data) <= SPARSE
        wanted = before if before is not None else ("auto" if sparse else False)
    network.configure(sparse_input="never")
    if wanted is False:
        return False
    # Under autocast convolutions are dense, in half precision.
    mixed = str(experiment.trainer.get("precision")).endswith("mixed")
    sums = begins_on_events([*network.line()], network.run_settings._replace(sparse_input="always"))
    able = backend == "numba" and not mixed and sums
    if experiment.sparse_input is True and not able:
        raise ConfigError(
            "sparse_input",
            (
                "true needs backend: numba, fuse: true and a network that begins with a"
                " convolution of stride 1 and spiking neurons, in no mixed trainer.precision"
            ),
            "set sparse_input: auto",
        )
    if not able:
        return False
    network.configure(sparse_input="always")
    # Where steps are cut into pieces or windows, frames are; made from lists they would take longer.
    data.lists = network.takes_lists and experiment.tbptt_steps is None
    return True


def density(data: EventDataModule) -> float:
    """Return which part of a frame's cells hold events on average, at most: those in one cell are counted apart.

    Over the windows of the training recordings.
    """
    cells = math.prod(data.settings.frame_shape) * data.settings.steps
    places, duration_us = data.places_of(data.split.train), data.settings.duration_us
    if data.windows is None:
        return data.store.count(places, None, duration_us) / (places.size * cells)
    events = data.store.count(data.windows.recording[places], data.windows.start_us[places], duration_us)
    return events / (places.size * cells)
