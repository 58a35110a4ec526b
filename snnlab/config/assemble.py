"""From a checked experiment to its objects: network, data, module, trainer."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from platformdirs import user_cache_path
from torch.optim import Optimizer

from snnlab.config.goal import check_labelled
from snnlab.config.schema import Experiment
from snnlab.config.targets import find_target, partial_target
from snnlab.console import draws_bars
from snnlab.data.duplicates import without_duplicates
from snnlab.data.registry import Dataset
from snnlab.data.settings import DataSettings, build_dataset, read_settings
from snnlab.data.split_file import read_split
from snnlab.data.splits import Fold, Split, make_split, one_batch
from snnlab.errors import ConfigError
from snnlab.events import Store, open_or_build
from snnlab.events.build import Recordings
from snnlab.events.framing.kinds import Counts
from snnlab.nn import INITS, NEURONS, BuiltNetwork, build_network
from snnlab.nn.fusion import take_events
from snnlab.nn.kernels.ops import Backend, resolve
from snnlab.nn.neurons.membrane import set_backend
from snnlab.nn.recompute import recompute
from snnlab.seeds import Stream, derived_seed
from snnlab.settings import check_settings, takes

if TYPE_CHECKING:
    import lightning as L

    from snnlab.data.module import EventDataModule
    from snnlab.training.losses import Loss
    from snnlab.training.module import MakeOptimizer, Schedule, SpikingModule

    Optimization = tuple[MakeOptimizer, Schedule | None]

# Steps on the one batch that make up an epoch of mode=overfit.
OVERFIT_STEPS = 20

LIGHTNING = ("lightning.pytorch",)
# Recordings that would be read for longer (s) are read by several processes, which take seconds to start.
ALONE_S = 10.0
# A window that leaves out this part of all events is a slip of the unit.
NEARLY_ALL = 0.95
# Above this density of events a convolution of all cells is as fast as one event by event, or nearly.
SPARSE = 0.06


def set_threads(threads: int | None) -> None:
    """Set the number of torch's CPU threads, where one is asked for."""
    if threads is None:
        return
    if threads < 1:
        raise ConfigError(f"threads: must be 1 or more, or null, got {threads}")
    torch.set_num_threads(threads)


def data_settings(experiment: Experiment) -> DataSettings:
    """Return the settings that all datasets share."""
    return read_settings(experiment.data)[0]


def dataset(experiment: Experiment) -> Dataset:
    """Find the dataset's recordings on this machine."""
    return build_dataset(experiment.data)


def network(experiment: Experiment, data: DataSettings) -> BuiltNetwork:
    """Build the network for the data's frames from the run's initialisation stream, and check its output."""
    if experiment.neuron is not None:  # on its own first, so that a mistake is named where the user made it
        settings = {key: value for key, value in experiment.neuron.items() if key != "type"}
        kind = experiment.neuron.get("type")
        with torch.device("meta"):  # for the checks alone: the feedback of so many neurons would fill the memory
            NEURONS.build(kind, settings, "neuron", in_shape=data.frame_shape, dt=data.step_ms)
    torch.manual_seed(derived_seed(experiment.seed, Stream.INIT))
    layers = experiment.model["layers"]
    built = build_network(layers, in_shape=data.frame_shape, dt=data.step_ms, num_steps=data.steps)
    set_backend(built.network, experiment.backend, fuse=experiment.fuse)
    if experiment.recompute < 0:
        raise ConfigError(f"recompute: must be a number of pieces of time, or 0, got {experiment.recompute}")
    if experiment.recompute:
        recompute(built.network, experiment.recompute)
    if experiment.model.get("init") is not None:
        _initialise(built, experiment.model["init"], data)
    name, shape = next(reversed(built.shapes.items()))
    if shape != (data.num_classes,):
        hint = "is a flatten layer missing before the last linear one?" if len(shape) > 1 else ""
        raise ConfigError(
            f"model.layers.{name}: the network ends with shape {list(shape)} at each step, but data.num_classes asks"
            f" for [{data.num_classes}]; {hint or f'set its out_features to {data.num_classes}'}"
        )
    return built


def _initialise(built: BuiltNetwork, node: Any, data: DataSettings) -> None:
    if not isinstance(node, Mapping):
        raise ConfigError(f"model.init: expected a mapping such as {{type: fluctuation_driven}}, got {node!r}")
    settings = dict(node)
    initialise = INITS.build(settings.pop("type", None), settings, "model.init", dt=data.step_ms)
    try:
        done = initialise(built.network)
    except ValueError as error:
        raise ConfigError(f"model.init: {error}") from error
    if not done:
        raise ConfigError(
            "model.init: no layer with weights stands before a spiking neuron, so there is nothing to set"
        )


