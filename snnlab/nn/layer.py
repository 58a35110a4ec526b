"""Layers: their registry, the base class of temporal layers, and checks of settings and shapes.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal, get_args

from torch import Tensor, nn

from snnlab.compat import BatchNormNd
from snnlab.errors import ConfigError, SnnlabError
from snnlab.kernels.reference import (
    copy_to as copy_to,
    in_host_memory as in_host_memory,
    short_lengths as short_lengths,
    valid_steps as valid_steps,
)
from snnlab.registry import Registry
from snnlab.spec.field import Help
from snnlab.spec.interval import above, at_least

LAYERS = Registry("layer")
Shape = tuple[int, ...]
# Arguments of many layers, which snnlab passes.
InShape = Annotated[Shape, Help("Shape of one sample at one step.")]
Dt = Annotated[float | None, "ms", above(0), Help("Length of a step, ms; None where steps have no length.")]
NumSteps = Annotated[int | None, at_least(1), Help("Steps of a recording; None if unknown.")]
Counts = dict[str, Tensor]
# The key under which a layer counts its own spikes; the enclosing network replaces it with the layer's name.
OWN_SPIKES = ""
# Prefix of the keys of other counts than spikes; no layer's name begins with it.
EXTRA_PREFIX = "@"
# The input steps that an output step depends on. `step`: the same step alone. `past`: also earlier steps, through the
# state, so that time may be split. `given`: all steps of one call, for statistics or random draws. `recording`: all
# steps of the recording, which one call must hold in training.
Reach = Literal["step", "past", "given", "recording"]


class TemporalLayer(nn.Module):
    """A layer that gets all steps at once and an explicit state, as an argument and a result, never stored.

    A subclass defines `forward(x, state=None, *, lengths=None, counts=None) -> (y, state)`:

    Args:
        x: Input of all steps.
        state: The state that an earlier call returned; None starts at rest.
        lengths: Valid steps of each sample; later steps output zeros and do not change the state. Best in host memory:
            a layer that reads them waits for a device that they are on.
        counts: A dict to fill: a spiking layer adds each neuron's spikes, summed over valid steps, under `OWN_SPIKES`.

    Shape:
        x: `[T, B, ...]`; lengths: `[B]`, int64; y: `[T, B, ...]`; counts: `[B, ...]`.
    """

    reach: Reach = "given"
    """The input steps that an output step depends on."""
    whole_recording: bool = False
    """Whether one call must hold all steps of a recording, in evaluation too."""

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Any]:
        """Return the output of all steps and the state after the last."""
        x = args[0] if args else kwargs.get("x")
        if x is not None and x.shape[0] == 0:
            raise ValueError(f"{type(self).__name__} needs 1 step or more, x is [T, B, ...], got {list(x.shape)}")
        return super().__call__(*args, **kwargs)

    def __prepare_scriptable__(self) -> None:
        """Reject `torch.jit.script`, which calls this first."""
        raise SnnlabError(
            "",
            f"torch.jit.script cannot read {type(self).__name__}, whose states are NamedTuples in dicts",
            "use torch.export.export(network, (x,))",
        )


class Scheduled(ABC):
    """A module with a value that changes over the first epochs of a training.

    Attributes:
        schedule_fraction: Fraction of the epochs in which it changes; None: it does not change.
    """

    schedule_fraction: float | None

    @abstractmethod
    def set_progress(self, progress: float) -> None:
        """Set the value; `progress`: completed fraction 0..1 of the epochs in which it changes."""


def scheduled_modules(network: nn.Module) -> list[Scheduled]:
    """Return the modules of a network whose value changes."""
    return [one for one in network.modules() if isinstance(one, Scheduled) and one.schedule_fraction is not None]


def reach_of(layers: Iterable[nn.Module]) -> Reach:
    """Return the widest reach of some layers; it is `step` for a layer without time, but `given` for a batch norm."""
    known: tuple[Reach, ...] = get_args(Reach)
    found = ((layer, "given" if isinstance(layer, BatchNormNd) else "step") for layer in layers)
    return known[max((known.index(getattr(layer, "reach", own)) for layer, own in found), default=0)]


def whole_recording_layer(network: nn.Module) -> str | None:
    """Return the name of the first layer that needs a whole recording in one call, in evaluation too, or None."""
    return next((name for name, layer in network.named_modules() if getattr(layer, "whole_recording", False)), None)


def add_counts(counts: Counts | None, own: Counts) -> None:
    """Add the counts of some steps to those of others; nothing if none are wanted."""
    if counts is not None:
        counts.update({key: counts[key] + n if key in counts else n for key, n in own.items()})


def only_spikes(counts: Counts) -> Counts:
    """Return only the spike counts, without other counts of layers."""
    return {key: n for key, n in counts.items() if not key.rpartition(".")[2].startswith(EXTRA_PREFIX)}


def fold_time(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a layer without time to all steps at once, as one batch of T*B samples.

    Shape:
        x: `[T, B, ...]`; returns `[T, B, ...]`.
    """
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


