"""Layers one after the other, once or several times."""

from __future__ import annotations

from torch import nn

from snnlab.errors import ConfigError
from snnlab.intervals import Count
from snnlab.nn.blocks.within import Context, Layers, last_shape
from snnlab.nn.build import BuiltNetwork, Shape
from snnlab.nn.layers.registry import LAYERS
from snnlab.nn.network import Network


@LAYERS.register("sequential")
def sequential(in_shape: Shape, dt: float | None, num_steps: int | None, *, layers: Layers) -> Network:
    """Apply layers one after the other, under one name.

    Args:
        in_shape: Shape of one sample at one step.
        dt: Length of a step, ms.
        num_steps: Steps of a recording.
        layers: Named layers, as those of a model.

    Raises:
        ConfigError: naming a layer, if it is wrong or does not fit its input.
    """
    return Context(dt, num_steps).build(layers, in_shape).network


@LAYERS.register("repeat")
def repeat(in_shape: Shape, dt: float | None, num_steps: int | None, *, times: Count, layers: Layers) -> Network:
    """Apply layers several times, one copy after the other, each with weights of its own.

    The copies are called `copy1`, `copy2`, ...; each is built for the shape that the one before gives.

    Args:
        in_shape: Shape of one sample at one step.
        dt: Length of a step, ms.
        num_steps: Steps of a recording.
        times: Number of copies.
        layers: Named layers, as those of a model.

    Raises:
        ConfigError: naming a layer, if it is wrong or does not fit its input.
        ValueError: if there are no copies.
    """
    context, copies = Context(dt, num_steps), dict[str, nn.Module]()
    for number in range(1, times + 1):
        built = _copy(context, layers, in_shape, number)
        copies[f"copy{number}"], in_shape = built.network, last_shape(built)
    return Network(copies, kinds=dict.fromkeys(copies, "copy"))


def _copy(context: Context, layers: Layers, in_shape: Shape, number: int) -> BuiltNetwork:
    try:
        return context.build(layers, in_shape)
    except ConfigError as error:
        if number == 1:
            raise
        raise error.moved(message=f"{error.message} (copy {number})") from error
