"""Convolutions and transposed convolutions over one to three axes, as torch's modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from snnlab.compat import ConvNd
from snnlab.errors import ConfigError
from snnlab.nn.delays import DelaySetting
from snnlab.nn.layer import (
    LAYERS,
    Dt,
    InShape,
    Padding,
    PositiveSize,
    Shape,
    Size,
    per_axis,
    require_groups,
    require_window,
    size_text,
    split_channels,
)
from snnlab.nn.layers.delayed import DelayedConv
from snnlab.nn.layers.dense import apply_weight_norm
from snnlab.spec.interval import Count

Module = Callable[..., nn.Module]

_CONV: dict[int, Module] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSE: dict[int, Module] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def _conv(dims: int) -> Module:
    kind = f"conv{dims}d"

    def build(
        in_shape: InShape,
        dt: Dt = None,
        *,
        out_channels: Count,
        kernel_size: PositiveSize,
        stride: PositiveSize = 1,
        padding: Padding | Literal["same", "valid"] = 0,
        dilation: PositiveSize = 1,
        groups: Count = 1,
        bias: bool = True,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        weight_norm: bool = False,
        delay: DelaySetting = None,
    ) -> nn.Module:
        """Convolve the axes after the channels.

        Args:
            out_channels: Filters.
            kernel_size: Size of the kernel, one number or one per axis, like the next three arguments.
            stride: Stride of the kernel.
            padding: Cells added at both ends; or `same`, which keeps the size, or `valid`, which adds none.
            dilation: Distance between cells of the kernel.
            groups: Number of groups of channels without connections between groups.
            bias: Whether each filter has a bias.
            padding_mode: Contents of the added cells.
            weight_norm: Whether each filter is trained as length and direction.
            delay: Delays of the kernel's cells, `{max: 25, learn: true}`, max in ms; `snnlab list layers
                delay` names all settings.

        Shape:
            `[N, C, *size]` to `[N, out_channels, *size']`,
            size' = (size + 2 padding - dilation (kernel - 1) - 1) / stride + 1, rounded down.
        """
        in_channels, in_size = split_channels(kind, in_shape, dims)
        require_groups(groups, in_channels, out_channels)
        kernel, step, dilations = _sizes_per_axis(dims, kernel_size, stride, dilation)
        pad = padding if isinstance(padding, str) else per_axis("padding", padding, dims)
        if pad != "same":
            require_window(in_size, kernel, (0,) * dims if isinstance(pad, str) else pad, dilations)
        module = _CONV[dims](in_channels, out_channels, kernel, step, pad, dilations, groups, bias, padding_mode)
        if delay is None:
            module = _channels_last(module, dims)
        else:
            assert isinstance(module, ConvNd)
            module = DelayedConv(module, delay, dt)
        return apply_weight_norm(module, dim=0) if weight_norm else module

    build.__name__ = kind
    return build


def _conv_transpose(dims: int) -> Module:
    kind = f"conv_transpose{dims}d"

    def build(
        in_shape: InShape,
        *,
        out_channels: Count,
        kernel_size: PositiveSize,
        stride: PositiveSize = 1,
        padding: Padding = 0,
        output_padding: Padding = 0,
        dilation: PositiveSize = 1,
        groups: Count = 1,
        bias: bool = True,
        weight_norm: bool = False,
    ) -> nn.Module:
        """Apply a transposed convolution, which enlarges them, to the axes after the channels.

        Args:
            out_channels: Filters.
            kernel_size: Size of the kernel, one number or one per axis, like the next four arguments.
            stride: Stride of the kernel, in the output.
            padding: Cells removed at both ends of the output.
            output_padding: Cells added at one end of the output.
            dilation: Distance between cells of the kernel.
            groups: Number of groups of channels without connections between groups.
            bias: Whether each filter has a bias.
            weight_norm: Whether each filter is trained as length and direction; only for one group.

        Shape:
            `[N, C, *size]` to `[N, out_channels, *size']`,
            size' = (size - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1.
        """
        in_channels, in_size = split_channels(kind, in_shape, dims)
        require_groups(groups, in_channels, out_channels)
        if weight_norm and groups > 1:  # the weight's output axis contains only one group
            raise ConfigError("weight_norm", f"needs groups: 1 in a transposed convolution, got {groups}")
        kernel, step, dilations = _sizes_per_axis(dims, kernel_size, stride, dilation)
        pad = per_axis("padding", padding, dims)
        extra = per_axis("output_padding", output_padding, dims)
        if any(e >= max(s, d) for e, s, d in zip(extra, step, dilations, strict=True)):
            raise ConfigError(
                "output_padding",
                f"must be below stride {size_text(step)} or dilation {size_text(dilations)}, got {size_text(extra)}",
            )
        rows = zip(in_size, step, pad, dilations, kernel, extra, strict=True)
        out_size = [(n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, s, p, d, k, e in rows]
        if min(out_size) < 1:
            raise ConfigError("padding", f"{size_text(pad)} makes the output empty: {out_size}")
        module = _TRANSPOSE[dims](in_channels, out_channels, kernel, step, pad, extra, groups, bias, dilations)
        module = _channels_last(module, dims)
        return apply_weight_norm(module, dim=1) if weight_norm else module

    build.__name__ = kind
    return build


def _sizes_per_axis(dims: int, kernel_size: Size, stride: Size, dilation: Size) -> tuple[Shape, Shape, Shape]:
    """Return kernel size, stride and dilation for each axis."""
    sizes = {"kernel_size": kernel_size, "stride": stride, "dilation": dilation}
    kernel, step, dilations = (per_axis(name, size, dims) for name, size in sizes.items())
    return kernel, step, dilations


def _channels_last(module: nn.Module, dims: int) -> nn.Module:
    # Only weights with four axes have this format; with it outputs are channels-last too.
    return module.to(memory_format=torch.channels_last) if dims == 2 else module  # pyright: ignore[reportCallIssue]


# Each with its name, so that its settings are known without an import.
conv1d = LAYERS.register("conv1d")(_conv(1))
conv2d = LAYERS.register("conv2d")(_conv(2))
conv3d = LAYERS.register("conv3d")(_conv(3))
conv_transpose1d = LAYERS.register("conv_transpose1d")(_conv_transpose(1))
conv_transpose2d = LAYERS.register("conv_transpose2d")(_conv_transpose(2))
conv_transpose3d = LAYERS.register("conv_transpose3d")(_conv_transpose(3))
