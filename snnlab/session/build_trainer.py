"""Builds the trainer, Lightning module, callbacks, loggers and process settings of a checked experiment."""

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

from snnlab.compat import BatchNormNd, without_launcher
from snnlab.config.schema import Experiment
from snnlab.config.trainer_settings import precision_of
from snnlab.console import draws_bars
from snnlab.data.data_module import EventDataModule
from snnlab.data.data_settings import DataSettings
from snnlab.data.events.representation import Counts
from snnlab.errors import ConfigError, MissingPackageError, error_context, join_names
from snnlab.experiments.workers import available_cpus
from snnlab.kernels.function import Backend, kernel_version, resolve_backend
from snnlab.memory import keep_heap
from snnlab.nn import BuiltNetwork
from snnlab.nn.kernel_sources import layers_rounding_differently
from snnlab.nn.layer import reach_of, scheduled_modules
from snnlab.nn.losses import Loss
from snnlab.nn.plan import first_layers_accept_events
from snnlab.nn.stages import SPARSE_FRACTION
from snnlab.runs.loggers import kind, read_logger_run_ids
from snnlab.runs.monitors import Monitors
from snnlab.runs.plots.callback import Plots
from snnlab.runs.profile import LayerTimes, ProfileReport
from snnlab.session.build_network import freeze
from snnlab.session.build_optimizer import Optimization
from snnlab.session.targets import InnerClasses, find_target, partial_target
from snnlab.spec.signatures import has_parameter
from snnlab.training.denormals import FlushDenormals
from snnlab.training.health import OverfitCheck
from snnlab.training.layer_schedules import LayerSchedules
from snnlab.training.module import SpikingModule, TrainingOptions
from snnlab.training.ranks import RankInfo, has_launcher
from snnlab.training.snapshots import AtomicCheckpointIO
from snnlab.training.surrogate_annealing import SurrogateAnnealing
from snnlab.training.weight_averaging import AVERAGES, Averaging

LIGHTNING = ("lightning.pytorch",)
MODULES = ("lightning.pytorch", "snnlab.runs.loggers")
# The extras of snnlab-train that install the packages of loggers.
_EXTRAS = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow"}
# The strategies of Lightning that train as one process would; the value is find_unused_parameters.
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
    rank_info: RankInfo | None = None,
) -> L.Trainer:
    """Build the trainer; the arguments are those of `trainer_builder`."""
    _check_precision(experiment)
    try:
        return trainer_builder(experiment, folder, callbacks, logged_steps, rank_info)()
    except MisconfigurationException as error:
        raise ConfigError("trainer", " ".join(str(error).split())) from error


def trainer_builder(
    experiment: Experiment,
    folder: Path,
    callbacks: Sequence[L.Callback],
    logged_steps: int | None = None,
    rank_info: RankInfo | None = None,
) -> Callable[[], L.Trainer]:
    """Build loggers and callbacks, check the settings, and return a function that builds the trainer.

    Args:
        callbacks: Further callbacks.
        logged_steps: For a resumed run, the step from which loggers discard what they logged.
        rank_info: Rank and world size; None: one process on one device, whatever the experiment sets.
    """
    modules = (*LIGHTNING, "snnlab.experiments", *experiment.plugins)
    is_rank_zero = rank_info is None or rank_info.is_rank_zero
    loggers = build_loggers(experiment, folder, logged_steps) if is_rank_zero else []
    inner = {"lightning.pytorch.callbacks": RichProgressBarTheme, "datetime": timedelta, **_plugin_classes(experiment)}
    nodes = _nodes_with_places(experiment.callbacks, "callbacks")
    more = [_build_callback(node, modules, f"callbacks.{key}", inner) for key, node in nodes]
    bars = draws_bars() and is_rank_zero
    if not bars and "enable_progress_bar" not in experiment.trainer:
        # A user-defined bar is not drawn into a file either, and Lightning would refuse it.
        more = [callback for callback in more if not isinstance(callback, ProgressBar)]
    fixed = {"logger": loggers, "callbacks": [FlushDenormals(), *more, *callbacks], "default_root_dir": str(folder)}
    fixed["plugins"] = [
        AtomicCheckpointIO(),
        *([TorchElasticEnvironment()] if rank_info and rank_info.world_size > 1 else []),
    ]
    extra = {**fixed, "enable_progress_bar": bars}
    own = rank_settings(experiment.trainer, rank_info)
    if own.get("precision") is not None:
        own["precision"] = precision_of(own["precision"])  # Lightning warns of its own short names
    inner = {"lightning.pytorch.profilers": Profiler, **_plugin_classes(experiment)}
    return partial_target(own, [L.Trainer], LIGHTNING, "trainer", supplied=tuple(fixed), extra=extra, inner=inner)


