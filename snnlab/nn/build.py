"""From named YAML nodes to a network: each layer is told the shape that reaches it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from snnlab.errors import ConfigError, located, one_line, out_of_memory
from snnlab.nn.layer import LAYERS, OWN, Counts, TemporalLayer, fold_time
from snnlab.nn.network import Network
from snnlab.nn.neurons.base import plain_loops
from snnlab.settings import takes

Shape = tuple[int, ...]


class BuiltNetwork(NamedTuple):
    """A network and the shapes found on the way, each of one sample at one step.

    Attributes:
        network: The network itself.
        shapes: Output shape of each layer, by name.
        spiking: Shape of each spiking layer's neurons, by the key of its counts.
        num_steps: Steps of an input with which every layer can be tried: a layer may insist on a number of them.
    """

    network: Network
    shapes: dict[str, Shape]
    spiking: dict[str, Shape]
    num_steps: int


def build_network(
    layers: Mapping[str, Mapping[str, Any]],
    *,
    in_shape: Shape,
    dt: float | None,
    num_steps: int | None = None,
    place: str = "model.layers",
) -> BuiltNetwork:
    """Build layers in order, inferring shapes, and check that each fits what it is given.

    Args:
        layers: A node `{type: ..., settings}` for each name.
        in_shape: Shape of one sample at one step, for instance (P, H, W).
        dt: Length of a step, ms; None where steps have no length.
        num_steps: Steps of a recording, for the layers that keep something for each; None where it is not known.
        place: Where the layers stand in the YAML.

    Raises:
        ConfigError: naming the layer, if a node is wrong or its layer does not fit its input.
    """
    built: dict[str, nn.Module] = {}
    shapes: dict[str, Shape] = {}
    spiking: dict[str, Shape] = {}
    kinds: dict[str, str] = {}
    shape, most_tried = in_shape, 1
    for name, node in layers.items():
        if not isinstance(node, Mapping):
            raise ConfigError(f"{place}.{name}", f"expected a mapping such as {{type: lif}}, got {node!r}")
        settings = dict(node)
        kind = settings.pop("type", None)
        layer = LAYERS.build(kind, settings, f"{place}.{name}", in_shape=shape, dt=dt, num_steps=num_steps)
        tried = num_steps or 1 if takes(LAYERS.get(kind, place), "num_steps") else 1
        shape, counts = _probe(layer, shape, tried, f"{place}.{name}", str(kind))
        built[name], shapes[name], kinds[name] = layer, shape, str(kind)
        spiking.update({name if key == OWN else f"{name}.{key}": tuple(n.shape[1:]) for key, n in counts.items()})
        most_tried = max(most_tried, tried)
    with located(place):
        return BuiltNetwork(Network(built, kinds=kinds), shapes, spiking, most_tried)


def _probe(layer: nn.Module, in_shape: Shape, num_steps: int, place: str, kind: str) -> tuple[Shape, Counts]:
    """Run silent steps through a layer; return the shape that comes out, and its counts."""
    try:
        x = torch.zeros(num_steps, 1, *in_shape)
    except (RuntimeError, MemoryError, TypeError) as error:  # the last of a number that is too large for PyTorch
        words = out_of_memory(error) or one_line(error)
        raise ConfigError(place, f"{words}, at an input of {list(in_shape)} in {num_steps} steps") from error
    counts: Counts = {}
    training = layer.training
    layer.eval()
    try:
        with torch.no_grad(), plain_loops(), torch.random.fork_rng(devices=[]):
            y = layer(x, counts=counts)[0] if isinstance(layer, TemporalLayer) else fold_time(layer, x)
    except (RuntimeError, ValueError, MemoryError, OverflowError) as error:
        if words := out_of_memory(error):
            raise ConfigError(place, f"{words}, at an input of {list(in_shape)} in {num_steps} steps") from error
        reason = one_line(error)
        raise ConfigError(place, f"{kind} does not fit its input of shape {list(in_shape)}: {reason}") from error
    finally:
        layer.train(training)
    return tuple(y.shape[2:]), counts
