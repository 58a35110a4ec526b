"""How many weights each cell of a layer's input meets.

The operations of a linear layer are a sum over its input's cells, each times the weights that it meets: those that are
not 0 for the effective ones, all of them for the dense ones. What padding adds meets nothing that counts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnlab.compat import ConvNd, ConvTransposeNd, convolve
from snnlab.nn.neurons.recurrent import Feedback, Weights

Connection = nn.Linear | ConvNd | nn.RNNBase | Feedback

_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


class Reach(NamedTuple):
    """What one sample's input of one step meets.

    Attributes:
        effective: Weights other than 0 that each cell meets, in the shape of the input.
        dense: All weights that all cells meet.
        within: Weights other than 0 that meet what the layer itself remembers, as the gates of a GRU do.
    """

    effective: Tensor
    dense: int
    within: int = 0


def reach(layer: Connection, shape: torch.Size) -> Reach:
    """Return how many weights the cells of an input meet.

    Args:
        layer: A layer with weights.
        shape: Shape of its input, of one sample at one step.
    """
    if isinstance(layer, nn.RNNBase):
        return _of_recurrent(layer, shape)
    with torch.inference_mode(False), torch.autocast(layer.weight.device.type, enabled=False):
        weight = (layer.weights() if isinstance(layer, Feedback) else layer).weight.detach()
        # Double precision: sums of whole numbers stay whole far beyond what a layer has.
        there = (weight != 0).double()
        return Reach(_met(layer, there, shape), round(_met(layer, torch.ones_like(there), shape).sum().item()))


def _met(layer: nn.Linear | ConvNd | Feedback, weight: Tensor, shape: torch.Size) -> Tensor:
    """Return for each cell the sum of the weights that it meets: the gradient of the summed output."""
    with torch.enable_grad():
        x = torch.ones(1, *shape, dtype=weight.dtype, device=weight.device, requires_grad=True)
        (found,) = torch.autograd.grad(_apply(layer, x, weight).sum(), x)
    return found[0]


def _apply(layer: nn.Linear | ConvNd | Feedback, x: Tensor, weight: Tensor) -> Tensor:
    if isinstance(layer, Feedback):
        return layer(x, Weights(weight, None))
    if isinstance(layer, ConvTransposeNd):
        settings = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
        return _TRANSPOSED[weight.dim() - 2](x, weight, None, *settings)  # type: ignore[arg-type]
    if isinstance(layer, ConvNd):
        return convolve(layer, x, weight)
    return functional.linear(x, weight)


def _of_recurrent(layer: nn.RNNBase, shape: torch.Size) -> Reach:
    matrices = {name: part.detach() for name, part in layer.named_parameters() if part.dim() == 2}
    first = matrices.pop("weight_ih_l0")
    effective = (first != 0).sum(0, dtype=torch.float64).expand(shape)
    dense = first.numel() * shape[:-1].numel()
    rest = sum(part.numel() for part in matrices.values()), sum(int((m != 0).sum()) for m in matrices.values())
    return Reach(effective, dense + rest[0], rest[1])
