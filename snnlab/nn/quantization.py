"""Makes a network one in whole numbers: its weights, biases and neurons, for a target of `snnlab.nn.integer_targets`.

Nothing else is needed to run it: dense loops, the stream, C and ONNX are rendered from the same steps and weights. The
weights that are trained stay real numbers; each forward pass rounds them, with gradients straight through.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snnlab.errors import ConfigError, error_context
from snnlab.kernels.whole_numbers import EXACT_BITS, rounded
from snnlab.nn.blocks.branches import SHORTCUT, Residual
from snnlab.nn.integer_targets import IntegerTarget
from snnlab.nn.layers.delayed import DelayedConnections, DelayedConv
from snnlab.nn.layers.dropout import Dropout
from snnlab.nn.layers.elementwise import Delay
from snnlab.nn.layers.pool import SumPool
from snnlab.nn.network import Network
from snnlab.nn.neurons.alif import ALIF
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.brf import BRF
from snnlab.nn.neurons.cuba_li import CubaLI
from snnlab.nn.neurons.cuba_lif import CubaLIF
from snnlab.nn.neurons.iaf import IAF
from snnlab.nn.neurons.integrator import Integrator
from snnlab.nn.neurons.li import LI
from snnlab.nn.neurons.lif import LIF
from snnlab.nn.neurons.recurrent import Feedback, Recurrent
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.state_output import StateOutput
from snnlab.nn.neurons.whole_brf import WholeBRF
from snnlab.nn.neurons.whole_membrane import (
    WholeALIF,
    WholeCubaLI,
    WholeCubaLIF,
    WholeIAF,
    WholeIntegrator,
    WholeLI,
    WholeLIF,
    WholeMembrane,
)
from snnlab.nn.neurons.whole_neuron import WholeNeuron

# The neurons that have a rule.
WHOLE: dict[type[Neuron], type[WholeNeuron]] = {
    **{LIF: WholeLIF, IAF: WholeIAF, CubaLIF: WholeCubaLIF, ALIF: WholeALIF, BRF: WholeBRF},
    **{LI: WholeLI, CubaLI: WholeCubaLI, Integrator: WholeIntegrator},
}
# Parts of the largest weight at which weights may be clipped.
_CLIPS = torch.linspace(0.3, 1.0, 29, dtype=torch.float64)
_AXES = {nn.Linear: 0, nn.Conv1d: 1, nn.Conv2d: 2}
# What happens where a setting is a whole number of 0 units.
_ZEROS = {"v_threshold": "each step would spike", "adaptation": "nothing would adapt"}
# What a number says of its setting, where it is not the setting's own.
_SAYS = {"gamma": "lets the threshold rise to"}
# The readout of a network that has none.
READOUT = "whole_readout"


class WholeWeight(nn.Module):
    """Rounds weights to whole numbers, in the scale of the neurons after them, and shifts them.

    Args:
        neuron: The neurons.
        least, most: The smallest and the largest whole number, before the shift.
        factor: Factor of the values: 1 / cells of mean pools, which become sums.
        input_denominator: The input is so many times as large as that of the real weights.
    """

    def __init__(self, neuron: WholeNeuron, least: int, most: int, factor: float, input_denominator: int = 1) -> None:
        super().__init__()
        self._neuron = [neuron]  # in a list, so that it is no part of this module
        self.least, self.most, self.input_denominator = least, most, input_denominator
        # An input of many levels has the resolution that weights get by the shift.
        self.shift = neuron.weight_shift - _bits(input_denominator)
        self.factor = factor * 2 ** _bits(input_denominator) / input_denominator

    def in_scale(self, weight: Tensor) -> Tensor:
        """Return weights in units of their scale, float64, not rounded; outputs are the first axis."""
        (neuron,) = self._neuron
        per_output = neuron.gain() * self.factor / neuron.scale()
        return weight.double() * per_output.view(-1, *[1] * (weight.dim() - 1))

    def unbounded(self, weight: Tensor) -> Tensor:
        """Return the whole numbers before they are clipped and shifted, float64."""
        return rounded(self.in_scale(weight), to_even=self._neuron[0].target.rounds_to_even)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the whole numbers, shifted."""
        whole = self.unbounded(weight).clamp(self.least, self.most)
        return (whole * 2.0**self.shift).to(weight.dtype)


