"""Attention between the cells of an image, its tokens, without softmax.

Axes: N steps of samples, C channels, L tokens.
"""

from __future__ import annotations

from torch import Tensor, nn

from snnlab.errors import ConfigError, join_names
from snnlab.nn.layer import LAYERS, InShape, Shape, near_divisors, spatial_size
from snnlab.spec.declared import Declared, setting
from snnlab.spec.interval import Count, Positive


def require_heads(kind: str, in_shape: Shape, num_heads: int, parts: int = 1) -> int:
    """Return the channels of one of several equal parts of the input's channels, which heads divide."""
    spatial_size(kind, in_shape)
    channels, rest = divmod(in_shape[0], parts)
    if rest:
        raise ConfigError(
            "", f"{kind} splits its input's channels into {parts} equal parts, got {in_shape[0]} channels"
        )
    if channels % num_heads:
        near = join_names(map(str, near_divisors(channels, num_heads)))
        raise ConfigError("num_heads", f"must divide the channels ({channels}), got {num_heads}", f"near: {near}")
    return channels


@LAYERS.register("attention_product")
class AttentionProduct(Declared, nn.Module):
    """Sum the values of all tokens, weighted by the product of queries and keys, for each head.

        y[i] = scale * sum over j of (q[i] . k[j]) v[j]

    Without softmax the order of the two products is free; it is the one with fewer operations. For spikes both orders
    have the same, exact result.

    Args:
        num_heads: Groups of channels with a product of their own.
        scale: Factor of the result.

    Shape:
        `[N, 3 C, *size]`, the channels of q, k and v, to `[N, C, *size]`, in channels-last memory.

    Source: Zhou et al., Spikformer: When spiking neural network meets transformer, ICLR 2023.
    """

    in_shape: InShape = setting(kw_only=False)
    num_heads: Count = setting()
    scale: Positive = 0.125

    def prepare(self) -> None:
        require_heads("attention_product", self.in_shape, self.num_heads, parts=3)

    def forward(self, x: Tensor) -> Tensor:
        # Each [N, heads, L, channels of a head].
        q, k, v = x.flatten(2).unflatten(1, (3, self.num_heads, -1)).transpose(-1, -2).unbind(1)
        tokens, width = q.shape[-2:]
        y = (q @ k.transpose(-1, -2)) @ v if tokens <= width else q @ (k.transpose(-1, -2) @ v)
        return (y * self.scale).transpose(1, 2).flatten(2).transpose(1, 2).unflatten(2, x.shape[2:])

    def extra_repr(self) -> str:
        """Return the settings that `print(network)` shows."""
        return f"num_heads={self.num_heads}, scale={self.scale}"
