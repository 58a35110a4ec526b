"""From a checked experiment to its objects: network, data, module, trainer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from snnlab.config.assemble_data import count_classes as count_classes
from snnlab.config.assemble_data import data_module as data_module
from snnlab.config.assemble_data import data_notes as data_notes
from snnlab.config.assemble_data import data_settings as data_settings
from snnlab.config.assemble_data import data_warnings as data_warnings
from snnlab.config.assemble_data import dataset as dataset
from snnlab.config.assemble_data import shared_data_settings as shared_data_settings
from snnlab.config.assemble_data import split as split
from snnlab.config.assemble_data import store as store
from snnlab.config.assemble_data import store_folder as store_folder
from snnlab.config.assemble_loggers import build_loggers
from snnlab.config.assemble_loggers import check_loggers as check_loggers
from snnlab.config.assemble_optimizer import optimizer as optimizer
from snnlab.config.assemble_options import annealing as annealing
from snnlab.config.assemble_options import averaging as averaging
from snnlab.config.assemble_options import freeze, options
from snnlab.config.assemble_processes import norm_note as norm_note
from snnlab.config.assemble_processes import processes as processes
from snnlab.config.assemble_processes import require_shares as require_shares
from snnlab.config.assemble_processes import shared
from snnlab.config.schema import Experiment
from snnlab.config.targets import partial_target
from snnlab.config.trainer_settings import precision_of
from snnlab.console import draws_bars
from snnlab.data.settings import DataSettings
from snnlab.errors import ConfigError
from snnlab.events.framing.kinds import Counts
from snnlab.kernels.function import Backend, resolve
from snnlab.nn import INITS, NEURONS, BuiltNetwork, build_network
from snnlab.nn.neurons.base import set_backend
from snnlab.nn.plan import SparseInput, begins_on_events
from snnlab.nn.stages import SPARSE
from snnlab.seeds import Stream, derived_seed
from snnlab.settings import check_settings

if TYPE_CHECKING:
    import lightning as L

    from snnlab.config.assemble_optimizer import Optimization
    from snnlab.data.module import EventDataModule
    from snnlab.training.losses import Loss
    from snnlab.training.module import SpikingModule
    from snnlab.training.processes.ranks import Team

LIGHTNING = ("lightning.pytorch",)

# Each of torch's threads takes some memory of its own.
MOST_THREADS = 1024


def set_threads(threads: int | None) -> None:
    """Set the number of torch's CPU threads, where one is asked for."""
    check_threads(threads)
    if threads is not None:
        torch.set_num_threads(threads)


def check_threads(threads: int | None) -> None:
    """Raise `ConfigError` for a number of threads that no machine has."""
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise ConfigError(f"threads: must be 1 or more, up to {MOST_THREADS:,}, or null, got {threads}")


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
    set_backend(built.network, experiment.backend)
    sparse: dict[str, SparseInput] = {"frames": "never", "events": "always", "auto": "auto"}
    built.network.configure(fuse=experiment.fuse, sparse_input=sparse[experiment.first_layer])
    if experiment.recompute < 0:
        raise ConfigError(f"recompute: must be a number of pieces of time, or 0, got {experiment.recompute}")
    built.network.configure(checkpoint_segments=experiment.recompute)
    if experiment.model.get("init") is not None:
        _initialise(built, experiment.model["init"], data)
    freeze(experiment, built.network)
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
        raise ConfigError("", error) from error


def first_layer(
    experiment: Experiment, built: BuiltNetwork, data: EventDataModule, backend: Backend, before: str | None = None
) -> str:
    """Decide how the first layer sees the data, and return it: `frames` or `events`.

    Args:
        experiment: The experiment.
        built: Its network, changed in place.
        data: Its data.
        backend: What runs its neurons.
        before: What was decided when the training began, if this goes on with one.

    Raises:
        ConfigError: if events are asked for where they cannot be.
    """
    network, wanted = built.network, experiment.first_layer
    if wanted == "auto":
        sparse = isinstance(data.framing.kind, Counts) and density(data) <= SPARSE
        wanted = before or ("auto" if sparse else "frames")
    network.configure(sparse_input="never")
    if wanted == "frames":
        return "frames"
    # Under autocast convolutions are dense, in half precision.
    mixed = str(experiment.trainer.get("precision")).endswith("mixed")
    sums = begins_on_events([*network.line()], network.run_settings._replace(sparse_input="always"))
    able = backend == "numba" and not mixed and sums
    if experiment.first_layer == "events" and not able:
        raise ConfigError(
            "first_layer: events needs backend: numba, fuse: true and a network that begins with a convolution of"
            " stride 1 and spiking neurons, in no mixed trainer.precision; set first_layer: auto"
        )
    if not able:
        return "frames"
    network.configure(sparse_input="always")
    # Where steps are cut into pieces or windows, frames are; made from lists they would take longer.
    data.lists = network.takes_lists and experiment.tbptt_steps is None
    return "events"


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
        options=options(experiment, built.network),
    )


