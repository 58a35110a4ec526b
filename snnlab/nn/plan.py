"""How layers that are applied in order run: which of them together, by what, and in which order of memory.

A plan is made once for each kind of input and kept with its network. Nothing of the network changes by it: names,
modules and state dict stay as they are, counts are those before a pooling, and all numbers are the same bit for bit,
but for the rounding of a convolution of events or spikes. A layer with a hook runs by itself, and so do its neighbours.

Axes: T steps, B samples, P channels, H rows, W columns.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from snnlab.compat import bare
from snnlab.event_frames import EventFrames, dense
from snnlab.kernels.function import Output, kernel_for, loops_run, resolve
from snnlab.kernels.layout import Pool
from snnlab.nn.neurons.base import Neuron, backend_of, exact, rounded
from snnlab.nn.temporal import OWN, Counts, TemporalLayer, fold_time

log = logging.getLogger(__name__)

Line = Sequence[tuple[str, nn.Module]]
SparseInput = Literal["auto", "always", "never"]

# Part of the cells of frames that hold events up to which a first convolution is faster event by event, and cells
# below which it does not matter.
SPARSE, SMALL = 0.06, 2**16

# Kinds of input that a network keeps plans for; the oldest goes first.
_MOST = 32

# Layers whose output is a tensor of its own that their backward pass does not need.
_OWN_OUTPUT = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
# Layers that give zeros for zeros.
_KEEPS_ZEROS = (nn.MaxPool2d, nn.AvgPool2d, nn.Dropout, nn.Dropout2d, nn.Identity)
# What a plan depends on of convolutions and poolings.
_SIZES = (
    *("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"),
    *("ceil_mode", "return_indices", "divisor_override"),
)


class Settings(NamedTuple):
    """How a network is asked to run; see `Network.configure`."""

    fuse: bool = True
    sparse_input: SparseInput = "auto"
    checkpoint_segments: int = 0


class Kind(NamedTuple):
    """What of an input, and of the mode in which a network runs, a plan depends on; never a value.

    Attributes:
        sample: Shape of a sample at one step; None where it is not known.
        dtype: Precision.
        device: Device.
        channels_last: Whether images `[T, B, P, H, W]` have their channels side by side.
        listed: Whether it is lists of events.
        wants_grad: Whether a gradient goes to the input.
        grad: Whether autograd records.
        autocast: The precision under autocast, or None.
        loops: Whether rendered loops run, see `kernels.function.without_loops`.
    """

    sample: torch.Size | None
    dtype: torch.dtype
    device: torch.device
    channels_last: bool
    listed: bool
    wants_grad: bool
    grad: bool
    autocast: torch.dtype | None
    loops: bool

    @classmethod
    def of(cls, x: Tensor | EventFrames) -> Kind:
        """Return the kind of an input."""
        like, device = (x, x.device.type) if isinstance(x, Tensor) else (x.like, "cpu")
        last = isinstance(x, Tensor) and x.dim() == 5 and x.stride(2) == 1 and x.permute(0, 1, 3, 4, 2).is_contiguous()
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        grad = torch.is_grad_enabled()
        wants = like.requires_grad
        listed = not isinstance(x, Tensor)
        return cls(torch.Size(x.shape[2:]), like.dtype, like.device, last, listed, wants, grad, autocast, loops_run())


@dataclass(frozen=True)
class Stage:
    """One layer that runs by itself.

    Attributes:
        name: Its name, and that of its state and counts.
        layer: The layer.
        lays: Whether it puts the channels of its input side by side first.
    """

    name: str
    layer: nn.Module
    lays: bool = field(default=False, kw_only=True)

    @property
    def layers(self) -> Line:
        """All layers that run here, in order."""
        return ((self.name, self.layer),)

    def run(
        self, x: Tensor | EventFrames, state: Any, lengths: Tensor | None, counts: Counts | None
    ) -> tuple[Tensor, Any]:
        """Run all steps; see `TemporalLayer`."""
        x = self.frames(x)
        if isinstance(self.layer, TemporalLayer):
            return self.layer(x, state, lengths=lengths, counts=counts)
        return fold_time(self.layer, x), None

    def frames(self, x: Tensor | EventFrames) -> Tensor:
        """Return an input as a tensor, as it shall lie."""
        return channels_last(dense(x)) if self.lays else dense(x)

    def words(self) -> str:
        """Return what runs it."""
        if isinstance(self.layer, Neuron):
            return "one loop"
        return "its own code" if isinstance(self.layer, TemporalLayer) else "PyTorch, all steps as one batch"


@dataclass(frozen=True)
class SpikeConvolution(Stage):
    """A convolution behind spikes, which multiplies those alone where they are few."""

    layer: nn.Conv2d

    def run(
        self, x: Tensor | EventFrames, state: Any, lengths: Tensor | None, counts: Counts | None
    ) -> tuple[Tensor, Any]:
        """Run all steps; the same as the layer, up to the rounding of its sums."""
        # Here, because numba takes a second to import, which only who runs a network should wait for.
        from snnlab.kernels.spike_conv import convolution

        layer, x = self.layer, dense(x)
        if not _takes(layer, torch.Size(x.shape[2:]), x.dtype):
            return fold_time(layer, x), None
        return fold_time(lambda frames: convolution(frames, layer.weight, layer.bias, _padding(layer)), x), None

    def words(self) -> str:
        """Return what runs it."""
        return "a convolution of its spikes alone where these are few, else PyTorch's"


@dataclass(frozen=True)
class FusedNeuron(Stage):
    """Neurons that also do the pooling behind them, or work in the memory of their input.

    Attributes:
        pooling: The pooling layer with its name, or None.
        pool: What that does.
        inplace: Whether the input's memory may be used.
    """

    layer: Neuron
    pooling: tuple[str, nn.Module] | None
    pool: Pool | None
    inplace: bool

    @property
    def layers(self) -> Line:
        """All layers that run here, in order."""
        return ((self.name, self.layer), *([] if self.pooling is None else [self.pooling]))

    def run(
        self, x: Tensor | EventFrames, state: Any, lengths: Tensor | None, counts: Counts | None
    ) -> tuple[Tensor, Any]:
        """Run all steps; see `TemporalLayer`."""
        return self._pooled(
            self.layer.run(exact(self.frames(x)), state, lengths, counts, pool=self.pool, inplace=self.inplace)
        )

    def _pooled(self, done: Output) -> tuple[Tensor, Any]:
        return (done.y if self.pooling is None or done.pooled else fold_time(self.pooling[1], done.y)), done.state

    def words(self) -> str:
        """Return what runs it."""
        return "one loop" + (" in the memory of its input" if self.inplace else "")


@dataclass(frozen=True)
class FusedEvents(FusedNeuron):
    """A network's first convolution, the neurons behind it and their pooling, on the events of few cells.

    Attributes:
        first: The convolution with its name.
        always: Whether however many cells hold events.
    """

    first: tuple[str, nn.Conv2d]
    always: bool

    @property
    def layers(self) -> Line:
        """All layers that run here, in order."""
        return (self.first, *super().layers)

    def run(
        self, x: Tensor | EventFrames, state: Any, lengths: Tensor | None, counts: Counts | None
    ) -> tuple[Tensor, Any]:
        """Run all steps; see `TemporalLayer`."""
        done = self._on_events(x, state, lengths, counts)
        return super().run(fold_time(self.first[1], self.frames(x)), state, lengths, counts) if done is None else done

    def _on_events(
        self, x: Tensor | EventFrames, state: Any, lengths: Tensor | None, counts: Counts | None
    ) -> tuple[Tensor, Any] | None:
        """Run all steps on events; None where these have to be frames."""
        from snnlab.kernels import events

        if isinstance(x, Tensor) and not self.always and (x.numel() < SMALL or not few_events(x)):
            return None
        like = x if isinstance(x, Tensor) else x.like
        neuron, pool, convolution = self.layer, self.pool, self.first[1]
        layer = events.Convolution(convolution.weight, convolution.bias, _padding(convolution))
        drive = like.new_empty(1, x.shape[1], *layer.image(x.shape[2:]))
        state = neuron.initial_state(drive[0]) if state is None else state
        k, learns = rounded(neuron.coefficients(), like), any(part.requires_grad for part in convolution.parameters())
        grad = torch.is_grad_enabled() and learns
        found = kernel_for(neuron.step, drive, state, k, backend=backend_of(neuron), pool=pool, grad=grad)
        if isinstance(found, str):
            return None
        if pool is not None and pool.kind == "max" and not found.traced.step.binary:
            pool = None
        count = neuron.spiking and counts is not None
        done = events.run(found, x, layer, state, k, lengths, count=count, pool=pool)
        if counts is not None and done.counts is not None:
            counts[OWN] = done.counts
        return self._pooled(done)

    def words(self) -> str:
        """Return what runs it."""
        few = (
            ""
            if self.always
            else f" where at most {SPARSE:.0%} of the cells hold any, else PyTorch's and then one loop"
        )
        return f"one loop over the events{few}"


def few_events(x: Tensor) -> bool:
    """Return whether few enough cells of frames hold events for a convolution that goes through these alone."""
    return int(torch.count_nonzero(x)) <= SPARSE * x.numel()


# Sees a stage with its input, its output, the state before, the lengths, and its own counts.
Watch = Callable[[Stage, Tensor, Tensor, Any, Tensor | None, Counts | None], None]
_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Let every stage of every network that this thread runs be seen, those in blocks too; a hook would unfuse some.

    Args:
        watch: What sees them; it must change nothing.
    """
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def run_stage(
    stage: Stage, x: Tensor | EventFrames, state: Any, lengths: Tensor | None, counts: Counts | None
) -> tuple[Tensor, Any]:
    """Run all steps through a stage; its counts stand under its name."""
    own: Counts | None = None if counts is None else {}
    y, after = stage.run(x, state, lengths, own)
    # The compiler sees through layers, and through no context variable.
    if not torch.compiler.is_compiling() and (watch := _watch.get()) is not None:
        watch(stage, dense(x), y, state, lengths, own)
    if counts is not None:
        counts.update({f"{stage.name}.{key}" if key != OWN else stage.name: n for key, n in (own or {}).items()})
    return y, after