class WholeBias(WholeWeight):
    """Rounds biases to whole numbers of the states' unit."""

    def forward(self, weight: Tensor) -> Tensor:
        """Return the whole numbers."""
        (neuron,) = self._neuron
        whole = rounded(self.in_scale(weight) * 2.0**neuron.weight_shift, to_even=neuron.target.rounds_to_even)
        return whole.clamp(self.least, self.most).to(weight.dtype)


class WeightedInput(NamedTuple):
    """Weights before neurons: a layer, or a feedback.

    Attributes:
        name: Its name.
        module: The layer.
        factor: Factor of its weights: 1 / cells of the mean pools before it, and between it and the neurons.
        after: Factor of its output, and so of its bias: 1 / cells of the latter.
        is_first: Whether its input is the network's.
    """

    name: str
    module: Any
    factor: float
    after: float = 1.0
    is_first: bool = False

    @property
    def weight(self) -> Tensor:
        """The real weights, outputs first."""
        module = self.module
        if isinstance(module, Feedback):
            return module.real_connections()
        return module.parametrizations.weight.original if parametrize.is_parametrized(module) else module.weight


@dataclass
class WholeGroup:
    """Neurons and the weights before them, which share a scale.

    Attributes:
        name: Name of the neurons.
        neuron: The neurons.
        inputs: The weights before them; the feedback's last.
        axes: Axes of the neurons after the channels.
    """

    name: str
    neuron: Neuron
    inputs: list[WeightedInput]
    axes: int

    @property
    def channels(self) -> int:
        """Number of outputs of the weights."""
        return len(self.inputs[0].weight)


def quantize_network(
    network: Network,
    target: IntegerTarget,
    *,
    only: str | None = None,
    input_denominator: int = 1,
    place: str = "model.layers",
) -> list[WholeGroup]:
    """Make a network one in whole numbers, in place, with the scales that its weights have now; return its parts.

    Args:
        network: The network, real until now.
        target: Widths, rounding and overflow.
        only: Name of the only neurons that are made whole, with the weights before them; None: all.
        input_denominator: N, where the input in whole numbers is N times as large as that of the real network.
        place: Path of the layers, for errors.
    """
    reader = _GroupReader(place)
    reader.read_all(network, "")
    reader.end()
    names = {one.name for group in reader.groups for one in group.inputs}
    if unknown := [name for name in target.layer_bits if name not in names]:
        raise ConfigError(f"quantize.layer_bits.{unknown[0]}", "there is no such layer with weights", allowed=names)
    if input_denominator > 1 and reader.adds_input is not None:
        problem = "adds the input, whose values are no numbers of events"
        raise ConfigError(f"{place}.{reader.adds_input}", f"quantize: {problem}", "set data.representation=counts")
    groups = [group for group in reader.groups if only in (None, group.name)]
    for group in groups:
        _require_of_target(group, target, place)
    for pool in reader.mean_pools if only is None else ():
        setattr(*pool)
    for group in groups:
        levels = input_denominator if group.inputs[0].is_first else 1
        shift = max(target.weight_shift, _bits(levels))
        with error_context(f"{place}.{group.name}"):
            neuron = make_whole(group.neuron, target, group.channels, group.axes, shift)
        for one in group.inputs:
            ends = target.least_weight(one.name), target.most_weight(one.name)
            weight = WholeWeight(neuron, *ends, one.factor if only is None else 1.0, levels if one.is_first else 1)
            if isinstance(one.module, Feedback):
                one.module.whole = weight
                continue
            parametrize.register_parametrization(one.module, "weight", weight)
            if one.module.bias is not None:
                after = one.after if only is None else 1.0
                bias = WholeBias(neuron, -target.most_bias - 1, target.most_bias, after)
                parametrize.register_parametrization(one.module, "bias", bias)
    fit_scales(groups)
    return groups


def make_whole(neuron: Neuron, target: IntegerTarget, channels: int, axes: int, weight_shift: int) -> WholeNeuron:
    """Make a neuron one in whole numbers, in place: its settings and what it learns stay.

    Args:
        neuron: The neuron.
        target: Widths, rounding and overflow.
        channels: Number of output channels of the weights before it.
        axes: Number of axes of the layer after the channels.
        weight_shift: As for `WholeNeuron.begin`.
    """
    kind = WHOLE.get(type(neuron))
    if kind is None:
        kinds = ", ".join(one.__name__ for one in WHOLE)
        raise ConfigError("", f"{type(neuron).__name__} has no rule for whole numbers", f"these have one: {kinds}")
    neuron.__class__ = kind
    assert isinstance(neuron, WholeNeuron)
    neuron.begin(target, channels, axes, weight_shift)
    return neuron


