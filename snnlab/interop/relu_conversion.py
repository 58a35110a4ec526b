"""Converts a network of ReLU layers into one of integrate-and-fire neurons whose spikes per step are its activations.

A neuron with the threshold 1 that starts at 1/2 and subtracts 1 at each spike has, after T steps of an input that sums
to T z, clip(floor(T z + 1/2), 0, T) spikes: z to within 1 / (2 T), if 0 <= z <= 1. So activations are divided by a
scale, the largest or a percentile of those of training recordings:

    W' = W u / s,  b' = b / s          u the unit of the input, s the scale of the ReLU that follows, 1 if none does

Axes: N frames, C channels, the first axis of an activation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.nn.network import Network, Shape

InputKind = Literal["constant", "events"]
ScalePer = Literal["layer", "channel"]

_LINEAR = ("conv1d", "conv2d", "conv3d", "linear")
# They keep the unit of each channel: averages and sums of spikes are averages and sums of activations.
_POOLING = ("avg_pool", "sum_pool", "adaptive_avg_pool")
_MAX_POOLING = ("max_pool", "adaptive_max_pool")
_KEPT = (*_POOLING, *_MAX_POOLING, "flatten", "voting")
_DROPPED = ("dropout", "identity")
_REASONS = {
    **dict.fromkeys(
        ("leaky_relu", "sigmoid", "tanh", "gelu"),
        ("a number of spikes per step is 0 or more, and grows with the input in a straight line", "train with relu"),
    ),
    **dict.fromkeys(
        ("layer_norm", "group_norm"),
        ("its mean and variance are those of each input, so no weights can hold it", "train with batch_norm"),
    ),
    **dict.fromkeys(("gru", "lstm"), ("it has a state of its own", "")),
    "batch_norm": ("no convolution or linear layer directly before it, into which it would be folded", ""),
}
INTEGRATE_AND_FIRE = {"type": "iaf", "v_threshold": 1.0, "v_init": 0.5, "input_gain": 1.0, "reset": "subtract"}


class SpikingLayers(NamedTuple):
    """A network of integrate-and-fire neurons.

    Attributes:
        layers: Its layers.
        weights: Its state dict.
        neurons: The name of the ReLU that each neuron layer stands for.
    """

    layers: dict[str, dict[str, Any]]
    weights: dict[str, Tensor]
    neurons: dict[str, str]


def check_convertible(layers: Mapping[str, Mapping[str, Any]], kind: InputKind) -> None:
    """Raise a ConfigError that names the first layer which has no counterpart in spikes.

    Args:
        layers: The nodes of the network, norms folded.
        kind: The input of the converted network.
    """
    # What flows: `values` of the input or of a linear layer, `spikes`, or `sums` of spikes.
    flow, scaled = "values", False
    for name, node in layers.items():
        place, layer = f"model.layers.{name}", node["type"]
        if layer in _LINEAR:
            if node.get("delay") is not None or node.get("every", 1) != 1:
                raise ConfigError(place, "cannot be converted: it has delays or skips steps, and one frame has no time")
            flow, scaled = "values", True
        elif layer == "relu":
            if not scaled:
                wrong = "between it and a convolution or linear layer before it, whose weights are scaled, is more than"
                raise ConfigError(place, f"cannot be converted: {wrong} pooling")
            flow, scaled = "spikes", False
        elif layer in _MAX_POOLING:
            if kind == "events":
                wrong = "of spikes it is whether there is one, not the largest number"
                hint = "train with avg_pool, or choose --input constant"
                raise ConfigError(place, f"{layer} cannot be converted for an input of events: {wrong}", hint)
            if flow == "sums":
                raise ConfigError(place, f"{layer} cannot be converted: it must directly follow the ReLU")
        elif layer in (*_POOLING, "flatten", "voting"):
            flow = "sums" if flow == "spikes" else flow
            scaled = scaled and layer in _POOLING
        elif layer not in _DROPPED:
            reason, hint = _REASONS.get(layer, ("it is none of the layers below, in a row", ""))
            known = () if layer in _REASONS else ("relu", *_LINEAR, *_KEPT, *_DROPPED, "batch_norm")
            raise ConfigError(place, f"{layer} cannot be converted: {reason}", hint, known)
    if "relu" not in [node["type"] for node in layers.values()]:
        raise ConfigError("model.layers", "has no relu, so that there is nothing to convert")


@torch.no_grad()
def measure_scales(
    network: Network, frames: Iterable[Tensor], total: int, percentile: float = 100.0, per: ScalePer = "layer"
) -> dict[str, Tensor]:
    """Return the scale of each ReLU: a percentile of its outputs for all frames, between two of them interpolated.

    A channel without a positive one gets that of the layer.

    Args:
        network: The network, norms folded, in evaluation mode.
        frames: All frames, in batches.
        total: Number of frames.
        percentile: 100 is the largest output.
        per: Whether a layer has one scale, or one for each channel.

    Shape:
        frames: `[N, ...]` each; returns `[C]`, or `[1]` for a scale of the layer.
    """
    found: dict[str, list[_Largest]] = {}
    for x in frames:
        for name, layer in network.layers():
            if network.layer_types[name] in _DROPPED:
                continue
            x = layer(x)
            if network.layer_types[name] == "relu":
                values = x.transpose(0, 1).flatten(1)
                views = [values.reshape(1, -1), *([values] if per == "channel" else [])]
                if name not in found:
                    rows = [view.shape[1] * total // x.shape[0] for view in views]
                    found[name] = [_Largest(number, percentile / 100) for number in rows]
                for largest, view in zip(found[name], views, strict=True):
                    largest.add(view)
    scales: dict[str, Tensor] = {}
    for name, largest in found.items():
        of_layer, own = largest[0].quantile(), largest[-1].quantile()
        if not of_layer.item() > 0:
            raise ConfigError(
                f"model.layers.{name}",
                f"is 0 at the {percentile:g}th percentile of the training recordings, so that it has no scale",
                "choose a higher --percentile",
            )
        scales[name] = torch.where(own > 0, own, of_layer)
    return scales


class _Largest:
    """The quantile of each row of values that arrive in batches, from the largest of them, which alone are kept.

    Args:
        total: Number of values of a row.
        quantile: 0 to 1.
    """

    def __init__(self, total: int, quantile: float) -> None:
        place = quantile * (total - 1)
        self._part = place - math.floor(place)
        self._most = total - math.floor(place)
        self._kept: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """Add values, `[rows, n]`."""
        values = values if self._kept is None else torch.cat([self._kept, values], 1)
        self._kept = values.topk(min(self._most, values.shape[1])).values

    def quantile(self) -> Tensor:
        """Return the quantile of each row."""
        assert self._kept is not None
        low = self._kept[:, -1]
        above = self._kept[:, -2] if self._kept.shape[1] > 1 else low
        return torch.lerp(low, above, self._part)


@torch.no_grad()
def convert_network(
    network: Network, shapes: Mapping[str, Shape], scales: Mapping[str, Tensor], input_unit: float
) -> SpikingLayers:
    """Return a network whose mean output over its steps is that of a network of ReLU layers for one frame.

    Max pooling goes before the neurons that it followed: the largest ReLU is the ReLU of the largest.

    Args:
        network: The network, norms folded, in evaluation mode; `check_convertible` knows its layers.
        shapes: Output shape of each layer, by name.
        scales: The scale of each ReLU.
        input_unit: The frame by the mean of the input over the steps: 1 for a constant input, the number of steps for
            events.
    """
    assert network.built_from is not None
    nodes, modules = network.built_from.layers, dict(network.layers())
    layers, weights, neurons = dict[str, dict[str, Any]](), dict[str, Tensor](), dict[str, str]()
    unit, shape = torch.tensor([input_unit], dtype=torch.float64), network.built_from.in_shape
    for name, following in _with_following(nodes):
        node = nodes[name]
        if node["type"] in _LINEAR:
            scale = scales[following].double() if following else torch.ones(1, dtype=torch.float64)
            layers[name] = {key: value for key, value in node.items() if key != "weight_norm"}
            own = _scaled(f"model.layers.{name}", modules[name], unit, scale, shape)
            weights |= {f"{name}.{key}": value for key, value in own.items()}
            unit = scale
        elif node["type"] == "relu":
            neurons[_neuron_name(name, nodes)] = name
            layers[_neuron_name(name, nodes)] = dict(INTEGRATE_AND_FIRE)
        elif node["type"] in _MAX_POOLING and neurons and next(reversed(layers)) in neurons:
            neuron = next(reversed(layers))
            before = layers.pop(neuron)
            layers |= {name: dict(node), neuron: before}
        elif node["type"] not in _DROPPED:
            layers[name] = dict(node)
            if node["type"] in ("flatten", "voting") and unit.numel() > 1:
                unit = unit.view(-1, *[1] * (len(shape) - 1)).expand(shape).flatten()
        shape = shapes[name]
    if not torch.equal(unit, torch.ones_like(unit)):
        layers["unit"] = {"type": "scale"}
        values = unit.view(-1, *[1] * (len(shape) - 1)).expand(shape)
        weights["unit.weight"] = values.to(torch.get_default_dtype()).contiguous()
    return SpikingLayers(layers, weights, neurons)


def _with_following(nodes: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str | None]]:
    """Yield each layer and the ReLU that the output of a linear one reaches before the next linear one."""
    names = list(nodes)
    for place, name in enumerate(names):
        following = None
        for after in names[place + 1 :]:
            if nodes[after]["type"] == "relu":
                following = after
            if nodes[after]["type"] in ("relu", "flatten", "voting", *_LINEAR):
                break
        yield name, following


def _scaled(place: str, module: nn.Module, unit: Tensor, scale: Tensor, in_shape: Shape) -> dict[str, Tensor]:
    """Return weight and bias for an input and an output of other units."""
    weight, bias = torch.as_tensor(module.weight).double(), module.bias  # a property where it has a norm
    axes = [1] * (weight.dim() - 2)
    if isinstance(module, nn.Linear) and len(in_shape) > 1 and max(unit.numel(), scale.numel()) > 1:
        raise ConfigError(place, "cannot be converted: it is over the last of several axes", "choose --per layer")
    if unit.numel() > 1:
        groups = getattr(module, "groups", 1)
        of_group = unit.view(groups, 1, -1).expand(-1, weight.shape[0] // groups, -1)
        weight = weight * of_group.reshape(*weight.shape[:2], *axes)
    else:
        weight = weight * unit
    dtype = torch.get_default_dtype()
    found = {"weight": (weight / scale.view(-1, 1, *axes)).to(dtype)}
    return found if bias is None else {**found, "bias": (torch.as_tensor(bias).double() / scale).to(dtype)}


def _neuron_name(relu: str, nodes: Mapping[str, Any]) -> str:
    """Return the name of the neurons in place of a ReLU: `iaf1` for `relu1`."""
    name = relu.replace("relu", "iaf")
    return relu if name in nodes else name