def run_stages(
    stages: Sequence[Stage],
    x: Tensor | EventFrames,
    before: Mapping[str, Any],
    after: dict[str, Any],
    lengths: Tensor | None,
    counts: Counts | None,
) -> Tensor:
    """Run all steps through stages in turn and return the output of the last.

    Args:
        stages: The stages.
        x: Input of the first.
        before: State before the first step, by layer.
        after: A dict to fill with the state after the last step.
        lengths: See `TemporalLayer`, as `counts`.
        counts: A dict to fill, or None.
    """
    for stage in stages:
        x, state = run_stage(stage, x, before.get(stage.name), lengths, counts)
        if state is not None:
            after[stage.name] = state
    return dense(x)


class Plan(NamedTuple):
    """How layers that are applied in order run.

    Attributes:
        kind: The inputs that it is for.
        stages: What runs, in order.
        apart: Layers that could run with their neighbour but for a reason, by name.
    """

    kind: Kind
    stages: tuple[Stage, ...]
    apart: dict[str, str]


def channels_last(x: Tensor) -> Tensor:
    """Return frames with their channels side by side in memory, in the same memory where they are already.

    Shape:
        x: `[T, B, P, H, W]`.
    """
    if x.shape[2] == 1:  # of one channel torch takes any order for both, and convolutions look at the strides
        return x.squeeze(2).unsqueeze(-1).movedim(-1, 2)
    return x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def make_plan(layers: Line, kind: Kind, settings: Settings, *, first: bool) -> Plan:
    """Return how layers run.

    Args:
        layers: The layers in order.
        kind: The inputs.
        settings: What is asked for.
        first: Whether they are what a network does to its input, rather than a part of a block.
    """
    stages, apart, at = [], {}, 0
    if first and (on_events := _on_events(layers, kind, settings, apart)) is not None:
        stages.append(on_events)
        at = len(on_events.layers)
    while at < len(layers):
        stage = _stage(layers, at, kind, settings, apart)
        stages.append(stage)
        at += len(stage.layers)
    for name, why in apart.items():
        log.debug("%s is not fused with the neuron before it: %s", name, why)
    images = kind.sample is None or len(kind.sample) == 3
    if kind.device.type == "cpu" and images and not kind.channels_last and _begins_on_images(layers):
        stages[0] = replace(stages[0], lays=True)
    return Plan(kind, tuple(stages), apart)