def _require_of_target(group: WholeGroup, target: IntegerTarget, place: str) -> None:
    """Refuse neurons that a target does not have."""
    at, kind = f"{place}.{group.name}", type(group.neuron).__name__
    if target.neurons and kind not in target.neurons:
        raise ConfigError(at, f"the target has no {kind}", f"choose {' or '.join(target.neurons)}")
    if target.fits_all and getattr(group.neuron, "floor", None) is None:
        raise ConfigError(f"{at}.floor", "the target needs a lower bound of the membrane", "set floor: -1")


def end_with_readout(network: Network, target: IntegerTarget, place: str = "model.layers") -> None:
    """Add a readout without memory, y[t] = x[t], to a network that ends with weights: these need neurons behind them.

    Args:
        network: The network, real until now; it stays as it is where it ends with neurons.
        target: The target; a network for one without readouts must end with its neurons.
        place: Path of the layers, for errors.
    """
    reader = _GroupReader(place)
    reader.read_all(network, "")
    if reader.pending is not None:
        if target.neurons:
            kinds = " or ".join(target.neurons)
            raise ConfigError(
                f"{place}.{reader.pending.name}", f"the target needs {kinds} after it", "end the layers with neurons"
            )
        if hasattr(network, READOUT):
            raise ConfigError(f"{place}.{READOUT}", "is the name of the readout that quantize adds", "rename the layer")
        network.add_module(READOUT, NEURONS.build("li", {"beta": 0.0, "input_gain": 1.0}, place))
        network.layer_types[READOUT] = "li"


@torch.no_grad()
def fit_scales(groups: Collection[WholeGroup], activity: Mapping[str, Tensor] | None = None) -> None:
    """Set the scales of weights: of clips of the largest, the one with the least mean square error of the currents.

    Args:
        groups: The parts of a network in whole numbers.
        activity: Mean square of each input channel, `[C]`, by the name of the weights; None: all are alike.
    """
    for group in groups:
        neuron = group.neuron
        assert isinstance(neuron, WholeNeuron)
        neuron.set_scale(torch.ones(1))
        if neuron.target.fits_all:
            assert isinstance(neuron, WholeMembrane)
            neuron.set_scale(_fitting_scale(group, neuron))
            continue
        whole = [_whole_weight(one) for one in group.inputs]
        real = [one.in_scale(part.weight).flatten(1) for one, part in zip(whole, group.inputs, strict=True)]
        active = [_activity_of(part, activity) for part in group.inputs]
        most = torch.tensor([float(one.most) for one in whole], dtype=torch.float64)
        largest = torch.stack([w.abs().amax(1) / m for w, m in zip(real, most, strict=True)]).amax(0)
        if len(neuron.scale()) == 1:
            largest = largest.amax().expand_as(largest)
        largest = torch.where(largest > 0, largest, torch.ones_like(largest))
        errors = []
        for clip in _CLIPS:
            scale = (largest * clip)[:, None]
            parts = zip(real, active, most, strict=True)
            lost = [(((w / scale + 0.5).floor().clamp(-m, m) * scale - w).square() * a).sum(1) for w, a, m in parts]
            errors.append(torch.stack(lost).sum(0))
        found = torch.stack(errors)
        found = found.sum(1, keepdim=True).expand_as(found) if len(neuron.scale()) == 1 else found
        neuron.set_scale((largest * _CLIPS[found.argmin(0)])[: len(neuron.scale())])


def check_widths(groups: Collection[WholeGroup], place: str = "model.layers") -> None:
    """Refuse a target whose widths cannot hold a number of the network.

    Args:
        groups: The parts of a network in whole numbers.
        place: Path of the layers, for errors.
    """
    for group in groups:
        neuron, at = group.neuron, f"{place}.{group.name}"
        assert isinstance(neuron, WholeNeuron)
        target = neuron.target
        with torch.no_grad():
            stated, factors = neuron.stated_numbers(), neuron.decay_factors()
        for setting, value in stated.items():
            values = torch.as_tensor(value).abs()
            if values.max() > target.most_state:
                raise ConfigError(
                    f"{at}.{setting}",
                    f"{_SAYS.get(setting, 'is')} {values.max():,.0f} units, and"
                    f" quantize.state_bits={target.state_bits} holds {target.most_state:,}",
                    f"set {_fitting_settings(groups, neuron, values)}",
                )
            is_zero = setting in _ZEROS and not torch.as_tensor(getattr(neuron, setting)).any()
            # A neuron of a layer may have an adaptation of 0, and none may have such a threshold.
            if setting in _ZEROS and not is_zero and (values.min() if setting == "v_threshold" else values.max()) < 1:
                raise ConfigError(
                    f"{at}.{setting}",
                    f"is below half a unit of the states, so that {_ZEROS[setting]}",
                    f"set quantize.weight_shift={min(12, neuron.weight_shift + 4)}",
                )
        for decay, factor in factors:
            if (torch.as_tensor(factor) >= 2**target.decay_bits).any():
                raise ConfigError(
                    f"{at}.{decay.setting}",
                    f"decays by less than the resolution of quantize.decay_bits={target.decay_bits}, "
                    f"1/{2**target.decay_bits} a step",
                    f"set a {decay.tau_name} of at most {2**target.decay_bits} steps",
                )
        for one in group.inputs:
            with torch.no_grad():
                total = whole_weights(one).abs().flatten(1).sum(1).max().item() * _whole_weight(one).input_denominator
            if total >= 2**EXACT_BITS:
                raise ConfigError(
                    f"{place}.{one.name}",
                    f"its weights sum to {total:,.0f}, and sums are exact below {2**EXACT_BITS:,}",
                    "set a smaller quantize.weight_bits",
                )


def _fitting_settings(groups: Collection[WholeGroup], neuron: WholeNeuron, values: Tensor) -> str:
    """Return the settings with which numbers of a neuron fit, where one does not."""
    target, found = neuron.target, list[str]()
    needed = int(values.max()).bit_length() + 1
    if needed <= EXACT_BITS:
        found.append(f"quantize.state_bits={needed}")
    shift = neuron.weight_shift - max(_missing_bits(group) for group in groups)
    if neuron.weight_shift == target.weight_shift and shift >= 0:  # levels of the input can need a larger shift
        found.append(f"quantize.weight_shift={shift}")
    if neuron.scale().numel() > 1 and values.min() <= target.most_state:
        found.append("quantize.scales=layer")
    return " or ".join(found or ["a smaller quantize.weight_bits"])


@torch.no_grad()
def _missing_bits(group: WholeGroup) -> int:
    """Return the bits that the states of neurons lack for the numbers that settings state."""
    neuron = group.neuron
    assert isinstance(neuron, WholeNeuron)
    largest = max(torch.as_tensor(value).abs().max().item() for value in neuron.stated_numbers().values())
    return max(0, int(largest).bit_length() + 1 - neuron.target.state_bits)


@torch.no_grad()
def whole_weights(one: WeightedInput) -> Tensor:
    """Return the weights as whole numbers before their shift, outputs first, float64."""
    whole = _whole_weight(one)
    return whole.unbounded(one.weight).clamp(whole.least, whole.most)


def whole_bits(layer: Any) -> int | None:
    """Return the bits of the weights of a layer, or of a feedback, in whole numbers; None for real ones."""
    if isinstance(layer, Feedback):
        whole = layer.whole
    else:
        whole = layer.parametrizations.weight[0] if parametrize.is_parametrized(layer) else None
    return whole.most.bit_length() + 1 if isinstance(whole, WholeWeight) else None


@torch.no_grad()
def clipped_share(one: WeightedInput) -> float:
    """Return the part of the weights that is clipped."""
    whole = _whole_weight(one)
    found = whole.unbounded(one.weight)
    return ((found < whole.least) | (found > whole.most)).double().mean().item()


def groups_of(network: Network, place: str = "model.layers") -> list[WholeGroup]:
    """Return the neurons of a network with the weights before them, real or in whole numbers.

    Args:
        network: The network.
        place: Path of the layers, for errors.
    """
    reader = _GroupReader(place)
    reader.read_all(network, "")
    reader.end()
    return reader.groups


def is_scale(name: str) -> bool:
    """Return whether a tensor of a state dict is the scale of weights."""
    return name.endswith(".log_scale")


