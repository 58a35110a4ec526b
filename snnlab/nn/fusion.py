"""Neurons that do a neighbour's work on the way: the pooling behind them, and the convolution of events before them.

Convolutions go through the spikes that they are given one by one where these are few.

Nothing of a network changes: names, modules and state dict stay as they are, the counts are those before the pooling,
and all numbers are the same bit for bit, but for the rounding of a convolution of events or spikes. A layer with a hook
runs by itself, and so do its neighbours.

Axes: T steps, B samples.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from snnlab.compat import bare
from snnlab.event_frames import EventFrames, dense
from snnlab.kernels.function import Output, kernel_for, loops_run, resolve
from snnlab.kernels.layout import Pool
from snnlab.nn.neurons.base import Neuron, exact, rounded
from snnlab.nn.temporal import OWN, Counts, fold_time

if TYPE_CHECKING:
    from snnlab.nn.network import Network

log = logging.getLogger(__name__)

# Layers whose output is a tensor of its own that their backward pass does not need.
_GIVES_AWAY = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)

# Layers that give zeros for zeros.
_KEEPS_ZEROS = (nn.MaxPool2d, nn.AvgPool2d, nn.Dropout, nn.Dropout2d, nn.Identity)


class Fused(NamedTuple):
    """A neuron that also pools its spikes, works in the memory of its input, or convolves the events that drive it.

    Attributes:
        neuron: The neuron.
        pooling: The pooling layer that follows, or None.
        pool: What that does.
        overwrites: Whether the input's memory may be used.
        convolution: The convolution before it, whose input are events, or None.
    """

    neuron: Neuron
    pooling: nn.Module | None
    pool: Pool | None
    overwrites: bool
    convolution: nn.Conv2d | None = None

    def __call__(
        self,
        x: Tensor | EventFrames,
        state: Any = None,
        *,
        lengths: Tensor | None = None,
        counts: Counts | None = None,
    ) -> tuple[Tensor, Any]:
        """Run all steps; see `TemporalLayer`."""
        if self.convolution is not None:
            done = self._on_events(self.convolution, x, state, lengths, counts)
            if done is not None:
                return self._pooled(done)
            x = fold_time(self.convolution, dense(x))
        x = exact(dense(x))
        if self.pool is not None and not self.pool.fits(x):
            _say(type(self.pooling).__name__, f"an input of {list(x.shape[1:])} does not lie channels-last")
        return self._pooled(self.neuron.run(x, state, lengths, counts, pool=self.pool, inplace=self.overwrites))

    def _pooled(self, done: Output) -> tuple[Tensor, Any]:
        return (done.y if self.pooling is None or done.pooled else fold_time(self.pooling, done.y)), done.state

    def _on_events(
        self,
        convolution: nn.Conv2d,
        x: Tensor | EventFrames,
        state: Any,
        lengths: Tensor | None,
        counts: Counts | None,
    ) -> Output | None:
        """Run all steps on events; None where these have to be frames."""
        like, neuron = x if isinstance(x, Tensor) else x.like, self.neuron
        if not renders(neuron, like) or like.requires_grad or torch.is_autocast_enabled(like.device.type):
            return None
        padding = convolution.padding
        if not _fits(convolution, x.shape, like.dtype) or isinstance(padding, str):
            return None
        # Here, because numba takes a second to import, which only who runs a network should wait for.
        from snnlab.kernels import events

        layer = events.Convolution(convolution.weight, convolution.bias, (padding[0], padding[1]))
        drive = like.new_empty(1, x.shape[1], *layer.image(x.shape[2:]))
        state = neuron.initial_state(drive[0]) if state is None else state
        k, grad = rounded(neuron.coefficients(), like), any(part.requires_grad for part in convolution.parameters())
        pool = self.pool
        found = kernel_for(
            neuron.step, drive, state, k, backend=neuron.backend, pool=pool, grad=torch.is_grad_enabled() and grad
        )
        if isinstance(found, str):
            return None
        if pool is not None and pool.kind == "max" and not found.traced.step.binary:
            pool = None
        count = neuron.spiking and counts is not None
        done = events.run(found, x, layer, state, k, lengths, count=count, pool=pool)
        if counts is not None and done.counts is not None:
            counts[OWN] = done.counts
        return done


class OnSpikes(NamedTuple):
    """A convolution behind spikes, which multiplies those alone where they are few.

    Attributes:
        convolution: The convolution.
        neuron: What spikes.
    """

    convolution: nn.Conv2d
    neuron: Neuron

    def __call__(self, x: Tensor) -> Tensor:
        """Return what the convolution does, up to the rounding of its sums."""
        plain = not renders(self.neuron, x) or torch.is_autocast_enabled(x.device.type)
        if plain or not _fits(self.convolution, torch.Size((1, *x.shape)), x.dtype):
            return self.convolution(x)
        from snnlab.kernels.spike_conv import convolution

        layer, padding = self.convolution, self.convolution.padding
        assert not isinstance(padding, str)
        return convolution(x, layer.weight, layer.bias, (padding[0], padding[1]))


def take_events(network: Network) -> bool:
    """Let a network's first layer, if it is a convolution with neurons behind it, sum its input event by event.

    That is the faster way where few cells of a frame hold events, and differs from the usual one in its rounding.
    Returns whether the network begins with such a layer.
    """
    (_, first), (_, second) = [*network.line(), ("", nn.Identity()), ("", nn.Identity())][:2]
    fits = _convolves(first) and isinstance(second, Neuron) and _may_fuse(second)
    if fits and isinstance(second, Neuron):
        second.on_events = True
    return fits


def begins_on_events(line: Iterable[tuple[str, nn.Module]]) -> bool:
    """Return whether layers that are applied in order begin with one that sums its input event by event."""
    (_, first), (_, second) = [*line, ("", nn.Identity()), ("", nn.Identity())][:2]
    return _begins_on_events(first, second)


def fuse(
    layers: Iterable[tuple[str, nn.Module]], preceding: Sequence[tuple[str, nn.Module]] = ()
) -> Iterator[tuple[str, nn.Module | Fused | OnSpikes]]:
    """Yield what runs in the place of layers that are applied in order, with the name of the first of each group.

    Args:
        layers: The layers.
        preceding: Those before them, as far as they are known.
    """
    line = list(layers)
    at = 0
    while at < len(line):
        name, layer = line[at]
        before = line[at - 1][1] if at else None
        if at == 0 and len(line) > 1 and _begins_on_events(layer, line[1][1]):
            at += 1
            continue
        if not isinstance(layer, Neuron) or not _may_fuse(layer):
            spiking = _spiking([before for _, before in (*preceding, *line[:at])])
            yield name, OnSpikes(layer, spiking) if _convolves(layer) and spiking is not None else layer
            at += 1
            continue
        pool = None if layer.graded else _pooling(line[at + 1 :])
        pooling = None if pool is None else line[at + 1][1]
        overwrites = before is not None and _gives_away(before)
        convolution = before if at == 1 and before is not None and _begins_on_events(before, layer) else None
        yield name, Fused(layer, pooling, pool, overwrites, convolution)
        at += 1 if pool is None else 2


def _may_fuse(neuron: Neuron) -> bool:
    own = type(neuron).forward is Neuron.forward and type(neuron).run is Neuron.run
    return neuron.fuses and own and neuron.spiking and bare(neuron)


def renders(neuron: Neuron, like: Tensor) -> bool:
    """Return whether rendered loops for CPUs run a neuron's input, as far as device and precision tell."""
    return like.device.type == "cpu" and loops_run() and resolve(neuron.backend, like.device, like.dtype) == "numba"


