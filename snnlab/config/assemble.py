"""From a checked experiment to its objects: network, data, module, trainer, its callbacks and loggers."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

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
from snnlab.config.assemble_optimizer import optimizer as optimizer
from snnlab.config.assemble_processes import norm_note as norm_note
from snnlab.config.assemble_processes import processes as processes
from snnlab.config.assemble_processes import require_shares as require_shares
from snnlab.config.assemble_processes import shared
from snnlab.config.schema import Experiment
from snnlab.config.targets import find_target, partial_target
from snnlab.config.trainer_settings import precision_of
from snnlab.console import draws_bars
from snnlab.data.settings import DataSettings
from snnlab.errors import ConfigError, MissingPackageError, located
from snnlab.events.framing.kinds import Counts
from snnlab.kernels.function import Backend, resolve
from snnlab.nn import INITS, NEURONS, BuiltNetwork, build_network
from snnlab.nn.neurons.base import set_backend
from snnlab.nn.plan import SparseInput, begins_on_events
from snnlab.nn.rendered import require_loops
from snnlab.nn.stages import SPARSE
from snnlab.nn.temporal import reach_of
from snnlab.seeds import Stream, derived_seed
from snnlab.settings import check_settings, takes

if TYPE_CHECKING:
    import lightning as L
    from lightning.pytorch.loggers import Logger

    from snnlab.config.assemble_optimizer import Optimization
    from snnlab.data.module import EventDataModule
    from snnlab.training.losses import Loss
    from snnlab.training.module import Options, SpikingModule
    from snnlab.training.processes.ranks import Team


LIGHTNING = ("lightning.pytorch",)


def set_threads(threads: int | None) -> None:
    """Set the number of torch's CPU threads, where one is asked for."""
    if threads is not None:
        torch.set_num_threads(threads)


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
    if experiment.backend == "numba":  # refused here, before data are read, rather than at the first step
        require_loops(built)
    sparse: dict[str, SparseInput] = {"frames": "never", "events": "always", "auto": "auto"}
    built.network.configure(fuse=experiment.fuse, sparse_input=sparse[experiment.first_layer])
    built.network.configure(checkpoint_segments=experiment.recompute)
    if experiment.model.get("init") is not None:
        _initialise(built, experiment.model["init"], data)
    freeze(experiment, built.network)
    name, shape = next(reversed(built.shapes.items()))
    if shape != (data.num_classes,):
        hint = "is a flatten layer missing before the last linear one?" if len(shape) > 1 else ""
        raise ConfigError(
            f"model.layers.{name}",
            (
                f"the network ends with shape {list(shape)} at each step, but data.num_classes asks"
                f" for [{data.num_classes}]"
            ),
            hint or f"set its out_features to {data.num_classes}",
        )
    return built


def _initialise(built: BuiltNetwork, node: Any, data: DataSettings) -> None:
    if not isinstance(node, Mapping):
        raise ConfigError("model.init", f"expected a mapping such as {{type: fluctuation_driven}}, got {node!r}")
    settings = dict(node)
    initialise = INITS.build(settings.pop("type", None), settings, "model.init", dt=data.step_ms)
    with located("model.init"):
        done = initialise(built.network)
    if not done:
        raise ConfigError(
            "model.init", "no layer with weights stands before a spiking neuron, so there is nothing to set"
        )


def backend(experiment: Experiment, device: torch.device) -> Backend:
    """Return what runs the neurons on a device.

    Raises:
        ConfigError: if the backend that is asked for cannot.
    """
    return resolve(experiment.backend, device, torch.float32)


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
            "first_layer",
            (
                "events needs backend: numba, fuse: true and a network that begins with a"
                " convolution of stride 1 and spiking neurons, in no mixed trainer.precision"
            ),
            "set first_layer: auto",
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

    return _shown_by(Pictures, experiment.pictures, "pictures", "pictures=null draws none")


def monitors(experiment: Experiment) -> list[L.Callback]:
    """Return the callback that looks at each layer during the training, if one is asked for."""
    from snnlab.record.monitors.callback import Monitors

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
        raise ConfigError(f"{place}.patience", f"must be >= 0, got {patience}")
    try:
        return partial_target(node, [Callback], modules, place)()
    except MisconfigurationException as error:
        raise ConfigError(place, " ".join(str(error).split())) from error


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
        raise ConfigError("trainer.precision", "16-mixed needs a GPU", "a CPU computes in bf16-mixed or 32-true")


def _nodes(group: Mapping[str, Any] | None, place: str) -> list[tuple[str, Mapping[str, Any]]]:
    nodes = [(key, node) for key, node in (group or {}).items() if node is not None]
    for key, node in nodes:
        if not isinstance(node, Mapping):
            raise ConfigError(f"{place}.{key}", f"expected a mapping with _target_, got {node!r}")
    return nodes