def _stage(layers: Line, at: int, kind: Kind, settings: Settings, apart: dict[str, str]) -> Stage:
    name, layer = layers[at]
    if isinstance(layer, Neuron) and settings.fuse and _fuses(layer):
        return _fused(layers, at, apart)
    neuron = _spiking([before for _, before in layers[:at]]) if settings.fuse else None
    plain = neuron is None or kind.autocast is not None or not _renders(neuron, kind)
    return Stage(name, layer) if plain or not _convolves(layer) else SpikeConvolution(name, layer)


def _fused(layers: Line, at: int, apart: dict[str, str]) -> FusedNeuron:
    name, neuron = layers[at]
    assert isinstance(neuron, Neuron)
    pool = None if neuron.graded or at + 1 == len(layers) else _pool(*layers[at + 1], apart)
    before = layers[at - 1][1] if at else None
    inplace = type(before) in _OWN_OUTPUT and before is not None and bare(before)
    return FusedNeuron(name, neuron, None if pool is None else layers[at + 1], pool, inplace)


def _on_events(layers: Line, kind: Kind, settings: Settings, apart: dict[str, str]) -> FusedEvents | None:
    if not begins_on_events(layers, settings):
        return None
    (name, convolution), (_, neuron) = layers[:2]
    assert isinstance(neuron, Neuron)
    assert isinstance(convolution, nn.Conv2d)
    if kind.sample is None or kind.wants_grad or kind.autocast is not None or not _renders(neuron, kind):
        return None
    if not _takes(convolution, kind.sample, kind.dtype):
        return None
    fused = _fused(layers, 1, apart)
    always = kind.listed or settings.sparse_input == "always"
    return FusedEvents(fused.name, neuron, fused.pooling, fused.pool, fused.inplace, (name, convolution), always)