def loss(experiment: Experiment) -> Loss:
    """Build the loss."""
    from snnlab.training.losses import build_loss

    return build_loss(experiment.loss)


def pictures(experiment: Experiment) -> list[L.Callback]:
    """Return the callback that draws pictures for TensorBoard, if one is asked for."""
    from snnlab.record.pictures.callback import Pictures

    return _shown_by(Pictures, experiment.pictures, "pictures")


def monitors(experiment: Experiment) -> list[L.Callback]:
    """Return the callback that looks at each layer during the training, if one is asked for."""
    from snnlab.record.monitors.callback import Monitors

    return _shown_by(Monitors, experiment.monitors, "monitors")


def _shown_by(kind: type[L.Callback], node: Mapping[str, Any] | None, place: str) -> list[L.Callback]:
    if node is None:
        return []
    check_settings(kind, node, place, place)
    try:
        return [kind(**node)]
    except ValueError as error:
        raise ConfigError(f"{place}: {error}") from error


def trainer(
    experiment: Experiment,
    folder: Path,
    callbacks: Sequence[L.Callback],
    logged_steps: int | None = None,
    team: Team | None = None,
) -> L.Trainer:
    """Build the trainer with the experiment's loggers and further callbacks, see `trainer_maker`."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    check_precision(experiment)
    try:
        return trainer_maker(experiment, folder, callbacks, logged_steps, team)()
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error


def trainer_maker(
    experiment: Experiment,
    folder: Path,
    callbacks: Sequence[L.Callback],
    logged_steps: int | None = None,
    team: Team | None = None,
) -> Callable[[], L.Trainer]:
    """Return how the trainer is built; its settings are checked, whether this machine has the device is not.

    Args:
        experiment: What to do.
        folder: Where the run is recorded.
        callbacks: Further callbacks.
        logged_steps: Of a run that is resumed, from which step on loggers forget what they were told.
        team: The processes of the training; None: this one alone, whatever the experiment asks for.
    """
    import lightning as L
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    from snnlab.training.checkpoints import WholeCheckpoints

    modules = (*LIGHTNING, "snnlab.search", *experiment.plugins)
    leads = team is None or team.leads
    loggers = build_loggers(experiment, folder, logged_steps) if leads else []
    more = [_callback(node, modules, f"callbacks.{key}") for key, node in _nodes(experiment.callbacks, "callbacks")]
    fixed = {"logger": loggers, "callbacks": [*more, *callbacks], "default_root_dir": str(folder)}
    fixed["plugins"] = [WholeCheckpoints(), *([TorchElasticEnvironment()] if team and team.world > 1 else [])]
    extra = {**fixed, "enable_progress_bar": draws_bars() and leads}
    own = shared(experiment.trainer, team)
    if own.get("precision") is not None:
        own["precision"] = precision_of(own["precision"])  # of its short names Lightning warns
    return partial_target(own, [L.Trainer], LIGHTNING, "trainer", given=tuple(fixed), extra=extra)


def _callback(node: Mapping[str, Any], modules: Sequence[str], place: str) -> L.Callback:
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch.callbacks import Callback

    patience = node.get("patience")
    if isinstance(patience, int) and patience < 0:
        raise ConfigError(f"{place}.patience: must be 0 or more, got {patience}")
    try:
        return partial_target(node, [Callback], modules, place)()
    except MisconfigurationException as error:
        raise ConfigError(f"{place}: {' '.join(str(error).split())}") from error


def check_precision(experiment: Experiment) -> None:
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
        raise ConfigError("trainer.precision: 16-mixed needs a GPU; a CPU computes in bf16-mixed or 32-true")


def _nodes(group: Mapping[str, Any] | None, place: str) -> list[tuple[str, Mapping[str, Any]]]:
    nodes = [(key, node) for key, node in (group or {}).items() if node is not None]
    for key, node in nodes:
        if not isinstance(node, Mapping):
            raise ConfigError(f"{place}.{key}: expected a mapping with _target_, got {node!r}")
    return nodes
