"""Disturbances of a network and of its frames: what a device or a sensor does that the training did not.

Each changes a copy of a network, or frames, by one strength, its level; at its first level it mostly changes nothing.
Disturbances of events are in `snnlab.data.event_disturbances`.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from snnlab.kernels.trace_cache import map_coefficients
from snnlab.nn.layer import OWN_SPIKES, Counts
from snnlab.nn.network import Network
from snnlab.nn.neurons.base import Neuron, NeuronWrapper, named_neurons
from snnlab.nn.neurons.recurrent import Recurrent
from snnlab.registry import Registry

DISTURBANCES = Registry("disturbance")


class Disturbance:
    """A disturbance of one level; a subclass changes a network, its frames, or both.

    Args:
        level: Its strength, in the unit of `unit`.
    """

    levels: ClassVar[tuple[float, ...]] = ()
    unit: ClassVar[str] = ""
    # Whether two repetitions differ.
    random: ClassVar[bool] = True

    def __init__(self, level: float) -> None:
        self.level = level

    def disturb(self, network: Network, x: Tensor, rng: torch.Generator) -> int:
        """Change a network in place, and return the number of layers that it has changed; of 0 the level says nothing.

        Args:
            network: A copy of the network, in evaluation mode.
            x: Frames of one step of one sample, `[1, 1, ...]`.
            rng: Source of all random numbers, also of those that the network draws later.
        """
        return 0

    def frames(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return the frames that the network gets, `[T, B, ...]`."""
        return x


@DISTURBANCES.register("spikes_deleted")
class SpikesDeleted(Disturbance):
    """Hidden spikes are lost: neither the next layer nor a feedback gets them, but the neuron is reset.

        s'[t] = s[t] * m[t],   m[t] ~ Bernoulli(1 - level)

    A recurrent layer runs in the plain loop, since its feedback gets s'; others keep their loops.

    Args:
        level: Probability that a spike is lost.
    """

    levels = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    unit = "probability"

    def disturb(self, network: Network, x: Tensor, rng: torch.Generator) -> int:
        return _wrap_neurons(network, lambda neuron: LossySpikes(neuron, self.level, rng) if neuron.spiking else None)


@DISTURBANCES.register("weight_noise")
class WeightNoise(Disturbance):
    """Weights of connections differ from those that were trained; biases and the constants of neurons do not.

        w' = w * (1 + level * n),   n ~ N(0, 1) of each weight

    Args:
        level: Standard deviation, as a part of the weight.
    """

    levels = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    unit = "part of the weight"

    def disturb(self, network: Network, x: Tensor, rng: torch.Generator) -> int:
        weights = connection_weights(network)
        for weight in weights:
            weight.data = weight * (1.0 + self.level * torch.randn(weight.shape, generator=rng).to(weight))
        return len(weights)


@DISTURBANCES.register("input_noise")
class InputNoise(Disturbance):
    """Noise is added to the frames.

        x'[t] = x[t] + level * n[t],   n[t] ~ N(0, 1) of each cell

    Args:
        level: Standard deviation, in the unit of the frames.
    """

    levels = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35)
    unit = "unit of the frames"

    def frames(self, x: Tensor, rng: torch.Generator) -> Tensor:
        return x + self.level * torch.randn(x.shape, generator=rng).to(x)


@DISTURBANCES.register("precision")
class Precision(Disturbance):
    """Parameters, buffers, coefficients of the steps, and the frames have few fractional bits.

        w' = round(2^level * w) / 2^level

    Quantities that are learned on another scale are rounded in their own unit. States and sums are not rounded.

    Args:
        level: Number of fractional bits.
    """

    levels = (32.0, 16.0, 8.0, 6.0, 4.0, 2.0, 1.0)
    unit = "fractional bits"
    random = False

    def disturb(self, network: Network, x: Tensor, rng: torch.Generator) -> int:
        stored = [value for value in (*network.parameters(), *network.buffers()) if value.is_floating_point()]
        for _, neuron in list(named_neurons(network)):
            inner = neuron.parts()[0]
            inner.map_quantities(self._round)
        for value in stored:
            value.data = self._round(value.data)
        _wrap_neurons(
            network, lambda neuron: Rounded(neuron, self._round, None) if neuron.rounds_coefficients else None
        )
        return len(stored)

    def frames(self, x: Tensor, rng: torch.Generator) -> Tensor:
        return self._round(x)

    def _round(self, value: Tensor) -> Tensor:
        return torch.round(2.0**self.level * value) * 0.5**self.level


@DISTURBANCES.register("state_precision")
class StatePrecision(Disturbance):
    """The states of neurons are rounded to few fractional bits at the end of each step; their loops stay rendered.

        v'[t] = floor(2^level * v[t] + 1/2) / 2^level

    The output of neurons that do not spike is rounded too.

    Args:
        level: Number of fractional bits.
    """

    levels = (16.0, 12.0, 8.0, 6.0, 4.0, 3.0, 2.0, 1.0)
    unit = "fractional bits"
    random = False

    def disturb(self, network: Network, x: Tensor, rng: torch.Generator) -> int:
        return _wrap_neurons(network, lambda neuron: None if neuron.parallel else Rounded(neuron, None, self.level))


