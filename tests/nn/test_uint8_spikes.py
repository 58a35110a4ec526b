"""Spikes and their pooled means are saved as uint8 and restored exactly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlab.nn import LI, LIF
from snnlab.nn.checkpointing import output_levels, save_as_uint8
from snnlab.nn.neurons.iaf import IAF


def spikes(*shape: int) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.4).float()


class Keep(torch.autograd.Function):
    """A product that saves x; the gradient of the factor is the saved x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return factor * x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        return None, ctx.saved_tensors[0]


def kept(x: Tensor, levels: int) -> tuple[Tensor, torch.dtype]:
    """Return the x that autograd restores, and the data type in which it was saved."""
    factor = torch.ones_like(x, requires_grad=True)
    hooks = save_as_uint8(x, levels)
    with hooks:
        y = Keep.apply(x, factor)
    (back,) = torch.autograd.grad(y.sum(), factor)
    return back, hooks.pack_hook(x).dtype


@pytest.mark.parametrize(
    ("layers", "levels"),
    [
        ([LIF(1.0)], 1),
        ([LIF(1.0), nn.MaxPool2d(2)], 1),
        ([LIF(1.0), nn.AvgPool2d(3)], 9),
        ([IAF(1.0), nn.AvgPool2d((2, 3)), nn.AvgPool1d(2), nn.Flatten()], 12),
        ([LIF(1.0), nn.BatchNorm2d(4)], None),
        ([LIF(1.0), nn.Dropout(0.1)], None),
        ([nn.Conv2d(1, 1, 1), nn.AvgPool2d(2)], None),
        ([LIF(1.0), LI(1.0)], None),
    ],
)
def test_levels_are_those_of_spikes_and_their_pooling(layers: list[nn.Module], levels: int | None) -> None:
    assert output_levels(layers, None) == levels


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 15])
def test_means_of_spikes_are_restored_exactly(size: int) -> None:
    x = nn.functional.avg_pool2d(spikes(4, 3, 45, 31), size)
    back, dtype = kept(x, size * size)
    assert dtype == torch.uint8
    assert torch.equal(back, x)


def test_the_memory_format_is_restored() -> None:
    x = spikes(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    back, _ = kept(x, 1)
    assert back.stride() == x.stride()


@pytest.mark.parametrize("odd", [0.5, 256.0, -1.0, float("nan"), float("inf")])
def test_numbers_that_do_not_fit_uint8_are_saved_unchanged(odd: float) -> None:
    x = spikes(3, 5)
    x[1, 2] = odd
    back, dtype = kept(x, 1)
    assert dtype == torch.float32
    assert torch.equal(back.nan_to_num(7.0), x.nan_to_num(7.0))


def test_other_tensors_are_saved_unchanged() -> None:
    x, other = spikes(3, 5), torch.randn(3, 5, requires_grad=True)
    with save_as_uint8(x, 1):
        y = other.exp()
    (grad,) = torch.autograd.grad(y.sum(), other)
    assert torch.equal(grad, other.exp())
