"""Pooling over the one to three axes after the channels."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from snnlab.errors import ConfigError
from snnlab.nn.layer import (
    LAYERS,
    InShape,
    Padding,
    PositiveSize,
    Shape,
    Size,
    per_axis,
    require_window,
    size_text,
    spatial_size,
)

Module = Callable[..., nn.Module]

_MAX: dict[int, Module] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_AVG: dict[int, Module] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
_ADAPTIVE_MAX: dict[int, Module] = {1: nn.AdaptiveMaxPool1d, 2: nn.AdaptiveMaxPool2d, 3: nn.AdaptiveMaxPool3d}
_ADAPTIVE_AVG: dict[int, Module] = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


@LAYERS.register("max_pool")
def max_pool(
    in_shape: InShape,
    *,
    kernel_size: PositiveSize,
    stride: PositiveSize | None = None,
    padding: Padding = 0,
    dilation: PositiveSize = 1,
    ceil_mode: bool = False,
) -> nn.Module:
    """Return the largest value of each window; for spikes, whether there is one.

    Args:
        kernel_size: Size of the window, one number or one per axis, like the next three arguments.
        stride: Stride of the window; by default the window's size.
        padding: Cells added at both ends, at most half of the window.
        dilation: Distance between cells of the window.
        ceil_mode: Whether a window that is not full counts.

    Shape:
        `[N, C, *size]` to `[N, C, *size']`.
    """
    size = spatial_size("max_pool", in_shape)
    kernel, step, pad, dilations = _sizes_per_axis(size, kernel_size, stride, padding, dilation)
    return _MAX[len(size)](kernel, step, pad, dilations, ceil_mode=ceil_mode)


@LAYERS.register("avg_pool")
def avg_pool(
    in_shape: InShape,
    *,
    kernel_size: PositiveSize,
    stride: PositiveSize | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> nn.Module:
    """Return the mean of each window.

    Args:
        kernel_size: Size of the window, one number or one per axis, like the next two arguments.
        stride: Stride of the window; by default the window's size.
        padding: Zeros added at both ends, at most half of the window.
        ceil_mode: Whether a window that is not full counts.
        count_include_pad: Whether the added zeros count in the mean.

    Shape:
        `[N, C, *size]` to `[N, C, *size']`.
    """
    size = spatial_size("avg_pool", in_shape)
    kernel, step, pad, _ = _sizes_per_axis(size, kernel_size, stride, padding)
    return _AVG[len(size)](kernel, step, pad, ceil_mode=ceil_mode, count_include_pad=count_include_pad)


class SumPool(nn.Module):
    """The sum of each window; for spikes, their number.

    Args:
        kernel_size: Size of the window, one per axis.
        stride: Stride of the window.
        padding: Zeros added at both ends.

    Shape:
        `[N, C, *size]` to `[N, C, *size']`, one to three axes.
    """

    def __init__(self, kernel_size: Shape, stride: Shape, padding: Shape) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Return the sums, as means with divisor 1, so that sums of spikes are exact whole numbers."""
        kernel, stride, padding = self.kernel_size, self.stride, self.padding
        if len(kernel) == 3:
            return F.avg_pool3d(x, kernel, stride, padding, divisor_override=1)
        if len(kernel) == 2:
            return F.avg_pool2d(x, kernel, stride, padding, divisor_override=1)
        # avg_pool1d has no divisor_override, so add a second axis of one cell.
        pooled = F.avg_pool2d(x[..., None, :], (1, *kernel), (1, *stride), (0, *padding), divisor_override=1)
        return pooled.squeeze(-2)

    def extra_repr(self) -> str:
        """Return the sizes that `print(network)` shows."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


@LAYERS.register("sum_pool")
def sum_pool(
    in_shape: InShape,
    *,
    kernel_size: PositiveSize,
    stride: PositiveSize | None = None,
    padding: Padding = 0,
) -> SumPool:
    """Return the sum of each window; for spikes, their number.

    Args:
        kernel_size: Size of the window, one number or one per axis, like the next two arguments.
        stride: Stride of the window; by default the window's size.
        padding: Zeros added at both ends, at most half of the window.

    Shape:
        `[N, C, *size]` to `[N, C, *size']`.
    """
    kernel, step, pad, _ = _sizes_per_axis(spatial_size("sum_pool", in_shape), kernel_size, stride, padding)
    return SumPool(kernel, step, pad)


@LAYERS.register("adaptive_max_pool")
def adaptive_max_pool(in_shape: InShape, *, output_size: PositiveSize) -> nn.Module:
    """Return the largest value of each of `output_size` windows that cover the input.

    Args:
        output_size: Size of the output, one number or one per axis.

    Shape:
        `[N, C, *size]` to `[N, C, *output_size]`.
    """
    dims = len(spatial_size("adaptive_max_pool", in_shape))
    return _ADAPTIVE_MAX[dims](per_axis("output_size", output_size, dims))


@LAYERS.register("adaptive_avg_pool")
def adaptive_avg_pool(in_shape: InShape, *, output_size: PositiveSize) -> nn.Module:
    """Return the mean of each of `output_size` windows that cover the input.

    Args:
        output_size: Size of the output, one number or one per axis.

    Shape:
        `[N, C, *size]` to `[N, C, *output_size]`.
    """
    dims = len(spatial_size("adaptive_avg_pool", in_shape))
    return _ADAPTIVE_AVG[dims](per_axis("output_size", output_size, dims))


def _sizes_per_axis(
    in_size: Shape, kernel_size: Size, stride: Size | None, padding: Size, dilation: Size = 1
) -> tuple[Shape, Shape, Shape, Shape]:
    """Return kernel, stride, padding and dilation for each axis, or raise a ConfigError."""
    dims = len(in_size)
    kernel = per_axis("kernel_size", kernel_size, dims)
    step = kernel if stride is None else per_axis("stride", stride, dims)
    pad = per_axis("padding", padding, dims)
    dilations = per_axis("dilation", dilation, dims)
    if any(2 * p > k for p, k in zip(pad, kernel, strict=True)):
        raise ConfigError("padding", f"must be at most half of kernel_size {size_text(kernel)}, got {size_text(pad)}")
    require_window(in_size, kernel, pad, dilations)
    return kernel, step, pad, dilations
