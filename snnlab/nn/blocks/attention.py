"""Masks of spiking transformers, whose queries, keys and values are spikes; the cells of an image are the tokens.

Axes: T steps, B samples, C channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.event_frames import EventFrames, dense
from snnlab.nn.blocks.branches import Context, Layers, children, last_shape
from snnlab.nn.layer import LAYERS, Counts, Dt, NumSteps, Shape
from snnlab.nn.layers.attention_product import require_heads
from snnlab.nn.network import Network, NetworkState, zero_past_end
from snnlab.spec.interval import Count
from snnlab.spec.signatures import checks_arguments

Per = Literal["token", "channel"]


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
