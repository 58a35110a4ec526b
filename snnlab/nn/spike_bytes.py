"""Spikes kept as bytes for the backward pass: a quarter of their memory, and the same numbers when they come back."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from snnlab.nn.neurons.base import Neuron

_MAX = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_AVERAGE = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_LARGEST = 255


def levels_behind(layers: Iterable[nn.Module], levels: int | None) -> int | None:
    """Return n where what layers give are whole numbers of 1/n, as spikes and their pooled means are; else None.

    Args:
        layers: Layers that are applied in turn.
        levels: That of their input.
    """
    for layer in layers:
        if isinstance(layer, Neuron):
            levels = 1 if layer.spiking else None
        elif isinstance(layer, _AVERAGE):
            levels = None if levels is None else levels * _cells(layer)
        elif not isinstance(layer, (*_MAX, nn.Flatten)):
            levels = None
    return levels


def kept_as_bytes(x: Tensor, levels: int) -> saved_tensors_hooks:
    """Return a context in which autograd keeps a tensor as bytes, if that gives back the very same numbers.

    Args:
        x: What is kept; whole numbers of 1/levels, none above 255/levels.
        levels: See `levels_behind`.
    """
    dtype, where, shape = x.dtype, x.data_ptr(), x.shape  # autograd keeps the functions, which must not keep x

    def pack(kept: Tensor) -> Tensor:
        if kept.data_ptr() != where or kept.shape != shape:
            return kept
        packed = (kept.detach() * levels).round_().clamp_(0, _LARGEST).to(torch.uint8)
        return packed if torch.equal(unpack(packed), kept) else kept

    def unpack(kept: Tensor) -> Tensor:
        # A mean is a sum divided by the window's cells.
        return kept.to(dtype).div_(levels) if kept.dtype == torch.uint8 else kept

    return saved_tensors_hooks(pack, unpack)


def _cells(layer: nn.Module) -> int:
    """Return the cells of a window of an average pooling."""
    size = layer.kernel_size
    dims = next(n for n, kind in enumerate(_AVERAGE, 1) if isinstance(layer, kind))
    return prod(size) if isinstance(size, tuple) else int(size) ** dims  # pyright: ignore[reportArgumentType]
