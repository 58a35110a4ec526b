"""A convolution after spikes equals torch's convolution, in each of its loops.

Axes: N frames, C channels, H rows and W columns of a frame, F features.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from snnlab.errors import SnnlabError
from snnlab.kernels import spike_conv
from snnlab.kernels.spike_conv import CHUNK, convolution

from ..refusals import assert_raises

FEW, HALF = 0.05, 0.5
# Relative error of sums of some hundred float32 numbers.
ERROR = 3e-6


class Shape(NamedTuple):
    """Sizes of a convolution."""

    channels: int
    features: int
    kernel: tuple[int, int] = (3, 3)
    padding: tuple[int, int] = (0, 0)
    frame: tuple[int, int] = (9, 13)
    frames: int = 7


SHAPES = {
    "one vector": Shape(12, 32, (5, 5)),
    "of 16": Shape(12, 48, (5, 5)),
    "of 8": Shape(20, 24, (5, 3)),
    "several": Shape(12, 96, (5, 5), frames=3),
    "padded": Shape(12, 32, (5, 5), (2, 2)),
    "padded by more than the kernel": Shape(24, 16, (3, 5), (4, 6)),
    "long runs": Shape(60, 32, (3, 7)),
    "one row": Shape(30, 32, (1, 9), frame=(1, 40)),
    "as large as the frame": Shape(12, 32, (9, 13)),
    "whole vectors of channels": Shape(32, 64, (3, 3), (1, 1)),
    "one frame": Shape(40, 32, frames=1),
}


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the loops run small convolutions."""
    monkeypatch.setattr(spike_conv, "SMALL", 1)
    monkeypatch.setattr(spike_conv, "FEW", 0.1)
    monkeypatch.setattr(spike_conv, "GAIN", 100.0)


def spikes(shape: Shape, density: float) -> Tensor:
    """Return frames in channels-last memory: pooled spikes, some of them negative, some -0.0."""
    generator = torch.Generator().manual_seed(0)
    size = shape.frames, *shape.frame, shape.channels
    values = torch.tensor([0.25, 0.5, 1.0, -3.0])[torch.randint(4, size, generator=generator)]
    x = torch.where(torch.rand(size, generator=generator) < density, values, torch.tensor(0.0))
    return (x * torch.randn(size, generator=generator).sign()).permute(0, 3, 1, 2)


def weights(shape: Shape) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(shape.features, shape.channels, *shape.kernel, generator=generator)
    return weight, torch.randn(shape.features, generator=generator)


def outputs_and_gradients(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int], *, own: bool
) -> list[Tensor]:
    """Return the output and the gradients of x, weight and bias."""
    parts = [part.detach().clone().requires_grad_() for part in (x, weight, bias) if part is not None]
    offset = parts[2] if bias is not None else None
    if own:
        y = convolution(parts[0], parts[1], offset, padding)
    else:
        y = F.conv2d(parts[0], parts[1], offset, padding=padding)
    gy = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).to(y)
    return [y.detach(), *torch.autograd.grad(y, parts, gy)]


def assert_close(found: list[Tensor], expected: list[Tensor]) -> None:
    for name, part, exact in zip(("y", "x", "weight", "bias"), found, expected, strict=False):
        error = (part - exact).abs().max() / exact.abs().max()
        assert error < ERROR, f"{name} is off by {error:.1e}"
    assert len(found) == len(expected)


def used(x: Tensor, weight: Tensor) -> bool:
    y = convolution(x.requires_grad_(), weight, None, (0, 0))
    return type(y.grad_fn).__name__ == "_ConvolutionBackward"


def test_zeros_below_zero_are_no_spikes() -> None:
    x = spikes(SHAPES["one vector"], FEW)
    assert (x.signbit() & (x == 0)).any()
    found = spike_conv._find_spikes(x, 1.0)
    assert found is not None
    assert len(found.entries) == x.count_nonzero() + CHUNK


DENSITIES = [FEW, HALF, 0.0, 0.002]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.long if i % 3 else ()) for i, n in enumerate(SHAPES)]
)
def test_it_is_the_same_convolution(name: str) -> None:
    at, shape = list(SHAPES).index(name), SHAPES[name]
    for biased, density in ((bool(at % 2), DENSITIES[at % 4]), (not at % 2, DENSITIES[(at + 1) % 4])):
        assert_same_convolution(shape, biased, density)


