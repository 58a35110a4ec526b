"""The attention blocks of spiking transformers, whose queries, keys and values are spikes.

The cells of an image are the tokens. Each block is a network of named layers; its neurons have the names `*neuron`. Put
a block into a `residual` to add its output to its input.

Axes: T steps, B samples, N steps of samples, C channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.event_frames import EventFrames, dense
from snnlab.nn.blocks.branches import Context, Layers, NeuronNode, build_sequence, children, last_shape
from snnlab.nn.layer import LAYERS, Counts, Dt, NumSteps, Shape
from snnlab.nn.layers.attention_product import require_heads
from snnlab.nn.network import Network, NetworkState, zero_past_end
from snnlab.spec.interval import Count, Positive
from snnlab.spec.signatures import checks_arguments

Per = Literal["token", "channel"]


def projection(name: str, in_shape: Shape, channels: int, neuron: NeuronNode | None, *, bias: bool) -> dict[str, Any]:
    """Return a 1x1 convolution, a norm and neurons, if they are given: `NAME`, `NAME_norm`, `NAME_neuron`."""
    kind = f"conv{len(in_shape) - 1}d"
    layers: dict[str, Any] = {
        name: {"type": kind, "out_channels": channels, "kernel_size": 1, "bias": bias},
        f"{name}_norm": {"type": "batch_norm"},
    }
    return layers if neuron is None else {**layers, f"{name}_neuron": neuron}


class _Mask(Network, ABC):
    """Multiply spikes with the output of layers, usually neurons, that get sums of spikes."""

    @abstractmethod
    def sums_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the input of the layers, and the spikes that their output is multiplied with."""

    def apply_mask(self, mask: Tensor, values: Tensor) -> Tensor:
        """Return the values times the mask of their channel."""
        return values * mask.reshape(*mask.shape, *[1] * (values.dim() - mask.dim()))

    def forward(
        self,
        x: Tensor | EventFrames,
        state: NetworkState | None = None,
        *,
        lengths: Tensor | None = None,
        counts: Counts | None = None,
    ) -> tuple[Tensor, NetworkState]:
        """Run all steps."""
        after: NetworkState = {}
        sums, values = self.sums_and_values(dense(x))
        mask = self.run_layers([*self.layers()], sums, self.check_state(state), after, lengths, counts)
        return zero_past_end(self.apply_mask(mask, values), lengths), after