def whole_name(name: str, known: Collection[str]) -> str:
    """Return the name of a real tensor in a network of whole numbers that has tensors of some names."""
    parent, _, leaf = name.rpartition(".")
    inner = f"{parent}.parametrizations.{leaf}.original"
    return inner if inner in known else name


def real_name(name: str) -> str:
    """Return the name that a tensor of a network in whole numbers has in the real one: the inverse of `whole_name`."""
    return name.replace(".parametrizations.", ".").removesuffix(".original")


def _fitting_scale(group: WholeGroup, neuron: WholeMembrane) -> Tensor:
    """Return the smallest scale with which all numbers of a layer fit, `[1]`; that of the neurons is 1."""
    bounds = [neuron.value("v_threshold"), *([] if (floor := getattr(neuron, "floor", None)) is None else [floor])]
    parts = [(torch.stack([torch.as_tensor(one).double().flatten()[0] for one in bounds]), neuron.target.most_state)]
    for one in group.inputs:
        whole = _whole_weight(one)
        parts.append((whole.in_scale(one.weight), whole.most))
        if getattr(one.module, "bias", None) is not None:
            bias = one.module.parametrizations.bias
            parts.append((bias[0].in_scale(bias.original), bias[0].most))
    ends = [torch.stack([values.max() / most, -values.min() / (most + 1)]).max() for values, most in parts]
    largest = torch.stack(ends).max()
    return largest.view(1) if largest > 0 else torch.ones(1)


def _bits(levels: int) -> int:
    """Return the bits that tell so many levels apart."""
    return (levels - 1).bit_length()


def _whole_weight(one: WeightedInput) -> WholeWeight:
    whole = one.module.whole if isinstance(one.module, Feedback) else one.module.parametrizations.weight[0]
    assert isinstance(whole, WholeWeight)
    return whole


