from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from snnlab.errors import ConfigError
from snnlab.nn import LAYERS

from ...refusals import assert_raises

SIZES = {1: (3, 11), 2: (4, 11, 9), 3: (2, 7, 6, 5)}
CONV: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSE: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def build(kind: str, in_shape: tuple[int, ...], **settings: Any) -> nn.Module:
    return LAYERS.build(kind, settings, "layers.a", in_shape=in_shape, dt=1.0)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"stride": 2, "padding": 1, "dilation": 2, "bias": False},
        {"padding": "same", "padding_mode": "circular"},
        {"padding": "valid"},
        {"padding": 1, "padding_mode": "reflect"},
    ],
)
def test_conv_is_torchs_own(dims: int, settings: dict[str, Any]) -> None:
    ours = build(f"conv{dims}d", SIZES[dims], out_channels=6, kernel_size=3, **settings)
    theirs = CONV[dims](SIZES[dims][0], 6, 3, **settings)
    assert type(ours) is CONV[dims]
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, *SIZES[dims])
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_conv_transpose_is_torchs_own(dims: int) -> None:
    settings: dict[str, Any] = {"stride": 2, "padding": 1, "output_padding": 1, "dilation": 2, "bias": False}
    ours = build(f"conv_transpose{dims}d", SIZES[dims], out_channels=5, kernel_size=3, **settings)
    theirs = TRANSPOSE[dims](SIZES[dims][0], 5, 3, **settings)
    assert type(ours) is TRANSPOSE[dims]
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, *SIZES[dims])
    torch.testing.assert_close(ours(x), theirs(x))


def test_a_size_may_be_given_for_each_axis() -> None:
    conv = build("conv2d", (2, 9, 8), out_channels=4, kernel_size=[3, 5], stride=[1, 2], padding=[0, 1])
    assert conv(torch.zeros(1, 2, 9, 8)).shape == (1, 4, 7, 3)


@pytest.mark.parametrize(("groups", "weight"), [(1, (4, 4, 3, 3)), (2, (4, 2, 3, 3)), (4, (4, 1, 3, 3))])
def test_groups_divide_the_weight(groups: int, weight: tuple[int, ...]) -> None:
    conv = build("conv2d", (4, 5, 5), out_channels=4, kernel_size=3, groups=groups)
    assert conv.get_parameter("weight").shape == weight


@pytest.mark.parametrize("kind", ["conv2d", "conv_transpose2d"])
def test_weights_are_channels_last(kind: str) -> None:
    weight = build(kind, (4, 5, 5), out_channels=6, kernel_size=3).get_parameter("weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert isinstance(weight, nn.Parameter)


def test_a_kernel_as_large_as_its_padded_input_fits() -> None:
    conv = build("conv2d", (1, 3, 3), out_channels=1, kernel_size=5, padding=1)
    assert conv(torch.zeros(1, 1, 3, 3)).shape == (1, 1, 1, 1)


OK: dict[str, Any] = {"out_channels": 6, "kernel_size": 3}


@pytest.mark.parametrize(
    ("kind", "in_shape", "settings", "facts"),
    [
        ("conv2d", (800,), OK, ("layers.a", "conv2d", 3, "[C, H, W]", [800])),
        ("conv1d", (2, 8, 8), OK, ("layers.a", "conv1d", "[C, W]", [2, 8, 8])),
        ("conv3d", (2, 8, 8), OK, ("layers.a", "conv3d", 4, "[C, D, H, W]", [2, 8, 8])),
        ("conv_transpose2d", (2, 8), OK, ("layers.a", "conv_transpose2d", 3, "[C, H, W]", [2, 8])),
        ("conv2d", (2, 3, 3), {**OK, "kernel_size": 5}, ("layers.a.kernel_size", "5", "[3, 3]", "0")),
        (
            "conv2d",
            (2, 3, 9),
            {**OK, "kernel_size": [6, 3], "padding": [1, 0]},
            ("layers.a.kernel_size", "[6, 3]", "[3, 9]", "[1, 0]"),
        ),
        ("conv2d", (2, 4, 4), {**OK, "dilation": 2}, ("layers.a.kernel_size", "3", "[4, 4]", "0", "2")),
        ("conv1d", (2, 2), {**OK, "padding": "valid"}, ("layers.a.kernel_size", "3", "[2]", "0")),
        ("conv2d", (2, 8, 8), {**OK, "out_channels": 0}, ("layers.a.out_channels",)),
        ("conv2d", (2, 8, 8), {**OK, "kernel_size": [3, 3, 3]}, ("layers.a.kernel_size", "2", "[3, 3, 3]")),
        ("conv2d", (2, 8, 8), {**OK, "stride": []}, ("layers.a.stride", "2", "[]")),
        ("conv2d", (2, 8, 8), {**OK, "groups": 0}, ("layers.a.groups",)),
        ("conv2d", (2, 8, 8), {**OK, "groups": 3}, ("layers.a.groups", "2", "out_channels", "6", "3")),
        ("conv_transpose2d", (4, 8, 8), {**OK, "groups": 4}, ("layers.a.groups", "4", "out_channels", "6")),
        ("conv2d", (2, 8, 8), {**OK, "padding": "same", "stride": 2}, ("layers.a", "same")),
        (
            "conv_transpose2d",
            (2, 8, 8),
            {**OK, "output_padding": 2, "stride": 2},
            ("layers.a.output_padding", "2", "1"),
        ),
        ("conv_transpose2d", (2, 1, 1), {**OK, "padding": 2}, ("layers.a.padding", "2", "[-1, -1]")),
    ],
)
def test_mistakes_are_named(kind: str, in_shape: tuple[int, ...], settings: dict[str, Any], facts: tuple) -> None:
    with assert_raises(ConfigError, *facts):
        build(kind, in_shape, **settings)


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({**OK, "padding": "full"}, ("layers.a.padding", "expected")),
        ({**OK, "padding_mode": "zero"}, ("layers.a.padding_mode", "reflect")),
        ({**OK, "kernel_size": 2.5}, ("layers.a.kernel_size", "expected")),
        ({"kernel_size": 3}, ("layers.a", "conv2d", "out_channels")),
    ],
)
def test_wrong_types_are_named_by_their_place(settings: dict[str, Any], facts: tuple) -> None:
    with assert_raises(ConfigError, *facts):
        build("conv2d", (2, 8, 8), **settings)


