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

from snnlab.compat import has_no_hooks
from snnlab.event_frames import EventFrames
from snnlab.kernels.function import loops_enabled, resolve_backend
from snnlab.kernels.layout import Pool
from snnlab.kernels.max_pool import MOST_CELLS, PoolWindows
from snnlab.nn.neurons.base import Neuron, autocast_dtype, backend_of
from snnlab.nn.stages import (
    CompactMaxPool,
    FusedEvents,
    FusedNeuron,
    NamedLayers,
    SpikeConvolution,
    Stage,
    accepts_frames,
)

log = logging.getLogger(__name__)

SparseInput = Literal["auto", "always", "never"]

# Number of plans that a network stores; the oldest is dropped first.
_MAX_PLANS = 32

# Layers whose output is a new tensor that their backward pass does not need.
_NEW_OUTPUT = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
# Layers whose output is zero where their input is zero.
_ZERO_PRESERVING = (nn.MaxPool2d, nn.AvgPool2d, nn.Dropout, nn.Dropout2d, nn.Identity)
# Attributes of convolutions and poolings that a plan depends on.
_GEOMETRY = (
    *("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"),
    *("ceil_mode", "return_indices", "divisor_override"),
)


class RunSettings(NamedTuple):
    """Settings of `Network.configure`."""

    fuse: bool = True
    sparse_input: SparseInput = "auto"
    checkpoint_segments: int = 0


class InputSpec(NamedTuple):
    """The properties of an input and of the current mode that a plan depends on; no values of tensors.

    Attributes:
        sample: Shape of a sample at one step; None if unknown.
        dtype: Data type of the input.
        device: Device of the input.
        channels_last: Whether images `[T, B, P, H, W]` are in channels-last memory.
        event_lists: Whether the input is event lists.
        wants_grad: Whether the input needs a gradient.
        grad: Whether autograd is enabled.
        autocast: The data type of autocast, or None.
        loops: Whether kernels compute; `kernels.function.loops_disabled` turns them off.
    """

    sample: torch.Size | None
    dtype: torch.dtype
    device: torch.device
    channels_last: bool
    event_lists: bool
    wants_grad: bool
    grad: bool
    autocast: torch.dtype | None
    loops: bool

    @classmethod
    def of(cls, x: Tensor | EventFrames) -> InputSpec:
        """Return the properties of an input, in the current mode."""
        like, device = (x, x.device.type) if isinstance(x, Tensor) else (x.like, "cpu")
        last = isinstance(x, Tensor) and x.dim() == 5 and x.stride(2) == 1 and x.permute(0, 1, 3, 4, 2).is_contiguous()
        autocast = autocast_dtype(device)
        grad = torch.is_grad_enabled()
        wants = like.requires_grad
        event_lists = not isinstance(x, Tensor)
        return cls(
            torch.Size(x.shape[2:]), like.dtype, like.device, last, event_lists, wants, grad, autocast, loops_enabled()
        )


class Plan(NamedTuple):
    """The stages that run layers in order.

    Attributes:
        spec: The kind of input that the plan is for.
        stages: The stages, in order.
        not_fused: The reasons why poolings are not fused with the neurons before them, by layer name.
    """

    spec: InputSpec
    stages: tuple[Stage, ...]
    not_fused: dict[str, str]

    def __str__(self) -> str:
        """Return a line for each stage: its layers, and how they run."""
        return "\n".join(
            f"{', '.join(name for name, _ in stage.layers)}: {stage.description()}" for stage in self.stages
        )


def make_plan(layers: NamedLayers, spec: InputSpec, settings: RunSettings, *, first: bool) -> Plan:
    """Make the plan of layers.

    Args:
        layers: The layers in order.
        spec: The kind of input.
        settings: The network's settings.
        first: Whether the first layer gets the network's input; not so within a block.
    """
    stages, not_fused, at = [], {}, 0
    if first and (event_stage := _event_stage(layers, spec, settings, not_fused)) is not None:
        stages.append(event_stage)
        at = len(event_stage.layers)
    while at < len(layers):
        stage = _make_stage(layers, at, spec, settings, not_fused)
        stages.append(stage)
        at += len(stage.layers)
    for name, why in not_fused.items():
        log.debug("%s is not fused with the neuron before it: %s", name, why)
    images = spec.sample is None or len(spec.sample) == 3
    if spec.device.type == "cpu" and images and not spec.channels_last and _is_for_images(layers):
        stages[0] = replace(stages[0], to_channels_last=True)
    return Plan(spec, tuple(stages), not_fused)