def _plugin_classes(experiment: Experiment) -> InnerClasses:
    """Allow any class of the plugins that the user has named as an argument."""
    return dict.fromkeys(experiment.plugins, object)


def _build_callback(node: Mapping[str, Any], modules: Sequence[str], place: str, inner: InnerClasses) -> L.Callback:
    patience = node.get("patience")
    if isinstance(patience, int) and patience < 0:
        raise ConfigError(f"{place}.patience", f"must be >= 0, got {patience}")
    try:
        return partial_target(node, [Callback], modules, place, inner=inner)()
    except MisconfigurationException as error:
        raise ConfigError(place, " ".join(str(error).split())) from error


def _check_precision(experiment: Experiment) -> None:
    """Refuse 16-mixed on a CPU, where Lightning silently takes another precision.

    Raises:
        ConfigError: if 16-mixed is set and there is no GPU.
    """
    precision = experiment.trainer.get("precision")
    if precision is None or precision_of(precision) != "16-mixed":
        return
    accelerator = experiment.trainer.get("accelerator", "auto")
    gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerator == "cpu" or (accelerator == "auto" and not gpu):
        raise ConfigError("trainer.precision", "16-mixed needs a GPU", "a CPU computes in bf16-mixed or 32-true")


def check_trainer(experiment: Experiment, folder: Path, network: nn.Module) -> None:
    """Build everything of a trainer except its loggers, which may create files or contact a server.

    Raises:
        ConfigError: for the first mistake found.
    """
    check_loggers(experiment)
    callbacks = [*plot_callbacks(experiment), *monitor_callbacks(experiment), *annealing_callbacks(experiment, network)]
    trainer_builder(replace(experiment, logger=None), folder, [*callbacks, *averaging_callbacks(experiment)])


def _nodes_with_places(group: Mapping[str, Any] | None, place: str) -> list[tuple[str, Mapping[str, Any]]]:
    nodes = [(key, node) for key, node in (group or {}).items() if node is not None]
    for key, node in nodes:
        if not isinstance(node, Mapping):
            raise ConfigError(f"{place}.{key}", f"expected a mapping with _target_, got {node!r}")
    return nodes


def plot_callbacks(experiment: Experiment) -> list[L.Callback]:
    """Return the callback that draws plots for TensorBoard, if the experiment has one."""
    return [] if experiment.plots is None else [Plots(**vars(experiment.plots))]


def monitor_callbacks(experiment: Experiment) -> list[L.Callback]:
    """Return the callback that monitors each layer during the training, if the experiment has one."""
    return [] if experiment.monitors is None else [Monitors(**vars(experiment.monitors))]


def annealing_callbacks(experiment: Experiment, network: nn.Module) -> list[L.Callback]:
    """Return the callback that changes the widths of the surrogate gradients, if the experiment has one.

    Raises:
        ConfigError: for a mistake in its settings.
    """
    if experiment.surrogate_annealing is None:
        return []
    with error_context("surrogate_annealing"):
        return [SurrogateAnnealing(network, experiment.surrogate_annealing)]


def layer_schedule_callbacks(network: nn.Module) -> list[L.Callback]:
    """Return the callback that changes values of layers over the epochs, such as the widths of learned delays."""
    return [LayerSchedules(network)] if scheduled_modules(network) else []


