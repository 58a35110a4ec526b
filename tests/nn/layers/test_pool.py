from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from snnlab.errors import ConfigError
from snnlab.nn import LAYERS

from ...refusals import assert_raises

SIZES = {1: (3, 11), 2: (3, 11, 9), 3: (2, 7, 6, 5)}
TORCHS: dict[str, dict[int, Any]] = {
    "max_pool": {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d},
    "avg_pool": {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d},
    "adaptive_max_pool": {1: nn.AdaptiveMaxPool1d, 2: nn.AdaptiveMaxPool2d, 3: nn.AdaptiveMaxPool3d},
    "adaptive_avg_pool": {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d},
}
WINDOW: dict[str, Any] = {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}


def build(kind: str, in_shape: tuple[int, ...], **settings: Any) -> nn.Module:
    return LAYERS.build(kind, settings, "layers.a", in_shape=in_shape, dt=1.0)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("max_pool", {"kernel_size": 2}),
        ("max_pool", {**WINDOW, "dilation": 2}),
        ("avg_pool", {"kernel_size": 2}),
        ("avg_pool", {**WINDOW, "count_include_pad": False}),
        ("adaptive_max_pool", {"output_size": 2}),
        ("adaptive_avg_pool", {"output_size": 2}),
    ],
)
def test_pools_are_torchs_own(dims: int, kind: str, settings: dict[str, Any]) -> None:
    ours, theirs = build(kind, SIZES[dims], **settings), TORCHS[kind][dims](**settings)
    assert type(ours) is type(theirs)
    x = torch.randn(2, *SIZES[dims])
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("settings", [{"stride": None}, {"stride": 1}, {"stride": 2, "padding": 1}])
def test_sum_pool_is_the_mean_times_the_window(dims: int, settings: dict[str, Any]) -> None:
    ours = build("sum_pool", SIZES[dims], kernel_size=3, **settings)
    x = torch.randn(2, *SIZES[dims], dtype=torch.float64)
    torch.testing.assert_close(ours(x), TORCHS["avg_pool"][dims](3, **settings)(x) * 3**dims)


def test_stride_is_the_kernel_by_default_and_sizes_may_differ_by_axis() -> None:
    x = torch.zeros(1, 2, 9, 8)
    for kind in ("max_pool", "avg_pool", "sum_pool"):
        assert build(kind, (2, 9, 8), kernel_size=[3, 2])(x).shape == (1, 2, 3, 4)
    for kind in ("adaptive_max_pool", "adaptive_avg_pool"):
        assert build(kind, (2, 9, 8), output_size=[4, 1])(x).shape == (1, 2, 4, 1)


@pytest.mark.parametrize("kind", ["max_pool", "avg_pool", "sum_pool"])
@pytest.mark.parametrize(
    ("in_shape", "settings", "facts"),
    [
        ((8,), {"kernel_size": 2}, ("layers.a", 2, 4, "[C, H, W]", [8])),
        ((1, 2, 3, 4, 5), {"kernel_size": 2}, ("layers.a", "[C, H, W]", [1, 2, 3, 4, 5])),
        ((2, 3, 3), {"kernel_size": 4}, ("layers.a.kernel_size", "4", "[3, 3]", "0")),
        ((2, 9, 9), {"kernel_size": 3, "padding": 2}, ("layers.a.padding", "kernel_size", "3", "2")),
        ((2, 3, 3), {"kernel_size": [2]}, ("layers.a.kernel_size", "[2]")),
    ],
)
def test_mistakes_in_windows_are_named(
    kind: str, in_shape: tuple[int, ...], settings: dict[str, Any], facts: tuple
) -> None:
    with assert_raises(ConfigError, *facts):
        build(kind, in_shape, **settings)


def test_max_pool_counts_the_dilation() -> None:
    with assert_raises(ConfigError, "layers.a.kernel_size", "2", "[3, 3]", "0"):
        build("max_pool", (2, 3, 3), kernel_size=2, dilation=3)


@pytest.mark.parametrize("kind", ["adaptive_max_pool", "adaptive_avg_pool"])
@pytest.mark.parametrize(
    ("in_shape", "size", "facts"),
    [((8,), 1, ("layers.a", 2, 4, "[C, H, W]", [8])), ((2, 8, 8), [1, 2, 3], ("layers.a.output_size", "[1, 2, 3]"))],
)
def test_mistakes_in_adaptive_pools_are_named(kind: str, in_shape: tuple[int, ...], size: Any, facts: tuple) -> None:
    with assert_raises(ConfigError, *facts):
        build(kind, in_shape, output_size=size)