def backend(experiment: Experiment, device: torch.device) -> Backend:
    """Return what runs the neurons on a device.

    Raises:
        ConfigError: if the backend that is asked for cannot.
    """
    try:
        return resolve(experiment.backend, device, torch.float32)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def first_layer(experiment: Experiment, built: BuiltNetwork, data: EventDataModule, backend: Backend) -> str:
    """Decide how the first layer sees the data, and return it: `frames` or `events`.

    Raises:
        ConfigError: if events are asked for where they cannot be.
    """
    wanted = experiment.first_layer
    sparse = isinstance(data.framing.kind, Counts) and density(data) <= SPARSE
    if wanted == "frames" or (wanted == "auto" and not sparse):
        return "frames"
    able = backend == "numba" and experiment.fuse and take_events(built.network)
    if wanted == "events" and not able:
        raise ConfigError(
            "first_layer: events needs backend: numba, fuse: true and a network that begins with a convolution of"
            " stride 1 and spiking neurons; set first_layer: auto"
        )
    return "events" if able else "frames"


def density(data: EventDataModule) -> float:
    """Return which part of a frame's cells hold events on average, at most: those in one cell are counted apart."""
    cells = math.prod(data.settings.frame_shape) * data.settings.steps
    return data.store.manifest.events / (data.store.manifest.recordings * cells)


def store(recordings: Dataset, data: DataSettings) -> Store:
    """Open the dataset's packed store, packing it first where there is none."""
    return open_or_build(
        recordings,
        store_folder(data),
        progress=_packing_bar,
        workers=_packing_workers(),
        alone_s=ALONE_S,
        on_bad=data.on_bad_recording,
    )


def store_folder(data: DataSettings) -> Path:
    """Return the folder in which stores are kept."""
    return Path(data.store_dir).expanduser() if data.store_dir else user_cache_path("snnlab") / "stores"


def split(data: DataSettings, packed: Store, recordings: Dataset) -> Split:
    """Return which of the recordings are for what.

    Raises:
        DataError: if the same recording is in two parts, or there can be no such split.
    """
    if data.split_file is not None:
        names = [recordings.name(index) for index in range(len(packed))]
        chosen = read_split(Path(data.split_file).expanduser(), names, packed.split, list(packed.bad))
    else:
        fold = None if data.folds is None else Fold(data.fold, data.folds)
        bad = np.array(list(packed.bad), np.int64)
        chosen = make_split(
            packed.targets, packed.split, data.val_fraction, data.split_seed, packed.groups, fold=fold, bad=bad
        )
    return without_duplicates(chosen, packed.hashes, packed.sizes, recordings.name, data.on_duplicate)


def data_module(experiment: Experiment, data: DataSettings, packed: Store, recordings: Dataset) -> EventDataModule:
    """Split the recordings and build the data module.

    Raises:
        ConfigError: if no recording is left for training.
    """
    from snnlab.data.module import EventDataModule

    parts = split(data, packed, recordings)
    if not parts.train.size:
        raise ConfigError(
            f"data.val_fraction: of {parts.val.size} training recordings none is left; lower {data.val_fraction}"
        )
    check_labelled(packed.targets, data, parts)
    if experiment.mode == "overfit":
        parts = one_batch(parts, data.batch_size, experiment.seed)
        return EventDataModule(packed, parts, data, experiment.seed, OVERFIT_STEPS, class_names=recordings.class_names)
    return EventDataModule(
        packed,
        parts,
        data,
        experiment.seed,
        pipeline=data.pipeline,
        mixing=data.mixing,
        class_names=recordings.class_names,
    )


def data_notes(data: EventDataModule) -> list[str]:
    """Return what the user should know of the data: sizes, and events that the window leaves out.

    Raises:
        ConfigError: if the window leaves out nearly all events.
    """
    split, settings = data.split, data.settings
    sizes = f"{split.train.size:,} recordings to train, {split.val.size:,} to validate, {split.test.size:,} to test"
    notes = [f"{sizes}; {settings.steps_text}"]
    if data.hot is not None:
        notes.append(f"{int(data.hot.sum()):,} hot pixels are left out, of more than {settings.hot_pixels_hz:g} Hz")
    if data.windows is not None:
        many = ", ".join(f"{data.windows.of(part).size:,}" for part in (split.train, split.val, split.test))
        return [*notes, f"cut into {many} windows of {settings.duration_ms:g} ms, one every {settings.stride_ms:g} ms"]
    everything = np.arange(len(data.store))
    outside = data.store.count_outside(everything, settings.duration_us)
    if outside:
        share = outside / data.store.num_events
        said = f"{outside:,} events ({share:.2%}) come after duration_ms = {settings.duration_ms:g} and are left out"
        if share > NEARLY_ALL:
            raise ConfigError(f"data.duration_ms: {said}; if it is in seconds, write {1000 * settings.duration_ms:g}")
        notes.append(said)
    return notes