@checks_arguments
class QKMask(_Mask):
    """Let the keys of some tokens pass, or of some channels, chosen by neurons that get the number of query spikes.

        y[c, n] = layers(sum over c' of q[c', n]) k[c, n]      per "token", c' the channels of the head of c
                | layers(sum over n' of q[c, n']) k[c, n]      per "channel"

    Args:
        layers: Layers by name, usually neurons; they keep the shape of their input.
        num_heads: Groups of channels with a mask of their own; makes no difference per channel.
        per: What the mask chooses.

    Shape:
        x: `[T, B, 2 C, *size]`, the channels of q and k; the layers get `[T, B, num_heads, *size]` per token and
        `[T, B, C]` per channel; returns `[T, B, C, *size]` and the state, a dict by layer name.

    Source: Zhou et al., QKFormer: Hierarchical spiking transformer using Q-K attention, NeurIPS 2024.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        num_heads: int,
        per: Per = "token",
        *,
        layer_types: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(layers, layer_types=layer_types)
        self.num_heads, self.per = num_heads, per

    def connection(self) -> str:
        return f"mask per {self.per}"

    def sums_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, k = x.chunk(2, 2)
        if self.per == "channel":
            return q.flatten(3).sum(-1), k
        return q.unflatten(2, (self.num_heads, -1)).sum(3), k

    def apply_mask(self, mask: Tensor, values: Tensor) -> Tensor:
        if self.per == "channel":
            return super().apply_mask(mask, values)
        return (values.unflatten(2, (self.num_heads, -1)) * mask.unsqueeze(3)).flatten(2, 3)


class KVMask(_Mask):
    """Let the queries of some channels pass, chosen by neurons that get the number of tokens where key and value spike.

        y[c, n] = layers(sum over n' of k[c, n'] v[c, n']) q[c, n]

    Args:
        layers: Layers by name, usually neurons; they keep the shape of their input.

    Shape:
        x: `[T, B, 3 C, *size]`, the channels of q, k and v; the layers get `[T, B, C]`; returns `[T, B, C, *size]` and
        the state, a dict by layer name.

    Source: Yao et al., Spike-driven transformer, NeurIPS 2023.
    """

    def __init__(self, layers: Mapping[str, nn.Module], *, layer_types: Mapping[str, str] | None = None) -> None:
        super().__init__(layers, layer_types=layer_types)

    def connection(self) -> str:
        return "mask per channel"

    def sums_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = x.chunk(3, 2)
        return (k * v).flatten(3).sum(-1), q


@LAYERS.register("qk_mask")
def qk_mask(
    in_shape: Shape, dt: Dt, num_steps: NumSteps, *, num_heads: Count, per: Per = "token", layers: Layers
) -> QKMask:
    """Let the keys of some tokens pass, or of some channels, chosen by neurons that get the number of query spikes.

        y[c, n] = layers(sum over c' of q[c', n]) k[c, n]      per token, c' the channels of the head of c
                | layers(sum over n' of q[c, n']) k[c, n]      per channel

    Args:
        in_shape: Shape of one sample at one step; its channels are those of q and k, its cells the tokens.
        num_heads: Groups of channels with a mask of their own; makes no difference per channel.
        per: `token` or `channel`, which the mask chooses.
        layers: Named layers that get the sums, usually neurons with a low threshold.
    """
    channels = require_heads("qk_mask", in_shape, num_heads, parts=2)
    sums = (num_heads, *in_shape[1:]) if per == "token" else (channels,)
    built, types = _build_mask(layers, sums, Context(dt, num_steps))
    return QKMask(built, num_heads, per, layer_types=types)


@LAYERS.register("kv_mask")
def kv_mask(in_shape: Shape, dt: Dt, num_steps: NumSteps, *, layers: Layers) -> KVMask:
    """Let the queries of some channels pass, chosen by neurons that get the number of tokens where key and value spike.

        y[c, n] = layers(sum over n' of k[c, n'] v[c, n']) q[c, n]

    Args:
        in_shape: Shape of one sample at one step; its channels are those of q, k and v, its cells the tokens.
        layers: Named layers that get the sums, usually neurons with a low threshold.
    """
    channels = require_heads("kv_mask", in_shape, 1, parts=3)
    built, types = _build_mask(layers, (channels,), Context(dt, num_steps))
    return KVMask(built, layer_types=types)


def _build_mask(layers: Layers, sums: Shape, context: Context) -> tuple[dict[str, nn.Module], dict[str, str]]:
    built = context.build(layers, sums)
    if last_shape(built) != sums:
        raise ConfigError(
            "layers", f"must keep the shape of the sums, {list(sums)}, but give {list(last_shape(built))}"
        )
    return children(built), built.network.layer_types


@LAYERS.register("spiking_self_attention")
def spiking_self_attention(
    in_shape: Shape,
    dt: Dt,
    num_steps: NumSteps,
    *,
    num_heads: Count,
    neuron: NeuronNode,
    scale: Positive = 0.125,
    v_threshold: Positive = 0.5,
    bias: bool = True,
) -> Network:
    """Attend to all tokens (SSA): projections to spikes q, k and v, their product without softmax, and a projection.

        q, k, v = neuron(norm(conv(x)));   y = neuron(norm(conv(neuron(scale q k^T v))))

    Args:
        in_shape: Shape of one sample at one step, channels and cells; the cells are the tokens.
        num_heads: Groups of channels with a product of their own.
        neuron: The neurons, such as `{type: neuron}`.
        scale: Factor of the product.
        v_threshold: Threshold of the neurons after the product.
        bias: Whether the last convolution has a bias.

    Shape:
        x: `[T, B, C, *size]`; returns the same shape.

    Source: Zhou et al., Spikformer: When spiking neural network meets transformer, ICLR 2023.
    """
    channels = require_heads("spiking_self_attention", in_shape, num_heads)
    layers = {
        **projection("qkv", in_shape, 3 * channels, neuron, bias=False),
        "product": {"type": "attention_product", "num_heads": num_heads, "scale": scale},
        "product_neuron": {**neuron, "v_threshold": v_threshold},
        **projection("out", in_shape, channels, neuron, bias=bias),
    }
    return build_sequence(Context(dt, num_steps), in_shape, layers)


@LAYERS.register("qk_attention")
def qk_attention(
    in_shape: Shape,
    dt: Dt,
    num_steps: NumSteps,
    *,
    num_heads: Count,
    neuron: NeuronNode,
    per: Per = "token",
    v_threshold: Positive = 0.5,
    bias: bool = True,
) -> Network:
    """Attend to tokens or channels with few operations (QKTA): projections to spikes q and k, a mask, a projection.

        q, k = neuron(norm(conv(x)));   y = neuron(norm(conv(neuron(sum of q) k)))

    The sum is over the channels of each head (`per: token`), or over the tokens (`per: channel`).

    Args:
        in_shape: Shape of one sample at one step, channels and cells; the cells are the tokens.
        num_heads: Groups of channels with a mask of their own.
        neuron: The neurons, such as `{type: neuron}`.
        per: `token` or `channel`, which the mask chooses.
        v_threshold: Threshold of the mask's neurons.
        bias: Whether the last convolution has a bias.

    Shape:
        x: `[T, B, C, *size]`; returns the same shape.

    Source: Zhou et al., QKFormer: Hierarchical spiking transformer using Q-K attention, NeurIPS 2024.
    """
    channels = require_heads("qk_attention", in_shape, num_heads)
    inner = {"neuron": {**neuron, "v_threshold": v_threshold}}
    layers = {
        **projection("qk", in_shape, 2 * channels, neuron, bias=False),
        "mask": {"type": "qk_mask", "num_heads": num_heads, "per": per, "layers": inner},
        **projection("out", in_shape, channels, neuron, bias=bias),
    }
    return build_sequence(Context(dt, num_steps), in_shape, layers)


@LAYERS.register("spike_driven_attention")
def spike_driven_attention(
    in_shape: Shape,
    dt: Dt,
    num_steps: NumSteps,
    *,
    neuron: NeuronNode,
    v_threshold: Positive = 0.5,
    bias: bool = True,
) -> Network:
    """Attend to channels without a matrix product (SDSA): projections to spikes q, k and v, a mask, a projection.

        s = neuron(x);   q, k, v = neuron(norm(conv(s)));   y = norm(conv(q neuron(sum over tokens of k v)))

    Heads would make no difference. Input and output are inputs of neurons (membrane shortcut), not spikes.

    Args:
        in_shape: Shape of one sample at one step, channels and cells; the cells are the tokens.
        neuron: The neurons, such as `{type: neuron}`.
        v_threshold: Threshold of the mask's neurons.
        bias: Whether the last convolution has a bias.

    Shape:
        x: `[T, B, C, *size]`; returns the same shape.

    Source: Yao et al., Spike-driven transformer, NeurIPS 2023.
    """
    channels = require_heads("spike_driven_attention", in_shape, 1)
    layers = {
        "neuron": neuron,
        **projection("qkv", in_shape, 3 * channels, neuron, bias=False),
        "mask": {"type": "kv_mask", "layers": {"neuron": {**neuron, "v_threshold": v_threshold}}},
        **projection("out", in_shape, channels, None, bias=bias),
    }
    return build_sequence(Context(dt, num_steps), in_shape, layers)
