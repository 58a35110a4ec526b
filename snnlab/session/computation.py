"""How a network is computed on a device: decided, and set."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from snnlab.config.schema import Experiment
from snnlab.data.events.representation import Counts
from snnlab.errors import ConfigError
from snnlab.kernels.function import Backend, kernel_version, resolve_backend
from snnlab.nn import BuiltNetwork
from snnlab.nn.kernel_sources import layers_rounding_differently
from snnlab.nn.learning import LearningRule
from snnlab.nn.network import Network
from snnlab.nn.plan import first_layers_accept_events
from snnlab.nn.stages import SPARSE_FRACTION

if TYPE_CHECKING:
    from snnlab.data.data_module import EventDataModule  # imports Lightning


class Computation(NamedTuple):
    """How a network is computed.

    Attributes:
        backend: The backend of the neurons.
        kernels: The version of the kernels; None for a backend without kernels.
        approximate: Neurons whose kernels round differently from torch.
        sparse_input: Whether the first layer sums single events.
    """

    backend: Backend
    kernels: int | None
    approximate: list[str]
    sparse_input: bool

    def apply(self, network: Network, data: EventDataModule, rule: LearningRule) -> None:
        """Compute a network like this from now on.

        Args:
            data: Gives the network's input.
            rule: The learning rule, which reads the steps of a batch all at once or in pieces.
        """
        network.configure(sparse_input="always" if self.sparse_input else "never")
        # With windows, the network needs slices of frames, and building these from event lists takes longer.
        data.allow_lists = self.sparse_input and network.accepts_event_lists and rule.reads == "all"
        data.in_pieces = rule.reads == "pieces"


def decide_computation(
    experiment: Experiment,
    built: BuiltNetwork,
    data: EventDataModule,
    device: torch.device,
    resumed_sparse_input: bool | None = None,
) -> Computation:
    """Decide how a network is computed on a device.

    Args:
        resumed_sparse_input: For a resumed run, whether its first layer summed single events.
    """
    backend = resolve_backend(experiment.backend, device, torch.float32)
    sparse = _sums_events(experiment, built.network, data, backend, resumed_sparse_input)
    return Computation(backend, kernel_version(experiment.backend), layers_rounding_differently(built, backend), sparse)


def _sums_events(
    experiment: Experiment, network: Network, data: EventDataModule, backend: Backend, resumed: bool | None
) -> bool:
    """Return whether the first layer sums single events."""
    if experiment.sparse_input is False:
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
    if not can_use_events or experiment.sparse_input is True:
        return can_use_events
    if resumed is not None:
        return resumed
    return isinstance(data.frame_builder.representation, Counts) and event_density(data) <= SPARSE_FRACTION


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
