"""An experiment and its objects."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, wraps
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch

from snnlab.config.compose import compose_experiment
from snnlab.config.folders import config_folder, groups, user_folder
from snnlab.config.overrides import as_overrides
from snnlab.config.plugins import import_plugins
from snnlab.config.schema import Experiment
from snnlab.console import quiet_lightning
from snnlab.data.data_settings import DataSettings, build_dataset, read_settings
from snnlab.data.dataset import Dataset
from snnlab.data.events import Store
from snnlab.errors import ConfigError
from snnlab.features import provided
from snnlab.kernels.function import resolve_backend
from snnlab.memory import keep_heap
from snnlab.nn import BuiltNetwork, Network
from snnlab.nn.learning import LearningRule
from snnlab.nn.losses import Loss, build_loss
from snnlab.nn.quantization import check_widths, groups_of
from snnlab.runs.run_folder import CheckpointName
from snnlab.session.build_learning import make_rule
from snnlab.session.build_network import make_network
from snnlab.session.build_optimizer import Optimization, make_optimization, make_optimizer
from snnlab.session.build_store import open_store
from snnlab.session.checks import check_batches, check_memory, check_monitors, check_targets
from snnlab.session.computation import decide_computation
from snnlab.session.weights import (
    checkpoint_file,
    find_trained_before,
    init_from,
    load_weights,
    take_weights,
    warn_of_other_dt,
)
from snnlab.zoo import run_path

if TYPE_CHECKING:
    import lightning as L

    from snnlab.data.data_module import EventDataModule
    from snnlab.session.processes import Processes
    from snnlab.training.module import SpikingModule

_log = logging.getLogger(__name__)


# These modules import Lightning, which takes three seconds, so they are imported at the first use.
def _import_build_data():
    from snnlab.session import build_data

    return build_data


def _import_build_trainer():
    from snnlab.session import build_trainer

    return build_trainer


def _import_processes():
    from snnlab.session import processes

    return processes


def _located(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Session, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except ConfigError as error:
            raise self.experiment.locate(error) from error.__cause__

    return call


def _locating(kind: type[Session]) -> type[Session]:
    """Give the errors of all parts and methods the line of the user's file that sets their key."""
    for name, part in list(vars(kind).items()):
        if isinstance(part, cached_property):
            part.func = _located(part.func)
        elif isinstance(part, FunctionType) and not name.startswith("_"):
            setattr(kind, name, _located(part))
    return kind


