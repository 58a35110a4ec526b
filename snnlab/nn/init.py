"""Initial weights for spiking layers.

torch's default weights keep the variance of real-valued activations. Spikes are rare, so a deep spiking network with
them is dead; the initializations here set the variance of a layer's input, or of its membrane.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from snnlab.compat import ConvNd, ConvTransposeNd
from snnlab.errors import ConfigError, did_you_mean
from snnlab.nn.layer import Dt
from snnlab.nn.layers.delayed import DelayedConnections
from snnlab.nn.layers.pool import SumPool
from snnlab.nn.neurons.base import Neuron, named_neurons
from snnlab.nn.neurons.membrane import LeakyMembrane
from snnlab.nn.neurons.recurrent import Feedback, Recurrent
from snnlab.registry import Registry
from snnlab.spec.declared import Declared, setting
from snnlab.spec.field import Excludes
from snnlab.spec.interval import Positive, above, between

INITS = Registry("initialization")
# An impulse response ends when it is below this fraction of its peak.
NEGLIGIBLE = 1e-5
MAX_STEPS = 10_000
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, SumPool)


class Activity(NamedTuple):
    """Mean and mean square of one input at one step."""

    mean: float
    square: float

    @property
    def variance(self) -> float:
        """Variance, mean square minus squared mean."""
        return self.square - self.mean**2


class Initialization(Declared, ABC):
    """Normal weights with mean 0, whose standard deviation depends on the input and on the neuron after them.

    Only weights that reach spiking neurons are set; weights of a readout, and biases, do not change.

    Args:
        rate_hz: Expected firing rate of every layer, and of each channel of the input.
        per_step: The same, in place of `rate_hz`.
    """

    scale_setting: ClassVar[str]
    """Name of the setting that scales the weights."""
    values_for_dead_layers: ClassVar[tuple[float, ...]]
    """Its values to try for dead layers, in this order."""
    values_for_saturated_layers: ClassVar[tuple[float, ...]]
    """Its values to try for saturated layers, in this order."""

    dt: Dt = setting(default=None, kw_only=False)
    rate_hz: Annotated[float | None, "Hz", above(0), Excludes("per_step")] = 10.0
    per_step: Annotated[float | None, "spikes a step", between(0, 1, with_low=False)] = None

    def prepare(self) -> None:
        if self.per_step is not None:
            self.rate = self.per_step
            return
        assert self.rate_hz is not None
        if self.dt is None:
            raise ConfigError("rate_hz", "needs steps with a length in ms", "set per_step, the spikes per step")
        self.rate = self.rate_hz * self.dt / 1000.0
        if self.rate > 1:
            raise ConfigError("rate_hz", f"a neuron has between 0 and 1 spikes per step, got {self.rate:g}", "lower it")

    def __call__(self, network: nn.Module) -> list[str]:
        """Set the weights in place, from torch's random state; return the names of the layers that were set."""
        names = []
        for name, layer, neuron, input_activity in _weighted_layers(network, self.rate):
            fan_in = layer.weight[0].numel()
            if isinstance(layer, ConvTransposeNd):
                fan_in = layer.weight[:, 0].numel() // math.prod(layer.stride)
            set_weight(
                layer, torch.empty_like(layer.weight).normal_(0.0, self.deviation(neuron, fan_in, input_activity))
            )
            names.append(name)
        return names

    @abstractmethod
    def deviation(self, neuron: Neuron, fan_in: int, input_activity: Activity) -> float:
        """Return the standard deviation of a neuron's `fan_in` weights; `input_activity`: activity of each input."""


@INITS.register("variance_preserving")
class VariancePreserving(Initialization):
    """Every layer's input has the same standard deviation at a step, for any size and any rate of its inputs.

        std(w) = std * v_threshold / sqrt(n * E[s^2]),   n inputs; for binary spikes E[s^2] is their rate per step

    Args:
        std: Standard deviation of the input at one step.

    Source: He et al., Delving deep into rectifiers, ICCV 2015, with the mean square of spikes for that of a ReLU.
    """

    scale_setting, values_for_dead_layers, values_for_saturated_layers = "std", (0.5, 1.0, 2.0), (0.5, 0.25, 0.1)

    std: Annotated[float, "thresholds", above(0)] = 0.5

    def deviation(self, neuron: Neuron, fan_in: int, input_activity: Activity) -> float:
        """Return std * v_threshold / sqrt(n E[s^2])."""
        return self.std * threshold_of(neuron) / math.sqrt(fan_in * input_activity.square)


