"""Stages of a plan: a single layer, or several fused layers.

Outputs and gradients equal those of the separate layers bit for bit, except for rounding in sums over events or spikes.

Axes: T steps, B samples, P channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from snnlab.event_frames import EventFrames, dense
from snnlab.kernels import events
from snnlab.kernels.function import EXACT, KernelOutput, kernel_for
from snnlab.kernels.layout import Pool
from snnlab.kernels.max_pool import PoolWindows, max_pool
from snnlab.kernels.spike_conv import convolution
from snnlab.nn.layer import OWN_SPIKES, Counts, TemporalLayer, fold_time
from snnlab.nn.neurons.base import Neuron, backend_of, cast_coefficients, to_full_precision

NamedLayers = Sequence[tuple[str, nn.Module]]

# Up to this fraction of cells with events, a first convolution is faster event by event; below this number of cells,
# both ways are equally fast.
SPARSE_FRACTION, MIN_CELLS = 0.06, 2**16


@dataclass(frozen=True)
class Stage:
    """One layer that is not fused.

    Attributes:
        name: Name of the layer, of its state and of its counts.
        layer: The layer.
        to_channels_last: Whether it converts its input to channels-last memory first.
    """

    name: str
    layer: nn.Module
    to_channels_last: bool = field(default=False, kw_only=True)

    @property
    def layers(self) -> NamedLayers:
        """The layers of this stage, in order."""
        return ((self.name, self.layer),)

    def run(
        self, x: Tensor | EventFrames, state: Any, lengths: Tensor | None, counts: Counts | None
    ) -> tuple[Tensor, Any]:
        """Run all steps; arguments and results are those of a `TemporalLayer`."""
        if isinstance(self.layer, TemporalLayer):
            return self.layer(self.frames(x), state, lengths=lengths, counts=counts)
        return self.apply_to_steps(self.layer, x), None

    def frames(self, x: Tensor | EventFrames) -> Tensor:
        """Return an input as a tensor, in the memory format of the stage."""
        return channels_last(dense(x)) if self.to_channels_last else dense(x)

    def apply_to_steps(self, layer: nn.Module, x: Tensor | EventFrames) -> Tensor:
        """Apply a layer without time to all steps of an input."""
        x = self.frames(x)
        if self.to_channels_last and x.shape[2] == 1:
            return fold_time(lambda frames: layer(_with_channels_last_strides(frames)), x)
        return fold_time(layer, x)

    def description(self) -> str:
        """Return how the stage runs, as text."""
        if isinstance(self.layer, Neuron):
            return "one loop"
        return "its own code" if isinstance(self.layer, TemporalLayer) else "PyTorch, all steps as one batch"


@dataclass(frozen=True)
class SpikeConvolution(Stage):
    """A convolution of spikes, which processes only the spikes if they are few."""

    layer: nn.Conv2d

    def run(
        self, x: Tensor | EventFrames, state: Any, lengths: Tensor | None, counts: Counts | None
    ) -> tuple[Tensor, Any]:
        """Run all steps; the result equals the layer's up to rounding."""
        layer, x = self.layer, dense(x)
        if not accepts_frames(layer, torch.Size(x.shape[2:]), x.dtype):
            return fold_time(layer, x), None
        return fold_time(lambda frames: convolution(frames, layer.weight, layer.bias, padding_of(layer)), x), None

    def description(self) -> str:
        """Return how the stage runs, as text."""
        return "a convolution of only the spikes if these are few, else PyTorch's"


