"""The gated leaky integrate-and-fire neuron.

Axes: T steps, B samples, then the layer's own; C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.kernels.function import KernelOutput
from snnlab.nn.layer import Counts
from snnlab.nn.neurons.base import SurrogateNeuron
from snnlab.nn.neurons.info import AfterSpike, DtWarning, Firing, NeuronInfo
from snnlab.nn.neurons.learn import InShape, Number, Per, learned_parameter
from snnlab.nn.neurons.parallel import NumSteps, require_num_steps
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.surrogate import SurrogateSetting, spike
from snnlab.spec.declared import setting
from snnlab.spec.field import Help
from snnlab.spec.interval import Interval

# A fraction that is learned between its bounds.
Fraction = Annotated[float, Interval(0.0, 1.0)]
_UNIT = Interval(0.0, 1.0)
_GATES = ("gate_leak", "gate_reset", "gate_input")
_LEARNED = (*_GATES, "leak", "linear_leak", "reset_amount", "v_threshold", "conductance")


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
class GLIF(SurrogateNeuron):
    """Gated leaky integrate-and-fire neuron: learned gates mix two leaks, two resets and two gains of the input.

    All quantities are learned between 0 and 1. The gates of the authors' code are alpha, gamma and beta.

    Args:
        num_steps: Steps of a recording, where the conductance differs between steps; given by the data.
        gate_leak: 1 for the exponential leak, 0 for the linear one.
        gate_reset: 1 for a reset to 0, 0 for one by subtraction.
        gate_input: 1 for a gain of `conductance`, 0 for a gain of 1.
        leak: Factor of the exponential leak in one step.
        linear_leak: Linear leak of one step; the authors have v_threshold / (2 T).
        reset_amount: What the reset by subtraction subtracts.
        conductance: Gain of the input.
        conductance_per_step: Whether each step has its own, as in the authors' code; this fixes the number of steps.
        init: `value`: the gates start as they are set; `random`: each a little off, as in the authors' code.
        per: Whether there is one value per layer, channel or neuron.

    Shape:
        x: `[T, B, ...]`; state: `GLIFState(v, s)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`, and the
        state.

    Source: Yao et al., GLIF: a unified gated leaky integrate-and-fire neuron, NeurIPS 2022; SpikingJelly 2.0,
    neuron.GatedLIFNode.
    """

    num_steps: NumSteps = setting(default=None, kw_only=False)
    gate_leak: Fraction = 0.5
    gate_reset: Fraction = 0.5
    gate_input: Fraction = 0.5
    leak: Fraction = 0.25
    linear_leak: Fraction = 0.01
    reset_amount: Fraction = 0.5
    v_threshold: Annotated[Fraction, Help("Firing threshold, dimensionless, below 1.")] = 0.5
    conductance: Fraction = 0.5
    conductance_per_step: bool = False
    init: Literal["value", "random"] = "random"
    per: Per = "layer"
    surrogate: SurrogateSetting = setting(default={"type": "sigmoid", "alpha": 4.0})
    in_shape: InShape = None

    def prepare(self) -> None:
        super().prepare()
        values = {name: getattr(self, name) for name in _LEARNED}
        self.learned = nn.ParameterDict(
            {name: learned_parameter(name, value, _UNIT, self.per, self.in_shape) for name, value in values.items()}
        )
        if self.init == "random":
            for name in _GATES:
                with torch.no_grad():
                    self.learned[name].add_(0.2 * (torch.rand_like(self.learned[name]) - 0.5))
        if self.conductance_per_step:
            steps = require_num_steps("glif with conductance_per_step", self.num_steps)
            self.reach, self.whole_recording = "recording", True
            one = self.learned["conductance"].detach()
            self.learned["conductance"] = nn.Parameter(one.expand(steps, *one.shape).clone())

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

    def definitions(self) -> dict[str, str]:
        gain = "g = 1 - gate_input * (1 - conductance)"
        own = {
            "keep": "k = 1 - gate_leak * (1 - leak)",
            "linear": "(1 - gate_leak) * linear_leak",
            "reset_factor": "gate_reset * k",
            "reset_amount": "(1 - gate_reset) * reset_amount",
        }
        # With a conductance of each step, the gain is in the input that `step` gets.
        return own | ({"x": "g * x", "gain": "1", "g": gain} if self.conductance_per_step else {"gain": gain})

    def _gain(self) -> Tensor:
        return 1.0 - self.value("gate_input") * (1.0 - self.value("conductance"))

    def initial_state(self, x: Tensor) -> GLIFState:
        return GLIFState(torch.zeros_like(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: GLIFState, coefficients: GLIFCoefficients) -> tuple[Tensor, GLIFState]:
        k, (v, s) = coefficients, state
        v_new = (k.keep * v - k.linear) + k.gain * x - (k.reset_factor * v + k.reset_amount) * s
        y = spike(v_new - k.v_threshold, self.surrogate, k.v_threshold)
        return y, GLIFState(v_new, y)

    def weighted_input(self, x: Tensor) -> Tensor:
        if not self.conductance_per_step:
            return x
        gain = self._gain()
        return x * gain.reshape(gain.shape[0], *[1] * (x.dim() - gain.dim()), *gain.shape[1:]).to(x.dtype)

    def run(
        self, x: Tensor, state: GLIFState | None, lengths: Tensor | None, counts: Counts | None, **how: Any
    ) -> KernelOutput:
        if not self.conductance_per_step:
            return super().run(x, state, lengths, counts, **how)
        if state is not None or x.shape[0] != self.num_steps:
            raise ConfigError(
                "", f"glif with conductance_per_step needs all {self.num_steps} steps in one call, got {x.shape[0]}"
            )
        return super().run(self.weighted_input(x), state, lengths, counts)

    def info(self) -> NeuronInfo:
        threshold = float(self.value("v_threshold").detach().mean())
        found = DtWarning("late_reset", advice="train again where dt changes")
        reset = AfterSpike("subtract", float(self.value("reset_amount").detach().mean()), delayed=True)
        return NeuronInfo(firing=Firing(threshold, variable="v"), reset=reset, warnings=(found,))
