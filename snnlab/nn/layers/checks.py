"""What layers ask of their settings and of the shape that reaches them; every refusal is one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from snnlab.errors import ConfigError
from snnlab.intervals import at_least

Shape = tuple[int, ...]
# One number for all axes, or one for each.
Size = int | Sequence[int]
Window = Annotated[Size, at_least(1)]
Padding = Annotated[Size, at_least(0)]

_AXES = {1: "[C, W]", 2: "[C, H, W]", 3: "[C, D, H, W]"}


def split_channels(kind: str, in_shape: Shape, dims: int) -> tuple[int, Shape]:
    """Return the number of channels and the size of the `dims` axes behind them.

    Raises:
        ConfigError: if the input has another number of axes.
    """
    if len(in_shape) != dims + 1:
        raise ConfigError("", f"{kind} needs an input of {dims + 1} axes {_AXES[dims]}, got {list(in_shape)}")
    return in_shape[0], in_shape[1:]


def behind_channels(kind: str, in_shape: Shape) -> Shape:
    """Return the size of the one to three axes behind the channels.

    Raises:
        ConfigError: if there are fewer or more.
    """
    if len(in_shape) - 1 not in _AXES:
        raise ConfigError("", f"{kind} needs an input of 2 to 4 axes, such as [C, H, W], got {list(in_shape)}")
    return in_shape[1:]


def first_axis(kind: str, in_shape: Shape) -> int:
    """Return the number of channels or features, the size of the first axis.

    Raises:
        ConfigError: if there is no axis.
    """
    return _axis(kind, in_shape, 0)


def last_axis(kind: str, in_shape: Shape) -> int:
    """Return the number of features, the size of the last axis.

    Raises:
        ConfigError: if there is no axis.
    """
    return _axis(kind, in_shape, -1)


def _axis(kind: str, in_shape: Shape, at: int) -> int:
    if not in_shape:
        raise ConfigError("", f"{kind} needs an input of at least 1 axis, got []")
    return in_shape[at]


def per_axis(name: str, size: Size, dims: int) -> Shape:
    """Return a setting as one number for each of `dims` axes.

    Raises:
        ConfigError: if it has another number of them.
    """
    sizes = (size,) * dims if isinstance(size, int) else tuple(size)
    if len(sizes) != dims:
        raise ConfigError(name, f"takes a number or a list of {dims}, got {list(sizes)}")
    return sizes


def require_groups(groups: int, in_channels: int, out_channels: int) -> None:
    """Raise a ConfigError if `groups` does not divide both numbers of channels."""
    if in_channels % groups or out_channels % groups:
        raise ConfigError(
            "groups",
            f"must divide the input's channels ({in_channels}) and out_channels ({out_channels}), got {groups}",
        )


def require_window(in_size: Shape, kernel: Shape, padding: Shape, dilation: Shape) -> None:
    """Raise a ConfigError if the dilated window is larger than the padded input."""
    for n, k, p, d in zip(in_size, kernel, padding, dilation, strict=True):
        if d * (k - 1) + 1 > n + 2 * p:
            dilated = "" if max(dilation) == 1 else f", dilation {short(dilation)}"
            raise ConfigError(
                "kernel_size",
                f"{short(kernel)} is larger than the input {list(in_size)} (padding {short(padding)}{dilated})",
            )


def short(sizes: Shape) -> str:
    """Return `5` for 5, 5 and `[5, 3]` for 5, 3."""
    return str(sizes[0] if len(set(sizes)) == 1 else list(sizes))