@dataclass(frozen=True)
class CompactMaxPool(Stage):
    """A max pooling that saves a byte for each output for the backward pass, and not its input.

    Attributes:
        windows: Its windows.
    """

    layer: nn.MaxPool2d
    windows: PoolWindows

    def run(
        self, x: Tensor | EventFrames, state: Any, lengths: Tensor | None, counts: Counts | None
    ) -> tuple[Tensor, Any]:
        """Run all steps; the result equals the layer's."""
        frames = self.frames(x)
        if not self._accepts(frames):
            return fold_time(self.layer, frames), None
        return fold_time(lambda images: max_pool(images, self.windows), frames), None

    def _accepts(self, x: Tensor) -> bool:
        if not x.requires_grad or x.dim() != 5 or x.dtype not in EXACT or x.device.type != "cpu" or not x.numel():
            return False
        sizes = zip(x.shape[3:], self.windows.size, self.windows.padding, strict=True)
        return x.permute(0, 1, 3, 4, 2).is_contiguous() and all(n + 2 * pad >= size for n, size, pad in sizes)

    def description(self) -> str:
        """Return how the stage runs, as text."""
        return "a max pooling that saves a byte for each output"


@dataclass(frozen=True)
class FusedNeuron(Stage):
    """Neurons that also do the pooling after them, or work in the memory of their input.

    Attributes:
        pooling: The pooling layer with its name, or None.
        pool: Parameters of the pooling, or None.
        inplace: Whether the neurons may overwrite their input.
    """

    layer: Neuron
    pooling: tuple[str, nn.Module] | None
    pool: Pool | None
    inplace: bool

    @property
    def layers(self) -> NamedLayers:
        """The neurons, then the pooling that is fused with them, if any."""
        return ((self.name, self.layer), *([] if self.pooling is None else [self.pooling]))

    def run(
        self, x: Tensor | EventFrames, state: Any, lengths: Tensor | None, counts: Counts | None
    ) -> tuple[Tensor, Any]:
        """Run all steps; arguments and results are those of a `TemporalLayer`."""
        return self._apply_pooling(
            self.layer.run(
                to_full_precision(self.frames(x)), state, lengths, counts, pool=self.pool, inplace=self.inplace
            )
        )

    def _apply_pooling(self, done: KernelOutput) -> tuple[Tensor, Any]:
        """Pool the spikes unless the kernel has pooled them; return them and the state."""
        return (done.y if self.pooling is None or done.pooled else fold_time(self.pooling[1], done.y)), done.state

    def description(self) -> str:
        """Return how the stage runs, as text."""
        return "one loop" + (" in the memory of its input" if self.inplace else "")


@dataclass(frozen=True)
class FusedEvents(FusedNeuron):
    """A network's first convolution, its neurons and their pooling, run on events if few cells hold any.

    Attributes:
        first: The convolution with its name.
        always: Run on events for any number of cells.
    """

    first: tuple[str, nn.Conv2d]
    always: bool

    @property
    def layers(self) -> NamedLayers:
        """The layers of this stage, in order."""
        return (self.first, *super().layers)

    def run(
        self, x: Tensor | EventFrames, state: Any, lengths: Tensor | None, counts: Counts | None
    ) -> tuple[Tensor, Any]:
        """Run all steps; arguments and results are those of a `TemporalLayer`."""
        done = self._on_events(x, state, lengths, counts)
        return super().run(self.apply_to_steps(self.first[1], x), state, lengths, counts) if done is None else done

    def _on_events(
        self, x: Tensor | EventFrames, state: Any, lengths: Tensor | None, counts: Counts | None
    ) -> tuple[Tensor, Any] | None:
        """Run all steps on events; return None if the input must be frames."""
        if (
            isinstance(x, Tensor)
            and not self.always
            and (x.numel() < MIN_CELLS or not events.has_few_events(x, SPARSE_FRACTION))
        ):
            return None
        like = x if isinstance(x, Tensor) else x.like
        neuron, pool, convolution = self.layer, self.pool, self.first[1]
        layer = events.Convolution(convolution.weight, convolution.bias, padding_of(convolution))
        drive = like.new_empty(1, x.shape[1], *layer.image(x.shape[2:]))
        state = neuron.initial_state(drive[0]) if state is None else state
        k = cast_coefficients(neuron.coefficients(), like)
        learns = layer.weight.requires_grad or (layer.bias is not None and layer.bias.requires_grad)
        grad = torch.is_grad_enabled() and learns
        kernel = kernel_for(neuron.step, drive, state, k, backend=backend_of(neuron), pool=pool, grad=grad)
        if isinstance(kernel, str):
            return None
        if pool is not None and pool.kind == "max" and not kernel.traced.step.binary:
            pool = None
        count = neuron.spiking and counts is not None
        done = events.run(kernel, x, layer, state, k, lengths, count=count, pool=pool)
        if counts is not None and done.counts is not None:
            counts[OWN_SPIKES] = done.counts
        return self._apply_pooling(done)

    def description(self) -> str:
        """Return how the stage runs, as text."""
        few = (
            ""
            if self.always
            else f" if at most {SPARSE_FRACTION:.0%} of the cells hold any, else PyTorch's convolution, then one loop"
        )
        return f"one loop over the events{few}"