def averaging_callbacks(experiment: Experiment) -> list[L.Callback]:
    """Return the callback that averages the weights, if the experiment has one.

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
        logged_steps: For a resumed run, the step from which loggers discard what they logged.

    Raises:
        ConfigError: for a mistake in their settings, or a package that is missing.
    """
    built = []
    for place, node, target in _logger_nodes(experiment):
        _require_package(target, place)
        extra = {
            k: v
            for k, v in _run_arguments(target, experiment, folder, logged_steps).items()
            if has_parameter(target, k)
        }
        try:
            inner = _plugin_classes(experiment)
            built.append(
                partial_target(node, [Logger], _allowed_modules(experiment), place, extra=extra, inner=inner)()
            )
        except ModuleNotFoundError as error:
            raise MissingPackageError(place, error) from error
    return built


def check_loggers(experiment: Experiment) -> None:
    """Check the settings of the loggers without building them.

    Raises:
        ConfigError: for a mistake in them, or a package that is missing.
    """
    for place, node, target in _logger_nodes(experiment):
        _require_package(target, place)
        needed = {name: "" for name in ("save_dir",) if has_parameter(target, name) and name not in node}
        partial_target(
            node, [Logger], _allowed_modules(experiment), place, extra=needed, inner=_plugin_classes(experiment)
        )


def _allowed_modules(experiment: Experiment) -> tuple[str, ...]:
    return (*MODULES, *experiment.plugins)


def _logger_nodes(experiment: Experiment) -> Iterator[tuple[str, Mapping[str, Any], type[Logger]]]:

    for key, node in (experiment.logger or {}).items():
        if node is None:
            continue
        place = f"logger.{key}"
        if not isinstance(node, Mapping):
            raise ConfigError(place, f"expected a mapping with _target_, got {node!r}")
        yield place, node, find_target(node, [Logger], _allowed_modules(experiment), place)


def _run_arguments(
    target: type[Logger], experiment: Experiment, folder: Path, logged_steps: int | None
) -> dict[str, Any]:
    """Return the arguments of a logger that describe the run: folder, name, id."""
    name = read_logger_run_ids(folder).get(kind(target))
    if issubclass(target, WandbLogger):
        # The id follows from the run's folder, so that a run killed before it stored the id continues the same W&B run.
        own = re.sub(r"[^\w-]", "-", f"{folder.parent.name}-{folder.name}")
        return {"save_dir": str(folder), "name": f"{folder.parent.name}/{folder.name}", "id": name or own}
    if issubclass(target, MLFlowLogger):
        run = {"experiment_name": experiment.name, "run_name": folder.name, "run_id": name}
        return run | {"tracking_uri": os.environ.get("MLFLOW_TRACKING_URI") or _database(experiment.output_dir)}
    in_folder = {"save_dir": str(folder), "name": "", "version": "tensorboard"}
    return in_folder if logged_steps is None else {**in_folder, "purge_step": logged_steps}


def _database(output_dir: str) -> str:
    """Return the URI of one SQLite file for all runs: MLflow no longer writes to folders."""
    folder = Path(output_dir).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}"


def _require_package(target: type[Logger], place: str) -> None:
    extra = _EXTRAS.get(target.__name__)
    if extra is not None and find_spec(extra) is None:
        raise MissingPackageError(place, f"the package {extra} is missing", f"pip install 'snnlab-train[{extra}]'")


def mode_callbacks(experiment: Experiment, folder: Path) -> list[L.Callback]:
    """Return the callbacks of the experiment's mode; none for a plain training."""
    if experiment.mode == "overfit":
        return [OverfitCheck()]
    if experiment.mode == "profile":
        times = LayerTimes()
        return [times, ProfileReport(folder, times)]
    return []


def make_module(
    experiment: Experiment,
    data: DataSettings,
    built: BuiltNetwork,
    objective: Loss,
    optimization: Optimization,
    names: Sequence[str] | None,
) -> SpikingModule:
    """Build the Lightning module."""
    make_optimizer, schedule = optimization
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
        options=module_options(experiment, built.network),
    )