def module(
    experiment: Experiment,
    data: DataSettings,
    built: BuiltNetwork,
    objective: Loss,
    steps: Optimization,
    names: Sequence[str] | None,
) -> SpikingModule:
    """Build the Lightning module."""
    from snnlab.training.module import SpikingModule

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
    )


def loss(experiment: Experiment) -> Loss:
    """Build the loss."""
    from snnlab.training.losses import LOSSES

    settings = dict(experiment.loss)
    return LOSSES.build(settings.pop("type", None), settings, "loss")


def optimizer(experiment: Experiment, built: BuiltNetwork) -> Optimization:
    """Return how optimizer and schedule are made; both were tried once, so that a wrong value is found here."""
    from torch.optim.lr_scheduler import LRScheduler

    from snnlab.training.module import Schedule

    modules = ("torch.optim", *experiment.plugins)
    make = partial_target(experiment.optimizer, [Optimizer], modules, "optimizer", given=("params",))
    parameters = list(built.network.parameters())
    if not parameters:
        raise ConfigError("model.layers: no layer has parameters, so there is nothing to train")
    tried = make(parameters)
    if experiment.scheduler is None:
        return make, None
    node = dict(experiment.scheduler)
    interval, monitor = node.pop("interval", "epoch"), node.pop("monitor", "val/loss")
    if interval not in ("epoch", "step"):
        raise ConfigError(f"scheduler.interval: expected one of epoch, step, got '{interval}'")
    make_schedule = partial_target(node, [LRScheduler], modules, "scheduler", given=("optimizer",))
    make_schedule(tried)
    return make, Schedule(make_schedule, interval, monitor)


def pictures(experiment: Experiment) -> list[L.Callback]:
    """Return the callback that draws pictures for TensorBoard, if one is asked for."""
    from snnlab.record.pictures.callback import Pictures

    if experiment.pictures is None:
        return []
    check_settings(Pictures, experiment.pictures, "pictures", "pictures")
    try:
        return [Pictures(**experiment.pictures)]
    except ValueError as error:
        raise ConfigError(f"pictures: {error}") from error


def trainer(experiment: Experiment, folder: Path, callbacks: Sequence[L.Callback]) -> L.Trainer:
    """Build the trainer with the experiment's loggers and further callbacks."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        built = trainer_maker(experiment, folder, callbacks)()
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error
    if (processes := built.num_devices * built.num_nodes) > 1:
        # Lightning would start the others as `snnlab OVERRIDES`.
        raise ConfigError(
            f"trainer.devices: this asks for {processes} processes, but runs use one device as yet; set 1"
        )
    return built


def trainer_maker(experiment: Experiment, folder: Path, callbacks: Sequence[L.Callback]) -> Callable[[], L.Trainer]:
    """Return how the trainer is built; its settings are checked, whether this machine has the device is not."""
    import lightning as L
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger

    in_folder = {"save_dir": str(folder), "name": "", "version": "tensorboard"}
    modules = (*LIGHTNING, *experiment.plugins)
    loggers = [_build(n, Logger, modules, f"logger.{key}", in_folder) for key, n in _nodes(experiment.logger, "logger")]
    more = [_build(n, Callback, modules, f"callbacks.{key}") for key, n in _nodes(experiment.callbacks, "callbacks")]
    fixed = {"logger": loggers, "callbacks": [*more, *callbacks], "default_root_dir": str(folder)}
    extra = {**fixed, "enable_progress_bar": draws_bars()}
    return partial_target(experiment.trainer, [L.Trainer], LIGHTNING, "trainer", given=tuple(fixed), extra=extra)


def _nodes(group: Mapping[str, Any] | None, place: str) -> list[tuple[str, Mapping[str, Any]]]:
    nodes = [(key, node) for key, node in (group or {}).items() if node is not None]
    for key, node in nodes:
        if not isinstance(node, Mapping):
            raise ConfigError(f"{place}.{key}: expected a mapping with _target_, got {node!r}")
    return nodes


def _build(
    node: Mapping[str, Any], kind: type, modules: Sequence[str], place: str, extra: Mapping[str, Any] | None = None
) -> Any:
    target = find_target(node, [kind], modules, place)
    taken = {key: value for key, value in (extra or {}).items() if takes(target, key)}
    return partial_target(node, [kind], modules, place, extra=taken)()


def _packing_workers() -> int:
    """Return how many processes may read: as many as there are cores, where a new one begins with snnlab itself.

    A new process runs the main module again, and a user's script that is not written for that would start over.
    """
    main = Path(getattr(sys.modules["__main__"], "__file__", None) or "")
    ours = main.stem == "snnlab" or main.parent.name == "snnlab"
    return len(os.sched_getaffinity(0)) if ours and hasattr(os, "sched_getaffinity") else 0


def _packing_bar(recordings: Recordings, total: int, words: str) -> Recordings:
    from rich.console import Console
    from rich.progress import track

    return track(recordings, description=words, total=total, console=Console(stderr=True))