# Called with a stage, its input, its output, the state before it, the lengths, and the stage's own counts.
StageObserver = Callable[[Stage, Tensor, Tensor, Any, Tensor | None, Counts | None], None]
_observer: ContextVar[StageObserver | None] = ContextVar("observer", default=None)


@contextmanager
def observe_stages(observer: StageObserver) -> Iterator[None]:
    """Call an observer after each stage of each network in this thread, also in blocks; a hook would prevent fusion.

    Args:
        observer: The observer; it must not change anything.
    """
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def run_stage(
    stage: Stage, x: Tensor | EventFrames, state: Any, lengths: Tensor | None, counts: Counts | None
) -> tuple[Tensor, Any]:
    """Run all steps of a stage, and add its counts under its name."""
    own: Counts | None = None if counts is None else {}
    y, after = stage.run(x, state, lengths, own)
    # torch.compile cannot trace a context variable.
    if not torch.compiler.is_compiling() and (observer := _observer.get()) is not None:
        observer(stage, dense(x), y, state, lengths, own)
    if counts is not None:
        counts.update({f"{stage.name}.{key}" if key != OWN_SPIKES else stage.name: n for key, n in (own or {}).items()})
    return y, after


def run_stages(
    stages: Sequence[Stage],
    x: Tensor | EventFrames,
    before: Mapping[str, Any],
    after: dict[str, Any],
    lengths: Tensor | None,
    counts: Counts | None,
) -> Tensor:
    """Run all steps of stages in order, fill `after` with their states, and return the output of the last."""
    for stage in stages:
        x, state = run_stage(stage, x, before.get(stage.name), lengths, counts)
        if state is not None:
            after[stage.name] = state
    return dense(x)


def channels_last(x: Tensor) -> Tensor:
    """Return frames in channels-last memory; without a copy if they already are.

    Shape:
        x: `[T, B, P, H, W]`.
    """
    return x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def _with_channels_last_strides(x: Tensor) -> Tensor:
    """Return images `[N, 1, H, W]` with channels-last strides, by which a convolution chooses its memory format."""
    return x.squeeze(1).unsqueeze(-1).movedim(-1, 1)


def padding_of(convolution: nn.Conv2d) -> tuple[int, int]:
    """Return the padding of a convolution, vertical and horizontal."""
    assert not isinstance(convolution.padding, str)
    return convolution.padding[0], convolution.padding[1]


def accepts_frames(convolution: nn.Conv2d, sample: torch.Size, dtype: torch.dtype) -> bool:
    """Return whether a convolution accepts frames; the layer itself raises the error for others."""
    if len(sample) != 3 or sample[0] != convolution.in_channels or dtype != convolution.weight.dtype:
        return False
    sizes = zip(sample[1:], padding_of(convolution), convolution.kernel_size, strict=True)
    return all(size + 2 * padding >= kernel for size, padding, kernel in sizes)