def assert_same_convolution(shape: Shape, biased: bool, density: float) -> None:
    x, (weight, bias) = spikes(shape, density), weights(shape)
    found = outputs_and_gradients(x, weight, bias if biased else None, shape.padding, own=True)
    exact = outputs_and_gradients(
        x.double(), weight.double(), bias.double() if biased else None, shape.padding, own=False
    )
    if density == 0.0:
        # No rounding without spikes.
        assert not found.pop(2).count_nonzero()
        assert not exact.pop(2).count_nonzero()
        assert biased or not found[0].count_nonzero()
        found, exact = found[int(not biased) :], exact[int(not biased) :]
    assert_close(found, exact)


def test_its_output_and_its_input_gradient_are_channels_last() -> None:
    shape = SHAPES["one vector"]
    y, gx, *_ = outputs_and_gradients(spikes(shape, FEW), *weights(shape), shape.padding, own=True)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert gx.is_contiguous(memory_format=torch.channels_last)


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = SHAPES["several"]._replace(frames=64)
    x, (weight, bias) = spikes(shape, FEW), weights(shape)
    answers = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            answers.append(outputs_and_gradients(x, weight, bias, shape.padding, own=True))
    finally:
        torch.set_num_threads(before)
    # The bias's gradient is a sum of torch's own.
    for part, *others in zip(*(parts[:3] for parts in answers), strict=True):
        assert all(torch.equal(part, other) for other in others)


def test_frozen_weights_and_frames_without_gradient_get_none() -> None:
    shape = SHAPES["one vector"]
    x, (weight, bias) = spikes(shape, FEW), weights(shape)
    (gx,) = torch.autograd.grad(convolution(x.requires_grad_(), weight, bias, (0, 0)).sum(), x)
    assert gx.count_nonzero()
    (gweight,) = torch.autograd.grad(convolution(x.detach(), weight.requires_grad_(), bias, (0, 0)).sum(), weight)
    assert gweight.count_nonzero()


def test_without_gradients_it_is_the_same_too() -> None:
    shape = SHAPES["padded"]
    x, (weight, bias) = spikes(shape, FEW), weights(shape)
    expected = outputs_and_gradients(x, weight, bias, shape.padding, own=True)[0]
    with torch.no_grad():
        assert torch.equal(convolution(x, weight, bias, shape.padding), expected)


@pytest.mark.parametrize(
    ("shape", "density", "expected"),
    [
        (SHAPES["one vector"], FEW, True),
        (SHAPES["whole vectors of channels"], FEW, True),
        (SHAPES["whole vectors of channels"], HALF, False),
        (Shape(16, 20), FEW, False),
    ],
    ids=["few", "few of whole vectors", "many of whole vectors", "features that fill no vector"],
)
def test_the_loops_run_where_they_are_faster(shape: Shape, density: float, expected: bool) -> None:
    assert used(spikes(shape, density), weights(shape)[0]) == expected


def test_frames_that_are_not_channels_last_are_left_to_torch() -> None:
    shape = SHAPES["one vector"]
    assert not used(spikes(shape, FEW).contiguous(), weights(shape)[0])


def test_a_second_derivative_is_refused() -> None:
    shape = SHAPES["one vector"]
    x, (weight, _) = spikes(shape, FEW), weights(shape)
    y = convolution(x.requires_grad_(), weight, None, (0, 0))
    with assert_raises(SnnlabError, "", "create_graph"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


def test_denormal_cells_are_counted_as_they_are_listed() -> None:
    shape = SHAPES["one vector"]
    x, (weight, _) = spikes(shape, FEW), weights(shape)
    x = torch.where(x == 0.25, torch.tensor(1e-40), x)
    before = convolution(x, weight, None, (0, 0))
    torch.set_flush_denormal(True)
    try:
        after = convolution(x, weight, None, (0, 0))
    finally:
        torch.set_flush_denormal(False)
    assert torch.allclose(before, after, atol=1e-30)
