"""The other blocks of spiking transformers: embeddings of the input, position and the feed-forward part.

Each block is a network of named layers; the names of its neurons begin with `neuron`.

Axes: T steps, B samples, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from snnlab.errors import ConfigError
from snnlab.nn.blocks.branches import Context, NeuronNode, Residual, build_residual, build_sequence
from snnlab.nn.layer import LAYERS, Dt, InShape, NumSteps, Shape, spatial_size
from snnlab.nn.network import Network
from snnlab.spec.interval import Positive, at_least

Channels = Annotated[Sequence[int], at_least(1)]
Stages = bool | Sequence[bool]
_POOL = {"type": "max_pool", "kernel_size": 3, "stride": 2, "padding": 1}
_NORM = {"type": "batch_norm"}


def _conv(in_shape: Shape, channels: int, kernel_size: int, *, bias: bool, **settings: Any) -> dict[str, Any]:
    kind = f"conv{len(in_shape) - 1}d"
    return {"type": kind, "out_channels": channels, "kernel_size": kernel_size, **settings, "bias": bias}


def _stages(
    kind: str,
    in_shape: Shape,
    channels: Sequence[int],
    pool: Sequence[bool],
    neuron: NeuronNode,
    *,
    bias: bool,
    pool_first: bool,
) -> dict[str, Any]:
    """Return the layers of stages: a 3x3 convolution, a norm, neurons, and a pooling if the stage has one."""
    spatial_size(kind, in_shape)
    layers: dict[str, Any] = {}
    for number, (width, pooled) in enumerate(zip(channels, pool, strict=True), 1):
        last = [(f"neuron{number}", neuron), *([(f"pool{number}", _POOL)] if pooled else [])]
        layers |= {f"conv{number}": _conv(in_shape, width, 3, padding=1, bias=bias), f"norm{number}": _NORM}
        layers |= dict(reversed(last) if pool_first else last)
    return layers


def _pooled_stages(pool: Stages, channels: Sequence[int]) -> list[bool]:
    """Return for each stage whether it pools."""
    if not channels:
        raise ConfigError("channels", "needs at least one stage, such as [64]")
    stages = [pool] * len(channels) if isinstance(pool, bool) else list(pool)
    if len(stages) != len(channels):
        raise ConfigError("pool", f"must be true, false, or a list of {len(channels)} of them, got {stages}")
    return stages


@LAYERS.register("patch_splitting")
def patch_splitting(
    in_shape: InShape,
    dt: Dt,
    num_steps: NumSteps,
    *,
    channels: Channels,
    neuron: NeuronNode,
    pool: Stages = True,
    pool_first: bool = False,
    last_neuron: bool = True,
    bias: bool = False,
) -> Network:
    """Split an image into patches (SPS): stages of a 3x3 convolution, a norm, neurons and a max pooling.

    A pooling halves the size, rounded up: windows of 3 cells, stride 2, padding 1. After four poolings, a cell stands
    for a patch of 16 x 16 cells.

    Args:
        channels: Filters of each stage.
        neuron: The neurons, such as `{type: neuron}`.
        pool: Whether the stages pool, one value for all or one for each.
        pool_first: Whether a pooling comes before the neurons of its stage.
        last_neuron: Whether the last stage has neurons; without them the output is the input of neurons.
        bias: Whether the convolutions have biases.

    Shape:
        x: `[T, B, C, *size]`; returns `[T, B, channels[-1], *size']`.

    Source: Zhou et al., Spikformer: When spiking neural network meets transformer, ICLR 2023.
    """
    pooled = _pooled_stages(pool, channels)
    layers = _stages("patch_splitting", in_shape, channels, pooled, neuron, bias=bias, pool_first=pool_first)
    if not last_neuron:
        del layers[f"neuron{len(channels)}"]
    return build_sequence(Context(dt, num_steps), in_shape, layers)


@LAYERS.register("patch_embedding")
def patch_embedding(
    in_shape: InShape,
    dt: Dt,
    num_steps: NumSteps,
    *,
    channels: Channels,
    neuron: NeuronNode,
    pool: Stages = True,
    bias: bool = False,
) -> Residual:
    """Embed patches with a shortcut that changes the size too (SPEDS).

        y = stages(x) + neuron(norm(conv(x)))

    A stage is a 3x3 convolution, a norm, a max pooling that halves the size, and neurons. The convolution of the
    shortcut is 1x1, with the stride of all poolings together.

    Args:
        channels: Filters of each stage.
        neuron: The neurons, such as `{type: neuron}`.
        pool: Whether the stages pool, one value for all or one for each.
        bias: Whether the convolutions have biases.

    Shape:
        x: `[T, B, C, *size]`; returns `[T, B, channels[-1], *size']`.

    Source: Zhou et al., QKFormer: Hierarchical spiking transformer using Q-K attention, NeurIPS 2024.
    """
    pooled = _pooled_stages(pool, channels)
    layers = _stages("patch_embedding", in_shape, channels, pooled, neuron, bias=bias, pool_first=True)
    conv = _conv(in_shape, channels[-1], 1, stride=2 ** sum(pooled), bias=bias)
    shortcut = {"conv": conv, "norm": _NORM, "neuron": neuron}
    return build_residual(Context(dt, num_steps), in_shape, layers, shortcut)


@LAYERS.register("position_conv")
def position_conv(
    in_shape: InShape,
    dt: Dt,
    num_steps: NumSteps,
    *,
    neuron: NeuronNode,
    neuron_first: bool = False,
    bias: bool = False,
) -> Residual:
    """Add the relative position of the cells (RPE), as a 3x3 convolution sees it at the border.

        y = x + neuron(norm(conv(x)))      or   x + norm(conv(neuron(x)))   with `neuron_first`

    Args:
        neuron: The neurons, such as `{type: neuron}`.
        neuron_first: Whether the neurons come first; then x is their input (membrane shortcut), not spikes.
        bias: Whether the convolution has a bias.

    Shape:
        x: `[T, B, C, *size]`; returns the same shape.

    Source: Zhou et al., Spikformer: When spiking neural network meets transformer, ICLR 2023.
    """
    spatial_size("position_conv", in_shape)
    layers: dict[str, Any] = {"conv": _conv(in_shape, in_shape[0], 3, padding=1, bias=bias), "norm": _NORM}
    layers = {"neuron": neuron, **layers} if neuron_first else {**layers, "neuron": neuron}
    return build_residual(Context(dt, num_steps), in_shape, layers)


@LAYERS.register("spiking_mlp")
def spiking_mlp(
    in_shape: InShape,
    dt: Dt,
    num_steps: NumSteps,
    *,
    neuron: NeuronNode,
    ratio: Positive = 4.0,
    neuron_first: bool = False,
    bias: bool = True,
) -> Network:
    """Apply two 1x1 convolutions to each cell, each with a norm and neurons: the feed-forward part of a transformer.

    Args:
        neuron: The neurons, such as `{type: neuron}`.
        ratio: Channels between the convolutions, as a multiple of the input's.
        neuron_first: Whether neurons come before each convolution instead of after its norm; then the input and the
            output are inputs of neurons (membrane shortcut), not spikes.
        bias: Whether the convolutions have biases.

    Shape:
        x: `[T, B, C, *size]`; returns the same shape.
    """
    spatial_size("spiking_mlp", in_shape)
    hidden = int(in_shape[0] * ratio)
    if not hidden:
        raise ConfigError("ratio", f"{ratio:g} of {in_shape[0]} channels is less than one")
    layers: dict[str, Any] = {}
    for number, channels in ((1, hidden), (2, in_shape[0])):
        weights = {f"conv{number}": _conv(in_shape, channels, 1, bias=bias), f"norm{number}": _NORM}
        neurons = {f"neuron{number}": neuron}
        layers |= {**neurons, **weights} if neuron_first else {**weights, **neurons}
    return build_sequence(Context(dt, num_steps), in_shape, layers)