WEIGHTED = [f"{kind}{dims}d" for kind in ("conv", "conv_transpose") for dims in (1, 2, 3)]


def with_and_without_weight_norm(kind: str, **settings: Any) -> tuple[nn.Module, nn.Module]:
    """Return the layer without and with weight norm, from the same seed."""
    made = []
    for weight_norm in (False, True):
        torch.manual_seed(3)
        made.append(build(kind, (4, *SIZES[int(kind[-2])][1:]), **OK, weight_norm=weight_norm, **settings))
    return made[0], made[1]


@pytest.mark.parametrize("kind", WEIGHTED)
def test_weight_norm_has_a_length_for_each_filter(kind: str) -> None:
    plain, normed = with_and_without_weight_norm(kind)
    by_filter = plain.get_parameter("weight").transpose(0, 1 if "transpose" in kind else 0).flatten(1)
    lengths = normed.get_parameter("parametrizations.weight.original0")
    torch.testing.assert_close(lengths.flatten(), by_filter.norm(dim=1))
    with torch.no_grad():
        lengths.mul_(torch.arange(1.0, 7.0).reshape(lengths.shape))
        plain.get_parameter("bias").zero_()
        normed.get_parameter("bias").zero_()
    x = torch.randn(2, 4, *SIZES[int(kind[-2])][1:])
    factors = torch.arange(1.0, 7.0).reshape(6, *[1] * (x.dim() - 2))
    torch.testing.assert_close(normed(x), plain(x) * factors, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", WEIGHTED)
def test_the_gradient_of_weight_norm_is_that_of_its_formula(kind: str) -> None:
    plain, normed = (layer.double() for layer in with_and_without_weight_norm(kind))
    x = torch.randn(2, 4, *SIZES[int(kind[-2])][1:], dtype=torch.float64)
    for layer in (plain, normed):
        layer(x).pow(2).sum().backward()
    weight, axis = plain.get_parameter("weight"), 1 if "transpose" in kind else 0
    assert weight.grad is not None
    others = [d for d in range(weight.dim()) if d != axis]
    unit = weight / weight.square().sum(others, keepdim=True).sqrt()
    along = (weight.grad * unit).sum(others, keepdim=True)
    length, direction = (normed.get_parameter(f"parametrizations.weight.original{i}") for i in (0, 1))
    torch.testing.assert_close(length.grad, along, rtol=1e-6, atol=1e-6)
    # The length is computed in single precision.
    torch.testing.assert_close(direction.grad, weight.grad - along * unit, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["conv2d", "conv_transpose2d"])
def test_weight_norm_keeps_channels_last_memory(kind: str) -> None:
    normed = with_and_without_weight_norm(kind)[1]
    assert normed.get_parameter("parametrizations.weight.original1").is_contiguous(memory_format=torch.channels_last)
    assert normed.weight.is_contiguous(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    assert normed(torch.randn(2, 4, 11, 9)).is_contiguous(memory_format=torch.channels_last)


def test_weight_norm_of_groups_is_by_filter_too() -> None:
    normed = build("conv2d", (4, 8, 8), **OK, groups=2, weight_norm=True)
    assert normed.get_parameter("parametrizations.weight.original0").shape == (6, 1, 1, 1)
    with assert_raises(ConfigError, "layers.a.weight_norm", "1", "2"):
        build("conv_transpose2d", (4, 8, 8), **OK, groups=2, weight_norm=True)


@pytest.mark.parametrize("kind", WEIGHTED)
def test_a_weight_that_is_assigned_sets_length_and_direction(kind: str) -> None:
    plain, normed = with_and_without_weight_norm(kind)
    with torch.no_grad():
        weight = torch.randn_like(plain.get_parameter("weight"), memory_format=torch.contiguous_format) * 3
        plain.get_parameter("weight").copy_(weight)
        normed.weight = weight
    x = torch.randn(2, 4, *SIZES[int(kind[-2])][1:])
    torch.testing.assert_close(normed(x), plain(x))
    direction = normed.get_parameter("parametrizations.weight.original1")
    assert weight.dim() != 4 or direction.is_contiguous(memory_format=torch.channels_last)
