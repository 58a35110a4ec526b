"""Learning without a gradient through time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from snnlab.errors import ConfigError
from snnlab.kernels.reference import cut_time, detached
from snnlab.nn.blocks.branches import Parallel, Residual
from snnlab.nn.layer import TemporalLayer
from snnlab.nn.layers.dropout import Dropout
from snnlab.nn.layers.norm import BatchNorm
from snnlab.nn.learning.rule import RULES, ForwardRule, Gradients, Piece, RuleContext
from snnlab.nn.network import Network
from snnlab.nn.neurons.base import Neuron

# Temporal layers and blocks whose gradient does not pass from step to step, but within neurons.
_WITHOUT_TIME = (Dropout, BatchNorm)
_BLOCKS = (Network, Parallel, Residual)


@RULES.register("sltt")
class SLTT(ForwardRule):
    """No gradient through time: that of a step is the derivative with the state before it held fixed.

        dL/dW = sum_t dL[t]/dW with the states of step t-1 as constants

    It equals backpropagation through time in windows of one step.

    Args:
        steps_at_once: Steps of a piece, which are computed together.

    Source: Meng et al., Towards memory- and time-efficient backpropagation for training spiking neural networks,
        ICCV 2023; without its random choice of steps.
    """

    def bind(self, context: RuleContext) -> None:
        """Refuse a loss that is none per step, and a layer with a gradient through time of its own."""
        super().bind(context)
        require_cuttable(context.built.network)

    def step(self, network: Network, kept: Any, piece: Piece, gradients: Gradients) -> Any:
        """Run some steps, and add the derivatives of their loss; what is kept is the network's state."""
        with cut_time():
            y, state = network(piece.x, kept, lengths=piece.lengths, counts=piece.counts)
            gradients.add_derivatives(piece.loss(y))
        return detached(state)


def require_cuttable(network: Network, place: str = "model.layers") -> None:
    """Raise a ConfigError for the first layer whose gradient through time cannot be cut."""
    for name, layer in _temporal_layers(network):
        if not isinstance(layer, (Neuron, *_WITHOUT_TIME)) or (isinstance(layer, Neuron) and layer.parallel):
            kind = type(layer).__name__
            raise ConfigError(f"{place}.{name}", f"the gradient through time of {kind} cannot be cut")


def _temporal_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, layer in network.named_children():
        if type(layer) in _BLOCKS:
            yield from ((f"{name}.{inner}", each) for inner, each in _temporal_layers(layer))
        elif isinstance(layer, TemporalLayer):
            yield name, layer