def module_options(experiment: Experiment, network: nn.Module) -> TrainingOptions:
    """Return the options of the Lightning module.

    Raises:
        ConfigError: for a mistake in their settings.
    """
    return TrainingOptions(_tbptt_steps(experiment, network), freeze(experiment, network))


def _tbptt_steps(experiment: Experiment, network: nn.Module) -> int | None:
    steps = experiment.tbptt_steps
    if steps is not None and reach_of([network]) == "recording":
        what = "a layer such as psn, or batch_norm with per_step,"
        raise ConfigError("tbptt_steps", f"{what} needs all steps at once", "set tbptt_steps: null")
    return steps


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
    """Return the number of processes that the trainer settings ask for, and the device of this one.

    Raises:
        ConfigError: if the trainer cannot be built, or its strategy is not supported.
    """
    _check_precision(experiment)
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
    """Check that each process has at least one recording, or window, to evaluate.

    Raises:
        ConfigError: if there are fewer than processes.
    """
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


class Computation(NamedTuple):
    """How a network is computed.

    Attributes:
        backend: The backend of the neurons.
        kernels: The version of the kernels; None for a backend without kernels.
        approximate: Neurons whose kernels round differently from torch.
        sparse_input: Whether the first layer sums single events.
        heap_kept: True if malloc keeps freed memory for the next step.
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
    resumed_sparse_input: bool | None = None,
) -> Computation:
    """Decide how a network is computed on a device, and set it so.

    Args:
        resumed_sparse_input: For a resumed run, whether its first layer summed single events.

    Raises:
        ConfigError: if the requested backend is not available, or the network cannot take events.
    """
    backend = resolve_backend(experiment.backend, device, torch.float32)
    heap_kept, sparse = keep_heap(), _decide_sparse_input(experiment, built, data, backend, resumed_sparse_input)
    return Computation(
        backend, kernel_version(experiment.backend), layers_rounding_differently(built, backend), sparse, heap_kept
    )


def _decide_sparse_input(
    experiment: Experiment,
    built: BuiltNetwork,
    data: EventDataModule,
    backend: Backend,
    resumed_sparse_input: bool | None,
) -> bool:
    """Decide whether the first layer sums single events, set it so, and return it."""
    network, wanted = built.network, experiment.sparse_input
    if wanted == "auto":
        sparse = isinstance(data.frame_builder.representation, Counts) and event_density(data) <= SPARSE_FRACTION
        wanted = resumed_sparse_input if resumed_sparse_input is not None else ("auto" if sparse else False)
    network.configure(sparse_input="never")
    if wanted is False:
        return False
    # Under autocast, convolutions are dense and in half precision.
    mixed = str(experiment.trainer.get("precision")).endswith("mixed")
    has_sparse_layer = first_layers_accept_events(
        [*network.layers()], network.run_settings._replace(sparse_input="always")
    )
    can_use_events = backend == "numba" and not mixed and has_sparse_layer
    if experiment.sparse_input is True and not can_use_events:
        raise ConfigError(
            "sparse_input",
            (
                "true needs backend: numba, fuse: true, no mixed trainer.precision, and a network that"
                " begins with a convolution of stride 1 and spiking neurons"
            ),
            "set sparse_input: auto",
        )
    if not can_use_events:
        return False
    network.configure(sparse_input="always")
    # With tbptt_steps, the network needs slices of frames, and building these from event lists takes longer.
    data.allow_lists = network.accepts_event_lists and experiment.tbptt_steps is None
    return True


def event_density(data: EventDataModule) -> float:
    """Return the mean number of events per value of a frame, over the windows of the training recordings.

    It is an upper bound of the share of values that are not 0.
    """
    num_values = math.prod(data.settings.frame_shape) * data.settings.steps
    items, duration_us = data.epoch_items(data.split.train), data.settings.duration_us
    if data.windows is None:
        return data.store.count(items, None, duration_us) / (items.size * num_values)
    events = data.store.count(data.windows.recording[items], data.windows.start_us[items], duration_us)
    return events / (items.size * num_values)