def _activity_of(one: WeightedInput, activity: Mapping[str, Tensor] | None) -> Tensor:
    """Return the mean square of the input of each weight, `[1, weights of an output]`."""
    weight = one.weight
    if activity is None:
        return torch.ones(1, weight[0].numel(), dtype=torch.float64)
    of_channel = activity[one.name].double()
    groups = getattr(one.module, "groups", 1)
    own = of_channel.view(groups, -1).repeat_interleave(len(weight) // groups, 0)
    # A channel that was silent may not be so elsewhere.
    own = own.clamp(min=1e-3 * float(of_channel.max().clamp(min=1e-12)))
    return own[..., None].expand(*own.shape, prod(weight.shape[2:])).flatten(1)


@dataclass
class _GroupReader:
    """Finds the neurons of a network, and the weights before each of them."""

    place: str
    groups: list[WholeGroup] = field(default_factory=list)
    mean_pools: list[tuple[nn.Module, str, nn.Module]] = field(default_factory=list)
    factor: float = 1.0
    pending: WeightedInput | None = None
    axes: int = 0
    readout: str | None = None
    adds_input: str | None = None

    def read_all(self, network: Network, prefix: str) -> None:
        """Read the layers of a network in order."""
        for name, module in network.layers():
            self._read(network, name, f"{prefix}{name}", module)

    def end(self) -> None:
        """Refuse a network that does not end with neurons."""
        if self.pending is not None or self.factor != 1.0:
            last = self.pending.name if self.pending else list(self.groups)[-1].name
            self._refuse(
                last, "the network does not end with neurons", "add a readout, {type: integrator} or {type: li}"
            )

    def _refuse(self, name: str, problem: str, advice: str = "") -> None:
        raise ConfigError(f"{self.place}.{name}", f"quantize: {problem}", advice)

    def _read(self, parent: Network, key: str, name: str, module: nn.Module) -> None:
        if self.readout is not None and not isinstance(module, Dropout | nn.Identity):
            self._refuse(
                self.readout, f"its membrane is read by {name}, and is no whole number", "make it the last layer"
            )
        axes = next((n for kind, n in _AXES.items() if isinstance(module, kind)), None)
        if isinstance(module, DelayedConnections):
            if isinstance(module.delays.fraction, nn.Parameter):
                self._refuse(name, "delays that are learned have no rule for whole numbers", "set delay.learn: false")
            axes = len(module.stride) if isinstance(module, DelayedConv) else 0
        if axes is not None:
            if self.pending is not None:
                self._refuse(name, f"no neurons are between it and {self.pending.name}", "put neurons between them")
            if parametrize.is_parametrized(module) and whole_bits(module) is None:
                self._refuse(name, "its weights are computed from others", "set weight_norm: false")
            self.pending = WeightedInput(name, module, self.factor, is_first=not self.groups)
            self.factor, self.axes = 1.0, axes
        elif isinstance(module, Neuron):
            self._read_neuron(name, module)
        elif isinstance(module, nn.AvgPool1d | nn.AvgPool2d):
            self._read_mean(parent, key, name, module)
        elif isinstance(module, Residual):
            self._read_residual(name, module)
        elif type(module) is Network:
            self.read_all(module, f"{name}.")
        elif isinstance(module, nn.Flatten):
            if self.pending is not None:
                self._refuse(name, "stands between weights and neurons", "put it after the neurons")
        elif not isinstance(module, nn.MaxPool1d | nn.MaxPool2d | SumPool | Dropout | nn.Identity | Delay):
            norm = "Norm" in type(module).__name__
            advice = "fold it: snnlab quantize RUN --fold-norm" if norm else "remove it"
            self._refuse(name, f"{type(module).__name__} has no rule for whole numbers", advice)

    def _read_neuron(self, name: str, module: Neuron) -> None:
        if self.pending is None:
            self._refuse(name, "no weights are before these neurons", "put a layer with weights before them")
        assert self.pending is not None
        if isinstance(module, StateOutput):
            self._refuse(name, f"output: {module.variable} has no rule for whole numbers", "set output: null")
        inputs, neuron = [self.pending], module
        if isinstance(module, Recurrent):
            neuron, feedback = module.neuron, module.feedback
            if feedback.delays is not None or feedback.bias is not None:
                self._refuse(name, "a feedback with delays or a bias has no rule for whole numbers", "leave them out")
            inputs.append(WeightedInput(f"{name}.feedback", feedback, 1.0))
        if type(neuron) not in WHOLE and not isinstance(neuron, WholeNeuron):
            kinds = ", ".join(one.__name__ for one in WHOLE)
            self._refuse(name, f"{type(neuron).__name__} has no rule for whole numbers", f"choose one of {kinds}")
        per_neuron = set(getattr(neuron, "learn_per", {}).values()) | set(getattr(neuron, "per_neuron", ()))
        if "input_gain" in per_neuron:
            self._refuse(name, "an input_gain of each neuron cannot be part of the weights", "leave out per_neuron")
        self.groups.append(WholeGroup(name, neuron, inputs, self.axes))
        self.pending = None
        self.readout = None if neuron.spiking else name

    def _read_mean(self, parent: Network, key: str, name: str, module: Any) -> None:
        """Read a mean, which becomes a sum; the weights after or before it get the divisor."""
        sizes = [n if isinstance(n, tuple) else (n,) for n in (module.kernel_size, module.stride, module.padding)]
        axes = 1 if isinstance(module, nn.AvgPool1d) else 2
        kernel, stride, padding = (n if len(n) == axes else n * axes for n in sizes)
        if (
            module.ceil_mode
            or (any(padding) and not module.count_include_pad)
            or getattr(module, "divisor_override", None)
        ):
            self._refuse(
                name, "a mean of windows that are not full has no rule for whole numbers", "set ceil_mode: false"
            )
        self.mean_pools.append((parent, key, SumPool(kernel, stride, padding)))
        if self.pending is None:
            self.factor /= prod(kernel)
        else:
            self.pending = self.pending._replace(
                factor=self.pending.factor / prod(kernel), after=self.pending.after / prod(kernel)
            )

    def _read_residual(self, name: str, module: Residual) -> None:
        """Read a block, whose ends must be spikes or their numbers."""
        if module.connect != "add":
            self._refuse(name, f"connect: {module.connect} has no rule for whole numbers", "set connect: add")
        before = self.factor, self.axes
        self.adds_input = name if not self.groups else self.adds_input
        self._require_counts(name)
        self.read_all(module, f"{name}.")
        self._require_counts(name)
        after = self.axes
        shortcut = getattr(module, SHORTCUT, None)
        if shortcut is not None:
            self.factor, self.axes = before
            self._read(module, SHORTCUT, f"{name}.{SHORTCUT}", shortcut)
            self._require_counts(name)
        self.axes = after

    def _require_counts(self, name: str) -> None:
        if self.pending is not None or self.factor != 1.0 or self.readout is not None:
            self._refuse(name, "adds what are no numbers of spikes", "end its layers and its shortcut with neurons")