def begins_on_events(layers: Line, settings: Settings) -> bool:
    """Return whether layers begin with a convolution that can sum its input event by event."""
    if len(layers) < 2 or not settings.fuse or settings.sparse_input == "never":
        return False
    (_, convolution), (_, neuron) = layers[:2]
    return _convolves(convolution) and isinstance(neuron, Neuron) and _fuses(neuron)


def _begins_on_images(layers: Line) -> bool:
    """Return whether the first layer to which the order in memory matters is one for images."""
    for _, layer in layers:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            return True
        if not isinstance(layer, Neuron | nn.Identity | nn.BatchNorm2d | nn.Dropout | nn.Dropout2d):
            return False
    return False


def _fuses(neuron: Neuron) -> bool:
    own = type(neuron).forward is Neuron.forward and type(neuron).run is Neuron.run
    return own and neuron.spiking and bare(neuron)


def _renders(neuron: Neuron, kind: Kind) -> bool:
    """Return whether rendered loops for CPUs run a neuron's input, as far as device and precision tell."""
    return kind.device.type == "cpu" and kind.loops and resolve(backend_of(neuron), kind.device, kind.dtype) == "numba"


def _spiking(before: Sequence[nn.Module]) -> Neuron | None:
    """Return the neurons whose spikes are given on, pooled or not, by the last of some layers."""
    for layer in reversed(before):
        if isinstance(layer, Neuron):
            return layer if layer.spiking else None
        if not isinstance(layer, _KEEPS_ZEROS):
            return None
    return None