@DISTURBANCES.register("time_constant_mismatch")
class TimeConstantMismatch(Disturbance):
    """The time constants of neurons differ from device to device.

        tau' = tau * exp(level * n),   n ~ N(0, 1) of each time constant of each neuron

    Args:
        level: Standard deviation of the logarithm: nearly the part of tau by which it is off.
    """

    levels = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
    unit = "part of tau"

    def disturb(self, network: Network, x: Tensor, rng: torch.Generator) -> int:
        neurons = [(name, n.parts()[0]) for name, n in named_neurons(network)]
        shapes = _output_shapes(network, x)

        def factor(shape: tuple[int, ...]) -> Tensor:
            return torch.exp(self.level * torch.randn(shape, generator=rng, dtype=torch.float64))

        return sum(neuron.scale_time_constants(shapes[name], factor) for name, neuron in neurons if name in shapes)


class LossySpikes(NeuronWrapper):
    """Neurons some of whose spikes are lost on their way out.

    Args:
        neuron: The neurons.
        probability: Probability that a spike is lost; of several spikes in a step all are.
        rng: Source of the random numbers.
    """

    def __init__(self, neuron: Neuron, probability: float, rng: torch.Generator) -> None:
        super().__init__(neuron)
        self.probability, self.rng = probability, rng

    def step(self, x: Tensor, state: Any, coefficients: Any) -> tuple[Tensor, Any]:
        y, after = self.neuron.step(x, state, coefficients)
        return self._lossy(y), after

    def forward(
        self, x: Tensor, state: Any = None, *, lengths: Tensor | None = None, counts: Counts | None = None
    ) -> tuple[Tensor, Any]:
        """Run all steps in the loops of the neurons, and lose spikes of their output."""
        y, after = self.neuron(x, state, lengths=lengths)
        y = self._lossy(y)
        if counts is not None:
            counts[OWN_SPIKES] = y.sum(0)
        return y, after

    def _lossy(self, y: Tensor) -> Tensor:
        return y * (torch.rand(y.shape, generator=self.rng) >= self.probability).to(y)


class Rounded(NeuronWrapper):
    """Neurons whose coefficients, or states at the end of each step, are rounded.

    Args:
        neuron: The neurons.
        coefficient: Rounds a coefficient, or None.
        bits: Fractional bits of the states, or None.
    """

    def __init__(self, neuron: Neuron, coefficient: Callable[[Tensor], Tensor] | None, bits: float | None) -> None:
        super().__init__(neuron)
        self.coefficient, self.bits = coefficient, bits

    def coefficients(self) -> Any:
        own, coefficient = self.neuron.coefficients(), self.coefficient
        return own if coefficient is None else map_coefficients(own, lambda value: _rounded_number(value, coefficient))

    def step(self, x: Tensor, state: Any, coefficients: Any) -> tuple[Tensor, Any]:
        y, after = self.neuron.step(x, state, coefficients)
        if self.bits is None:
            return y, after
        scale = 2.0**self.bits
        after = type(after)(*((part * scale + 0.5).floor() / scale for part in after))
        return y if self.spiking else (y * scale + 0.5).floor() / scale, after


def connection_weights(network: nn.Module) -> list[nn.Parameter]:
    """Return the weights of connections: of linear layers, convolutions and feedbacks, without biases."""
    own = [
        parameter
        for module in network.modules()
        if not isinstance(module, Neuron | nn.ParameterDict)
        for parameter in module.parameters(recurse=False)
    ]
    return [parameter for parameter in own if parameter.dim() > 1]


def _rounded_number(value: Any, coefficient: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, float):
        return coefficient(torch.tensor(value, dtype=torch.float64)).item()
    return coefficient(value) if isinstance(value, Tensor) else value


def _wrap_neurons(network: Network, wrapped: Callable[[Neuron], Neuron | None]) -> int:
    """Replace neurons, those of a recurrent layer within it, and return how many."""
    count = 0
    for name, neuron in list(named_neurons(network)):
        inner = neuron.parts()[0]
        new = wrapped(inner)
        if new is None:
            continue
        count += 1
        if isinstance(neuron, Recurrent):
            neuron.neuron = new
            if isinstance(new, LossySpikes):
                neuron.backend = "reference"
        else:
            parent, _, own = name.rpartition(".")
            setattr(network.get_submodule(parent), own, new)
    return count


def _output_shapes(network: Network, x: Tensor) -> dict[str, tuple[int, ...]]:
    """Return the shape of the neurons of one sample, by the layer's name."""
    shapes: dict[str, tuple[int, ...]] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda layer, given, output: shapes.__setitem__(name, tuple(output[0].shape[2:]))

    hooks = [neuron.register_forward_hook(keep(name)) for name, neuron in named_neurons(network)]
    try:
        with torch.no_grad():
            network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes
