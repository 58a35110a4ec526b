"""Builds the trainer, its callbacks and the Lightning module of a checked experiment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import RichProgressBarTheme
from lightning.pytorch.profilers import Profiler
from torch import nn

from snnlab.config.catalogue import TARGETS
from snnlab.config.schema import Experiment
from snnlab.config.trainer_settings import precision_of
from snnlab.console import draws_bars
from snnlab.data.data_settings import DataSettings
from snnlab.errors import ConfigError, error_context
from snnlab.nn import BuiltNetwork
from snnlab.nn.layer import scheduled_modules
from snnlab.nn.learning import LearningRule
from snnlab.nn.losses import Loss
from snnlab.runs.monitors import Monitors
from snnlab.runs.plots.callback import Plots
from snnlab.runs.profile import LayerTimes, ProfileReport
from snnlab.session.build_loggers import build_loggers, check_loggers
from snnlab.session.build_network import freeze
from snnlab.session.build_optimizer import Optimization
from snnlab.session.processes import (
    Processes,
    check_precision,
    cluster_environment,
    launched_rank,
    process_settings,
)
from snnlab.session.targets import InnerClasses, partial_target, plugin_classes
from snnlab.training.denormals import FlushDenormals
from snnlab.training.health import OverfitCheck
from snnlab.training.layer_schedules import LayerSchedules
from snnlab.training.module import SpikingModule, TrainingOptions
from snnlab.training.snapshots import AtomicCheckpointIO
from snnlab.training.surrogate_annealing import SurrogateAnnealing
from snnlab.training.training_noise import TrainingNoise
from snnlab.training.weight_averaging import AVERAGES, Averaging


def make_trainer(
    experiment: Experiment,
    folder: Path,
    callbacks: Sequence[L.Callback],
    logged_steps: int | None = None,
    processes: Processes | None = None,
) -> L.Trainer:
    """Build the trainer; the arguments are those of `trainer_builder`."""
    check_precision(experiment)
    try:
        trainer = trainer_builder(experiment, folder, callbacks, logged_steps, processes)()
    except MisconfigurationException as error:
        raise ConfigError("trainer", " ".join(str(error).split())) from error
    # Lightning puts its own callbacks, and any Checkpoint of the user, behind those that it was given.
    found: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    trainer.callbacks = [*(one for one in found if one not in callbacks), *callbacks]  # type: ignore[attr-defined]
    return trainer


def trainer_builder(
    experiment: Experiment,
    folder: Path,
    callbacks: Sequence[L.Callback],
    logged_steps: int | None = None,
    processes: Processes | None = None,
) -> Callable[[], L.Trainer]:
    """Build loggers and callbacks, check the settings, and return a function that builds the trainer.

    Args:
        callbacks: Further callbacks, called after the others and in this order.
        logged_steps: For a resumed run, the step from which loggers discard what they logged.
        processes: The processes of the training; None: this one on one device, whatever the experiment sets.
    """
    modules = (*TARGETS["callbacks"], *experiment.plugins)
    distributed = processes is not None and processes.world_size > 1
    is_rank_zero = not distributed or launched_rank() == 0
    loggers = build_loggers(experiment, folder, logged_steps) if is_rank_zero else []
    inner = {"lightning.pytorch.callbacks": RichProgressBarTheme, "datetime": timedelta, **plugin_classes(experiment)}
    nodes = _nodes_with_places(experiment.callbacks, "callbacks")
    more = [_build_callback(node, modules, f"callbacks.{key}", inner) for key, node in nodes]
    bars = draws_bars() and is_rank_zero
    if not bars and "enable_progress_bar" not in experiment.trainer:
        # A user-defined bar is not drawn into a file either, and Lightning would refuse it.
        more = [callback for callback in more if not isinstance(callback, ProgressBar)]
    fixed: dict[str, Any] = {
        "logger": loggers,
        "callbacks": [FlushDenormals(), *more, *callbacks],
        "default_root_dir": str(folder),
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in more),
        "plugins": [AtomicCheckpointIO(), *([cluster_environment()] if distributed else [])],
    }
    extra = {**fixed, "enable_progress_bar": bars}
    own = process_settings(experiment.trainer, processes)
    if own.get("precision") is not None:
        own["precision"] = precision_of(own["precision"])  # Lightning warns of its own short names
    inner = {"lightning.pytorch.profilers": Profiler, **plugin_classes(experiment)}
    return partial_target(
        own, [L.Trainer], ["lightning.pytorch"], "trainer", supplied=tuple(fixed), extra=extra, inner=inner
    )


def _build_callback(node: Mapping[str, Any], modules: Sequence[str], place: str, inner: InnerClasses) -> L.Callback:
    try:
        return partial_target(node, [Callback], modules, place, inner=inner)()
    except MisconfigurationException as error:
        raise ConfigError(place, " ".join(str(error).split())) from error


def make_evaluator(
    experiment: Experiment, folder: Path, callbacks: Sequence[L.Callback], processes: Processes | None = None
) -> L.Trainer:
    """Build a trainer that validates or tests, with these callbacks alone and without loggers."""
    bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    trainer = {**experiment.trainer, "enable_progress_bar": bar}
    return make_trainer(
        replace(experiment, trainer=trainer, logger=None, callbacks=None), folder, callbacks, None, processes
    )


def check_trainer(experiment: Experiment, folder: Path, network: nn.Module) -> None:
    """Build everything of a trainer except its loggers, which may create files or contact a server."""
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
    """Return the callback that changes the widths of the surrogate gradients, if the experiment has one."""
    if experiment.surrogate_annealing is None:
        return []
    with error_context("surrogate_annealing"):
        return [SurrogateAnnealing(network, experiment.surrogate_annealing)]


def noise_callbacks(experiment: Experiment, network: nn.Module) -> list[L.Callback]:
    """Return the callback that adds noise to the weights of each batch, if the experiment has one."""
    level = float(experiment.model.get("noise") or 0.0)
    return [TrainingNoise(network, level, experiment.seed)] if level else []


def layer_schedule_callbacks(network: nn.Module) -> list[L.Callback]:
    """Return the callback that changes values of layers over the epochs, such as the widths of learned delays."""
    return [LayerSchedules(network)] if scheduled_modules(network) else []


def averaging_callbacks(experiment: Experiment) -> list[L.Callback]:
    """Return the callback that averages the weights, if the experiment has one."""
    if experiment.weight_averaging is None:
        return []
    settings = dict(experiment.weight_averaging)
    return [Averaging(AVERAGES.build(settings.pop("type", None), settings, "weight_averaging"))]


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
    rule: LearningRule,
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
        options=TrainingOptions(rule, freeze(experiment, built.network)),
    )