@INITS.register("fluctuation_driven")
class FluctuationDriven(Initialization):
    """Every membrane fluctuates so that its threshold is `xi` standard deviations away: it fires sometimes.

        std(u) = v_threshold / xi,   std(w) = std(u) / sqrt(n * Var[s] * sum_t e[t]^2)

    std(u) is the membrane's standard deviation over time, and e its impulse response, which depends on the neuron's
    time constants, gain and dt.

    Args:
        xi: Distance of the threshold from the membrane's mean; 1 to 3 in the source.

    Source: Rossbroich, Gygax and Zenke, Fluctuation-driven initialization for spiking neural network training, 2022.
    """

    scale_setting, values_for_dead_layers, values_for_saturated_layers = "xi", (2.0, 1.0, 0.5), (1.0, 2.0, 3.0)

    xi: Annotated[float, "deviations", above(0)] = 1.0

    def deviation(self, neuron: Neuron, fan_in: int, input_activity: Activity) -> float:
        """Return std(u) / sqrt(n Var[s] sum of e^2)."""
        response = impulse_response(neuron).square().sum().item()
        return threshold_of(neuron) / self.xi / math.sqrt(fan_in * input_activity.variance * response)


def set_weight(layer: Any, weight: Tensor) -> None:
    """Set a layer's weight, with or without a parametrization."""
    with torch.no_grad():
        if is_parametrized(layer, "weight"):  # with weight_norm an assignment sets length and direction
            layer.weight = weight
        else:
            layer.weight.copy_(weight)


def threshold_of(neuron: Neuron) -> float:
    """Return the firing threshold; if it is learned, its mean."""
    learns = isinstance(neuron, LeakyMembrane)
    value = neuron.value("v_threshold") if learns else getattr(neuron, "v_threshold", None)
    if value is None:
        raise ConfigError("", f"{type(neuron).__name__} has no v_threshold, which this initialization needs")
    return float(torch.as_tensor(value).detach().mean())


def impulse_response(neuron: Neuron) -> Tensor:
    """Return the membrane at each step after an input impulse of 1, far below the threshold."""
    learned = [p.shape for p in neuron.parameters()]
    shape = torch.broadcast_shapes((1,), *learned)
    x = torch.zeros(1, *shape, dtype=torch.float64)
    tiny = 1e-6
    with torch.no_grad():
        coefficients, state = neuron.coefficients(), neuron.initial_state(x)
        if not hasattr(state, "v"):
            raise ConfigError("", f"{type(neuron).__name__} has no membrane v, so its impulse response is not known")
        baseline = neuron.initial_state(x)
        response: list[float] = []
        peak = 0.0
        for t in range(MAX_STEPS):
            _, state = neuron.step(x + tiny if t == 0 else x, state, coefficients)
            y, baseline = neuron.step(x, baseline, coefficients)
            if neuron.spiking and y.any():
                raise ConfigError("", f"{type(neuron).__name__} spikes without input", "use variance_preserving")
            response.append((state.v - baseline.v).mean().item() / tiny)
            peak = max(peak, abs(response[-1]))
            if t > 2 and max(map(abs, response[-3:])) < NEGLIGIBLE * peak:
                return torch.tensor(response, dtype=torch.float64)
    raise ConfigError(
        "",
        f"{type(neuron).__name__} does not forget in {MAX_STEPS:,} steps",
        "use variance_preserving",
    )


def _weighted_layers(network: nn.Module, rate: float) -> Iterator[tuple[str, Any, Neuron, Activity]]:
    """Yield the layers whose weights reach a spiking neuron: name, layer, neuron and input activity."""
    neurons = dict(named_neurons(network))
    waiting: list[tuple[str, Any, Activity]] = []
    input_activity = Activity(rate, rate + rate**2)  # counts of events have a Poisson distribution
    for name, layer in network.named_modules():
        if name in neurons:
            yield from ((*found[:2], _without_feedback(layer), found[2]) for found in waiting if layer.spiking)
            waiting, input_activity = [], Activity(rate, rate)
        elif any(name.startswith(f"{neuron}.") for neuron in neurons):
            continue
        elif isinstance(layer, (nn.Linear, ConvNd, DelayedConnections)):
            waiting = [(name, layer, input_activity)]  # without a neuron between layers, the last one drives it
        elif isinstance(layer, _POOLS):
            input_activity = _pooled_activity(layer, input_activity)


