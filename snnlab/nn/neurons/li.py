"""The leaky integrator, a readout neuron that never spikes."""

from __future__ import annotations

from typing import Annotated, ClassVar, NamedTuple

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn.neurons.learn import Learn, Shape
from snnlab.nn.neurons.membrane import InputGain, LeakyMembrane, MembraneCoefficients, PerNeuron
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import DecayRule, Dt, Factor, TauMem
from snnlab.spec.interval import Finite, at_least


class LIState(NamedTuple):
    """Membrane potential v, `[B, ...]`."""

    v: Tensor


@NEURONS.register("li")
class LI(LeakyMembrane):
    """Leaky integrator: its output is its membrane.

    The arguments are those of `LeakyMembrane`, and

    Args:
        tau_mem_std: Standard deviation of the initial time constants where they are learned, normal around tau_mem,
            without their sign, ms, or steps where these have no length.

    Shape:
        x: `[T, B, ...]`; state: `LIState(v [B, ...])`; returns the membrane, `[T, B, ...]`, and the state.
    """

    equations: ClassVar[tuple[str, ...]] = ("v[t] = a * v[t-1] + g * x[t] + (1 - a) * v_leak",)

    spiking: ClassVar[bool] = False

    def __init__(
        self,
        dt: Dt = None,
        *,
        tau_mem: TauMem = None,
        beta: Factor = None,
        v_leak: Finite = 0.0,
        decay: DecayRule = "exact",
        input_gain: InputGain = "average",
        learn: Learn = (),
        per_neuron: PerNeuron = (),
        tau_mem_std: Annotated[float, "ms", at_least(0)] = 0.0,
        in_shape: Shape | None = None,
    ) -> None:
        super().__init__(dt, tau_mem, beta, v_leak, decay, input_gain)
        self.create_parameters(learn, in_shape, per_neuron)
        if not tau_mem_std:
            return
        if "tau_mem" not in self.learn_per:
            raise ConfigError("tau_mem_std", "needs learned time constants", "set learn: {tau_mem: channel}")
        (mean, within), stored = self.learnable()["tau_mem"], self.learned["tau_mem"].data
        drawn = torch.empty_like(stored).normal_(mean, tau_mem_std).abs().clamp(min=within.low + 0.01 * mean)
        stored.copy_((drawn - within.low).log())

    def initial_state(self, x: Tensor) -> LIState:
        return LIState(self.rest(x))

    def step(self, x: Tensor, state: LIState, coefficients: MembraneCoefficients) -> tuple[Tensor, LIState]:
        """Return the membrane after one step, twice: as output and as state."""
        v = self.integrate(state.v, x, coefficients)
        return v, LIState(v)
