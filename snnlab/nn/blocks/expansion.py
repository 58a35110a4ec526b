"""Blocks that are written as a few settings, and built as named layers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from snnlab.errors import ConfigError
from snnlab.nn.blocks.branches import Context, Layers, Residual, residual
from snnlab.nn.layer import Shape
from snnlab.nn.network import Network

# The settings of the neurons of a block, such as `{type: lif}`.
NeuronNode = Mapping[str, Any]
# The neurons of a block, which all get its setting `neuron`, have this in their names.
_NEURON = re.compile(r"^(?:layers(?:\.mask\.layers)?\.\w*neuron\d*|shortcut\.neuron)(?=\.|$)")


def build_sequence(context: Context, in_shape: Shape, layers: Layers) -> Network:
    """Return layers in sequence; an error of a neuron's setting has its place in the block's `neuron`."""
    try:
        network = context.build(layers, in_shape).network
    except ConfigError as error:
        raise _at_setting(error) from error
    network.expanded = {"type": "sequential", "layers": layers}
    return network


def build_residual(context: Context, in_shape: Shape, layers: Layers, shortcut: Layers | None = None) -> Residual:
    """Return x + layers(x), or shortcut(x) + layers(x)."""
    try:
        block = residual(in_shape, context.dt, context.num_steps, layers=layers, shortcut=shortcut)
    except ConfigError as error:
        raise _at_setting(error) from error
    block.expanded = {"type": "residual", "layers": layers, **({} if shortcut is None else {"shortcut": shortcut})}
    return block


def _at_setting(error: ConfigError) -> ConfigError:
    return error.with_fields(place=_NEURON.sub("neuron", error.place))