# One number for all axes, or one for each.
Size = int | Sequence[int]
PositiveSize = Annotated[Size, at_least(1)]
Padding = Annotated[Size, at_least(0)]
_AXES = {1: "[C, W]", 2: "[C, H, W]", 3: "[C, D, H, W]"}


def split_channels(kind: str, in_shape: Shape, dims: int) -> tuple[int, Shape]:
    """Return the number of channels and the size of the `dims` axes after them."""
    if len(in_shape) != dims + 1:
        raise ConfigError("", f"{kind} needs an input of {dims + 1} axes {_AXES[dims]}, got {list(in_shape)}")
    return in_shape[0], in_shape[1:]


def spatial_size(kind: str, in_shape: Shape) -> Shape:
    """Return the size of the one to three axes after the channels."""
    if len(in_shape) - 1 not in _AXES:
        raise ConfigError("", f"{kind} needs an input of 2 to 4 axes, such as [C, H, W], got {list(in_shape)}")
    return in_shape[1:]


def first_axis(kind: str, in_shape: Shape) -> int:
    """Return the number of channels or features, the size of the first axis."""
    return _axis_size(kind, in_shape, 0)


def last_axis(kind: str, in_shape: Shape) -> int:
    """Return the number of features, the size of the last axis."""
    return _axis_size(kind, in_shape, -1)


def _axis_size(kind: str, in_shape: Shape, at: int) -> int:
    if not in_shape:
        raise ConfigError("", f"{kind} needs an input of at least 1 axis, got []")
    return in_shape[at]


def per_axis(name: str, size: Size, dims: int) -> Shape:
    """Return a setting as one number for each of `dims` axes."""
    sizes = (size,) * dims if isinstance(size, int) else tuple(size)
    if len(sizes) != dims:
        raise ConfigError(name, f"must be a number or a list of {dims}, got {list(sizes)}")
    return sizes


def require_groups(groups: int, in_channels: int, out_channels: int) -> None:
    """Raise a ConfigError if `groups` does not divide both numbers of channels."""
    if in_channels % groups or out_channels % groups:
        raise ConfigError(
            "groups",
            f"must divide the input's channels ({in_channels}) and out_channels ({out_channels}), got {groups}",
        )


def near_divisors(number: int, wanted: int) -> list[int]:
    """Return the nearest divisors of `number` below and above `wanted`, if they exist."""
    divisors = [n for n in range(1, number + 1) if number % n == 0]
    return [n for n in divisors if n < wanted][-1:] + [n for n in divisors if n > wanted][:1]


def require_window(in_size: Shape, kernel: Shape, padding: Shape, dilation: Shape) -> None:
    """Raise a ConfigError if the dilated window is larger than the padded input."""
    for n, k, p, d in zip(in_size, kernel, padding, dilation, strict=True):
        if d * (k - 1) + 1 > n + 2 * p:
            dilated = "" if max(dilation) == 1 else f", dilation {size_text(dilation)}"
            raise ConfigError(
                "kernel_size",
                f"{size_text(kernel)} is larger than the input {list(in_size)} (padding {size_text(padding)}{dilated})",
            )


def size_text(sizes: Shape) -> str:
    """Return `5` for (5, 5) and `[5, 3]` for (5, 3)."""
    return str(sizes[0] if len(set(sizes)) == 1 else list(sizes))
