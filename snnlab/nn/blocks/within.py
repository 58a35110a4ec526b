"""What the blocks share: how the layers within them are built, and how two ways through them are joined.

Axes: T steps, B samples, C channels or features, the first axis of a sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.nn.build import BuiltNetwork, Shape, build_network

Layers = Mapping[str, Any]


class Context(NamedTuple):
    """What a block is told by the network around it, and tells the layers within; see `build_network`."""

    dt: float | None
    num_steps: int | None

    def build(self, layers: Layers, in_shape: Shape, place: str = "layers") -> BuiltNetwork:
        """Build the layers of a block; `place` is where they stand in the block's node.

        Raises:
            ConfigError: naming the layer by its place in the block, if one is wrong or there is none.
        """
        if not layers:
            raise ConfigError(place, "needs at least one layer, such as {fc: {type: linear, out_features: 32}}")
        return build_network(layers, in_shape=in_shape, dt=self.dt, num_steps=self.num_steps, place=place)


def children(built: BuiltNetwork) -> dict[str, nn.Module]:
    """Return the layers of a network by name."""
    return dict(built.network.named_children())


def last_shape(built: BuiltNetwork) -> Shape:
    """Return the shape that a network with layers gives."""
    return next(reversed(built.shapes.values()))


def concat(parts: Sequence[Tensor]) -> Tensor:
    """Join along the channels.

    Shape:
        parts: `[T, B, C, ...]` each; returns `[T, B, sum of C, ...]`.
    """
    # Joining images with time folded away keeps channels-last memory.
    return torch.cat([x.flatten(0, 1) for x in parts], dim=1).unflatten(0, parts[0].shape[:2])


def fit(shapes: Sequence[Shape], *, channels_too: bool) -> bool:
    """Return whether shapes are the same, or, where they are joined along the channels, but for these."""
    return len({shape if channels_too else (len(shape), *shape[1:]) for shape in shapes}) == 1


def cure(given: Shape, wanted: Shape) -> str | None:
    """Return layers, as a YAML has them, that turn one shape into another, or None where no simple ones do."""
    if len(given) == len(wanted) == 1:
        return f"{{fc: {{type: linear, out_features: {wanted[0]}}}}}"
    if len(given) != len(wanted) or len(given) not in (2, 3, 4) or 0 in wanted:
        return None
    stride = -(-given[1] // wanted[1])
    if tuple((n - 1) // stride + 1 for n in given[1:]) != wanted[1:]:
        return None
    stepping = f", stride: {stride}" if stride > 1 else ""
    return f"{{conv: {{type: conv{len(given) - 1}d, out_channels: {wanted[0]}, kernel_size: 1{stepping}}}}}"
