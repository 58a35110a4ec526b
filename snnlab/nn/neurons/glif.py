"""The gated leaky integrate-and-fire neuron.

Axes: T steps, B samples, then the layer's own; C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.kernels.function import KernelOutput
from snnlab.kernels.layout import Pool
from snnlab.nn.layer import Counts, Reach
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.info import AfterSpike, DtWarning, Firing, NeuronInfo
from snnlab.nn.neurons.learn import Number, Per, Shape, learned_parameter
from snnlab.nn.neurons.membrane import SurrogateSetting
from snnlab.nn.neurons.psn import NumSteps, require_num_steps
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import Dt
from snnlab.nn.surrogate import Sigmoid, as_surrogate, spike
from snnlab.spec.interval import Interval

# A fraction that is learned between its bounds.
Fraction = Annotated[float, Interval(0.0, 1.0)]
_UNIT = Interval(0.0, 1.0)
_GATES = ("gate_leak", "gate_reset", "gate_input")


class GLIFState(NamedTuple):
    """Membrane potential v after the step, before its reset, and the last spike s, each `[B, ...]`."""

    v: Tensor
    s: Tensor


class GLIFCoefficients(NamedTuple):
    """Coefficients of the update, all learned.

    Attributes:
        keep: Factor of the membrane, 1 - gate_leak * (1 - leak).
        linear: Linear leak of a step, (1 - gate_leak) * linear_leak.
        gain: Gain of the input, 1 - gate_input * (1 - conductance); 1 where it differs between steps.
        reset_factor: Part of the membrane that a spike removes.
        reset_amount: Amount that a spike removes.
        v_threshold: Firing threshold.
    """

    keep: Number
    linear: Number
    gain: Number
    reset_factor: Number
    reset_amount: Number
    v_threshold: Number


@NEURONS.register("glif")
class GLIF(Neuron):
    """Gated leaky integrate-and-fire neuron: learned gates mix two leaks, two resets and two gains of the input.

    All quantities are learned between 0 and 1. The gates of the authors' code are alpha, gamma and beta.

    Args:
        dt: Length of a step, ms; not used, since all quantities are per step.
        num_steps: Steps of a recording, where the conductance differs between steps; given by the data.
        gate_leak: 1 for the exponential leak, 0 for the linear one.
        gate_reset: 1 for a reset to 0, 0 for one by subtraction.
        gate_input: 1 for a gain of `conductance`, 0 for a gain of 1.
        leak: Factor of the exponential leak in one step.
        linear_leak: Linear leak of one step; the authors have v_threshold / (2 T).
        reset_amount: What the reset by subtraction subtracts.
        v_threshold: Firing threshold, dimensionless.
        conductance: Gain of the input.
        conductance_per_step: Whether each step has its own, as in the authors' code; this fixes the number of steps.
        init: `value`: the gates start as they are set; `random`: each a little off, as in the authors' code.
        per: Whether there is one value per layer, channel or neuron.
        surrogate: A `Surrogate`, or its YAML node; by default `{type: sigmoid, alpha: 4.0}`.
        in_shape: Shape of one sample at one step; needed for a value per channel or neuron.

    Shape:
        x: `[T, B, ...]`; state: `GLIFState(v, s)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`, and the
        state.

    Raises:
        ConfigError: if a value is out of its range, or the input has another number of steps than the conductance.

    Source: Yao et al., GLIF: a unified gated leaky integrate-and-fire neuron, NeurIPS 2022; SpikingJelly 2.0,
    neuron.GatedLIFNode.
    """

    equations: ClassVar[tuple[str, ...]] = (
        "k = 1 - gate_leak * (1 - leak),   g = 1 - gate_input * (1 - conductance)",
        "v[t] = k * v[t-1] - (1 - gate_leak) * linear_leak + g * x[t]",
        "       - (gate_reset * k * v[t-1] + (1 - gate_reset) * reset_amount) * s[t-1]",
        "s[t] = H(v[t] - v_threshold)",
    )

    def __init__(
        self,
        dt: Dt = None,
        num_steps: NumSteps = None,
        *,
        gate_leak: Fraction = 0.5,
        gate_reset: Fraction = 0.5,
        gate_input: Fraction = 0.5,
        leak: Fraction = 0.25,
        linear_leak: Fraction = 0.01,
        reset_amount: Fraction = 0.5,
        v_threshold: Fraction = 0.5,
        conductance: Fraction = 0.5,
        conductance_per_step: bool = False,
        init: Literal["value", "random"] = "random",
        per: Per = "layer",
        surrogate: SurrogateSetting | None = None,
        in_shape: Shape | None = None,
    ) -> None:
        super().__init__()
        self.dt, self.conductance_per_step = dt, conductance_per_step
        values = {"gate_leak": gate_leak, "gate_reset": gate_reset, "gate_input": gate_input, "leak": leak}
        values |= {"linear_leak": linear_leak, "reset_amount": reset_amount, "v_threshold": v_threshold}
        values |= {"conductance": conductance}
        self.learned = nn.ParameterDict(
            {name: learned_parameter(name, value, _UNIT, per, in_shape) for name, value in values.items()}
        )
        if init == "random":
            for name in _GATES:
                with torch.no_grad():
                    self.learned[name].add_(0.2 * (torch.rand_like(self.learned[name]) - 0.5))
        if conductance_per_step:
            self.num_steps = require_num_steps("glif with conductance_per_step", num_steps)
            self.reach: Reach = "recording"
            self.whole_recording = True
            one = self.learned["conductance"].detach()
            self.learned["conductance"] = nn.Parameter(one.expand(self.num_steps, *one.shape).clone())
        self.surrogate = Sigmoid(alpha=4.0) if surrogate is None else as_surrogate(surrogate)

    def value(self, name: str) -> Tensor:
        """Return a learned quantity in double precision."""
        return _UNIT.value(self.learned[name].double())

    def learned_values(self) -> Iterator[tuple[str, str, Tensor]]:
        yield from ((name, "", self.value(name).detach()) for name in self.learned)

    def coefficients(self) -> GLIFCoefficients:
        gate, reset = self.value("gate_leak"), self.value("gate_reset")
        keep = 1.0 - gate * (1.0 - self.value("leak"))
        gain = 1.0 if self.conductance_per_step else self._gain()
        amount = (1.0 - reset) * self.value("reset_amount")
        linear = (1.0 - gate) * self.value("linear_leak")
        return GLIFCoefficients(keep, linear, gain, reset * keep, amount, self.value("v_threshold"))

    def _gain(self) -> Tensor:
        return 1.0 - self.value("gate_input") * (1.0 - self.value("conductance"))

    def initial_state(self, x: Tensor) -> GLIFState:
        return GLIFState(torch.zeros_like(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: GLIFState, coefficients: GLIFCoefficients) -> tuple[Tensor, GLIFState]:
        k, (v, s) = coefficients, state
        u = (k.keep * v - k.linear) + k.gain * x - (k.reset_factor * v + k.reset_amount) * s
        y = spike(u - k.v_threshold, self.surrogate, k.v_threshold)
        return y, GLIFState(u, y)

    def weighted_input(self, x: Tensor) -> Tensor:
        if not self.conductance_per_step:
            return x
        gain = self._gain()
        return x * gain.reshape(self.num_steps, *[1] * (x.dim() - gain.dim()), *gain.shape[1:]).to(x.dtype)

    def run(
        self,
        x: Tensor,
        state: GLIFState | None,
        lengths: Tensor | None,
        counts: Counts | None,
        *,
        pool: Pool | None = None,
        inplace: bool = False,
    ) -> KernelOutput:
        if not self.conductance_per_step:
            return super().run(x, state, lengths, counts, pool=pool, inplace=inplace)
        if state is not None or x.shape[0] != self.num_steps:
            raise ConfigError(
                "", f"glif with conductance_per_step needs all {self.num_steps} steps in one call, got {x.shape[0]}"
            )
        return super().run(self.weighted_input(x), state, lengths, counts)

    def info(self) -> NeuronInfo:
        threshold = float(self.value("v_threshold").detach().mean())
        found = DtWarning("late_reset", advice="train again where dt changes")
        reset = AfterSpike("subtract", float(self.value("reset_amount").detach().mean()), delayed=True)
        return NeuronInfo(self.equations, firing=Firing(threshold, variable="v"), reset=reset, warnings=(found,))