def options(experiment: Experiment, network: nn.Module) -> Options:
    """Return what changes how a network learns.

    Raises:
        ConfigError: for a mistake in it.
    """
    from snnlab.training.module import Options

    averaging(experiment)  # a mistake in it is said now, and not after the data were read
    return Options(_window(experiment, network), freeze(experiment, network))


def freeze(experiment: Experiment, network: nn.Module) -> list[nn.Module]:
    """Freeze what is asked for, and return the layers that stay in evaluation.

    Raises:
        ConfigError: if a word means nothing, or nothing is left to train.
    """
    from snnlab.training.optimization import freezing

    with located("freeze"):
        return freezing.freeze(network, experiment.freeze)


def annealing(experiment: Experiment, network: nn.Module) -> list[L.Callback]:
    """Return the callback that changes the surrogates' widths, if it is asked for.

    Raises:
        ConfigError: for a mistake in its settings.
    """
    node = experiment.surrogate_annealing
    if node is None:
        return []
    from snnlab.training.optimization.annealing import SurrogateAnnealing

    check_settings(SurrogateAnnealing, node, "surrogate_annealing", "it", given=("network",))
    with located("surrogate_annealing"):
        return [SurrogateAnnealing(network, **node)]


def averaging(experiment: Experiment) -> list[L.Callback]:
    """Return the callback that averages the weights, if it is asked for.

    Raises:
        ConfigError: for a mistake in its settings.
    """
    from snnlab.training.optimization.average import AVERAGES, Averaging

    if experiment.average is None:
        return []
    settings = dict(experiment.average)
    return [Averaging(AVERAGES.build(settings.pop("type", None), settings, "average"))]


def _window(experiment: Experiment, network: nn.Module) -> int | None:
    steps = experiment.tbptt_steps
    if steps is not None and reach_of([network]) == "recording":
        raise ConfigError("tbptt_steps", "a batch_norm with per_step needs all steps at once", "set tbptt_steps: null")
    return steps


MODULES = ("lightning.pytorch", "snnlab.record.steps_csv", "snnlab.record.tensorboard")
# Of loggers that are packages of their own: the extra of snnlab-train that brings them.
_EXTRAS = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow"}


def build_loggers(experiment: Experiment, folder: Path, logged_steps: int | None) -> list[Logger]:
    """Return the experiment's loggers.

    Args:
        logged_steps: Of a run that is resumed, from which step on the loggers forget what they were told.

    Raises:
        ConfigError: for a mistake in their settings, or a package that is missing.
    """
    from lightning.pytorch.loggers import Logger

    built = []
    for place, node, target in _named(experiment):
        _require_package(target, place)
        extra = {k: v for k, v in _of_run(target, experiment, folder, logged_steps).items() if takes(target, k)}
        try:
            built.append(partial_target(node, [Logger], _modules(experiment), place, extra=extra)())
        except ModuleNotFoundError as error:
            raise MissingPackageError(place, error) from error
    return built


def check_loggers(experiment: Experiment) -> None:
    """Check the settings of an experiment's loggers without building any.

    Raises:
        ConfigError: for a mistake in them, or a package that is missing.
    """
    from lightning.pytorch.loggers import Logger

    for place, node, target in _named(experiment):
        _require_package(target, place)
        needed = {name: "" for name in ("save_dir",) if takes(target, name) and name not in node}
        partial_target(node, [Logger], _modules(experiment), place, extra=needed)


def _modules(experiment: Experiment) -> tuple[str, ...]:
    return (*MODULES, *experiment.plugins)


def _named(experiment: Experiment) -> Iterator[tuple[str, Mapping[str, Any], type[Logger]]]:
    from lightning.pytorch.loggers import Logger

    for key, node in (experiment.logger or {}).items():
        if node is None:
            continue
        place = f"logger.{key}"
        if not isinstance(node, Mapping):
            raise ConfigError(place, f"expected a mapping with _target_, got {node!r}")
        yield place, node, find_target(node, [Logger], _modules(experiment), place)


def _of_run(target: type[Logger], experiment: Experiment, folder: Path, logged_steps: int | None) -> dict[str, Any]:
    """Return what a logger is told of the run, as far as it takes it and the YAML does not set it."""
    from lightning.pytorch.loggers import MLFlowLogger, WandbLogger

    from snnlab.record.logged_run import kind, remembered

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
        from snnlab.training.callbacks.overfit import OverfitVerdict

        return [OverfitVerdict()]
    if experiment.mode == "profile":
        from snnlab.record.profile import ProfileReport
        from snnlab.training.callbacks.layer_times import LayerTimes

        times = LayerTimes()
        return [times, ProfileReport(folder, times)]
    return []
