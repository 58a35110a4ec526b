"""The plan of a network: how its layers run, which ones are fused, and in which memory format.

A network makes one plan for each kind of input and stores it. A plan does not change the network: names, modules and
state dict stay the same, counts are those before a pooling, and all outputs are the same bit for bit, except for the
rounding of a convolution of events or spikes. A layer with a hook is not fused, and nor are its neighbors with it.

Axes: T steps, B samples, P channels, H rows, W columns.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from snnlab.compat import bare
from snnlab.event_frames import EventFrames
from snnlab.kernels.function import loops_run, resolve
from snnlab.kernels.layout import Pool
from snnlab.nn.neurons.base import Neuron, backend_of
from snnlab.nn.stages import FusedEvents, FusedNeuron, Line, SpikeConvolution, Stage, takes

log = logging.getLogger(__name__)

SparseInput = Literal["auto", "always", "never"]

# Number of plans that a network stores; the oldest is dropped first.
_MOST = 32

# Layers whose output is a new tensor that their backward pass does not need.
_OWN_OUTPUT = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
# Layers whose output is zero where their input is zero.
_KEEPS_ZEROS = (nn.MaxPool2d, nn.AvgPool2d, nn.Dropout, nn.Dropout2d, nn.Identity)
# Attributes of convolutions and poolings that a plan depends on.
_SIZES = (
    *("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"),
    *("ceil_mode", "return_indices", "divisor_override"),
)


class Settings(NamedTuple):
    """Settings of `Network.configure`."""

    fuse: bool = True
    sparse_input: SparseInput = "auto"
    checkpoint_segments: int = 0


class Kind(NamedTuple):
    """The properties of an input and of the current mode that a plan depends on; no values of tensors.

    Attributes:
        sample: Shape of a sample at one step; None if unknown.
        dtype: Data type of the input.
        device: Device of the input.
        channels_last: Whether images `[T, B, P, H, W]` are in channels-last memory.
        listed: Whether the input is event lists.
        wants_grad: Whether the input needs a gradient.
        grad: Whether autograd is enabled.
        autocast: The data type of autocast, or None.
        loops: Whether kernels compute; `kernels.function.without_loops` turns them off.
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
        """Return the properties of an input, in the current mode."""
        like, device = (x, x.device.type) if isinstance(x, Tensor) else (x.like, "cpu")
        last = isinstance(x, Tensor) and x.dim() == 5 and x.stride(2) == 1 and x.permute(0, 1, 3, 4, 2).is_contiguous()
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        grad = torch.is_grad_enabled()
        wants = like.requires_grad
        listed = not isinstance(x, Tensor)
        return cls(torch.Size(x.shape[2:]), like.dtype, like.device, last, listed, wants, grad, autocast, loops_run())


class Plan(NamedTuple):
    """The stages that run layers in order.

    Attributes:
        kind: The kind of input that the plan is for.
        stages: The stages, in order.
        apart: The reasons why poolings are not fused with the neurons before them, by layer name.
    """

    kind: Kind
    stages: tuple[Stage, ...]
    apart: dict[str, str]

    def __str__(self) -> str:
        """Return a line for each stage: its layers, and how they run."""
        return "\n".join(f"{', '.join(name for name, _ in stage.layers)}: {stage.words()}" for stage in self.stages)


def make_plan(layers: Line, kind: Kind, settings: Settings, *, first: bool) -> Plan:
    """Make the plan of layers.

    Args:
        layers: The layers in order.
        kind: The kind of input.
        settings: The network's settings.
        first: Whether the first layer gets the network's input; not so within a block.
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
    if not takes(convolution, kind.sample, kind.dtype):
        return None
    fused = _fused(layers, 1, apart)
    always = kind.listed or settings.sparse_input == "always"
    return FusedEvents(fused.name, neuron, fused.pooling, fused.pool, fused.inplace, (name, convolution), always)


def begins_on_events(layers: Line, settings: Settings) -> bool:
    """Return whether the first layers are a convolution that can sum its input event by event, and its neurons."""
    if len(layers) < 2 or not settings.fuse or settings.sparse_input == "never":
        return False
    (_, convolution), (_, neuron) = layers[:2]
    return _convolves(convolution) and isinstance(neuron, Neuron) and _fuses(neuron)


def _begins_on_images(layers: Line) -> bool:
    """Return whether the first layer whose speed depends on the memory format is a layer for images."""
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
    """Return whether CPU kernels run a neuron, judged by device and data type."""
    return kind.device.type == "cpu" and kind.loops and resolve(backend_of(neuron), kind.device, kind.dtype) == "numba"


def _spiking(before: Sequence[nn.Module]) -> Neuron | None:
    """Return the neurons whose spikes, pooled or not, are the output of the last layer; else None."""
    for layer in reversed(before):
        if isinstance(layer, Neuron):
            return layer if layer.spiking else None
        if not isinstance(layer, _KEEPS_ZEROS):
            return None
    return None


def _pool(name: str, layer: nn.Module, apart: dict[str, str]) -> Pool | None:
    """Return the parameters of a pooling that the neurons before it can do; else None, with the reason in `apart`."""
    if not isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        return None
    size: Any = layer.kernel_size if isinstance(layer.kernel_size, tuple) else (layer.kernel_size, layer.kernel_size)
    square = size[0] == size[1] and layer.stride in (size, size[0]) and layer.padding in (0, (0, 0))
    if type(layer) not in (nn.MaxPool2d, nn.AvgPool2d) or not bare(layer):
        apart[name] = "it has a hook or is a subclass"
    elif not square or layer.ceil_mode or getattr(layer, "dilation", 1) not in (1, (1, 1)):
        apart[name] = "its windows are not adjacent squares"
    elif isinstance(layer, nn.MaxPool2d) and layer.return_indices:
        apart[name] = "it returns the indices of the maxima"
    elif getattr(layer, "divisor_override", None) is not None:
        apart[name] = "it has a divisor_override"
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


class Plans:
    """The stored plans of a network, by all properties that they depend on; a copied or loaded network has none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: dict[Any, Plan] = {}

    def get(self, layers: Line, kind: Kind, settings: Settings, *, first: bool) -> Plan:
        """Return the plan of layers for a kind of input, and make it at the first call."""
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
    """Return the properties of a layer that a plan depends on; a parametrized layer is another class."""
    kind = type(layer)
    sizes = tuple(map(vars(layer).get, _SIZES)) if kind in _SIZED else None
    backend = backend_of(layer) if isinstance(layer, Neuron) else None
    weights = tuple([(part.requires_grad, part.dtype) for part in layer._parameters.values() if part is not None])
    return id(layer), kind, bare(layer), layer.training, sizes, backend, weights


_SIZED = frozenset((nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d))