def _spiking(before: Sequence[nn.Module]) -> Neuron | None:
    """Return the neurons whose spikes are given on, pooled or not, by the last of some layers."""
    for layer in reversed(before):
        if isinstance(layer, Neuron):
            return layer if layer.spiking and layer.fuses else None
        if not isinstance(layer, _KEEPS_ZEROS):
            return None
    return None


def _pooling(behind: Sequence[tuple[str, nn.Module]]) -> Pool | None:
    """Return the pooling right behind a neuron, if there is one that can be done on the way."""
    if not behind or not isinstance(behind[0][1], nn.MaxPool2d | nn.AvgPool2d):
        return None
    name, layer = behind[0]
    size: Any = layer.kernel_size if isinstance(layer.kernel_size, tuple) else (layer.kernel_size, layer.kernel_size)
    square = size[0] == size[1] and layer.stride in (size, size[0]) and layer.padding in (0, (0, 0))
    if type(layer) not in (nn.MaxPool2d, nn.AvgPool2d) or not bare(layer):
        _say(name, "it has a hook, or is of a class of its own")
    elif not square or layer.ceil_mode or getattr(layer, "dilation", 1) not in (1, (1, 1)):
        _say(name, "its windows are not squares beside one another")
    elif isinstance(layer, nn.MaxPool2d) and layer.return_indices:
        _say(name, "it returns where the maxima are")
    elif getattr(layer, "divisor_override", None) is not None:
        _say(name, "it has a divisor of its own")
    else:
        return Pool("max" if isinstance(layer, nn.MaxPool2d) else "average", size[0])
    return None


def _begins_on_events(first: nn.Module, second: nn.Module) -> TypeGuard[nn.Conv2d]:
    return isinstance(second, Neuron) and second.on_events and _may_fuse(second) and _convolves(first)


def _convolves(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    return (
        type(layer) is nn.Conv2d
        and bare(layer)
        and layer.stride == layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


def _fits(convolution: nn.Conv2d, shape: torch.Size, dtype: torch.dtype) -> bool:
    """Return whether frames are what a convolution takes; others it refuses by itself, and in its own words."""
    if len(shape) != 5 or shape[2] != convolution.in_channels or dtype != convolution.weight.dtype:
        return False
    sizes = zip(shape[3:], convolution.padding, convolution.kernel_size, strict=True)
    return all(size + 2 * int(padding) >= kernel for size, padding, kernel in sizes)


def _gives_away(layer: nn.Module) -> bool:
    return type(layer) in _GIVES_AWAY and bare(layer)


@cache  # once, and not at each training step
def _say(name: str, why: str) -> None:
    log.debug("%s is not fused with the neuron before it: %s", name, why)