def _make_stage(
    layers: NamedLayers, at: int, spec: InputSpec, settings: RunSettings, not_fused: dict[str, str]
) -> Stage:
    name, layer = layers[at]
    if isinstance(layer, Neuron) and settings.fuse and _can_fuse(layer):
        return _fused_neuron(layers, at, not_fused)
    if (windows := _compact_windows(layers, layer, spec, settings)) is not None:
        assert isinstance(layer, nn.MaxPool2d)
        return CompactMaxPool(name, layer, windows)
    neuron = _spike_source([before for _, before in layers[:at]]) if settings.fuse else None
    plain = neuron is None or spec.autocast is not None or not _has_cpu_kernel(neuron, spec)
    return Stage(name, layer) if plain or not _is_plain_convolution(layer) else SpikeConvolution(name, layer)


def _fused_neuron(layers: NamedLayers, at: int, not_fused: dict[str, str]) -> FusedNeuron:
    name, neuron = layers[at]
    assert isinstance(neuron, Neuron)
    pool = None if neuron.graded or at + 1 == len(layers) else _fusable_pool(*layers[at + 1], not_fused)
    before = layers[at - 1][1] if at else None
    inplace = type(before) in _NEW_OUTPUT and before is not None and has_no_hooks(before)
    return FusedNeuron(name, neuron, None if pool is None else layers[at + 1], pool, inplace)


def _event_stage(
    layers: NamedLayers, spec: InputSpec, settings: RunSettings, not_fused: dict[str, str]
) -> FusedEvents | None:
    if not first_layers_accept_events(layers, settings):
        return None
    (name, convolution), (_, neuron) = layers[:2]
    assert isinstance(neuron, Neuron)
    assert isinstance(convolution, nn.Conv2d)
    if spec.sample is None or spec.wants_grad or spec.autocast is not None or not _has_cpu_kernel(neuron, spec):
        return None
    if not accepts_frames(convolution, spec.sample, spec.dtype):
        return None
    fused = _fused_neuron(layers, 1, not_fused)
    always = spec.event_lists or settings.sparse_input == "always"
    return FusedEvents(fused.name, neuron, fused.pooling, fused.pool, fused.inplace, (name, convolution), always)


def first_layers_accept_events(layers: NamedLayers, settings: RunSettings) -> bool:
    """Return whether the first layers are a convolution that can sum its input event by event, and its neurons."""
    if len(layers) < 2 or not settings.fuse or settings.sparse_input == "never":
        return False
    (_, convolution), (_, neuron) = layers[:2]
    return _is_plain_convolution(convolution) and isinstance(neuron, Neuron) and _can_fuse(neuron)


def _is_for_images(layers: NamedLayers) -> bool:
    """Return whether the first layer whose speed depends on the memory format is a layer for images."""
    for _, layer in layers:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            return True
        if not isinstance(layer, Neuron | nn.Identity | nn.BatchNorm2d | nn.Dropout | nn.Dropout2d):
            return False
    return False


def _can_fuse(neuron: Neuron) -> bool:
    is_standard = type(neuron).forward is Neuron.forward and type(neuron).run is Neuron.run
    return is_standard and neuron.spiking and has_no_hooks(neuron)


def _has_cpu_kernel(neuron: Neuron, spec: InputSpec) -> bool:
    """Return whether CPU kernels run a neuron, judged by device and data type."""
    return (
        spec.device.type == "cpu"
        and spec.loops
        and resolve_backend(backend_of(neuron), spec.device, spec.dtype) == "numba"
    )


def _spike_source(before: Sequence[nn.Module]) -> Neuron | None:
    """Return the neurons whose spikes, pooled or not, are the output of the last layer; else None."""
    for layer in reversed(before):
        if isinstance(layer, Neuron):
            return layer if layer.spiking else None
        if not isinstance(layer, _ZERO_PRESERVING):
            return None
    return None