def _without_feedback(neuron: Any) -> Neuron:
    """Return the neurons without their feedback."""
    return getattr(neuron, "neuron", neuron)


def _pooled_activity(pool: Any, input_activity: Activity) -> Activity:
    """Return the activity after a pooling of independent inputs."""
    kernel = pool.kernel_size
    dims = int(type(pool).__name__[-2]) if not isinstance(pool, SumPool) else len(kernel)
    size = math.prod(kernel) if isinstance(kernel, tuple) else kernel**dims
    mean = input_activity.mean
    if "Max" in type(pool).__name__:
        any_spike = 1.0 - (1.0 - min(mean, 1.0)) ** size
        return Activity(any_spike, any_spike)
    factor = 1.0 if isinstance(pool, SumPool) else 1.0 / size
    variance = input_activity.variance * size * factor**2
    return Activity(mean * size * factor, variance + (mean * size * factor) ** 2)


Fan = Literal["in", "out"]


@INITS.register("normal")
class Normal(Declared):
    """Normal weights with mean 0 for linear layers, convolutions and the feedback of recurrent neurons.

        std(w) = gain / sqrt(n),   n: inputs of an output (fan "in"), or outputs of an input ("out")

    Biases do not change.

    Args:
        gain: Standard deviation for n = 1.
        fan: Connections that are counted; in a convolution those of its kernel, as if its stride were 1.
        layers: Names of layers, blocks and recurrent neurons; null for all.

    Source: He et al., Delving deep into rectifiers, ICCV 2015: gain sqrt(2).
    """

    gain: Positive = 1.0
    fan: Fan = "in"
    layers: Sequence[str] | None = None

    def __call__(self, network: nn.Module) -> list[str]:
        """Set the weights in place, from torch's random state; return the names of the layers that were set."""
        candidates = dict(_with_weights(network))
        for wanted in self.layers or ():
            if not any(_is_within(name, wanted) for name in candidates):
                raise ConfigError(
                    "layers",
                    f"no layer with weights is called '{wanted}'",
                    did_you_mean(wanted, candidates),
                    candidates,
                )
        chosen = {
            name: layer
            for name, layer in candidates.items()
            if self.layers is None or any(_is_within(name, wanted) for wanted in self.layers)
        }
        for layer in chosen.values():
            std = self.gain / math.sqrt(_fan(layer, self.fan))
            set_weight(layer, torch.empty_like(layer.weight).normal_(0.0, std))
        return list(chosen)


@INITS.register("xavier_uniform")
class XavierUniform:
    """Uniform weights for linear layers, convolutions and the feedback of recurrent neurons.

        |w| <= sqrt(6 / (n_in + n_out)),   n_in: inputs of an output, n_out: outputs of an input

    Feedback and the layer that drives its neurons count as one matrix, from their inputs and outputs together. Biases
    do not change.

    Source: Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010.
    """

    def __call__(self, network: nn.Module) -> list[str]:
        """Set the weights in place, from torch's random state; return the names of the layers that were set."""
        neurons = dict(named_neurons(network))
        names, before = list[str](), None
        for name, layer in network.named_modules():
            feedback = isinstance(layer, Feedback)
            if feedback or isinstance(layer, (nn.Linear, ConvNd, DelayedConnections)):
                joined = [layer, before] if feedback and before is not None else [layer]
                bound = math.sqrt(6.0 / (sum(_fan(part, "in") for part in joined) + _fan(layer, "out")))
                for part in joined:
                    set_weight(part, torch.empty_like(part.weight).uniform_(-bound, bound))
                names.append(name.removesuffix(".feedback"))
                before = layer
            elif name in neurons and not isinstance(layer, Recurrent):
                before = None
        return names


def _with_weights(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the layers with weights by name; the feedback of recurrent neurons has the neurons' name."""
    for name, layer in network.named_modules():
        if isinstance(layer, Feedback):
            yield name.removesuffix(".feedback"), layer
        elif isinstance(layer, (nn.Linear, ConvNd, DelayedConnections)):
            yield name, layer


def _is_within(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(f"{wanted}.")


def _fan(layer: Any, fan: Fan) -> int:
    """Return the number of connections per output, or per input."""
    # The weight's first axis is the outputs; in transposed convolutions the inputs.
    of_first = (fan == "in") != isinstance(layer, ConvTransposeNd)
    return (layer.weight[0] if of_first else layer.weight[:, 0]).numel()
