"""The leaky integrator, a readout neuron that never spikes."""

from __future__ import annotations

from typing import Annotated, ClassVar, NamedTuple

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn.neurons.membrane import InputGain, LeakyMembrane, MembraneCoefficients, PerNeuron
from snnlab.nn.neurons.nir_node import LEAKY, NIRNode
from snnlab.nn.neurons.register import NEURONS
from snnlab.spec.interval import at_least


class LIState(NamedTuple):
    """Membrane potential v, `[B, ...]`."""

    v: Tensor


@NEURONS.register("li")
class LI(LeakyMembrane):
    """Leaky integrator: its output is its membrane.

    Args:
        tau_mem_std: Standard deviation of the initial time constants where they are learned, normal around tau_mem,
            without their sign, ms, or steps where these have no length.

    Shape:
        x: `[T, B, ...]`; state: `LIState(v [B, ...])`; returns the membrane, `[T, B, ...]`, and the state.
    """

    nir: ClassVar[NIRNode | None] = NIRNode("LI", LEAKY, is_read=True)
    spiking: ClassVar[bool] = False

    input_gain: InputGain = "average"
    per_neuron: PerNeuron = ()
    tau_mem_std: Annotated[float, "ms", at_least(0)] = 0.0

    def create_parameters(self) -> None:
        super().create_parameters()
        if not self.tau_mem_std:
            return
        if "tau_mem" not in self.learn_per:
            raise ConfigError("tau_mem_std", "needs learned time constants", "set learn: {tau_mem: channel}")
        (mean, within), stored = self.learnable()["tau_mem"], self.learned["tau_mem"].data
        drawn = torch.empty_like(stored).normal_(mean, self.tau_mem_std).abs().clamp(min=within.low + 0.01 * mean)
        stored.copy_((drawn - within.low).log())

    def initial_state(self, x: Tensor) -> LIState:
        return LIState(self.rest(x))

    def step(self, x: Tensor, state: LIState, coefficients: MembraneCoefficients) -> tuple[Tensor, LIState]:
        """Return the membrane after one step, twice: as output and as state."""
        v = self.integrate(state.v, x, coefficients)
        return v, LIState(v)