def _pool(name: str, layer: nn.Module, apart: dict[str, str]) -> Pool | None:
    """Return what a layer does if it is a pooling that the neurons before it can do on the way."""
    if not isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        return None
    size: Any = layer.kernel_size if isinstance(layer.kernel_size, tuple) else (layer.kernel_size, layer.kernel_size)
    square = size[0] == size[1] and layer.stride in (size, size[0]) and layer.padding in (0, (0, 0))
    if type(layer) not in (nn.MaxPool2d, nn.AvgPool2d) or not bare(layer):
        apart[name] = "it has a hook, or is of a class of its own"
    elif not square or layer.ceil_mode or getattr(layer, "dilation", 1) not in (1, (1, 1)):
        apart[name] = "its windows are not squares beside one another"
    elif isinstance(layer, nn.MaxPool2d) and layer.return_indices:
        apart[name] = "it returns where the maxima are"
    elif getattr(layer, "divisor_override", None) is not None:
        apart[name] = "it has a divisor of its own"
    else:
        return Pool("max" if isinstance(layer, nn.MaxPool2d) else "average", size[0])
    return None


def _convolves(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    return (
        type(layer) is nn.Conv2d
        and bare(layer)
        and layer.stride == layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


def _padding(convolution: nn.Conv2d) -> tuple[int, int]:
    assert not isinstance(convolution.padding, str)
    return convolution.padding[0], convolution.padding[1]


def _takes(convolution: nn.Conv2d, sample: torch.Size, dtype: torch.dtype) -> bool:
    """Return whether frames are what a convolution takes; others it refuses by itself, and in its own words."""
    if len(sample) != 3 or sample[0] != convolution.in_channels or dtype != convolution.weight.dtype:
        return False
    sizes = zip(sample[1:], _padding(convolution), convolution.kernel_size, strict=True)
    return all(size + 2 * padding >= kernel for size, padding, kernel in sizes)


class Plans:
    """The plans of a network, by all that they depend on; a copy of it has none, and nor has one that is loaded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: dict[Any, Plan] = {}

    def get(self, layers: Line, kind: Kind, settings: Settings, *, first: bool) -> Plan:
        """Return the plan of layers for a kind of input, made at the first time."""
        key = (kind, settings, first, *(_facts(layer) for _, layer in layers))
        plan = self._plans.get(key)
        if plan is None:
            with self._lock:
                plan = self._plans.get(key)
                if plan is None:
                    plan = make_plan(layers, kind, settings, first=first)
                    while len(self._plans) >= _MOST:
                        del self._plans[next(iter(self._plans))]
                    self._plans[key] = plan
        return plan

    def __len__(self) -> int:
        return len(self._plans)

    def __deepcopy__(self, memo: dict[int, Any]) -> Plans:
        return Plans()

    def __reduce__(self) -> tuple[type[Plans], tuple[()]]:
        return Plans, ()


def _facts(layer: nn.Module) -> tuple[Any, ...]:
    """Return what a plan depends on of a layer; a parametrisation is a class of its own."""
    sizes = tuple(getattr(layer, name, None) for name in _SIZES) if isinstance(layer, _SIZED) else None
    backend = backend_of(layer) if isinstance(layer, Neuron) else None
    weights = tuple((weight.requires_grad, weight.dtype) for weight in layer.parameters())
    return id(layer), type(layer), bare(layer), layer.training, sizes, backend, weights


_SIZED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