@_locating
class Session:
    """The objects of an experiment, each built once, at the first access, in the right order.

    `data`, `module`, `processes` and `trainer` import Lightning at the first access, which takes three seconds.

    Args:
        experiment: The experiment.
        folder: The folder of its run.
        run: A recorded run whose weights the network gets; None: those of `init_from` or `model.weights`, or random
            ones.
        checkpoint: The checkpoint of that run.
        skip_target_check: Do not check that the loss fits the data.
        data: The data module of another session with the same data settings.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: Path = Path(),
        *,
        run: Path | None = None,
        checkpoint: CheckpointName = "best",
        skip_target_check: bool = False,
        data: EventDataModule | None = None,
    ) -> None:
        if not isinstance(experiment, Experiment):
            hint = "Session.composed takes what snnlab.train takes, such as 'model=conv_lif'"
            raise TypeError(f"Session takes an Experiment, not {experiment!r}; {hint}")
        self.experiment, self.folder = experiment, folder
        self.run, self.skip_target_check = run, skip_target_check
        self.checkpoint: CheckpointName = checkpoint
        self._data = data

    @classmethod
    def composed(
        cls, *overrides: str | Mapping[str, Any], config_dir: str | Path | None = None, **settings: Any
    ) -> Session:
        """Compose an experiment as `snnlab.train` does, and return its session.

            Session.composed("model=conv_lif", "neuron.tau_mem=10").network

        Args:
            overrides: As on the command line, or mappings of settings to values.
            config_dir: A folder of user-defined YAML files.
            settings: Files of groups and settings by name; several settings of a group as a mapping.
        """
        known = groups(config_folder(), user_folder(config_dir))
        return cls(*compose_experiment(as_overrides(overrides, settings, known, "Session.composed"), config_dir))

    @cached_property
    def settings(self) -> DataSettings:
        """The settings that all datasets share; importing the plugins comes first."""
        import_plugins(self.experiment)
        settings = read_settings(self.experiment.data)[0]
        return settings if self.experiment.quantize is None else settings.in_whole_numbers()

    @cached_property
    def built(self) -> BuiltNetwork:
        """The network with random weights, and the shapes of its layers."""
        if self.run is not None:
            checkpoint_file(self.run, self.checkpoint)  # fail before anything is built
            warn_of_other_dt(self.run, self.settings.step_ms)
        return make_network(self.experiment, self.settings)

    @cached_property
    def network(self) -> Network:
        """The network with its initial weights."""
        network = self.built.network
        if self.run is not None:
            load_weights(network, self.run, self.checkpoint)
        elif self.experiment.init_from is not None:
            initial = run_path(self.experiment.init_from)
            whole = self.experiment.trainer.get("max_epochs") == 0
            _log.info(init_from(network, initial, self.settings.step_ms, whole=whole))
        elif self.experiment.foreign_weights is not None:
            whole = self.experiment.quantize is not None
            real = make_network(replace(self.experiment, quantize=None), self.settings).network if whole else network
            _log.info(provided("model.weights.file")(real, self.experiment.foreign_weights))
            if whole:
                take_weights(network, real.state_dict())
        if self.experiment.quantize is not None:
            check_widths(groups_of(network))
        return network

    @cached_property
    def loss(self) -> Loss:
        """The loss, checked against the targets and bound to the network."""
        settings, loss = self.settings, build_loss(self.experiment.loss)
        if not self.skip_target_check:
            check_targets(self.experiment, settings, loss, self.built)
        return loss

    @cached_property
    def learning(self) -> LearningRule:
        """The learning rule, checked against the network and the loss."""
        return make_rule(self.experiment, self.settings, self.built, self.loss)

    @cached_property
    def loss_with_class_counts(self) -> Loss:
        """The loss, with the class counts of the training recordings."""
        _import_build_data().set_class_counts(self.loss, self.data)
        return self.loss

    @cached_property
    def optimization(self) -> Optimization:
        """The functions that make the optimizer and the schedule."""
        return make_optimization(self.experiment, self.built)

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset of the experiment: its recordings on this machine."""
        self.build("settings")  # plugins may register the dataset
        return build_dataset(self.experiment.data)

    @cached_property
    def store(self) -> Store:
        """The packed recordings; packs them first if needed."""
        return open_store(self.dataset, self.settings)

    @cached_property
    def data(self) -> EventDataModule:
        """The data module: the recordings, their split and their loaders."""
        return self._data or _import_build_data().make_data_module(
            self.experiment, self.settings, self.store, self.dataset
        )

    @cached_property
    def processes(self) -> Processes:
        """The processes and the device of a training."""
        return _import_processes().find_processes(self.experiment)

    @property
    def is_other_rank(self) -> bool:
        """True in the processes of a distributed training but the first: they write nothing and print nothing."""
        return _import_processes().launched_rank() > 0 and self.processes.world_size > 1

    @cached_property
    def module(self) -> SpikingModule:
        """The Lightning module; its network has the initial weights."""
        self.build("network")
        names = self.dataset.class_names
        return _import_build_trainer().make_module(
            *(self.experiment, self.settings, self.built, self.loss_with_class_counts, self.optimization),
            *(self.learning, names),
        )

    def build(self, *names: str) -> None:
        """Build objects now, in this order, so that errors show up early."""
        for name in names:
            getattr(self, name)

    def use_threads(self) -> None:
        """Set the number of torch threads to the experiment's `threads`, if it is set."""
        if self.experiment.threads is not None:
            torch.set_num_threads(self.experiment.threads)

    def trainer(
        self, callbacks: Sequence[L.Callback], logged_steps: int | None = None, *, distributed: bool = False
    ) -> L.Trainer:
        """Build a trainer with the experiment's loggers and callbacks.

        Args:
            callbacks: Further callbacks.
            logged_steps: For a resumed run, the step from which loggers discard what they logged.
            distributed: With all processes of the experiment, else in this one alone.
        """
        processes = self.processes if distributed else None
        return _import_build_trainer().make_trainer(self.experiment, self.folder, callbacks, logged_steps, processes)

    def evaluator(self, callbacks: Sequence[L.Callback], *, distributed: bool = False) -> L.Trainer:
        """Build a trainer that validates or tests, with these callbacks alone and without loggers.

        Args:
            distributed: With all processes of the experiment, else in this one alone.
        """
        processes = self.processes if distributed else None
        return _import_build_trainer().make_evaluator(self.experiment, self.folder, callbacks, processes)

    def set_computation(
        self, device: torch.device | None = None, resumed_sparse_input: bool | None = None
    ) -> dict[str, Any]:
        """Decide how the network is computed, set it so, and return it for the provenance.

        Args:
            device: The device; None: that of an evaluation in this process.
            resumed_sparse_input: For a resumed run, whether its first layer summed single events.
        """
        device = self.evaluator([]).strategy.root_device if device is None else device
        found = decide_computation(self.experiment, self.built, self.data, device, resumed_sparse_input)
        found.apply(self.built.network, self.data, self.learning)
        return {**found._asdict(), "heap_kept": keep_heap()}

    def check(self, *, here: bool = True) -> None:
        """Build everything except the data to find mistakes; quick checks come first.

        Args:
            here: The training runs on this machine.
        """
        if here:
            self.use_threads()
        self.check_without_lightning()

        _import_build_trainer().check_trainer(self.experiment, self.folder, self.built.network)
        if here:
            resolve_backend(self.experiment.backend, self.processes.device, torch.float32)

    def check_without_lightning(self) -> None:
        """Build network, loss and optimizer to find mistakes before Lightning is imported."""
        import_plugins(self.experiment)
        make_optimizer(self.experiment)  # names and types of its settings
        self.build("built", "loss")
        if not self.skip_target_check:
            check_monitors(self.experiment, self.settings, self.built, self.loss)
        self.build("optimization", *[] if self.skip_target_check else ["learning"])

    def prepare(self) -> None:
        """Build everything that a training on this machine needs, the data last; log notes and warnings."""
        self.check()
        _import_processes().require_command_line(self.processes)
        self.build("network")
        if self.processes.device.type == "cpu":
            check_memory(self.experiment, self.settings, self.built, self.learning)
        data = self.data
        _import_processes().require_recording_per_process(self.processes, self.experiment, data)
        check_batches(self.experiment, data, self.processes.world_size)
        find_trained_before(self.experiment, data, warn=True)
        self.build("module")
        for note in [*self.dataset.notes, *_import_build_data().data_notes(data)]:
            _log.info(note)
        for warning in _import_build_data().data_warnings(data):
            _log.warning(warning)


def check_experiment(experiment: Experiment, folder: Path, *, here: bool, skip_target_check: bool = False) -> None:
    """Build everything of an experiment except its data, to find mistakes.

    Args:
        folder: The folder of its run.
        here: The training runs on this machine.
        skip_target_check: Do not check that the loss fits the data.
    """
    with quiet_lightning():
        Session(experiment, folder, skip_target_check=skip_target_check).check(here=here)


def compose_and_check(overrides: Sequence[str], folder: Path | None, *, skip_target_check: bool = False) -> None:
    """Compose an experiment and build everything of it except its data, for any machine.

    Args:
        folder: A folder of user-defined files.
        skip_target_check: Do not check that the loss fits the data.
    """
    check_experiment(*compose_experiment(overrides, folder), here=False, skip_target_check=skip_target_check)