def _fusable_pool(name: str, layer: nn.Module, not_fused: dict[str, str]) -> Pool | None:
    """Return the parameters of a pooling that the neurons before it can do; else None, and add the reason."""
    if not isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        return None
    size: Any = layer.kernel_size if isinstance(layer.kernel_size, tuple) else (layer.kernel_size, layer.kernel_size)
    square = size[0] == size[1] and layer.stride in (size, size[0]) and layer.padding in (0, (0, 0))
    if type(layer) not in (nn.MaxPool2d, nn.AvgPool2d) or not has_no_hooks(layer):
        not_fused[name] = "it has a hook or is a subclass"
    elif not square or layer.ceil_mode or getattr(layer, "dilation", 1) not in (1, (1, 1)):
        not_fused[name] = "its windows are not adjacent squares"
    elif isinstance(layer, nn.MaxPool2d) and layer.return_indices:
        not_fused[name] = "it returns the indices of the maxima"
    elif getattr(layer, "divisor_override", None) is not None:
        not_fused[name] = "it has a divisor_override"
    else:
        return Pool("max" if isinstance(layer, nn.MaxPool2d) else "average", size[0])
    return None


def _compact_windows(
    layers: NamedLayers, layer: nn.Module, spec: InputSpec, settings: RunSettings
) -> PoolWindows | None:
    """Return the windows of a max pooling that runs as a `CompactMaxPool`; else None.

    It has no second derivative, so it is only used beside neurons whose kernels have none either.
    """
    if type(layer) is not nn.MaxPool2d or not has_no_hooks(layer) or layer.return_indices or layer.ceil_mode:
        return None
    size, stride, padding, dilation = (
        each if isinstance(each, tuple) else (each, each)
        for each in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    )
    fits = dilation == (1, 1) and size[0] * size[1] <= MOST_CELLS
    if not fits or not settings.fuse or not spec.grad or spec.autocast is not None:
        return None
    neurons = [each for _, each in layers if isinstance(each, Neuron)]
    if spec.device.type != "cpu" or not any(
        resolve_backend(backend_of(neuron), spec.device, spec.dtype) == "numba" for neuron in neurons
    ):
        return None
    return PoolWindows(size, stride, padding)


def _is_plain_convolution(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    return (
        type(layer) is nn.Conv2d
        and has_no_hooks(layer)
        and layer.stride == layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


class PlanCache:
    """The stored plans of a network, by all properties that they depend on; a copied or loaded network has none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: dict[Any, Plan] = {}

    def get(self, layers: NamedLayers, spec: InputSpec, settings: RunSettings, *, first: bool) -> Plan:
        """Return the plan of layers for a kind of input, and make it at the first call."""
        key = (spec, settings, first, *(_layer_key(layer) for _, layer in layers))
        plan = self._plans.get(key)
        if plan is None:
            with self._lock:
                plan = self._plans.get(key)
                if plan is None:
                    plan = make_plan(layers, spec, settings, first=first)
                    while len(self._plans) >= _MAX_PLANS:
                        del self._plans[next(iter(self._plans))]
                    self._plans[key] = plan
        return plan

    def __len__(self) -> int:
        return len(self._plans)

    def __deepcopy__(self, memo: dict[int, Any]) -> PlanCache:
        return PlanCache()

    def __reduce__(self) -> tuple[type[PlanCache], tuple[()]]:
        return PlanCache, ()


def _layer_key(layer: nn.Module) -> tuple[Any, ...]:
    """Return the properties of a layer that a plan depends on; a parametrized layer is another class."""
    kind = type(layer)
    sizes = tuple(map(vars(layer).get, _GEOMETRY)) if kind in _WITH_GEOMETRY else None
    backend = backend_of(layer) if isinstance(layer, Neuron) else None
    weights = tuple([(part.requires_grad, part.dtype) for part in layer._parameters.values() if part is not None])
    return id(layer), kind, has_no_hooks(layer), layer.training, sizes, backend, weights


_WITH_GEOMETRY = frozenset((nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d))
